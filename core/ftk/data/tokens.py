"""Tokenised rows on disk: memory-mapped Arrow, found again under what they were made from."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

from . import cache, encoding
from .dataset import Rows
from .encoding import Encoded, Example, Shape
from .mapped import Mapped, column, numbers
from .masking import Marked
from .store import FORMAT

_METHOD = 5
"""Part of every cache key: raised when the same rows become other tokens."""
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
        marked = Marked(tokens, list(zip(spans[::2], spans[1::2], strict=True)))
        row = int(self._rows.indices[int(self._store.positions[number])])
        return Example(tuple(tokens), encoding.supervised(marked), self._rows.store.origin(row))

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))


class TokenStore:
    """The examples of some rows: for each the place of its row, its tokens and the spans that are learnt."""

    def __init__(self, folder: Path) -> None:
        import numpy as np

        self._mapped = Mapped(folder / "tokens.arrow")
        table = self._mapped.table
        self.info: dict[str, Any] = json.loads((folder / "info.json").read_text(encoding="utf-8"))
        self._tokens = [_flat(chunk) for chunk in table.column("tokens").chunks]
        self._spans = [_flat(chunk) for chunk in table.column("spans").chunks]
        self.positions = column(table, "position")
        self.targets = column(table, "targets")
        lengths = [np.diff(offsets) for offsets, _ in self._tokens]
        self.lengths = np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int64)

    def arrays(self, number: int) -> tuple[list[int], list[int]]:
        """Tokens and spans of an example."""
        self._mapped.was_read()
        chunk, index = divmod(number, _BATCH)
        return _item(self._tokens[chunk], index), _item(self._spans[chunk], index)


def _flat(chunk: Any) -> tuple[Any, Any]:
    return numbers(chunk.offsets), numbers(chunk.values)


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
        DataError: the template refuses more rows than the shape allows.

    """
    import numpy as np

    store = parts[0].store
    wanted = np.unique(np.concatenate([part.indices for part in parts]))
    rows = Rows(store, wanted)
    key = hashlib.sha256(store.digests[wanted].tobytes())
    key.update(json.dumps([FORMAT, _METHOD, _tokenizer_hash(tokenizer), vars(shape)]).encode())
    made = TokenStore(
        cache.folder("tokens", key.hexdigest()[:32], lambda path: _write(path, rows, tokenizer, shape, progress))
    )
    return tuple(_encoded(part, rows, wanted, made) for part in parts)


def _encoded(part: Rows, rows: Rows, wanted: Any, made: TokenStore) -> Encoded:
    import numpy as np

    places = np.searchsorted(wanted, part.indices)
    begins = np.searchsorted(made.positions, places, side="left")
    ends = np.searchsorted(made.positions, places, side="right")
    counts = ends - begins
    indices = np.repeat(begins - np.concatenate(([0], np.cumsum(counts)[:-1])), counts) + np.arange(counts.sum())
    is_unlearnt = np.isin(places, made.info["unlearnt"])
    unlearnt = np.unique(part.indices[is_unlearnt])
    mine = set(places.tolist())
    refused = {place: message for place, message in made.info["refused"] if place in mine}
    is_refused = np.isin(places, list(refused))
    dropped = np.unique(part.indices[(counts == 0) & ~is_unlearnt & ~is_refused])
    cut = np.unique(part.indices[(counts > 0) & np.isin(places, made.info["cut"])])
    return Encoded(
        Examples(made, rows, indices),
        len(cut),
        tuple(part.store.origin(int(row)) for row in dropped),
        tuple(part.store.origin(int(row)) for row in cut[: encoding.CUT_ROWS_NAMED]),
        tuple(part.store.origin(int(row)) for row in unlearnt),
        tuple(refused.values()),
    )


def _tokenizer_hash(tokenizer: Any) -> str:
    """A hash of all that decides which tokens a conversation becomes, the libraries that do it among them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # what a caller once set for batches of his own is none of it, and is not used
        backend.no_truncation()
        backend.no_padding()
    content = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    rest = [tokenizer.chat_template, tokenizer.special_tokens_map, tokenizer.eos_token_id]
    rest += [version("transformers"), version("tokenizers")]
    return hashlib.sha256((content + json.dumps(rest, default=str)).encode()).hexdigest()


def _write(folder: Path, rows: Rows, tokenizer: Any, shape: Shape, progress: Progress | None) -> None:
    cut: list[int] = []
    unlearnt: list[int] = []
    refused: list[tuple[int, str]] = []
    with _Writer(folder / "tokens.arrow") as writer, closing(encoding.stream(rows, tokenizer, shape)) as stream:
        for place, row in enumerate(stream):
            if row.cut:
                cut.append(place)
            if row.unlearnt:
                unlearnt.append(place)
            if row.refused:
                refused.append((place, row.refused.message))
            for part in row.marked:
                writer.add(place, part)
            if progress and (place % 200 == 199 or place == len(rows) - 1):
                progress(place + 1, len(rows))
    info = {"cut": cut, "unlearnt": unlearnt, "refused": refused}
    (folder / "info.json").write_text(json.dumps(info), encoding="utf-8")


class _Writer:
    """Writes examples, a batch at a time, from flat arrays: a list of lists would cost more than the tokenising."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        integers = pa.large_list(pa.int32())
        names = ("position", "tokens", "spans", "targets")
        self._schema = pa.schema(list(zip(names, (pa.int64(), integers, integers, pa.int32()), strict=True)))
        self._file = pa.ipc.new_file(str(path), self._schema)
        self._clear()

    def _clear(self) -> None:
        self._positions, self._targets = array("q"), array("i")
        self._lists = {"tokens": (array("i"), array("q", [0])), "spans": (array("i"), array("q", [0]))}

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._positions:
            self._flush()
        self._file.close()

    def add(self, position: int, part: Marked) -> None:
        """Append an example."""
        self._positions.append(position)
        self._targets.append(part.targets)
        for name, found in (("tokens", part.tokens), ("spans", [edge for span in part.spans for edge in span])):
            values, offsets = self._lists[name]
            values.extend(found)
            offsets.append(len(values))
        if len(self._positions) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        import numpy as np
        import pyarrow as pa

        lists = {
            name: pa.LargeListArray.from_arrays(
                pa.array(np.frombuffer(offsets, np.int64)), pa.array(np.frombuffer(values, np.int32))
            )
            for name, (values, offsets) in self._lists.items()
        }
        arrays = [pa.array(np.frombuffer(self._positions, np.int64)), lists["tokens"], lists["spans"],
                  pa.array(np.frombuffer(self._targets, np.int32))]  # fmt: skip
        self._file.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._clear()
