"""What the Dataset screen has done in threads: look at the rows, read and check all of them, see what follows."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftk import dataspec
from ftk.errors import DataError, FtkError

from .starting import Planning

if TYPE_CHECKING:
    from ftk.config import RunConfig
    from ftk.data.encoding import Shape
    from ftk.data.inspection import Inspection, Settings
    from ftk.data.recognise import Column
    from ftk.data.rows import Row
    from ftk.data.store import SourceInfo, Store
    from ftk.data.view import Views
    from ftk.hardware import Hardware

FIRST = 200
"""Rows of each file that can be looked at before all of it is read."""
AT_ONCE_BYTES = 60_000_000
"""A data set up to this size is read and checked without being asked to: it takes seconds."""
COUNTED_ROWS = 20_000
"""Up to so many rows their tokens are counted without being asked to."""
LONGEST = 100_000
"""Characters of a row that is shown as the model sees it; a longer one would take seconds, and nobody reads it."""
READ = ("data", "columns")
"""The settings that decide what is read."""
CHECKED = (
    "skip_bad", "duplicates", "max_rows", "eval_data", "eval_fraction", "seed", "template", "max_length", "train_on",
    "long_rows", "system_prompt", "batch_size",
)  # fmt: skip
"""The settings that decide what comes of it."""


_LOADING = threading.Lock()
"""Held while a tokenizer is loaded: two threads that import transformers at once get in each other's way."""
_TRIES, _TRY_AGAIN_S = 5, 1.0


class UnrecognisedError(DataError):
    """The data can be read, but not what its columns are; `columns` are those that there are."""

    def __init__(self, error: DataError, columns: Mapping[str, Column]) -> None:
        super().__init__(error.message, hint=error.hint)
        self.columns = columns


@dataclass(frozen=True)
class Look:
    """How a data set begins: its files, its first rows and faults, its columns and what they are taken for."""

    sources: tuple[SourceInfo, ...]
    rows: tuple[Row, ...]
    faults: tuple[DataError, ...]
    estimated_rows: int
    columns: Mapping[str, Column] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(source.bytes for source in self.sources)

    @property
    def small(self) -> bool:
        """Whether all of it can be read without being asked to."""
        return self.bytes <= AT_ONCE_BYTES


@dataclass(frozen=True)
class Checked:
    """A data set that was read to its end: what was found, and which rows (of the store) are held out."""

    inspection: Inspection
    aside: frozenset[int]
    train: int
    held_out: int
    in_tokens: bool

    @property
    def store(self) -> Store:
        """All rows."""
        return self.inspection.dataset.store


@dataclass(frozen=True)
class Schedule:
    """What follows for a run: rows on either side, steps, and how long they take, as far as it is known."""

    train: int
    held_out: int
    rows_a_step: int
    steps: int
    epochs: float
    guessed: bool = False
    seconds: tuple[float, float, float] | None = None
    no_time: str = ""

    @property
    def steps_an_epoch(self) -> int:
        """Steps of one pass."""
        return max(1, math.ceil(self.train / self.rows_a_step))


@dataclass(frozen=True)
class Shelf:
    """The rows that can be looked at: the first ones, or all of them once they were read."""

    first: tuple[Row, ...] = ()
    checked: Checked | None = None

    def __len__(self) -> int:
        return len(self.checked.store) if self.checked else len(self.first)

    def row(self, place: int) -> Row:
        """A row, by its place from 0."""
        return self.checked.store.row(place) if self.checked else self.first[place]

    def side(self, place: int) -> str:
        """Whether a row is held out or trained on; empty where that is not known yet."""
        if self.checked is None:
            return ""
        return "held out" if place in self.checked.aside else "to train on"

    def at(self, text: str) -> int | None:
        """The place that a text means: ``12`` is the 12th row, ``line 12`` that which begins at that line of a file."""
        word, _, number = text.strip().lower().rpartition(" ")
        if not number.isdecimal() or len(number) > 18:
            return None
        if not word:
            return int(number) - 1 if 0 < int(number) <= len(self) else None
        if self.checked:
            names = [source.name for source in self.checked.inspection.sources]
        else:
            names = list(dict.fromkeys(row.origin.rsplit(", ", 1)[0] for row in self.first))
        places = (self.find(f"{name}, {word} {int(number)}") for name in names)
        return next((place for place in places if place is not None), None)

    def find(self, origin: str) -> int | None:
        """The place of the row with that origin."""
        if self.checked:
            return self.checked.store.find(origin)
        return next((place for place, row in enumerate(self.first) if row.origin == origin), None)


