"""Read data sets: JSON, JSON Lines and CSV files, Python lists, and the built-in samples.

Own readers for these three because what matters here is lost in the general ones: the line of every row,
text that stays text (``NA`` is not null), and a reason when something is wrong.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import DataError, did_you_mean
from .rows import Row, fingerprint, to_rows

SAMPLES = {
    "chat": "customer support of an online shop: titles, numbered steps, good to know",
    "instruct": "Python concepts: one sentence, code that runs, the reason",
}
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv")


@dataclass(frozen=True)
class Dataset:
    """Rows with the name they go by; `held_out` is the part that a data set sets aside itself, else empty."""

    name: str
    rows: tuple[Row, ...]
    held_out: tuple[Row, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> str:
        """A hash of the content, for the run's provenance."""
        return fingerprint((*self.rows, *self.held_out))


def load_dataset(source: str | Path | Sequence[Any] | Dataset) -> Dataset:
    """Load a data set.

    Args:
        source: ``sample:chat``, ``sample:instruct``, a .json, .jsonl or .csv file, or a list of mappings with
            prompt and response, instruction/input/output, or messages.

    Raises:
        DataError: it cannot be read; the message names file, line and what to mend.

    """
    if isinstance(source, Dataset):
        return source
    if not isinstance(source, str | Path):
        records = ((f"row {number}", record) for number, record in enumerate(source, 1))
        return Dataset("list", _nonempty(to_rows(records, "the list"), "the list"))
    if str(source).startswith("sample:"):
        return load_sample_dataset(str(source).removeprefix("sample:"))
    path = Path(source).expanduser()
    return Dataset(path.name, _nonempty(to_rows(_records(path), str(path)), str(path)))


def load_sample_dataset(name: str = "chat") -> Dataset:
    """Load a built-in data set with its held-out part: ``chat`` or ``instruct``.

    Raises:
        DataError: there is none of that name.

    """
    if name not in SAMPLES:
        raise DataError(
            f"There is no sample {name!r}.{did_you_mean(name, tuple(SAMPLES))}",
            hint="Samples: " + "; ".join(f"sample:{key} ({text})" for key, text in SAMPLES.items()),
        )
    folder = Path(str(resources.files("ftk.sample_data")))
    parts = []
    for part in (f"{name}.jsonl", f"{name}.heldout.jsonl"):
        records = ((f"sample:{part}, {line}", record) for line, record in _json_lines(folder / part, part))
        parts.append(tuple(to_rows(records, part)))
    return Dataset(f"sample:{name}", *parts)


def _nonempty(rows: Iterator[Row], where: str) -> tuple[Row, ...]:
    found = tuple(rows)
    if not found:
        raise DataError(f"{where} holds no rows.")
    return found


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        near = (
            did_you_mean(path.name, tuple(sorted(p.name for p in path.parent.glob("*.*"))))
            if path.parent.is_dir()
            else ""
        )
        raise DataError(
            f"There is no data file {str(path)!r}.{near}",
            hint="Give a .json, .jsonl or .csv file, or sample:chat or sample:instruct.",
        )
    suffix = path.suffix.lower()
    if suffix == ".csv":
        found = _csv(path)
    elif suffix in (".jsonl", ".ndjson"):
        found = _json_lines(path, path.name)
    elif suffix == ".json":
        found = _json(path)
    else:
        raise DataError(
            f"{path}: ftk reads {', '.join(_SUFFIXES)} files.", hint="Convert it, or rename it if it is one."
        )
    return ((f"{path.name}, {place}", record) for place, record in found)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: not UTF-8 text (byte {error.start}).",
            hint=f"Convert it: iconv -f UTF-16 -t UTF-8 {path.name} > new{path.suffix} (or -f LATIN1)",
        ) from None


def _json_lines(path: Path, name: str) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except ValueError as error:
                raise DataError(
                    f"{name}, line {number}: {_json_reason(error)} Near: {line.strip()[:60]!r}",
                    hint="In a .jsonl file every line is one JSON object.",
                ) from None


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    text = _text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            yield from _json_lines(path, path.name)  # JSON Lines under another name
            return
        snippet = text[max(0, error.pos - 30) : error.pos + 30]
        raise DataError(
            f"{path.name}, line {error.lineno}, column {error.colno}: {error.msg}. Near: {snippet!r}"
        ) from None
    if isinstance(value, dict):
        lists = {key: part for key, part in value.items() if isinstance(part, list)}
        if len(lists) != 1 and "train" not in lists:
            raise DataError(f"{path}: expected a list of rows, found an object.", hint="Wrap the rows in [ ... ].")
        value = lists.get("train") or next(iter(lists.values()))
    if not isinstance(value, list):
        raise DataError(f"{path}: expected a list of rows.", hint="Wrap the rows in [ ... ].")
    yield from ((f"row {number}", record) for number, record in enumerate(value, 1))


def _json_reason(error: ValueError) -> str:
    return f"{error.msg} (column {error.colno})." if isinstance(error, json.JSONDecodeError) else f"{error}."


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    text = _text(path)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path.name}, line {start}: {error}.", hint="Is a quotation mark left open?") from None
        if cells is None:
            return
        if not any(cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
            continue
        if len(cells) != len(header):
            raise DataError(
                f"{path.name}, line {start}: {len(cells)} cells where the header has {len(header)}.",
                hint='Text with commas or line breaks must stand in "quotes".',
            )
        yield f"line {start}", dict(zip(header, cells, strict=True))


def _delimiter(text: str) -> str:
    """The character that separates the columns of the header: the one of , ; tab and | that occurs most."""
    header = text.split("\n", 1)[0]
    return max(",;\t|", key=header.count)
