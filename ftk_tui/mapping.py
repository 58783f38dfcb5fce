"""Which column is what: the ways to read a row, the parts of each, and the setting `columns` that says so."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftk import dataspec
from ftk.errors import FtkError

from .data_words import clipped

if TYPE_CHECKING:
    from ftk.data.rows import Row

NOTHING = ""
"""No column."""


@dataclass(frozen=True)
class Way:
    """A way to read a row: what it is called, the parts it needs, and those it may have."""

    name: str
    title: str
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()


WAYS = (
    Way("auto", "recognised automatically", ()),
    Way("pair", "a prompt and a response", ("prompt", "response"), ("input", "system", "history")),
    Way("messages", "a conversation (a list of turns)", ("messages",), ("system", "tools")),
    Way("text", "raw text, all of it learnt", ("text",)),
    Way("chosen", "a preference: the chosen answer is learnt", ("chosen",), ("prompt", "system")),
)
MEANING = {
    "prompt": "what is asked",
    "response": "what is learnt",
    "input": "put below the prompt",
    "system": "put before all",
    "history": "earlier turns",
    "messages": "the turns",
    "tools": "functions",
    "text": "the text",
    "chosen": "what is learnt",
}


def way_of(columns: str | None) -> Way:
    """The way that the setting `columns` means; the automatic one where it says nothing that is understood."""
    with contextlib.suppress(FtkError):
        parts = dataspec.columns(columns) if columns else {}
        for way in WAYS[1:]:
            if way.needed[0] in parts and (way.name != "pair" or "response" in parts):
                return next((other for other in WAYS if other.name in parts), way)
    return WAYS[0]


def written(way: Way, parts: Mapping[str, str]) -> str:
    """The setting for a way and its columns; empty for the automatic one."""
    chosen = {part: parts[part] for part in (*way.needed, *way.optional) if parts.get(part)}
    return ",".join(f"{part}={column}" for part, column in chosen.items())


def missing(way: Way, parts: Mapping[str, str]) -> str:
    """What is still to be chosen, in words; empty if nothing is."""
    wanted = [part for part in way.needed if not parts.get(part)]
    if wanted:
        return f"Choose the column for {' and '.join(wanted)}."
    used = [column for part in (*way.needed, *way.optional) if (column := parts.get(part))]
    twice = next((column for column in used if used.count(column) > 1), None)
    return f"The column {twice!r} is chosen twice." if twice else ""


@dataclass(frozen=True)
class Tried:
    """How the first row would be read, or why it cannot be."""

    well: bool
    text: str


def tried(data: str, columns: str) -> Tried:
    """Read the first row with a setting `columns`; raises nothing."""
    from ftk.data.preview import preview

    try:
        found = preview(data, columns=columns or None, count=1)
    except FtkError as error:
        return Tried(False, f"{error.message}".strip())
    return Tried(True, _first(found.rows[0]))


def _first(row: Row) -> str:
    """A row in a few lines."""
    if row.text is not None:
        return f"text: {_line(row.text)}"
    lines = [f"{turn['role']}: {_line(str(turn['content']))}" for turn in row.messages[:4]]
    return "\n".join([*lines, *(["…"] if len(row.messages) > 4 else [])])


def _line(text: str) -> str:
    flat = " ".join(clipped(text, 2000).split())
    return flat if len(flat) <= 140 else f"{flat[:139]}…"
