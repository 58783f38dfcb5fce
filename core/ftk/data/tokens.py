"""Tokenised rows on disk: memory-mapped Arrow, found again under what they were made from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from . import cache, encoding
from .dataset import Rows
from .encoding import Encoded, Example, Shape
from .store import FORMAT

_BATCH = 1000

Progress = Callable[[int, int], None]


class Examples(Sequence[Example]):
    """Examples on disk, by number; `lengths` and `targets` are arrays and cost no look at the tokens."""

    def __init__(self, store: TokenStore, rows: Rows, indices: Any) -> None:
        self._store, self._rows, self._indices = store, rows, indices
        self.lengths = store.lengths[indices]
        self.targets = store.targets[indices]

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Examples: ...
    def __getitem__(self, index: int | slice) -> Example | Examples:
        if isinstance(index, slice):
            return Examples(self._store, self._rows, self._indices[index])
        number = int(self._indices[index])
        tokens, spans = self._store.arrays(number)
        supervised = [False] * len(tokens)
        for start, end in zip(spans[::2], spans[1::2], strict=True):
            supervised[start:end] = [True] * (end - start)
        row = int(self._rows.indices[int(self._store.positions[number])])
        return Example(tuple(tokens), tuple(supervised), self._rows.store.origin(row))

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))


class TokenStore:
    """The examples of some rows: for each the place of its row, its tokens and the spans that are learnt."""

    def __init__(self, folder: Path) -> None:
        import numpy as np
        import pyarrow as pa

        with pa.memory_map(str(folder / "tokens.arrow")) as source:
            table = pa.ipc.open_file(source).read_all()
        self.info: dict[str, Any] = json.loads((folder / "info.json").read_text(encoding="utf-8"))
        self._tokens = [_flat(chunk) for chunk in table.column("tokens").chunks]
        self._spans = [_flat(chunk) for chunk in table.column("spans").chunks]
        self.positions = table.column("position").to_numpy()
        self.targets = table.column("targets").to_numpy()
        lengths = [np.diff(offsets) for offsets, _ in self._tokens]
        self.lengths = np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64)

    def arrays(self, number: int) -> tuple[list[int], list[int]]:
        """Tokens and spans of an example."""
        chunk, index = divmod(number, _BATCH)
        return _item(self._tokens[chunk], index), _item(self._spans[chunk], index)


def _flat(chunk: Any) -> tuple[Any, Any]:
    return chunk.offsets.to_numpy(), chunk.values.to_numpy()


def _item(flat: tuple[Any, Any], index: int) -> list[int]:
    offsets, values = flat
    found: list[int] = values[offsets[index] : offsets[index + 1]].tolist()
    return found


def tokenised(
    parts: Sequence[Rows], tokenizer: Any, shape: Shape, progress: Progress | None = None
) -> tuple[Encoded, ...]:
    """The examples of some rows of one store, made once and kept under a hash of all that they depend on.

    Args:
        parts: Rows of the same store (what to train on, what is held out); a row that is in several, or
            several times in one, is tokenised once.
        tokenizer: A fast tokenizer with its chat template.
        shape: How rows become examples.
        progress: Called with rows done and rows in all; may raise to cancel, and then nothing is kept.

    Raises:
        DataError: the template refuses a row, or nothing is left of the first part.

    """
    import numpy as np

    store = parts[0].store
    wanted = np.unique(np.concatenate([part.indices for part in parts]))
    rows = Rows(store, wanted)
    key = hashlib.sha256(store.digests[wanted].tobytes())
    key.update(json.dumps([FORMAT, _tokenizer_hash(tokenizer), vars(shape)]).encode())
    made = TokenStore(
        cache.folder("tokens", key.hexdigest()[:32], lambda path: _write(path, rows, tokenizer, shape, progress))
    )
    encoded = tuple(_encoded(part, rows, wanted, made) for part in parts)
    if len(parts[0]) and not encoded[0].examples:
        raise encoding.nothing_fits(shape.max_length)
    return encoded


def _encoded(part: Rows, rows: Rows, wanted: Any, made: TokenStore) -> Encoded:
    import numpy as np

    places = np.searchsorted(wanted, part.indices)
    begins = np.searchsorted(made.positions, places, side="left")
    ends = np.searchsorted(made.positions, places, side="right")
    counts = ends - begins
    indices = np.repeat(begins - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) + np.arange(counts.sum())
    dropped = np.unique(part.indices[counts == 0])
    cut = np.unique(part.indices[(counts > 0) & np.isin(places, made.info["cut"])])
    return Encoded(
        Examples(made, rows, indices),
        len(cut),
        tuple(part.store.origin(int(row)) for row in dropped),
        tuple(part.store.origin(int(row)) for row in cut[: encoding.CUT_ROWS_NAMED]),
    )


def _tokenizer_hash(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    rest = json.dumps([tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.eos_token_id], default=str)
    return hashlib.sha256((content + rest).encode()).hexdigest()


def _write(folder: Path, rows: Rows, tokenizer: Any, shape: Shape, progress: Progress | None) -> None:
    import pyarrow as pa

    schema = pa.schema(
        [
            ("position", pa.int64()),
            ("tokens", pa.large_list(pa.int32())),
            ("spans", pa.large_list(pa.int32())),
            ("targets", pa.int32()),
        ]
    )
    cut: list[int] = []
    columns: tuple[list[Any], ...] = ([], [], [], [])
    with pa.ipc.new_file(str(folder / "tokens.arrow"), schema) as file:

        def flush(count: int) -> None:
            arrays = [pa.array(values[:count], type=item.type) for values, item in zip(columns, schema, strict=True)]
            file.write_batch(pa.record_batch(arrays, schema=schema))
            for values in columns:
                del values[:count]

        for place, row in enumerate(encoding.stream(rows, tokenizer, shape)):
            if row.cut:
                cut.append(place)
            for example in row.examples:
                values = (place, example.tokens, _as_spans(example.supervised), example.targets)
                for column, value in zip(columns, values, strict=True):
                    column.append(value)
            while len(columns[0]) >= _BATCH:
                flush(_BATCH)
            if progress and (place % 200 == 199 or place == len(rows) - 1):
                progress(place + 1, len(rows))
        while columns[0]:
            flush(_BATCH)
    (folder / "info.json").write_text(json.dumps({"cut": cut}), encoding="utf-8")


def _as_spans(supervised: Sequence[bool]) -> list[int]:
    """The places where a mask turns on and off: start and end of every stretch of true."""
    edges = []
    before = False
    for index, value in enumerate(supervised):
        if value != before:
            edges.append(index)
            before = value
    return [*edges, len(supervised)] if before else edges
