"""JSON Lines, and JSON documents of any size: read piece by piece, every record with its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ...errors import DataError
from .base import Encoding, Record, Records, json_reason, open_text

_CHUNK = 1 << 18
_WHOLE = 256 << 20  # a document that is one object is read whole, up to this many characters
_LINES_HINT = "In a .jsonl file every line is one JSON object."


def read_lines(path: Path, encoding: Encoding) -> Records:
    """Read a JSON Lines file; a line that is not JSON becomes a fault."""
    with open_text(path, encoding) as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            try:
                yield Record(number, json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Record(number, None, _line_fault(path.name, number, line, error))


def _lines(file: IO[str]) -> Iterator[str]:
    r"""Lines as JSON Lines means them: ended by \n alone, whatever other breaks stand in the texts."""
    rest = ""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split("\n")
        yield from lines
    if rest:
        yield rest


def _line_fault(name: str, number: int, line: str, error: Exception) -> DataError:
    column = error.pos + 1 if isinstance(error, json.JSONDecodeError) else 1
    near = line[max(0, column - 31) : column + 29].strip()
    return DataError(f"{name}, line {number}, column {column}: {json_reason(error)}. Near: {near!r}", hint=_LINES_HINT)


def read_document(path: Path, encoding: Encoding) -> Records:
    """Read a JSON document: a list of rows, an object of splits, or an object of columns.

    Raises:
        DataError: it is none of these, or not JSON; nothing can be read past such a place.

    """
    with open_text(path, encoding) as file:
        stream = _Stream(path.name, file)
        if stream.peek() == "[":
            yield from stream.elements()
            return
        text = stream.rest(_WHOLE)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _document_fault(path.name, text, error) from None
    yield from _object(path, value)


def _object(path: Path, value: Any) -> Records:
    if not isinstance(value, dict):
        raise DataError(f"{path.name}: expected a list of rows.", hint="Wrap the rows in [ ... ].")
    lists = {key: part for key, part in value.items() if isinstance(part, list)}
    rows = {key: part for key, part in lists.items() if part and all(isinstance(row, dict) for row in part)}
    if any(row.keys() & {"role", "from"} for part in rows.values() for row in part):
        yield Record(1, value)  # a conversation: the object is a row, not a list of them
        return
    if len(lists) > 1 and not rows and len({len(part) for part in lists.values()}) == 1:
        names = list(lists)
        for number, cells in enumerate(zip(*lists.values(), strict=True), 1):
            yield Record(number, dict(zip(names, cells, strict=True)))
        return
    if not rows:
        raise DataError(f"{path.name}: expected a list of rows, found an object.", hint="Wrap the rows in [ ... ].")
    for key, part in rows.items():
        for number, row in enumerate(part, 1):
            yield Record(number, row, part=key if len(rows) > 1 else None)


def _document_fault(name: str, text: str, error: Exception) -> DataError:
    if not isinstance(error, json.JSONDecodeError):
        return DataError(f"{name}: {json_reason(error)}.")
    near = text[max(0, error.pos - 30) : error.pos + 30]
    hint = "Is the file complete?" if error.pos >= len(text.rstrip()) else "Mend that place; a JSON editor shows it."
    return DataError(f"{name}, line {error.lineno}, column {error.colno}: {error.msg}. Near: {near!r}", hint=hint)


class _Stream:
    """A JSON list read element by element, with a window of the text in memory."""

    def __init__(self, name: str, file: IO[str]) -> None:
        self._name, self._file = name, file
        self._text, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1

    def _more(self) -> bool:
        """Read on; at least as much again as is held, so that a huge element costs linear time."""
        chunk = self._file.read(max(_CHUNK, len(self._text) - self._at))
        self._text = self._text[self._at :] + chunk
        self._at = 0
        self._ended = not chunk
        return bool(chunk)

    def peek(self) -> str:
        """The next character that is not white space, or an empty string at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._pass(self._at + 1)
            if not self._more():
                return ""

    def _pass(self, end: int) -> None:
        """Go on to `end`, counting lines and columns."""
        if breaks := self._text.count("\n", self._at, end):
            self._line += breaks
            self._column = end - self._text.rfind("\n", self._at, end)
        else:
            self._column += end - self._at
        self._at = end

    def rest(self, limit: int) -> str:
        """Everything from here, no more than `limit` characters."""
        text = self._text[self._at :] + self._file.read(limit)
        if self._file.read(1):
            raise DataError(f"{self._name}: too large for one JSON object.", hint="Save the rows as JSON Lines.")
        return text

    def elements(self) -> Records:
        """The elements of the list that begins here."""
        self._pass(self._at + 1)
        if self.peek() == "]":
            self._pass(self._at + 1)
            self._end()
            return
        while True:
            self.peek()
            line = self._line
            yield Record(line, self._value())
            following = self.peek()
            if following not in (",", "]"):
                raise self._fault("Expecting ',' or ']'" if following else "the list is not ended")
            self._pass(self._at + 1)
            if following == "]":
                self._end()
                return

    def _end(self) -> None:
        if self.peek():
            raise self._fault("there is more after the end of the list")

    def _value(self) -> Any:
        decoder = json.JSONDecoder()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if not self._incomplete(error):
                    raise self._fault(json_reason(error), error) from None
                self._more()
                continue
            if end < len(self._text) or self._ended:
                self._pass(end)
                return value
            self._more()  # a number at the end of the window may go on

    def _incomplete(self, error: Exception) -> bool:
        """Whether an error may go away when more is read: it lies at the end of the window or in a string."""
        if self._ended or not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos >= len(self._text) - 16 or error.msg.startswith("Unterminated string")

    def _fault(self, reason: str, error: Exception | None = None) -> DataError:
        position = error.pos if isinstance(error, json.JSONDecodeError) else self._at
        near = self._text[max(0, position - 30) : position + 30]
        self._pass(max(self._at, position))
        return DataError(
            f"{self._name}, line {self._line}, column {self._column}: {reason}. Near: {near!r}",
            hint="Is the file complete?" if not near.strip() or self._ended else "Mend that place.",
        )
