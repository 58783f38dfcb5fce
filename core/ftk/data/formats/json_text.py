"""JSON Lines, and JSON documents of any size: read piece by piece, every record with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from ...errors import DataError
from .base import NO_WAY_ON, Encoding, Input, Record, Records, json_reason, open_text, unused_parts

_CHUNK = 1 << 18
_WHOLE = 256 << 20  # a document that is one object is read whole, up to this many characters
_SPACE = re.compile(r"[ \t\r\n]*")
_LINES_HINT = "In a .jsonl file every line is one JSON object."


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that is there twice is refused, where Python's own reader drops the first value in silence."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object_of)


def read_lines(source: Input, encoding: Encoding) -> Records:
    """Read a JSON Lines file; a line that is not JSON becomes a fault."""
    with open_text(source, encoding) as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.strip():
                continue
            try:
                yield Record(number, _DECODER.decode(line))
            except (ValueError, RecursionError) as error:
                yield Record(number, None, _line_fault(source.name, number, line, error))


def _lines(file: IO[str]) -> Iterator[str]:
    r"""Lines as JSON Lines means them: ended by \n alone, whatever other breaks stand in the texts."""
    begun: list[str] = []
    while chunk := file.read(_CHUNK):
        first, *others = chunk.split("\n")
        begun.append(first)
        if others:
            yield "".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
    if rest := "".join(begun):
        yield rest


def _line_fault(name: str, number: int, line: str, error: Exception) -> DataError:
    column = error.pos + 1 if isinstance(error, json.JSONDecodeError) else 1
    near = line[max(0, column - 31) : column + 29].strip()
    return DataError(f"{name}, line {number}, column {column}: {json_reason(error)}. Near: {near!r}", hint=_LINES_HINT)


def read_document(source: Input, encoding: Encoding, by_line: bool = True) -> Records:
    """Read a JSON document: a list of rows, an object of splits or of columns, or objects one after the other.

    Args:
        source: The file.
        encoding: How it is written.
        by_line: Number the records by their lines; by their order where everything stands in one line.

    Raises:
        DataError: it is none of these, or not JSON; nothing can be read past such a place.

    """
    with open_text(source, encoding) as file:
        stream = _Stream(source.name, file)
        records = stream.elements() if stream.peek() == "[" else _of_text(source.name, stream.rest(_WHOLE))
        for order, record in enumerate(records, 1):
            yield record if by_line else Record(order, record.value, record.fault, record.part)


def _of_text(name: str, text: str) -> Records:
    begin = len(text) - len(text.lstrip())
    try:
        value, end = _DECODER.raw_decode(text, begin)
        if following := text[end:].lstrip():
            if not following.startswith("{"):
                raise json.JSONDecodeError("Extra data", text, len(text) - len(following))
            yield from _one_after_the_other(text)
            return
    except (ValueError, RecursionError) as error:
        raise _document_fault(name, text, error) from None
    yield from _object(name, text, value)


def _one_after_the_other(text: str) -> Records:
    """Objects with nothing but white space between them, as jq prints them."""
    at, line, begin = 0, 1, _next(text, 0)
    while begin < len(text):
        line += text.count("\n", at, begin)
        value, at = _DECODER.raw_decode(text, begin)
        yield Record(line, value)
        line += text.count("\n", begin, at)
        begin = _next(text, at)


def _object(name: str, text: str, value: Any) -> Records:
    if not isinstance(value, dict):
        raise DataError(
            f"{name}: expected a list of rows, found {type(value).__name__}.", hint="Wrap the rows in [ ... ]."
        )
    found = rows_in(value)
    if found is None:
        yield Record(1 + text.count("\n", 0, text.find("{")), value)
        return
    lines = _places(text, set(found.keys))
    unused = unused_parts({part for _, part in found.rows if part})
    for line, (row, part) in zip(lines, found.rows, strict=True):
        yield Record(line, row, part=part, unused=part in unused)


@dataclass(frozen=True)
class Found:
    """The rows of an object, each with its split, and the keys under which they or their cells begin."""

    keys: tuple[str, ...]
    rows: Sequence[tuple[Any, str | None]]


def rows_in(value: dict[str, Any]) -> Found | None:
    """The rows of an object of splits or of columns; None if the object is a row itself."""
    lists = {key: part for key, part in value.items() if isinstance(part, list) and key != "tools"}
    rows = {key: part for key, part in lists.items() if any(isinstance(row, dict) for row in part)}
    if any(row.keys() & {"role", "from"} for part in rows.values() for row in part if isinstance(row, dict)):
        return None  # a conversation: the object is a row, not a list of them
    if rows:
        several = len(rows) > 1
        return Found(tuple(rows), [(row, key if several else None) for key, part in rows.items() for row in part])
    if value and len(lists) == len(value):
        return _of_columns(value)
    if value and all(isinstance(part, dict) and part for part in value.values()):
        return _of_indexed(value)
    return None


def _of_columns(value: dict[str, list[Any]]) -> Found | None:
    if len({len(part) for part in value.values()}) > 1:
        return None
    rows = [(dict(zip(value, cells, strict=True)), None) for cells in zip(*value.values(), strict=True)]
    return Found((next(iter(value)),), rows)


def _of_indexed(value: dict[str, dict[str, Any]]) -> Found | None:
    """Columns whose cells are named by the number of their row, as pandas writes them."""
    first, cells = next(iter(value.items()))
    if not all(index.isdigit() for index in cells) or any(part.keys() != cells.keys() for part in value.values()):
        return None
    return Found((first,), [({name: part[index] for name, part in value.items()}, None) for index in cells])


def _places(text: str, keys: set[str]) -> list[int]:
    """The lines on which the elements begin of those lists, or objects, that an object holds under some keys."""
    lines: list[int] = []
    at, line = text.find("{"), 1 + text.count("\n", 0, text.find("{"))
    for key, begin, end in _members(text, at):
        if key in keys:
            for _, element, _ in _members(text, begin):
                line += text.count("\n", at, element)
                at = element
                lines.append(line)
        line += text.count("\n", at, end)
        at = end
    return lines


def _members(text: str, begin: int) -> Iterator[tuple[Any, int, int]]:
    """Key, begin and end of what stands in the list or object that begins there; the text is known to be JSON."""
    named = text[begin] == "{"
    at = _next(text, begin + 1)
    while text[at] not in "]}":
        key = None
        if named:
            key, at = _DECODER.raw_decode(text, at)
            at = _next(text, _next(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        yield key, at, end
        at = _next(text, end)
        if text[at] == ",":
            at = _next(text, at + 1)


def _next(text: str, at: int) -> int:
    """The place of the first character from there that is not white space."""
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


def _document_fault(name: str, text: str, error: Exception) -> DataError:
    if not isinstance(error, json.JSONDecodeError):
        return DataError(f"{name}: {json_reason(error)}.", hint="Mend that place, or write the rows as JSON Lines.")
    near = text[max(0, error.pos - 30) : error.pos + 30].strip()
    hint = "Is the file complete?" if error.pos >= len(text.rstrip()) else "Mend that place; a JSON editor shows it."
    hint = f"{hint} {NO_WAY_ON}"
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
        """Everything from here, no more than `limit` characters; blanks stand for what is passed."""
        passed = "\n" * (self._line - 1) + " " * (self._column - 1)
        text = passed + self._text[self._at :] + self._file.read(limit)
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
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
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
            hint=f"{'Is the file complete?' if not near.strip() or self._ended else 'Mend that place.'} {NO_WAY_ON}",
        )
