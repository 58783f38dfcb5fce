"""What all readers share: opening, decompressing and decoding a file, and the shape of what they yield."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ...errors import DataError

HELD_OUT_NAMES = ("validation", "valid", "val", "dev", "eval", "test", "heldout", "held_out", "held-out")
"""How a held-out part is called, best first."""

_CHUNK = 1 << 20
_UNDEFINED_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a file as it stands there, or the fault that it has instead.

    `number` counts lines of text files (from 1, where the record begins) and rows of binary ones; `part` is
    the split that the file itself puts it in, if it names any.
    """

    number: int
    value: Any
    fault: DataError | None = None
    part: str | None = None


Records = Iterator[Record]
Heard = Callable[[int], None]
"""Called with the number of bytes of the file that were read so far."""


@dataclass(frozen=True)
class Encoding:
    """How a text file is encoded; `said` is what a person should know about it, or empty."""

    name: str
    said: str = ""


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
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(file)  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(file, "zstd"), _CHUNK)
    return file


def detect_encoding(path: Path, limit: int | None = None) -> Encoding:
    """How a text file is encoded: UTF-8, UTF-16, or Windows-1252 (the superset of Latin-1 that is met in practice).

    Args:
        path: The file.
        limit: Look at only so many bytes; the whole file by default.

    Raises:
        DataError: the text is UTF-8 but for a damaged place; the message names its line and column.

    """
    try:
        with open_bytes(path) as file:
            return _detect(path, file, limit)
    except (OSError, EOFError) as error:
        raise _broken(path, error) from None


def _detect(path: Path, file: IO[bytes], limit: int | None) -> Encoding:
    head = file.read(4096)
    for bom, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(bom):
            return Encoding(name, "UTF-16 text" if name == "utf-16" else "")
    if len(head) > 3 and head.count(0) > len(head) // 4:
        name = "utf-16-le" if head[1::2].count(0) > head[0::2].count(0) else "utf-16-be"
        return Encoding(name, "UTF-16 text without a mark of its byte order")
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen, chunk, multibyte = 0, head, False
    while chunk:
        try:
            multibyte = not decoder.decode(chunk).isascii() or multibyte
        except UnicodeDecodeError as error:
            return _not_utf8(path, multibyte or not error.object[: error.start].isascii())
        seen += len(chunk)
        if limit and seen >= limit:
            break
        chunk = file.read(_CHUNK)
    return Encoding("utf-8")


def _not_utf8(path: Path, multibyte: bool) -> Encoding:
    """Windows-1252 if nothing before the place was UTF-8 beyond ASCII; else UTF-8 with a damaged place."""
    if multibyte:
        raise damaged_place(path)
    with open_bytes(path) as file:
        name = "latin-1" if _UNDEFINED_1252.search(file.read(64 * _CHUNK)) else "cp1252"
    return Encoding(name, "Latin-1 text (Windows-1252), read as such")


def damaged_place(path: Path) -> DataError:
    """The message for the first line of a file that is not UTF-8."""
    with open_bytes(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                column = len(line[: error.start].decode("utf-8")) + 1
                near = line[max(0, error.start - 20) : error.start + 20].decode("utf-8", "replace")
                return DataError(
                    f"{path.name}, line {number}, column {column}: not UTF-8 text. Near: {near!r}",
                    hint="Save the file as UTF-8, or mend that place.",
                )
    return DataError(f"{path.name}: not UTF-8 text.", hint="Save the file as UTF-8.")


def open_text(path: Path, encoding: Encoding) -> IO[str]:
    """Open a text file for reading, line breaks left as they are."""
    return io.TextIOWrapper(open_bytes(path), encoding=encoding.name, errors="strict", newline="")


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path.name} could not be read to its end: {error}.", hint="Is the file complete? Fetch or compress it again."
    )


def guarded(path: Path, records: Records) -> Records:
    """The records, with what a damaged file raises on the way turned into words."""
    try:
        yield from records
    except UnicodeDecodeError:
        raise damaged_place(path) from None
    except (OSError, EOFError) as error:
        raise _broken(path, error) from None


def json_reason(error: Exception) -> str:
    """What a JSON parser complains about, in words."""
    import json

    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)
