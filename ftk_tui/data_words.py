"""What the Dataset screen says, in words: how the data is read, one row as the model sees it, what follows of it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ftk import dataspec

from .text import clock, counted

if TYPE_CHECKING:
    from ftk.config import RunConfig
    from ftk.data.checks import Finding
    from ftk.data.rows import Message, Row
    from ftk.data.store import SourceInfo
    from ftk.data.view import Views

    from .data_work import Schedule

Kind = Literal["text", "learnt", "role", "note"]
_MOST = 4000
"""Characters of one stretch of text that are shown: its beginning and its end."""
_TAIL = 800
SIGNS = {"error": "✗", "warning": "!", "note": "·"}
"""What stands before a finding, so that it is told without colours too."""
_FLAG = re.compile(r"--([a-z][a-z-]*)")
_SETTINGS_KEY = "e opens the settings"
_KEYS = {"columns": "c says which column is what", "data": "o chooses other data"}
"""What leads to a setting on the Dataset screen, where it is not the dialog of the settings."""
_ALL = 24_000
"""Characters of a row that are shown."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a row: text that the loss does not count, text that it does, a role's name, or a note of ours."""

    text: str
    kind: Kind


def named(spec: str) -> str:
    """A data set as it is called on the screen: files below this folder and below home without what is above them."""
    try:
        return dataspec.renamed(spec, _short) if spec else spec
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is shown as it is
        return spec


def _short(name: str) -> str:
    if not Path(name).is_absolute():
        return name
    for base, sign in ((str(Path.cwd()), ""), (str(Path.home()), "~" + os.sep)):
        inner = name.removeprefix(base.rstrip(os.sep) + os.sep)
        if inner != name and inner:
            return sign + inner
    return name


def size(number: int) -> str:
    """Bytes as ``812 B``, ``21 KB``, ``1.4 GB``."""
    if number < 1000:
        return f"{number} B"
    value, units = float(number), iter(("KB", "MB", "GB", "TB", "PB"))
    unit = ""
    while value >= 999.5 and (following := next(units, "")):
        value, unit = value / 1000, following
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def what(sources: Sequence[SourceInfo], *, guessed: bool) -> str:
    """The format and the size of a data set: ``JSON Lines, 52 rows, 25 KB``."""
    kinds = ", ".join(dict.fromkeys(source.kind for source in sources))
    files = f"{len(sources)} files, " if len(sources) > 1 else ""
    rows = sum(source.rows for source in sources)
    about = "about " if guessed else ""
    return f"{files}{kinds}, {about}{counted(rows, 'row')}, {size(sum(source.bytes for source in sources))}"


def read_as(sources: Sequence[SourceInfo]) -> str:
    """What the columns were taken for and why, of the first file and of others where they differ."""
    ways = list(dict.fromkeys(source.reading for source in sources if source.reading))
    said = dict.fromkeys(source.said for source in sources if source.said)
    other = f"; {counted(len(ways) - 1, 'other way')} in other files" if len(ways) > 1 else ""
    first = ways[0].replace("as --columns says", "as you chose") if ways else ""
    return "; ".join(filter(None, [first + other, *said]))


def weights(sources: Sequence[SourceInfo]) -> str:
    """The weights of a mixture, where there are any."""
    weighted = [source for source in sources if source.weight != 1]
    return ", ".join(f"{source.name} counts {source.weight:g} times" for source in weighted[:3])


# A row


def clipped(text: str, most: int = _MOST) -> str:
    """A text that is no longer than `most` characters or a little more, with its beginning and its end."""
    if len(text) <= most + _TAIL:
        return text
    left_out = len(text) - most
    return f"{text[: most - _TAIL]}\n⋯ {left_out:,} more characters ⋯\n{text[-_TAIL:]}"


def as_written(row: Row, config: RunConfig) -> list[Piece]:
    """A row turn by turn, as it is before a tokenizer is there; the turns that are learnt are marked."""
    from ftk.data.rows import with_system

    if row.text is not None:
        return limited([Piece(row.text, "learnt")])
    turns = with_system(row, config.system_prompt).messages
    last = max((place for place, turn in enumerate(turns) if turn["role"] == "assistant"), default=-1)
    pieces = []
    for place, turn in enumerate(turns):
        learnt = turn["role"] == "assistant" and turn.get("weight", 1) != 0
        if config.train_on == "last":
            learnt = learnt and place == last
        begin = "\n\n" if place else ""
        pieces.append(Piece(f"{begin}{turn['role']}\n", "role"))
        pieces.append(Piece(_said(turn), "learnt" if learnt else "text"))
    return limited(pieces)


