"""The header of a GGUF file, read with every number in it held against the size of the file.

The reader of the package `gguf` believes what a file says of itself: a list that claims to hold 2**60 numbers is read
number by number, long past the end of the file. So this looks first, and tells what is not true.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9
_VERSIONS = (2, 3)
_DEEPEST = 4
_MOST_DIMENSIONS = 8
_LONGEST_TEXT = 2**26


class NotTrueError(ValueError):
    """A GGUF file says of itself what cannot be."""


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself: single numbers and texts by name, and the shape of every tensor."""

    values: dict[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def read(path: Path) -> Header:
    """Read a header, and see that everything it tells of lies in the file.

    Raises:
        NotTrueError: it is cut, or tells of more than there is.
        OSError: the file cannot be read.

    """
    with path.open("rb") as file:
        return _header(_Reader(file, path.stat().st_size))


class _Reader:
    """Reads numbers and texts, and never past the end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size
        self.size = size

    @property
    def place(self) -> int:
        return self.size - self._left

    def need(self, count: int, what: str) -> None:
        if count > self._left:
            raise NotTrueError(f"it tells of {what}, and {self._left:,} bytes are left")

    def skip(self, count: int, what: str) -> None:
        self.need(count, what)
        self._file.seek(count, 1)
        self._left -= count

    def number(self, code: str) -> Any:
        size = struct.calcsize(f"<{code}")
        self.need(size, "more")
        self._left -= size
        return struct.unpack(f"<{code}", self._file.read(size))[0]

    def text(self) -> str:
        length = self.number("Q")
        self.need(length if length < _LONGEST_TEXT else self.size + 1, f"a text of {length:,} bytes")
        self._left -= length
        return self._file.read(length).decode(errors="replace")


def _header(reader: _Reader) -> Header:
    if reader.number("I") != 0x46554747:
        raise NotTrueError("it does not begin as a GGUF file does")
    if (version := reader.number("I")) not in _VERSIONS:
        raise NotTrueError(f"it is of version {version}, and {' and '.join(map(str, _VERSIONS))} are known")
    tensors, pairs = reader.number("Q"), reader.number("Q")
    reader.need(tensors * 24, f"{tensors:,} tensors")  # a name, a shape, a kind and a place take that at least
    reader.need(pairs * 13, f"{pairs:,} values")
    values = {name: value for name, value in _values(reader, pairs) if value is not None}
    shapes = dict(_tensors(reader, tensors))
    alignment = values.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise NotTrueError(f"its alignment is {alignment!r}")
    begin = -(-reader.place // alignment) * alignment
    for name, (_, place, size) in shapes.items():
        if begin + place + size > reader.size:
            raise NotTrueError(f"{name} ends at byte {begin + place + size:,}, and the file at {reader.size:,}")
    return Header(values, {name: shape for name, (shape, _, _) in shapes.items()})


def _values(reader: _Reader, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        name = reader.text()
        yield name, _value(reader, reader.number("I"), name, 0)


def _value(reader: _Reader, kind: int, name: str, depth: int) -> Any:
    """A number or a text; lists are passed over."""
    if code := _SCALARS.get(kind):
        return reader.number(code)
    if kind == _STRING:
        return reader.text()
    if kind != _LIST or depth > _DEEPEST:
        raise NotTrueError(f"{name} is of a kind ({kind}) that does not exist")
    of, count = reader.number("I"), reader.number("Q")
    what = f"{count:,} entries of {name}"
    if code := _SCALARS.get(of):
        reader.skip(count * struct.calcsize(f"<{code}"), what)
        return None
    reader.need(count * 8, what)
    for _ in range(count):
        if of == _STRING:
            length = reader.number("Q")
            reader.skip(length, f"a text of {length:,} bytes in {name}")
        else:
            _value(reader, of, name, depth + 1)
    return None


def _tensors(reader: _Reader, count: int) -> Iterator[tuple[str, tuple[tuple[int, ...], int, int]]]:
    """Name of each tensor, with its shape, the place where it begins, and its bytes."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    for _ in range(count):
        name, dimensions = reader.text(), reader.number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise NotTrueError(f"{name} has {dimensions:,} dimensions")
        shape = tuple(int(reader.number("Q")) for _ in range(dimensions))
        kind, place = reader.number("I"), reader.number("Q")
        try:
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise NotTrueError(f"{name} is of a kind ({kind}) that does not exist") from None
        numbers = 1
        for length in shape:
            numbers *= length
        yield name, (shape, place, -(-numbers // block) * block_bytes)
