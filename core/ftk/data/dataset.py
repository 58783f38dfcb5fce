"""Data sets: whatever holds rows, read once and kept where a million of them cost no memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, overload

from .. import files
from ..errors import DataError
from . import cache, gather, normalise, recognise
from .formats import sniff
from .formats.base import HELD_OUT_NAMES, Record, Records, unused_parts
from .formats.json_text import rows_in
from .gather import Source
from .recognise import Reading
from .rows import Row
from .store import FORMAT, SourceInfo, Store, StoreInfo, Writer

SAMPLES = gather.SAMPLES
_GIVE_UP = 1000  # faults after which a file is not read on where most of its rows are faulty

_SHOWN = 5  # faults of a data set that has no other rows

Progress = Callable[[int, int], None]


class Rows(Sequence[Row]):
    """Some rows of a store, in an order of their own; a row may occur more than once.

    Args:
        store: Where they are.
        indices: Their numbers in the store, an integer array.

    """

    def __init__(self, store: Store, indices: Any) -> None:
        self.store = store
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Row | Rows:
        if isinstance(index, slice):
            return Rows(self.store, self.indices[index])
        return self.store.row(int(self.indices[index]))

    def __iter__(self) -> Iterator[Row]:
        for index in self.indices:
            yield self.store.row(int(index))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and, where the data set brings them, rows held out; `store` holds both.

    `left_out` counts the rows that were asked to be left out, by the setting that did.
    """

    name: str
    store: Store = field(compare=False)
    rows: Rows
    held_out: Rows
    left_out: Mapping[str, int] = field(default_factory=dict)

    def only(self, indices: Any, setting: str) -> Dataset:
        """The same with fewer rows, as `setting` asked."""
        count = len(self.rows) - len(indices)
        left_out = {**self.left_out, **({setting: count} if count else {})}
        return Dataset(self.name, self.store, Rows(self.store, indices), self.held_out, left_out)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fingerprint(self) -> str:
        """A SHA-256 of the content, whatever files and columns it came in, for the run's provenance."""
        return self.store.info.fingerprint

    @property
    def info(self) -> StoreInfo:
        """What was found when it was read: formats, columns, faults."""
        return self.store.info


def load_dataset(
    source: Any,
    *,
    columns: str | None = None,
    skip_bad: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set.

    Args:
        source: ``sample:chat``; a file (JSON, JSON Lines, CSV, TSV, Parquet, Arrow, text, also gzip and zstd), a
            folder or glob of them; ``owner/name`` on the Hub; ``-`` for standard input; several with weights
            (``a.jsonl:2,b.csv``); or a list of mappings, a pandas table, a `datasets` data set.
        columns: Which column is what (``prompt=Q,response=A``); recognised by default.
        skip_bad: So many rows that cannot be read are left out and counted instead of refused.
        progress: Called with bytes done and bytes in all; may raise to cancel.

    Raises:
        DataError: it cannot be read; the message names file, line and what to mend.

    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | Path):
        store = _store_of_files(gather.gather(str(source)), _Wanted(columns, skip_bad), progress)
        name = str(source) if str(source).startswith("sample:") else Path(str(source)).name or str(source)
    else:
        store, name = _store_of_object(source, _Wanted(columns, skip_bad)), "list"
    if store.info.faults > skip_bad:
        raise _refusal(store.info, skip_bad)
    if not len(store) and store.info.faults:
        raise _nothing_read(store.info)
    if not len(store):
        raise DataError(f"{name}: there are no rows.", hint="Every line or object is one example.")
    return _dataset(name, store)


def load_sample_dataset(name: str = "chat") -> Dataset:
    """Load a built-in data set with its held-out part.

    Args:
        name: ``chat``, ``instruct``, ``code``, ``summarize`` or ``translate``.

    Raises:
        DataError: there is none of that name.

    """
    return load_dataset(f"sample:{name}")


def _refusal(info: StoreInfo, skip_bad: int) -> DataError:
    first = info.first_fault()
    if info.faults == 1:
        return first
    rest = f"{info.faults} rows in all cannot be read; --skip-bad {info.faults} leaves them out."
    if skip_bad:
        rest = f"{info.faults} rows cannot be read, more than the {skip_bad} that --skip-bad allows."
    return DataError(f"{first.message}\n{rest}", hint=first.hint)