class Tokens:
    """A model's tokenizer, lent to one thread at a time, each time as it was at first.

    Args:
        model: The setting ``model``.
        tokenizer: The tokenizer.

    """

    def __init__(self, model: str, tokenizer: Any) -> None:
        self.model = model
        self._tokenizer, self._template = tokenizer, tokenizer.chat_template
        self._lock = threading.Lock()

    @contextmanager
    def lent(self) -> Iterator[Any]:
        """The tokenizer, for a while."""
        with self._lock:
            self._tokenizer.chat_template = self._template  # whoever had it may have given it another
            yield self._tokenizer

    def another(self) -> Tokens:
        """The same once more, for a thread that shall not wait."""
        with self.lent() as tokenizer:
            return Tokens(self.model, copy.deepcopy(tokenizer))


def look(spec: str, columns: str | None, job: Planning) -> Look:
    """Look at the beginning of a data set, however large it is.

    Raises:
        UnrecognisedError: its columns are not recognised.
        FtkError: it cannot be read.

    """
    from ftk.data.preview import columns_of, preview

    _refuse_pipes(spec)
    job.progress(0, 0)
    try:
        found = preview(spec, columns=columns, count=FIRST)
    except DataError as error:
        seen = _columns(spec, columns)
        if seen is not None and seen.reading is None and seen.found:
            raise UnrecognisedError(error, seen.found) from error
        raise
    job.progress(0, 0)
    known = columns_of(spec, columns)
    parts = known.reading.parts if known.reading else {}
    return Look(found.sources, found.rows, found.faults, found.estimated_rows, known.found, parts)


def _columns(spec: str, columns: str | None) -> Any:
    from ftk.data.preview import columns_of

    try:
        return columns_of(spec, columns)
    except (FtkError, IndexError):
        return None


def _refuse_pipes(spec: str) -> None:
    """A pipe gives its rows once, and waits for whoever fills it: nothing for an app."""
    for part in dataspec.parts(spec):
        if part.name == dataspec.STDIN:
            raise DataError(
                "Standard input is the keyboard here.", hint="Put the rows into a file, or: cat ROWS | ftk --data -"
            )
        try:
            is_pipe = dataspec.expanded(part.name).is_fifo()
        except (OSError, ValueError):
            continue
        if is_pipe:
            raise DataError(f"{part.name} is a pipe, which can be read only once.", hint="Put its rows into a file.")


def shape_of(config: RunConfig, tokenizer: Any) -> Shape:
    """How training would make examples: no longer than the model can read."""
    from ftk.data.encoding import Shape

    length = config.max_length
    if tokenizer is not None:
        from ftk.models.tokenizers import context_of

        length = min(length, context_of(tokenizer) or length)
    return Shape(length, config.train_on, config.long_rows, config.system_prompt)


def inspection_settings(config: RunConfig, tokenizer: Any) -> Settings:
    """The settings of a run that an inspection needs."""
    from ftk.data.inspection import Settings

    return Settings(
        columns=config.columns,
        skip_bad=config.skip_bad,
        duplicates=config.duplicates,
        max_rows=config.max_rows,
        eval_data=config.eval_data,
        eval_fraction=config.eval_fraction,
        seed=config.seed,
        template=config.template,
        batch_size=config.batch_size,
        shape=shape_of(config, tokenizer),
    )


