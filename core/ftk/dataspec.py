"""What the settings `data` and `columns` say, taken apart; reads no file.

A data set is named by a sample (``sample:chat``), a file, a folder, a glob, ``-`` for standard input, a hub id
(``owner/name``, with ``?config=en&split=train&revision=main`` where needed), or several of these with commas
between them, each with a weight if wanted: ``a.jsonl:2,b.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import UsageError, did_you_mean

STDIN = "-"
_WEIGHT = re.compile(r"(?P<name>.+?):(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf))", re.ASCII)
_HUB = re.compile(r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:\?(?P<query>\w+(?:=.*)?|))?", re.ASCII)
_HUB_KEYS = ("config", "split", "revision")


@dataclass(frozen=True)
class Part:
    """One of the data sets of a mixture; every row counts `weight` times in an epoch."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class HubId:
    """A data set on the Hub, with what of it is wanted."""

    id: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None


def parts(spec: str) -> tuple[Part, ...]:
    """Take a data setting apart.

    Args:
        spec: The setting's text. Something that exists under the whole name is taken as one.

    Raises:
        UsageError: a part is empty, or its weight is out of range.

    """
    if spec and _exists(spec):  # an empty path is the working folder
        return (Part(spec),)
    return tuple(_part(text.strip(), spec) for text in _split(spec))


def _split(spec: str) -> list[str]:
    """At commas, but never inside the braces or brackets of a glob."""
    return re.split(r",(?![^{\[]*[}\]])", spec)


def _part(text: str, spec: str) -> Part:
    if not text:
        raise UsageError(f"data: {spec!r} has an empty part.", hint="Write it like a.jsonl:2,b.csv")
    match = None if _exists(text) else _WEIGHT.fullmatch(text)
    if match is None or match["name"] == "sample":
        return Part(text)
    weight = float(match["weight"])
    if not 0 < weight <= 1000:
        raise UsageError(f"data: the weight of {match['name']!r} must be above 0 and at most 1000.")
    return Part(match["name"], weight)


def _exists(text: str) -> bool:
    return holds(expanded(text).exists)


def holds(test: Callable[[], bool]) -> bool:
    """What a test of a path says (``path.is_file``); False for what can be no path: too long, or a null character."""
    try:
        return test()
    except (OSError, ValueError):
        return False


def expanded(name: str | Path) -> Path:
    """A path with the home folder in place of ``~``; a name that begins so but is nobody's stays as it is."""
    try:
        return Path(name).expanduser()
    except (RuntimeError, ValueError):  # nobody's home; a null character
        return Path(name)


def hub_id(name: str) -> HubId | None:
    """The hub id that a part's name is, or None.

    Raises:
        UsageError: it asks for something else than config, split and revision.

    """
    match = _HUB.fullmatch(name)
    if match is None:
        return None
    wanted = {}
    for item in filter(None, (match["query"] or "").split("&")):
        key, _, value = item.partition("=")
        if key not in _HUB_KEYS or not value:
            raise UsageError(
                f"data: {item!r} of {name!r} is not understood.{did_you_mean(key, _HUB_KEYS)}",
                hint="Like 'owner/name?config=en&split=train&revision=main', each of them optional.",
            )
        wanted[key] = value
    return HubId(match["id"], **wanted)


def absolute(spec: str, folder: Path) -> str:
    """The same setting with the files that are relative to `folder` made absolute, so that it works from anywhere."""
    return renamed(spec, lambda name: _absolute(name, folder))


def renamed(spec: str, rename: Callable[[str], str]) -> str:
    """The same setting with other names and the same weights."""
    return ",".join(rename(part.name) + (f":{part.weight:.12g}" if part.weight != 1 else "") for part in parts(spec))


def _absolute(name: str, folder: Path) -> str:
    path = expanded(name)
    if name == STDIN or name.startswith("sample:"):
        return name
    there = folder / path
    if _exists(str(there)) or (is_glob(name) and any(folder.glob(name) if not path.is_absolute() else ())):
        return str(there.absolute())
    return name


def is_glob(name: str) -> bool:
    """Whether a name holds wildcards."""
    return any(char in name for char in "*?[{") and _HUB.fullmatch(name) is None


COLUMN_PARTS = (
    "messages", "prompt", "response", "input", "system", "history", "text", "chosen", "tools",
)  # fmt: skip
_PART_WORDS = {
    "instruction": "prompt", "question": "prompt", "output": "response", "completion": "response", "answer": "response",
    "conversations": "messages",
}  # fmt: skip


def columns(spec: str) -> dict[str, str]:
    """Which column plays which part: ``prompt=Q,response=A``.

    Raises:
        UsageError: a part is unknown or given twice, or the parts make no row.

    """
    found: dict[str, str] = {}
    known = (*COLUMN_PARTS, *_PART_WORDS)
    for item in re.split(rf",(?=\s*(?:{'|'.join(known)})\s*=)", spec):
        word, equals, column = item.partition("=")
        word, column = word.strip(), column.strip()
        part = _PART_WORDS.get(word, word)
        if not equals or not column or part not in COLUMN_PARTS:
            raise UsageError(
                f"columns: {item.strip()!r} is not understood.{did_you_mean(word, known)}",
                hint=f"Like prompt=Q,response=A. Parts: {', '.join(COLUMN_PARTS)}.",
            )
        if part in found:
            raise UsageError(f"columns: the part {part!r} is given twice.")
        found[part] = column
    if not ({"prompt", "response"} <= found.keys() or found.keys() & {"messages", "text", "chosen"}):
        raise UsageError(
            f"columns: {spec!r} makes no row.",
            hint="Needed are prompt and response, or messages, or text, or chosen.",
        )
    return found
