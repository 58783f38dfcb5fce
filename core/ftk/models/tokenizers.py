"""The tokenizer of a model alone: what data can be looked at with before any weights are fetched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import catalog, dataspec, hub_api
from ..errors import ModelError
from . import embedded, loading, sources
from .sources import Progress, Source

_WANTED = ["tokenizer*", "*.jinja", "*.model", "merges.txt", "vocab*", "special_tokens_map.json", "added_tokens.json",
           "config.json"]  # fmt: skip
_UNKNOWN_LENGTH = 10**9  # what a tokenizer has that was saved without a length is larger


def find_tokenizer(name: str, progress: Progress = loading.silent) -> Any:
    """Find a model's tokenizer; from the Hub only its few files are fetched.

    Args:
        name: Catalogue name, hub id, GGUF file, or a folder (weights need not be in it).
        progress: Told of every portion where something has to be fetched or converted.

    Raises:
        ModelError: it cannot be had.

    """
    folder = dataspec.expanded(name)
    if folder.is_dir() and any(folder.glob("tokenizer*")):
        return _load(name, folder.absolute())
    if cached := _cached(name):
        return _load(name, cached)
    source = sources.locate(name)
    if source.kind == "hub" and source.hub:
        return _load(name, _download(source.hub))
    return loading.load_tokenizer(sources.fetch(source, progress))


def tokenizer_on_disk(name: str) -> Any:
    """Load a model's tokenizer if it can be had without the network; None where it would have to be fetched.

    Args:
        name: Catalogue name, hub id, or a folder.

    Raises:
        ModelError: it is there, and cannot be read.

    """
    folder = dataspec.expanded(name)
    if not (folder.is_dir() and any(folder.glob("tokenizer*"))):
        entry = catalog.find(name)
        embedded_here = embedded.cached() if entry and entry.id == embedded.MODEL else None
        found = _cached(name) or embedded_here
        return _load(name, found) if found else None
    return _load(name, folder.absolute())


def _load(name: str, path: Path) -> Any:
    return loading.load_tokenizer(Source(name, "folder", path, None, None))


def _cached(name: str) -> Path | None:
    """The folder of the Hub's cache that holds the tokenizer, with or without weights; asks no network."""
    from huggingface_hub import try_to_load_from_cache

    entry = catalog.find(name)
    hub = entry.hub if entry else name
    if not sources.is_hub_id(hub):
        return None
    found = try_to_load_from_cache(hub, "tokenizer_config.json")
    return Path(found).parent if isinstance(found, str) else None


def _download(hub: str) -> Path:
    from huggingface_hub import snapshot_download

    silent: Any = hub_api.progress_bar(lambda done, total: None)
    try:
        return Path(snapshot_download(hub, allow_patterns=_WANTED, tqdm_class=silent))
    except Exception as error:
        reason, hint = hub_api.explain(error, hub, "a folder with its tokenizer (--model PATH)")
        raise ModelError(f"Fetching the tokenizer of {hub} failed: {reason}.", hint=hint) from error


def context_of(tokenizer: Any) -> int | None:
    """The longest row in tokens that a tokenizer's model can read, as far as the files beside it tell."""
    known = []
    if 0 < tokenizer.model_max_length < _UNKNOWN_LENGTH:
        known.append(int(tokenizer.model_max_length))
    try:
        config = json.loads((Path(str(tokenizer.name_or_path)) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    text = config.get("text_config") or config
    known += [int(text[key]) for key in ("max_position_embeddings", "n_positions") if isinstance(text.get(key), int)]
    return min(known) if known else None
