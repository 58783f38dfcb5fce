"""From the name of a data set to the files that hold it: samples, files, folders, globs, the Hub, standard input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache as remembered
from importlib import resources
from pathlib import Path
from typing import IO, Any, TextIO

from .. import dataspec, files
from ..dataspec import HubId, Part
from ..errors import DataError, did_you_mean
from . import cache
from .formats import sniff
from .formats.base import HELD_OUT_NAMES
from .rows import kind_of

SAMPLES = {
    "chat": "customer support of an online shop: titles, numbered steps, good to know",
    "instruct": "Python concepts: one sentence, code that runs, the reason",
    "code": "small Python functions: the idea, typed code with asserts, the cost",
    "summarize": "texts of a page: one sentence in short, three main points",
    "translate": "sentences between English and six other languages",
}
_MANY_ENTRIES = 100_000
"""Files and folders from which on a folder is taken for a mistake, such as ``/``."""
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "package.json",
             "config.json", "metadata.json"}  # fmt: skip

Progress = Callable[[int, int], None]
"""Called with the bytes read and the bytes in all."""


@dataclass(frozen=True)
class Source:
    """A file of a data set: how it is called in messages, whether it is held out, and the weight of its rows.

    `unused` is a held-out part that is not read, because there is a better one.
    """

    path: Path
    name: str
    held_out: bool = False
    weight: float = 1.0
    unused: bool = False


def gather(spec: str) -> list[Source]:
    """The files of a data set, in a fixed order.

    Args:
        spec: The setting `data`.

    Raises:
        DataError: there is no such sample, file or data set.

    """
    found: list[Source] = []
    for part in dataspec.parts(spec):
        found += [replace(source, weight=part.weight) for source in _of(part)]
    return found


def lasting(spec: str) -> str:
    """The setting `data` with the file where it is kept in place of what can be read but once (standard input, a pipe).

    A run that was started with a pipe can so be gone on with.
    """
    return dataspec.renamed(spec, _lasting)


def _lasting(name: str) -> str:
    if name == dataspec.STDIN:
        return str(_standard_input(sys.stdin))
    if dataspec.holds(Path(name).is_fifo):
        return str(_kept_pipe(Path(name)))
    return name


def _of(part: Part) -> list[Source]:
    name = part.name
    if name.startswith("sample:"):
        return _sample(name.removeprefix("sample:"))
    if name == dataspec.STDIN:
        return [Source(_standard_input(sys.stdin), "standard input")]
    path = dataspec.expanded(name)
    if dataspec.holds(path.is_fifo):
        return [Source(_kept_pipe(path), name)]
    if dataspec.holds(path.is_file):
        return [Source(path.absolute(), "standard input" if path.parent == _kept_dir() else path.name)]
    if dataspec.holds(path.is_dir):
        return _folder(path.absolute(), name)
    if dataspec.is_glob(name):
        return _glob(path, name)
    if hub := dataspec.hub_id(name):
        if dataspec.holds(
            path.parent.is_dir
        ):  # owner/name where a folder owner is: most likely a file that is not there
            raise _missing(path, name)
        from .hub import fetch

        return fetch(hub)
    raise _missing(path, name)


def _sample(name: str) -> list[Source]:
    if name not in SAMPLES:
        raise DataError(
            f"There is no sample {name!r}.{did_you_mean(name, tuple(SAMPLES))}",
            hint="Samples: " + "; ".join(f"sample:{key} ({text})" for key, text in SAMPLES.items()),
        )
    folder = Path(str(resources.files("ftk.sample_data")))
    return [
        Source(folder / f"{name}.jsonl", f"{name}.jsonl"),
        Source(folder / f"{name}.heldout.jsonl", f"{name}.heldout.jsonl", held_out=True),
    ]


@remembered
def _standard_input(stdin: TextIO | None) -> Path:
    """What is piped in, as a file; it can be read but once, so that it is remembered."""
    if stdin is None or stdin.closed or stdin.isatty():
        raise DataError("data: '-' reads standard input, and nothing is piped in.", hint="cat rows.jsonl | ftk ...")
    return _kept(stdin.buffer)


def _kept_dir() -> Path:
    return files.cache_dir() / "stdin"


def _kept_pipe(path: Path) -> Path:
    """What a named pipe gives; a shell makes one of <(zcat rows.gz)."""
    with path.open("rb") as pipe:
        return _kept(pipe)


def _kept(stream: IO[bytes]) -> Path:
    """What a stream gives, in the cache under its content, so that it can be read again and resumed from."""
    folder = _kept_dir()
    with cache.told():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file, _removed_on_error(Path(file.name)):
            shutil.copyfileobj(stream, file)
            file.flush()
        path = Path(file.name)
        kept = folder / files.sha256(path)[:32]
        path.replace(kept)
    return kept


@contextlib.contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    """See that half of a stream is not kept."""
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _glob(path: Path, name: str) -> list[Source]:
    base = Path(path.anchor) if path.is_absolute() else Path()
    pattern = str(path.relative_to(path.anchor)) if path.is_absolute() else str(path)
    try:
        matches = {entry.absolute() for each in _braces(pattern) for entry in base.glob(each) if entry.is_file()}
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"The pattern {name!r} is not understood: {error}.", hint="Like 'data/*.jsonl'.") from None
    if not matches:
        raise DataError(
            f"No file matches {name!r} (in {Path.cwd()}).", hint="Put the pattern in quotes, and look with: ls"
        )
    found = sorted(matches)
    names = [entry.name for entry in found]
    if len(set(names)) < len(names):  # the same name in several folders
        shared = os.path.commonpath(found)
        names = [str(entry.relative_to(shared)) for entry in found]
    return _sources(found, names)


def _braces(pattern: str) -> Iterator[str]:
    """The patterns that one with braces stands for, as in a shell: ``{a,b}.jsonl`` is ``a.jsonl`` and ``b.jsonl``."""
    match = re.search(r"\{([^{}]*,[^{}]*)\}", pattern)
    if match is None:
        yield pattern
        return
    for choice in match[1].split(","):
        yield from _braces(pattern[: match.start()] + choice + pattern[match.end() :])


def _sources(found: list[Path], names: list[str]) -> list[Source]:
    """Files with those of them held out that are called so; a folder's name counts where it tells files apart."""
    parts = [held_out_part(entry) for entry in found]
    by_folder = [part or _known_part({entry.parent.name.lower()}) for entry, part in zip(found, parts, strict=True)]
    if not all(by_folder):
        parts = by_folder
    called = dict(zip(found, parts, strict=True))
    made = [Source(entry, name, bool(part)) for (entry, part), name in zip(called.items(), names, strict=True)]
    return choose_held_out(made, lambda source: called[source.path] or "")


