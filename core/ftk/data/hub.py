"""Data sets on the Hub: which files make up a split is asked of `datasets`, they are read by ftk's own readers.

No code of a data set is run: `datasets` from version 4 has no loading scripts any more.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import files, hub_api
from ..dataspec import HubId
from ..errors import DataError
from . import cache
from .formats.base import HELD_OUT_NAMES
from .formats.sniff import is_data
from .gather import Source, choose_held_out, hub_name

_URL = re.compile(r"hf://datasets/(?P<id>[^@]+)@(?P<revision>[^/]+)/(?P<path>.+)")
_OTHERWISE = "a file of your own (--data rows.jsonl), or a token if the data set is private (`hf auth login`)"
_Found = tuple[str, str, str]  # split, revision, path in the repository


def fetch(hub: HubId) -> list[Source]:
    """The files of a data set on the Hub, downloaded if they are not in its cache.

    Args:
        hub: The id, and which config, split and revision are wanted. Without a split, all that is not a
            held-out split by its name is trained on.

    Raises:
        DataError: it cannot be found or fetched, has several configs, or holds no files that ftk reads.

    """
    answer = hub_api.ask(lambda api, seconds: api.dataset_info(hub.id, revision=hub.revision, timeout=seconds))
    if isinstance(answer, Exception):
        if known := _remembered(hub):
            return known
        reason, hint = hub_api.explain(answer, hub.id, _OTHERWISE, what="data set")
        raise DataError(f"The data set {hub.id} could not be found. {hub_api.endpoint()}: {reason}.", hint=hint)
    found = _chosen(hub, _files(hub, str(answer.sha)))
    sources = choose_held_out([_source(hub, *item) for item in found], lambda source: source.name.split("/")[-2])
    ready = [source if source.unused else replace(source, path=_download(hub, source)) for source in sources]
    _remember(hub, ready)
    return ready


def _files(hub: HubId, revision: str) -> list[_Found]:
    """All data files of the config, with their splits."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # warns of every README without a head
    try:
        builder = datasets.load_dataset_builder(hub.id, name=hub.config, revision=revision)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{hub_name(hub)}: {reason[:300]}", hint=f"Say which: '{hub.id}?config=NAME' (in quotes)."
        ) from None
    except Exception as error:
        reason, hint = hub_api.explain(error, hub.id, _OTHERWISE, what="data set")
        raise DataError(f"{hub_name(hub)} could not be looked up: {reason}.", hint=hint) from error
    found: list[_Found] = []
    for split, urls in (builder.config.data_files or {}).items():
        for url in urls:
            match = _URL.fullmatch(str(url))
            if match and is_data(Path(match["path"])):
                found.append((str(split), match["revision"], match["path"]))
    if not found:
        raise DataError(f"{hub.id} holds no files that ftk reads.", hint="Download and convert it, then --data FILE.")
    return found


def _chosen(hub: HubId, found: list[_Found]) -> list[_Found]:
    if not hub.split:
        return found
    mine = [item for item in found if item[0] == hub.split]
    if not mine:
        known = ", ".join(dict.fromkeys(item[0] for item in found))
        raise DataError(f"{hub.id} has no split {hub.split!r}.", hint=f"Its splits: {known}")
    return mine


def _source(hub: HubId, split: str, revision: str, path: str) -> Source:
    held_out = hub.split is None and split.lower() in HELD_OUT_NAMES
    return Source(Path(revision, path), f"{hub.id}/{split}/{Path(path).name}", held_out)


def _download(hub: HubId, source: Source) -> Path:
    from huggingface_hub import hf_hub_download

    revision, path = source.path.parts[0], str(Path(*source.path.parts[1:]))
    silent: Any = hub_api.progress_bar(lambda done, total: None)
    try:
        return Path(hf_hub_download(hub.id, path, repo_type="dataset", revision=revision, tqdm_class=silent))
    except Exception as error:
        reason, hint = hub_api.explain(error, hub.id, _OTHERWISE, what="data set")
        raise DataError(f"Fetching {path} of {hub.id} failed: {reason}.", hint=hint) from error


def _memory(hub: HubId) -> Path:
    return files.cache_dir() / "hub" / (hashlib.sha256(hub_name(hub).encode()).hexdigest()[:32] + ".json")


def _remember(hub: HubId, sources: list[Source]) -> None:
    values = [[str(source.path), source.name, source.held_out, source.unused] for source in sources]
    with cache.told():
        files.write_atomic(_memory(hub), json.dumps(values))


def _remembered(hub: HubId) -> list[Source] | None:
    """What was fetched before, for days without the Hub."""
    try:
        values = json.loads(_memory(hub).read_text(encoding="utf-8"))
        sources = [
            Source(Path(path), str(name), bool(held_out), unused=unused) for path, name, held_out, unused in values
        ]
    except (OSError, ValueError):
        return None
    return sources if all(source.unused or source.path.is_file() for source in sources) else None
