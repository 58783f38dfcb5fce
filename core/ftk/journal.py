"""Read a journal: from its beginning, from its end, and as the one course that a run took over all its resumptions.

A journal is read while another process writes it, after a process was killed in the middle of a line, and after a disk
was full. So a last line without its end is not yet an event, and a line that is none is passed over.
"""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_right
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from . import events
from .events import Answered, CheckpointSaved, Evaluation, Event, Paused, Proceeded, Started, Step
from .plain_files import open_regular

_BLOCK = 2**16
_KIND = re.compile(rb'\s*\{\s*"event"\s*:\s*"(\w+)"')
LATEST = 250_000_000_000
"""Seconds from 1970 to the year 9892: no later time is believed, because dates end with the year 9999."""
_BIGGEST = 2**63
_OF_A_STEP = (Step, Evaluation, CheckpointSaved, Paused, Proceeded)


def parse(line: bytes) -> Event | None:
    """The event of one line of a journal; None where it is none, or not one that ftk wrote.

    Every value is of its type, so that whoever shows an event need not ask. A number that JSON could not hold, and
    that was written as null, is a NaN again.
    """
    try:
        event = events.from_json(line.decode())
    except (ValueError, RecursionError):
        return None
    lost = []
    for name, kinds in _types(event.kind).items():
        value = getattr(event, name)
        if value is None and kinds == (float,) and name != "time":
            lost.append(name)
        elif not _fits(value, kinds):
            return None
    if not 0 <= event.time < LATEST:
        return None
    return replace(event, **dict.fromkeys(lost, math.nan)) if lost else event


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value is of one of some types (any, where there are none), and of a size that can be computed with."""
    kind = type(value)
    if kind is float and not math.isfinite(value):
        return False
    if kind is int and not -_BIGGEST < value < _BIGGEST:
        return False
    return not kinds or kind in kinds or (kind is int and float in kinds)


@cache
def _types(kind: str) -> dict[str, tuple[type, ...]]:
    """The types that each field of an event may have; none where they are not plain ones."""
    found = {}
    for name, hint in get_type_hints(events.KINDS[kind]).items():
        if get_origin(hint) is ClassVar:
            continue
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        plain = all(isinstance(item, type) and get_origin(item) is None for item in kinds)
        found[name] = tuple(kinds) if plain else ()
    return found


def kind_of(line: bytes) -> str:
    """The kind of event that a line says it is, without reading the rest of it; empty where it does not say."""
    match = _KIND.match(line)
    return match[1].decode() if match else ""


def forwards(path: Path, kinds: Collection[str] | None = None) -> Iterator[tuple[int, Event]]:
    """The events of a journal, oldest first, each with the place where its line begins, in bytes.

    Args:
        path: The journal; there need not be one.
        kinds: Only these kinds; all by default.

    """
    try:
        file = open_regular(path)
    except OSError:
        return
    place = 0
    with file:
        for line in file:
            if line.endswith(b"\n") and (kinds is None or kind_of(line) in kinds) and (event := parse(line)):
                yield place, event
            place += len(line)


def backwards(path: Path, kinds: Collection[str] | None = None) -> Iterator[tuple[int, Event]]:
    """The events of a journal, newest first, each with the place where its line begins, in bytes.

    Only as much is read as is asked for, so the newest ones of a long journal come at once.

    Args:
        path: The journal; there need not be one.
        kinds: Only these kinds; all by default. A set may be changed on the way.

    """
    for place, line in _lines_backwards(path):
        if (kinds is None or kind_of(line) in kinds) and (event := parse(line)):
            yield place, event


def _lines_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """The whole lines of a file, the last first, and where each begins; what stands behind the last break is left."""
    try:
        file = open_regular(path)
    except OSError:
        return
    with file:
        place = file.seek(0, os.SEEK_END)
        line: list[bytes] = []  # the pieces of a line whose beginning was not reached yet, the last piece first
        torn = True  # until the first break from behind
        while place > 0:
            size = min(_BLOCK, place)
            file.seek(place - size)
            block = file.read(size)
            if len(block) < size:  # somebody cuts the file while we read it
                return
            *whole, rest = reversed(block.split(b"\n"))
            for part in whole:
                line.append(part)
                place -= len(part)
                if not torn:
                    yield place, b"".join(reversed(line))
                torn, line = False, []
                place -= 1  # the break
            line.append(rest)
            place -= len(rest)
        if not torn:
            yield 0, b"".join(reversed(line))


def course(path: Path) -> Iterator[Event]:
    """The events of a journal as if the run had never been interrupted.

    Where a run was resumed from the checkpoint of step N, what an earlier process told of the steps after N is left
    out, because it was computed again; so are the endings and the answers of all processes but the last. Every
    `Started` stays: it marks the place.
    """
    places, steps = [], []
    for place, event in forwards(path, ("started",)):
        if isinstance(event, Started):
            places.append(place)
            steps.append(event.resumed_from)
    lowest = list(accumulate(reversed(steps), min))  # lowest[n - 1]: of the last n
    for place, event in forwards(path):
        later = len(places) - bisect_right(places, place)
        if not later or not _undone(event, lowest[later - 1]):
            yield event


def _undone(event: Event, resumed_from: int) -> bool:
    """Whether a process that began at a step did again what an event of an earlier one tells of."""
    if isinstance(event, _OF_A_STEP):
        return event.step > resumed_from or resumed_from == 0
    return isinstance(event, (Answered, *events.ENDINGS))
