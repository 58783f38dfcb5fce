"""Rows: the one form in which every data set is held, a conversation with the place it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DataError, did_you_mean

Role = Literal["system", "user", "assistant"]
Message = dict[str, str]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")

_PAIRS = {
    "prompt": ("prompt", "question", "query", "instruction", "input"),
    "response": ("response", "completion", "answer", "output"),
}
_MESSAGES = ("messages", "conversation", "conversations")


@dataclass(frozen=True)
class Row:
    """A conversation that ends with an assistant's turn; `origin` is ``file, line N`` for messages."""

    messages: tuple[Message, ...]
    origin: str

    @property
    def prompt(self) -> str:
        """The last user turn."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), "")

    @property
    def response(self) -> str:
        """The last assistant turn."""
        return self.messages[-1]["content"]


@dataclass(frozen=True)
class Columns:
    """How the columns of a file are read: `kind`, and the column that plays each part."""

    kind: Literal["messages", "instruction", "pair"]
    parts: Mapping[str, str]

    @property
    def reason(self) -> str:
        """What was recognised, in words."""
        return f"{self.kind} (" + ", ".join(f"{part}: {name!r}" for part, name in self.parts.items()) + ")"


def recognise(names: Sequence[str], where: str) -> Columns:
    """Recognise the columns of a data set by their names.

    Args:
        names: The columns of its first row.
        where: The file, for the message.

    Raises:
        DataError: no known combination is there; the message shows the columns and what is accepted.

    """
    lower = {name.lower(): name for name in names}
    for name in _MESSAGES:
        if name in lower:
            return Columns("messages", {"messages": lower[name]})
    if "instruction" in lower and "output" in lower:
        known = ("instruction", "input", "output", "system")
        return Columns("instruction", {part: lower[part] for part in known if part in lower})
    pair = {part: lower[word] for part, words in _PAIRS.items() for word in reversed(words) if word in lower}
    if len(pair) == 2:
        return Columns("pair", pair | ({"system": lower["system"]} if "system" in lower else {}))
    known_names = [word for words in _PAIRS.values() for word in words] + list(_MESSAGES)
    guesses = "".join(sorted({did_you_mean(name, known_names) for name in lower}))
    raise DataError(
        f"{where}: the columns {', '.join(map(repr, names)) or '(none)'} are not a form that ftk knows.{guesses}",
        hint="Accepted: prompt and response; instruction, input and output; or messages with role and content.",
    )


def to_rows(records: Iterable[tuple[str, Any]], where: str) -> Iterator[Row]:
    """Turn records into rows.

    Args:
        records: Pairs of an origin (``file, line N``) and a mapping.
        where: The whole data set, for messages.

    Raises:
        DataError: a record is not a mapping, lacks a column, or holds something else than text.

    """
    columns: Columns | None = None
    for origin, record in records:
        if not isinstance(record, Mapping):
            raise DataError(f"{origin}: expected an object with columns, found {_kind(record)}.")
        if columns is None:
            columns = recognise([str(key) for key in record], where)
        yield Row(_messages(record, columns, origin), origin)


def _messages(record: Mapping[str, Any], columns: Columns, origin: str) -> tuple[Message, ...]:
    if columns.kind == "messages":
        return _conversation(record.get(columns.parts["messages"]), origin)
    text = {part: _text(record, name, origin, part) for part, name in columns.parts.items()}
    prompt = text.get("instruction") or text.get("prompt", "")
    if extra := text.get("input", ""):
        prompt = f"{prompt}\n{extra}"
    response = text.get("output") or text.get("response", "")
    for part, value in (("prompt", prompt), ("response", response)):
        if not value.strip():
            raise DataError(f"{origin}: the {part} is empty.", hint="Fill it in, or remove the row.")
    system = text.get("system", "")
    turns = [{"role": "system", "content": system}] if system else []
    return (*turns, {"role": "user", "content": prompt}, {"role": "assistant", "content": response})


def _text(record: Mapping[str, Any], name: str, origin: str, part: str) -> str:
    optional = part in ("input", "system")
    if name not in record:
        if optional:
            return ""
        raise DataError(f"{origin}: the column {name!r} is missing.", hint="Every row needs it.")
    value = record[name]
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{origin}, column {name!r}: expected text, found {_kind(value)}.", hint="Put it in quotes.")
    return value


def _conversation(value: Any, origin: str) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise DataError(f"{origin}: 'messages' must be a list of turns, found {_kind(value)}.")
    turns: list[Message] = []
    for number, turn in enumerate(value, 1):
        role = turn.get("role") if isinstance(turn, Mapping) else None
        content = turn.get("content") if isinstance(turn, Mapping) else None
        if role not in ROLES or not isinstance(content, str):
            raise DataError(
                f"{origin}, message {number}: expected a role ({', '.join(ROLES)}) and content that is text.",
                hint='A turn looks like {"role": "user", "content": "..."}.',
            )
        turns.append({"role": role, "content": content})
    _check_order(turns, origin)
    return tuple(turns)


def _check_order(turns: list[Message], origin: str) -> None:
    roles = [turn["role"] for turn in turns]
    talk = roles[1:] if roles[0] == "system" else roles
    expected = ["user" if index % 2 == 0 else "assistant" for index in range(len(talk))]
    if talk != expected or len(talk) < 2 or talk[-1] != "assistant":
        raise DataError(
            f"{origin}: the roles {', '.join(roles)} are out of order.",
            hint="After an optional system turn, user and assistant take turns, and the assistant has the last word.",
        )
    if not all(turn["content"].strip() for turn in turns if turn["role"] == "assistant"):
        raise DataError(f"{origin}: an assistant turn is empty.", hint="Fill it in, or remove the row.")


def _kind(value: Any) -> str:
    names = {type(None): "nothing (null)", bool: "true/false", int: "a number", float: "a number",
             list: "a list", dict: "an object", str: "text"}  # fmt: skip
    return names.get(type(value), type(value).__name__)


def with_system(rows: Iterable[Row], system: str) -> list[Row]:
    """The rows, with a system turn put before those that have none."""
    turn = {"role": "system", "content": system}
    return [row if row.messages[0]["role"] == "system" else Row((turn, *row.messages), row.origin) for row in rows]


def fingerprint(rows: Iterable[Row]) -> str:
    """A SHA-256 over the conversations in their order, independent of file format and column names."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row.messages, ensure_ascii=False, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()