def check(config: RunConfig, tokens: Tokens | None, job: Planning) -> Checked:
    """Read all rows, check and measure them; in tokens where there is a tokenizer.

    Raises:
        CancelledError: nobody wants to know any more.
        FtkError: they cannot be read, or the settings make no sense with them.

    """
    from ftk.data.inspection import inspect_dataset

    def tell(phase: str, done: int, total: int) -> None:
        job.name = phase
        job.progress(done, total)

    if tokens is None:
        found = inspect_dataset(config.data, None, inspection_settings(config, None), tell)
    else:
        with tokens.lent() as tokenizer:
            found = inspect_dataset(config.data, tokenizer, inspection_settings(config, tokenizer), tell)
    aside, train, held_out = _sides(config, found)
    return Checked(found, aside, train, held_out, tokens is not None and found.statistics["unit"] == "tokens")


def _sides(config: RunConfig, found: Inspection) -> tuple[frozenset[int], int, int]:
    """Which rows of the store are held out, and how many are on either side."""
    from ftk.data.split import split

    train = found.statistics.get("train_rows")
    if train is None:  # it cannot be split, which the findings tell
        return frozenset(), len(found.dataset.rows), 0
    held_out = int(found.statistics["eval_rows"])
    if config.eval_data:
        return frozenset(), int(train), held_out
    sides = split(found.dataset, config.eval_fraction, seed=config.seed)
    return frozenset(sides.held_out.indices.tolist()), int(train), held_out


def tokens_of(model: str) -> Tokens | None:
    """The tokenizer of a model, if it is on disk; takes seconds the first time, for the libraries.

    Raises:
        FtkError: it cannot be read.

    """
    with _LOADING:
        for left in reversed(range(_TRIES)):
            try:
                from ftk.models.tokenizers import tokenizer_on_disk

                found = tokenizer_on_disk(model)
                break
            except ImportError:  # another thread is in the middle of importing the same library
                if not left:
                    raise
                time.sleep(_TRY_AGAIN_S)
    return None if found is None else Tokens(model, found)


def seen_by(tokens: Tokens, row: Row, config: RunConfig) -> Views:
    """A row as the model sees it.

    Raises:
        DataError: its chat template refuses the row.

    """
    from ftk.data.view import views

    with tokens.lent() as tokenizer:
        return views(row, tokenizer, shape_of(config, tokenizer), config.template)


def size_of(row: Row) -> int:
    """Characters of a row."""
    return len(row.text or "") + sum(len(str(turn["content"])) for turn in row.messages)


def schedule(config: RunConfig, found: Look | Checked) -> Schedule:
    """Rows, steps and passes that follow from the settings; a guess where not all rows were read."""
    if isinstance(found, Checked):
        train, held_out, guessed = found.train, found.held_out, False
    else:
        rows = min(found.estimated_rows, config.max_rows or found.estimated_rows)
        held_out = 0 if config.eval_data else round(rows * config.eval_fraction)
        train, guessed = rows - held_out, True
    effective = config.batch_size * config.gradient_accumulation
    per_epoch = max(1, math.ceil(train / effective))
    steps = config.max_steps or max(1, math.ceil(per_epoch * config.epochs))  # as `ftk.autoconfig` has it
    epochs = steps / per_epoch if config.max_steps else config.epochs
    return Schedule(train, held_out, effective, steps, epochs, guessed)


def time_of(config: RunConfig, checked: Checked, hardware: Hardware) -> tuple[float, float, float]:
    """Seconds of a run, and the range to expect; measures nothing, so that it can be asked for at any time.

    Raises:
        FtkError: nobody can tell, for the reason that it says.

    """
    from ftk import autoconfig, estimate

    plan = autoconfig.resolve(config, hardware, autoconfig.located(config), checked.inspection.dataset)
    found = estimate.for_plan(plan, measure_rates=False)
    return found.seconds, found.low, found.high