def _nothing_read(info: StoreInfo) -> DataError:
    """What is said of a data set of which every row is faulty, however many may be left out."""
    messages = [message for message, _ in info.fault_messages[:_SHOWN]]
    more = f"\n... and {info.faults - len(messages)} more" if info.faults > len(messages) else ""
    hint = info.first_fault().hint
    return DataError("No row can be read:\n" + "\n".join(messages) + more, hint=hint)


def _dataset(name: str, store: Store) -> Dataset:
    import numpy as np

    train = np.flatnonzero(~store.held_out)
    held_out = np.flatnonzero(store.held_out)
    if not len(train):
        train, held_out = held_out, train
    return Dataset(name, store, Rows(store, weighted(store, train)), Rows(store, held_out))


def weighted(store: Store, indices: Any) -> Any:
    """The rows as often as the weights of their sources say: 2 is twice, 0.5 is half of them, chosen by content."""
    import numpy as np

    weights = [source.weight for source in store.info.sources]
    if all(weight == 1 for weight in weights):
        return indices
    parts = []
    for number, weight in enumerate(weights):
        mine = indices[store.sources[indices] == number]
        whole, rest = int(weight), weight - int(weight)
        parts += [mine] * whole
        if rest:
            order = np.argsort(store.digests[mine], kind="stable")
            count = max(round(rest * len(mine)), 0 if whole else min(1, len(mine)))  # a small weight keeps a row
            parts.append(np.sort(mine[order[:count]]))
    return np.concatenate(parts)


@dataclass(frozen=True)
class _Wanted:
    """The setting `columns`, and how many faults are tolerated."""

    columns: str | None
    skip_bad: int


def _store_of_files(gathered: list[Source], wanted: _Wanted, progress: Progress | None) -> Store:
    sources = [source for source in gathered if not source.unused]
    unused = [source.name for source in gathered if source.unused]
    key = [FORMAT, wanted.columns, unused, [[s.name, s.held_out, s.weight, _content(s)] for s in sources]]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]

    def build(folder: Path) -> None:
        writer = Writer(str(folder / "rows.arrow"))
        info = _read_files(sources, wanted, writer, progress)
        info.unused = [*unused, *info.unused]
        info.fingerprint = writer.close()
        (folder / "info.json").write_text(info.to_json(), encoding="utf-8")

    return Store.open(cache.folder("rows", digest, build))


def _content(source: Source) -> str:
    try:
        return files.sha256(source.path)
    except OSError as error:
        raise DataError(f"{source.path} could not be read: {error.strerror or error}.") from None


def _read_files(sources: list[Source], wanted: _Wanted, writer: Writer, progress: Progress | None) -> StoreInfo:
    info = StoreInfo()
    total = sum(source.path.stat().st_size for source in sources)
    before = 0
    for source in sources:
        opened = sniff.open_file(source.path, name=source.name)
        size = source.path.stat().st_size
        tell = _meter(progress, before, size, total)
        found = SourceInfo(source.name, opened.kind, opened.said, opened.unit, "", "", [], source.weight, 0, size)
        info.sources.append(found)
        _take(opened.read(), found, info, writer, wanted, held_out=source.held_out, path=source.path, tell=tell)
        before += size
        if progress:
            progress(before, total)
    return info


def _meter(progress: Progress | None, before: int, size: int, total: int) -> Callable[[float], None] | None:
    return (lambda done: progress(before + int(min(1.0, done) * size), total)) if progress else None


