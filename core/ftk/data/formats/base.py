"""What all readers share: opening, decompressing and decoding a file, and the shape of what they yield."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...errors import DataError

HELD_OUT_NAMES = ("validation", "valid", "val", "dev", "eval", "test", "heldout", "held_out", "held-out")
"""How a held-out part is called, best first."""

NO_WAY_ON = "What follows that place cannot be told apart, so that --skip-bad does not help."
"""Said with faults after which it is not known where the next row begins."""

_CHUNK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_UNDEFINED_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
BROKEN = (OSError, EOFError, zlib.error)
"""What a file that is cut or damaged raises while it is decompressed."""


@dataclass(frozen=True)
class Input:
    """A file, and how it is called in messages: two files of one name lie in different folders."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a file as it stands there, or the fault that it has instead.

    `number` counts lines of text files (from 1, where the record begins) and rows of binary ones; `part` is
    the split that the file itself puts it in, if it names any, and `unused` whether a better one is held out.
    """

    number: int
    value: Any
    fault: DataError | None = None
    part: str | None = None
    unused: bool = False


Records = Iterator[Record]
Heard = Callable[[int], None]
"""Called with the number of bytes of the file that were read so far."""


def unused_parts(names: Collection[str]) -> set[str]:
    """Of the names of splits those that stay unseen: what is called held out, except for the best of them.

    None where nothing is left to train on: then they are what there is.
    """
    held_out = {name for name in names if name.lower() in HELD_OUT_NAMES}
    if not held_out or held_out.issuperset(names):
        return set()
    return held_out - {min(held_out, key=lambda name: HELD_OUT_NAMES.index(name.lower()))}


@dataclass(frozen=True)
class Encoding:
    """How a text file is encoded; `said` is what a person should know about it, or empty."""

    name: str
    said: str = ""


def is_compressed(path: Path) -> bool:
    """Whether a file's first bytes are those of gzip or zstd."""
    with path.open("rb") as file:
        return file.read(4).startswith((_GZIP, _ZSTD))


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, gzip and zstd decompressed on the way (by content, whatever its name).

    Raises:
        DataError: it cannot be opened.

    """
    try:
        file = path.open("rb")
        magic = file.read(4)
        file.seek(0)
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror or error}.") from None
    if magic.startswith(_GZIP):
        return gzip.open(file)  # type: ignore[return-value]
    if magic == _ZSTD:
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd"), _CHUNK)
    return file


def detect_encoding(source: Input, limit: int | None = None) -> Encoding:
    """How a text file is encoded: UTF-8, UTF-16, UTF-32, or Windows-1252 (the superset of Latin-1 met in practice).

    Args:
        source: The file.
        limit: Look at only so many bytes; the whole file by default.

    Raises:
        DataError: it is no text, or UTF-8 but for a damaged place; the message names its line and column.

    """
    try:
        with open_bytes(source.path) as file:
            return _detect(source, file, limit)
    except BROKEN as error:
        raise _broken(source, error) from None


def _detect(source: Input, file: IO[bytes], limit: int | None) -> Encoding:
    head = file.read(4096)
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Encoding(name, f"{name.upper()} text" if name != "utf-8-sig" else "")
    if unmarked := _without_mark(head):
        return Encoding(unmarked, "UTF-16 text without a mark of its byte order")
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen, chunk = 0, head
    while chunk:
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError:
            return _not_utf8(source)
        seen += len(chunk)
        if limit and seen >= limit:
            return Encoding("utf-8")
        chunk = file.read(_CHUNK)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:  # the last character is cut
        return _not_utf8(source)
    return Encoding("utf-8")


def _without_mark(head: bytes) -> str | None:
    """UTF-16 told by its zero bytes: every ASCII character has one, always on the same side."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if len(head) < 4 or max(even, odd) == 0 or min(even, odd) * 10 > max(even, odd):
        return None
    name = "utf-16-le" if odd > even else "utf-16-be"
    if head[1 if odd > even else 0] != 0:  # it begins with a brace or the name of a column, whatever script follows
        return None
    return name if even + odd > len(head) // 4 or not _decodes(head, "utf-8") else None


def _decodes(head: bytes, name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _not_utf8(source: Input) -> Encoding:
    """Windows-1252, unless most of what is beyond ASCII is UTF-8, which then has a damaged place."""
    beyond = multibyte = 0
    name = "cp1252"
    with open_bytes(source.path) as file:
        while chunk := file.read(_CHUNK):
            if b"\0" in chunk:
                raise DataError(
                    f"{source.name} is no text: it holds null bytes.", hint="Export the rows as CSV or JSON Lines."
                )
            beyond += len(_BEYOND_ASCII.findall(chunk))
            multibyte += sum(map(len, _MULTIBYTE.findall(chunk)))
            if _UNDEFINED_1252.search(chunk):
                name = "latin-1"
    if multibyte * 2 >= beyond:
        raise damaged_place(source, Encoding("utf-8"))
    return Encoding(name, "Latin-1 text (Windows-1252), read as such")


def damaged_place(source: Input, encoding: Encoding) -> DataError:
    """The message for the first place of a file that cannot be decoded."""
    label = "UTF-8" if encoding.name.startswith("utf-8") else encoding.name.upper()
    hint = f"Save the file as {label}, or mend that place."
    if label != "UTF-8":
        return _first_replaced(source, encoding, label)
    with open_bytes(source.path) as file:
        for number, line in enumerate(file, 1):
            text = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            try:
                text.decode("utf-8")
            except UnicodeDecodeError as error:
                column = len(text[: error.start].decode("utf-8")) + 1
                near = text[max(0, error.start - 20) : error.start + 20].decode("utf-8", "replace")
                return DataError(
                    f"{source.name}, line {number}, column {column}: not UTF-8 text. Near: {near!r}", hint=hint
                )
    return DataError(f"{source.name}: not UTF-8 text.", hint=hint)


def _first_replaced(source: Input, encoding: Encoding, label: str) -> DataError:
    """The damaged place of a file whose lines cannot be told apart before they are decoded."""
    hint = f"Is the file complete? Save it as UTF-8, or mend that place ({label})."
    with io.TextIOWrapper(open_bytes(source.path), encoding=encoding.name, errors="replace", newline="") as file:
        for number, line in enumerate(file, 1):
            if (at := line.find("\ufffd")) >= 0:
                near = line[max(0, at - 20) : at + 20]
                return DataError(
                    f"{source.name}, line {number}, column {at + 1}: not {label} text. Near: {near!r}", hint=hint
                )
    return DataError(f"{source.name}: not {label} text.", hint=hint)


def open_text(source: Input, encoding: Encoding) -> IO[str]:
    """Open a text file for reading, line breaks left as they are."""
    return io.TextIOWrapper(open_bytes(source.path), encoding=encoding.name, errors="strict", newline="")


def _broken(source: Input, error: Exception) -> DataError:
    return DataError(
        f"{source.name} could not be read to its end: {error}.",
        hint="Is the file complete? Fetch or compress it again.",
    )


@contextmanager
def told(source: Input, encoding: Encoding) -> Iterator[None]:
    """Turn what a damaged file raises while it is read into words."""
    try:
        yield
    except UnicodeDecodeError:
        raise damaged_place(source, encoding) from None
    except BROKEN as error:
        raise _broken(source, error) from None


def guarded(source: Input, encoding: Encoding, records: Records) -> Records:
    """The records, with what a damaged file raises on the way turned into words."""
    with told(source, encoding):
        yield from records


def json_reason(error: Exception) -> str:
    """What a JSON parser complains about, in words."""
    import json

    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