def held_out_part(path: Path) -> str | None:
    """The held-out part that a file's name says it is: ``validation.jsonl``, ``test-00000-of-00001.parquet``."""
    stem, *others = path.name.lower().split(".")
    return _known_part({stem, stem.split("-", 1)[0], stem.rsplit("_", 1)[-1], *others[:-1]})


def _known_part(words: set[str]) -> str | None:
    return next((name for name in HELD_OUT_NAMES if name in words), None)


def _folder(path: Path, name: str) -> list[Source]:
    """The data files of a folder and of those below it; a folder that `datasets` saved is read as such."""
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path)
    candidates = [entry for entry in sorted(_below(path, name)) if _wanted(entry, path)]
    structured = [entry for entry in candidates if sniff.suffix(entry) not in (".txt", ".md", ".markdown", ".text")]
    found = structured or candidates  # a README beside the data is not data
    if not found:
        raise DataError(f"The folder {name!r} holds no file that ftk reads.", hint="Look at it with: ls -R")
    return _sources(found, [str(entry.relative_to(path)) for entry in found])


def _below(path: Path, name: str) -> Iterator[Path]:
    """The files of a folder and of those below it, hidden folders left out; of a whole disk, it is told instead."""
    seen = 0
    for folder, folders, names in os.walk(path):  # unlike rglob, goes on where a folder vanishes or may not be read
        folders[:] = [each for each in folders if not each.startswith(".")]
        seen += len(names) + len(folders)
        if seen > _MANY_ENTRIES:
            hint = "Name a folder that holds nothing but the data, or a pattern: --data 'FOLDER/*.jsonl'"
            raise DataError(f"The folder {name!r} holds more than {_MANY_ENTRIES:,} files.", hint=hint)
        found = (Path(folder, each) for each in names)
        yield from (entry for entry in found if dataspec.holds(entry.is_file))