def _said(turn: Message) -> str:
    import json

    calls = [
        f"calls {call['function']['name']}({json.dumps(call['function']['arguments'], ensure_ascii=False)})"
        for call in turn.get("tool_calls", ())
    ]
    return "\n".join(filter(None, [str(turn["content"]), *calls]))


def as_seen(views: Views) -> list[Piece]:
    """A row as the model sees it: the text of its tokens, what is learnt marked."""
    pieces: list[Piece] = []
    several = len(views.examples)
    for number, view in enumerate(views.examples, 1):
        if several > 1:
            begin = "\n\n" if number > 1 else ""
            pieces.append(Piece(f"{begin}example {number} of {several}\n", "role"))
        pieces += [Piece(piece.text, "learnt" if piece.learnt else "text") for piece in view.pieces]
    if not views.examples:
        why = "no token of an answer fits into the length, or every answer has the weight 0"
        pieces.append(Piece(f"Nothing of this row is learnt: {why}.", "note"))
    elif views.cut:
        pieces.append(Piece("\n⋯ cut here: the row is longer than max_length, or than the model reads ⋯", "note"))
    return limited(pieces)


def limited(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces with none of them too long, and not too many in all."""
    made: list[Piece] = []
    room = _ALL
    for place, piece in enumerate(pieces):
        if room <= 0:
            rest = sum(len(other.text) for other in pieces[place:])
            made.append(Piece(f"\n⋯ {rest:,} more characters ⋯", "note"))
            break
        text = clipped(piece.text)
        room -= len(text)
        made.append(Piece(text, piece.kind))
    return made


def tokens_said(views: Views, model: str) -> str:
    """How many tokens a row has, and what writes it: ``98 tokens, 61 of them learnt; template of smollm2``."""
    tokens = sum(len(view.tokens) for view in views.examples)
    learnt = sum(view.learnt for view in views.examples)
    own = f"the template of {model}" if views.template == "model" else f"template {views.template}"
    return f"{counted(tokens, 'token')}, {learnt:,} learnt; {own}"


# What follows


def schedule_said(found: Schedule, config: RunConfig) -> str:
    """Split, steps and time in a line or two."""
    parts = [_split(found, config), _steps(found, config)]
    if found.seconds:
        mean, low, high = found.seconds
        parts.append(f"about {clock(mean)} here ({clock(low)} to {clock(high)})")
    elif found.no_time:
        parts.append(found.no_time)
    return " · ".join(parts)


def _split(found: Schedule, config: RunConfig) -> str:
    about = "about " if found.guessed else ""
    aside = f"{about}{found.held_out:,} held out" if found.held_out else "none held out"
    if config.eval_data and found.guessed:
        aside = "another file to measure with"
    return f"{about}{counted(found.train, 'row')} to train on, {aside}"


def _steps(found: Schedule, config: RunConfig) -> str:
    rows = counted(found.rows_a_step, "row")
    about = "about " if found.guessed and not config.max_steps else ""
    if config.max_steps:
        return f"{counted(found.steps, 'step')} of {rows}, {_times(found.epochs)} over the data"
    return f"{about}{counted(found.steps, 'step')} of {rows} for {counted_f(found.epochs, 'epoch')}"


def _times(number: float) -> str:
    return f"{number:.2g} times" if number < 9.5 else f"{number:,.0f} times"


def counted_f(number: float, noun: str) -> str:
    """``1 epoch``, ``2.5 epochs``."""
    return f"{number:g} {noun}" + ("" if number == 1 else "s")


# Findings


def counts_said(findings: Sequence[Finding]) -> str:
    """How many there are of what is to be minded: ``1 ✗ 2 !``; ``✓`` for none."""
    parts = []
    for severity in ("error", "warning"):
        number = sum(finding.severity == severity for finding in findings)
        if number:
            parts.append(f"{number} {SIGNS[severity]}")
    return " ".join(parts) or "✓"


def advice(finding: Finding) -> str:
    """What ftk does, and how to have it otherwise."""
    done = f"ftk {finding.action}." if finding.action else ""
    change = f"To change that: {in_app(finding.change)}." if finding.change else ""
    return " ".join(filter(None, (done, change)))


def in_app(text: str) -> str:
    """The same advice where there is no command line: settings by their names, and the keys that lead to them."""
    keys = dict.fromkeys(_KEYS.get(flag, _SETTINGS_KEY) for flag in _FLAG.findall(text))
    named = _FLAG.sub(lambda match: match[1].replace("-", "_"), text).rstrip(".")
    return f"{named} ({', '.join(keys)})" if keys else named
