"""Traces kept in the process and in ftk's cache, so that the same question is answered without importing torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files
from .._version import __version__
from .card import Card
from .models import Described
from .settings import Settings
from .stages import Census, Trace

if TYPE_CHECKING:
    from .tracing import Tracer

FORMAT = 4
"""Part of every key: raised when what is traced or written changes."""
_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
_known: dict[str, Traces] = {}
_MOST = 32
"""Models with settings whose traces stay in the process."""


class Traces:
    """The traces of one model with one set of settings, whatever rows they are for.

    Args:
        model: Which model.
        settings: How it is stored and trained.
        card: The card; None for a processor.
        unpacked: Whether 4-bit weights are kept in plain numbers too.

    """

    def __init__(self, model: Described, settings: Settings, card: Card | None, *, unpacked: bool) -> None:
        self._model, self._settings, self._card, self._unpacked = model, settings, card, unpacked
        self._path = files.cache_dir() / "memory" / f"{_key(model, settings, card, unpacked)}.json"
        self._tracer: Tracer | None = None
        self._census, self._traces = _read(self._path)

    @property
    def census(self) -> Census:
        """What the tensors of the model take.

        Raises:
            ModelError: transformers cannot make the model.

        """
        if self._census is None:
            self._census = self._made().census
        return self._census

    def knows(self, rows: int, length: int, *, accumulates: bool) -> bool:
        """Whether a micro-batch was traced before."""
        return self._census is not None and _name(rows, length, accumulates) in self._traces

    def at(self, rows: int, length: int, *, accumulates: bool) -> Trace:
        """The trace of a micro-batch; see `tracing.Tracer.trace`.

        Raises:
            ModelError: transformers cannot make the model.

        """
        name = _name(rows, length, accumulates)
        if name not in self._traces:
            self._traces[name] = self._made().trace(rows, length, accumulates=accumulates)
            self._write()
        return self._traces[name]

    def _made(self) -> Tracer:
        if self._tracer is None:
            from .tracing import Tracer

            self._tracer = Tracer(self._model, self._settings, self._card, unpacked=self._unpacked)
        return self._tracer

    def _write(self) -> None:
        """Keep what is known; a full or read-only disk is no error, the next process then traces again."""
        values = {
            "census": self.census.to_dict(),
            "traces": {name: trace.to_dict() for name, trace in self._traces.items()},
        }
        with contextlib.suppress(OSError):
            files.write_atomic(self._path, json.dumps(values))


def traces(model: Described, settings: Settings, card: Card | None, *, unpacked: bool) -> Traces:
    """The traces of a model with settings, known or still to be made."""
    key = f"{files.cache_dir()}|{_key(model, settings, card, unpacked)}"
    if key not in _known:
        while len(_known) >= _MOST:
            del _known[next(iter(_known))]
        _known[key] = Traces(model, settings, card, unpacked=unpacked)
    return _known[key]


def _name(rows: int, length: int, accumulates: bool) -> str:
    return f"{rows} x {length}{' more' if accumulates else ''}"


def _key(model: Described, settings: Settings, card: Card | None, unpacked: bool) -> str:
    """A name for everything that a trace depends on, apart from the rows."""
    same = replace(settings, batch_size=1, max_length=8, gradient_accumulation=1, optimizer="adamw", keeps_best=False)
    parts = [FORMAT, __version__, model.key, same.to_dict(), card and card.packs_rows, unpacked, _versions()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _read(path: Path) -> tuple[Census | None, dict[str, Trace]]:
    """What was kept; a file that is damaged is as good as none."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = {name: Trace.from_dict(trace) for name, trace in values["traces"].items()}
        return Census.from_dict(values["census"]), found
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, {}
