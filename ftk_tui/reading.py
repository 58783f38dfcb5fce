"""What is known of the data that the Dataset screen shows, and what is being found out; one thing after the other.

Knows no widget: it is given a way to have something done in a thread, and something to call when more is known. What
comes back for data or settings that are no longer those is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

from ftk.errors import DataError, FtkError

from . import data_work
from .data_words import counts_said, in_app, named
from .data_work import CHECKED, COUNTED_ROWS, LONGEST, READ, Checked, Look, Schedule, Shelf, Tokens, UnrecognisedError
from .starting import CancelledError, Planning

if TYPE_CHECKING:
    from ftk.config import RunConfig
    from ftk.data.checks import Finding
    from ftk.data.recognise import Column
    from ftk.data.rows import Row
    from ftk.data.store import SourceInfo
    from ftk.data.view import Views
    from ftk.hardware import Hardware

Background = Callable[[Callable[[], Any], Callable[[Any], object], Callable[[FtkError], object]], None]
NOT_HERE = "is not on this machine"
_KEPT = 64
"""Rows that are kept as the model sees them."""


class Stage(Enum):
    """What is being found out."""

    LOOK = "look"
    CHECK = "check"
    TOKENIZER = "tokenizer"
    COUNT = "tokenise"
    TIME = "time"
    REST = ""


class Reading:
    """Finds out about a data set.

    Args:
        background: Has a function called in a thread, and then another one with what came of it, or with an error.
        changed: Called when more is known.

    """

    def __init__(self, background: Background, changed: Callable[[], object]) -> None:
        self._background, self._changed = background, changed
        self._settings: RunConfig | None = None
        self._machine: Hardware | None = None
        self._tokens: Tokens | None = None
        self._row_tokens: Tokens | None = None
        self._no_tokens = ""
        self._seen: dict[str, Views | FtkError] = {}
        self._to_see: Row | None = None
        self._seeing = False
        self._job = Planning("look")
        self._clear()

    def _clear(self) -> None:
        """Know nothing of the data."""
        self.look: Look | None = None
        self.problem: FtkError | None = None
        self.checked: Checked | None = None
        self.asked = False
        self.shelf = Shelf()
        self.stage = Stage.REST
        self._fresh = self._counted = self._stopped = False
        self._time: tuple[float, float, float] | None = None
        self._no_time: str | None = None
        self._seen.clear()

    # What is wanted

    def want(self, settings: RunConfig, machine: Hardware | None) -> None:
        """Find out what there is to know for some settings; only what changed is found out again.

        Args:
            settings: The settings.
            machine: The machine; None while it is not known.

        """
        before, self._settings = self._settings, settings
        self._machine = machine
        if before is None or _differ(before, settings, READ):
            self._begin()
        elif before != settings:
            self._time = self._no_time = None
            if self.stage is Stage.TIME:
                self._drop()
            if before.model != settings.model:
                self._tokens = self._row_tokens = None
                self._no_tokens = ""
            if _differ(before, settings, (*CHECKED, "model")):
                self._recheck()
        self._go_on()

    def again(self) -> None:
        """Look at the same data again: it may be another file by now."""
        self._begin()
        self._go_on()

    def ask(self) -> None:
        """Read and check all rows, however many there are."""
        self.asked, self._stopped = True, False
        self.problem = None if self.look else self.problem
        self._go_on()

    def stop(self) -> None:
        """Read no further; what is known stays."""
        if self.stage in (Stage.CHECK, Stage.COUNT):
            self._stopped, self.asked = True, False
            self._drop()

    def cancel(self) -> None:
        """Want nothing any more."""
        self._job.cancelled.set()

    def _begin(self) -> None:
        self._drop()
        self._clear()

    def _recheck(self) -> None:
        self._drop()
        self._fresh = self._counted = self._stopped = False
        self._seen.clear()
        if self.look:
            self.problem = None

    def _drop(self) -> None:
        """Want no more what is being found out."""
        self._job.cancelled.set()
        self._job = Planning("look")
        self.stage = Stage.REST

    # One thing after the other

    def _go_on(self) -> None:
        """Begin with the next thing that is not known, unless something is being found out."""
        if self.stage is not Stage.REST or self._settings is None:
            return
        stage = self._missing()
        if stage is Stage.REST:
            return
        self.stage, job, settings = stage, Planning(stage.value), self._settings
        self._job = job
        functions: dict[Stage, Callable[[], Any]] = {
            Stage.LOOK: partial(data_work.look, settings.data, settings.columns, job),
            Stage.CHECK: partial(data_work.check, settings, None, job),
            Stage.TOKENIZER: partial(_both, settings.model),
            Stage.COUNT: partial(data_work.check, settings, self._tokens, job),
        }
        if stage is Stage.TIME and self.checked and self._machine:
            functions[stage] = partial(data_work.time_of, settings, self.checked, self._machine)
        self._background(functions[stage], partial(self._came, job), partial(self._failed, job))

    def _missing(self) -> Stage:
        if self.look is None:
            return Stage.REST if self.problem else Stage.LOOK
        all_of_it = (self.look.small or self.asked) and not self._stopped and not self.problem
        rows = len(self.checked.store) if self.checked else self.look.estimated_rows
        counting = self._tokens is not None and (self.asked or rows <= COUNTED_ROWS)
        if all_of_it and not self._fresh:
            return Stage.COUNT if counting else Stage.CHECK
        if self._tokens is None and not self._no_tokens:
            return Stage.TOKENIZER
        if all_of_it and counting and not self._counted:
            return Stage.COUNT
        unknown = self._time is None and self._no_time is None
        if self._fresh and unknown and self._machine:
            return Stage.TIME
        return Stage.REST

    def _came(self, job: Planning, found: Any) -> None:
        """Keep what was found out, and go on."""
        if job is not self._job or job.cancelled.is_set():
            return
        stage, self.stage = self.stage, Stage.REST
        if stage is Stage.LOOK:
            self.look = found
            self.shelf = Shelf(found.rows)
        elif stage in (Stage.CHECK, Stage.COUNT):
            self.checked, self._fresh = found, True
            self._counted = stage is Stage.COUNT
            self.shelf = Shelf(self.shelf.first, found)
        elif stage is Stage.TOKENIZER:
            self._tokens, self._row_tokens = found or (None, None)
            self._no_tokens = "" if found else NOT_HERE
        elif stage is Stage.TIME:
            self._time = found
        self._go_on()
        self._changed()

    def _failed(self, job: Planning, error: FtkError) -> None:
        """Say what is wrong, and go on with what can be found out all the same."""
        if job is not self._job or job.cancelled.is_set():
            return
        stage, self.stage = self.stage, Stage.REST
        if stage is Stage.TOKENIZER:
            self._no_tokens = error.message
        elif stage is Stage.TIME:
            self._no_time = "" if self._no_tokens else "the time is not known"
        elif not isinstance(error, CancelledError):
            self.problem = error
        self._go_on()
        self._changed()

    # A row as the model sees it

    def seen(self, row: Row) -> Views | FtkError | None:
        """A row as the model sees it, or why it does not; None where that is not known (yet)."""
        if self._row_tokens is None or data_work.size_of(row) > LONGEST:
            return None
        if (known := self._seen.get(row.origin)) is not None:
            return known
        self._to_see = row
        if not self._seeing:
            self._see()
        return None

    def _see(self) -> None:
        row, tokens, settings = self._to_see, self._row_tokens, self._settings
        if row is None or tokens is None or settings is None:
            return
        self._seeing = True
        saw = partial(self._saw, row, tokens, settings)
        self._background(partial(data_work.seen_by, tokens, row, settings), saw, saw)

    def _saw(self, row: Row, tokens: Tokens, settings: RunConfig, found: Views | FtkError) -> None:
        self._seeing = False
        if tokens is self._row_tokens and settings is self._settings:
            while len(self._seen) >= _KEPT:
                self._seen.pop(next(iter(self._seen)))
            self._seen[row.origin] = found
        if self._to_see is not row:
            self._see()
        self._changed()

    def why_unseen(self, row: Row) -> str:
        """Why a row is not shown as the model sees it, in words."""
        if data_work.size_of(row) > LONGEST:
            return "turn by turn: too long to be shown with its template"
        if self._no_tokens:
            why = "is not here" if self._no_tokens == NOT_HERE else "cannot be used: l says why"
            return f"turn by turn: the tokenizer of the model {why}"
        return "turn by turn: the tokenizer is being loaded" if self._row_tokens is None else ""

    # What is known

    @property
    def busy(self) -> bool:
        """Whether something is being found out that takes a while."""
        return self.stage is not Stage.REST

    @property
    def doing(self) -> str:
        """What is being found out."""
        return self._job.name

    @property
    def far(self) -> tuple[int, int]:
        """How far that is, of how much; the latter is 0 where nobody knows."""
        return self._job.done, self._job.total

    @property
    def sources(self) -> Sequence[SourceInfo]:
        """The files, as far as they were read."""
        if self.checked:
            return self.checked.inspection.sources
        return self.look.sources if self.look else ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns of the first file."""
        if self.look:
            return self.look.columns
        return self.problem.columns if isinstance(self.problem, UnrecognisedError) else {}

    @property
    def parts(self) -> Mapping[str, str]:
        """Which column plays which part."""
        return self.look.parts if self.look else {}

    @property
    def findings(self) -> Sequence[Finding]:
        """What the checks found; of data that was not read to its end, the faults of its first rows."""
        if self.checked:
            return self.checked.inspection.findings
        return _first_faults(self.look) if self.look and self.look.faults else ()

    @property
    def findings_note(self) -> str:
        """What is to be said where there is no finding."""
        if self.look is None:
            return ""
        if self.problem:
            return str(self.problem)
        if self.checked is None:
            return "The rows are being checked." if self.busy else "k reads and checks all rows."
        return "" if self.checked.inspection.findings else "Nothing is wrong with these rows."

    @property
    def findings_count(self) -> str:
        """How many errors and warnings there are, for the tab."""
        if self.checked is None and not self.findings:
            return "✗" if self.look and self.problem else ""
        return counts_said(self.findings)

    @property
    def refusals(self) -> Sequence[Finding]:
        """Why a run would be refused."""
        from ftk.data.checks import refused

        found = [finding for finding in self.findings if finding.severity == "error"]
        return [refused(DataError(self.problem.message)), *found] if self.look and self.problem else found

    @property
    def statistics(self) -> Mapping[str, Any]:
        """Lengths and counts."""
        return self.checked.inspection.statistics if self.checked else {}

    @property
    def lengths_note(self) -> str:
        """What is to be said of the lengths."""
        if self.look is None:
            return ""
        if self.checked is None:
            return "The rows are being measured." if self.busy else "k reads and measures all rows."
        if self.checked.in_tokens:
            return ""
        model = self._settings.model if self._settings else ""
        if self._no_tokens:
            why = NOT_HERE if self._no_tokens == NOT_HERE else f"cannot be used: {self._no_tokens}"
            return f"In characters, about four a token: the tokenizer of {named(model)} {why}."
        if self.busy:
            return "In characters until the tokens are counted."
        return "In characters: k counts the tokens."

    @property
    def schedule(self) -> Schedule | None:
        """Rows on either side, steps and time."""
        found = self.checked or self.look
        if found is None or self._settings is None:
            return None
        made = data_work.schedule(self._settings, found)
        return replace(made, seconds=self._time, no_time=self._no_time or "")


def _differ(before: RunConfig, after: RunConfig, keys: Sequence[str]) -> bool:
    return any(getattr(before, key) != getattr(after, key) for key in keys)


def _both(model: str) -> tuple[Tokens, Tokens] | None:
    """A tokenizer to count with, and one to show rows with meanwhile."""
    found = data_work.tokens_of(model)
    return None if found is None else (found, found.another())


def _first_faults(look: Look) -> Sequence[Finding]:
    from ftk.data.checks import Finding

    message = f"cannot be read: {len(look.faults)} of the first rows"
    rows = tuple(" ".join(filter(None, (fault.message, in_app(fault.hint or "")))) for fault in look.faults[:5])
    return (Finding("unreadable", "error", len(look.faults), message, rows, "refuses to train", "mend them"),)