def _take(
    records: Records,
    found: SourceInfo,
    info: StoreInfo,
    writer: Writer,
    wanted: _Wanted,
    *,
    held_out: bool,
    path: Path | None = None,
    tell: Callable[[float], None] | None = None,
) -> None:
    """Recognise, normalise and write the records of one source."""
    number = len(info.sources) - 1
    first, good = _beginning(records, found, info, wanted)
    if not good:
        return
    reading = recognise.recognise(good, found.name, wanted.columns)
    found.reading, found.reading_kind = reading.said, reading.kind
    found.columns = list(recognise.survey(good))
    expected = sniff.estimated_rows(path, found.kind, good) if tell and path else 1.0
    for seen, record in enumerate(_chained(first, records), 1):
        if tell and seen % 2000 == 0:
            tell(seen / expected)
        _one(record, reading, found, info, writer, number, held_out=held_out)
        _give_up(info, wanted, seen)


def _beginning(records: Records, found: SourceInfo, info: StoreInfo, wanted: _Wanted) -> tuple[list[Record], list[Any]]:
    """The first records of which some are rows, and these rows; the faults before them are counted."""
    while first := list(islice(records, recognise.SAMPLE)):
        if good := [record.value for record in first if isinstance(record.value, Mapping)]:
            return first, good
        for record in first:
            origin = f"{found.name}, {found.unit} {record.number}"
            info.fault(record.fault or normalise.not_a_record(record.value, origin))
        _give_up(info, wanted, info.faults)
    return [], []


def _give_up(info: StoreInfo, wanted: _Wanted, seen: int) -> None:
    """Refuse a file of which most rows are faulty before it is read to its end."""
    if info.faults > max(_GIVE_UP, wanted.skip_bad) and info.faults > seen // 2:
        first = info.first_fault()
        raise DataError(
            f"{first.message}\nMost rows cannot be read ({info.faults} so far); the rest was not looked at.",
            hint=first.hint,
        )


def _chained(first: list[Record], rest: Records) -> Records:
    yield from first
    yield from rest


def _one(
    record: Record,
    reading: Reading,
    found: SourceInfo,
    info: StoreInfo,
    writer: Writer,
    number: int,
    *,
    held_out: bool,
) -> None:
    if record.unused:
        info.leave_unused(f"{found.name}: {record.part}")
        return
    origin = f"{found.name}, {found.unit} {record.number}"
    try:
        if record.fault:
            raise record.fault
        row, notes = normalise.to_row(record.value, reading, origin)
    except DataError as error:
        info.fault(error)
        return
    for code in notes:
        info.note(code, origin)
    found.rows += 1
    writer.add(row, number, record.number, held_out or _is_held_out(record.part))


def _is_held_out(part: str | None) -> bool:
    return part is not None and part.lower() in HELD_OUT_NAMES


def _store_of_object(values: Any, wanted: _Wanted) -> Store:
    """The rows of Python objects, kept in memory: they are there already."""
    import pyarrow as pa

    splits = _splits(values)
    sink = pa.BufferOutputStream()
    writer, info = Writer(sink), StoreInfo()
    unused = unused_parts(splits.keys())
    for name, part in splits.items():
        if name in unused:
            info.leave_unused(name)
            continue
        called = "the list" if len(splits) == 1 else name
        found = SourceInfo(called, "Python", "", "row", "", "", [])
        info.sources.append(found)
        _take(_records_of(part), found, info, writer, wanted, held_out=_is_held_out(name))
    info.fingerprint = writer.close()
    return Store(pa.ipc.open_file(sink.getvalue()).read_all(), info)


def _splits(values: Any) -> dict[str, Any]:
    """Rows by the name of their split: a mapping holds splits (a DatasetDict), columns, or is a row alone."""
    if not isinstance(values, Mapping):
        return {"train": values}
    if all(isinstance(part, list) for part in values.values()):
        splits: dict[str, Any] = {}
        found = rows_in(dict(values))
        for row, part in found.rows if found else [(values, None)]:
            splits.setdefault(part or "train", []).append(row)
        return splits or {"train": []}
    if any(isinstance(part, str) or not hasattr(part, "__iter__") for part in values.values()):
        return {"train": [values]}
    return {str(name): part for name, part in values.items()}


def _records_of(values: Iterable[Any]) -> Records:
    for number, value in enumerate(gather.chunks(values), 1):
        try:
            yield Record(number, gather.plain(value))
        except RecursionError:
            yield Record(number, None, DataError(f"row {number}: nested too deeply.", hint="Leave the row out."))