def _wanted(entry: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in entry.relative_to(folder).parts)
    return not hidden and entry.name not in _NOT_DATA and sniff.is_data(entry)


def _saved(path: Path) -> list[Source]:
    """The Arrow files of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`, split by split."""
    try:
        splits = [path]
        if (path / "dataset_dict.json").is_file():
            names = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
            splits = [path / Path(str(name)).name for name in names]
        found = []
        for split in splits:
            state = json.loads((split / "state.json").read_text(encoding="utf-8"))
            for item in state["_data_files"]:
                file = split / Path(str(item["filename"])).name
                found.append(Source(file, str(file.relative_to(path)), split.name.lower() in HELD_OUT_NAMES))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} looks like a saved data set, but is damaged: {error}.") from None
    return choose_held_out(found, lambda source: source.path.parent.name)


def choose_held_out(found: list[Source], part_of: Callable[[Source], str]) -> list[Source]:
    """Of several held-out parts use the best by name: a test split stays unseen where there is a validation split."""
    if all(source.held_out for source in found):
        return [replace(source, held_out=False) for source in found]
    best = min((_rank(part_of(source)) for source in found if source.held_out), default=0)
    return [replace(source, unused=source.held_out and _rank(part_of(source)) > best) for source in found]


def _rank(part: str) -> int:
    return HELD_OUT_NAMES.index(part.lower())


def _missing(path: Path, name: str) -> DataError:
    folder = path.parent if dataspec.holds(path.parent.is_dir) else Path()
    near = (
        did_you_mean(path.name, [entry.name for entry in folder.iterdir() if entry.name != path.name])
        if folder.is_dir()
        else ""
    )
    hint = "Give a file, a folder, a sample (sample:chat), or the id of a data set on the Hub (owner/name)."
    return DataError(f"There is no data file or folder {name!r}.{near}", hint=hint)


def chunks(values: Any) -> Iterator[Any]:
    """The rows of a Python object: a list, a pandas table, a `datasets` data set, or anything that gives mappings.

    Raises:
        DataError: it gives no rows, or two columns of one name.

    """
    if is_pandas(values):
        yield from _of_pandas(values)
    elif isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise DataError(
            f"Expected rows, found {kind_of(values)}.", hint="Give a list of mappings, a pandas table or a file's path."
        )
    else:
        yield from values


def is_pandas(values: Any) -> bool:
    """Whether something is a pandas table, told without importing pandas."""
    return hasattr(values, "to_dict") and hasattr(values, "columns") and hasattr(values, "iloc")


def _of_pandas(table: Any) -> Iterator[dict[str, Any]]:
    """Rows with None for what is missing, which pandas writes as a number (NaN)."""
    names = [str(name) for name in table.columns]
    if twice := [name for name in names if names.count(name) > 1]:
        raise DataError(f"The table has the column {twice[0]!r} twice.", hint="Give every column its own name.")
    for start in range(0, len(table), 1000):
        portion = table.iloc[start : start + 1000]
        present = portion.notna().to_numpy()
        for cells, there in zip(portion.itertuples(index=False, name=None), present, strict=True):
            yield {name: cell if is_there else None for name, cell, is_there in zip(names, cells, there, strict=True)}


def plain(value: Any) -> Any:
    """A value with lists where it has tuples and arrays, and text as the keys of a row."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple) or (hasattr(value, "tolist") and value.ndim):
        return [plain(part) for part in value]
    return value


def hub_name(hub: HubId) -> str:
    """A hub id as it was written."""
    wanted = [f"{key}={value}" for key in ("config", "split", "revision") if (value := getattr(hub, key))]
    return hub.id + (f"?{'&'.join(wanted)}" if wanted else "")
