"""From a record of a file to a row: strict about types and roles, and nothing repaired without a note."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import DataError
from .recognise import Reading, as_list
from .rows import ROLES, Message, Row, kind_of

_SHAREGPT = {
    "human": "user", "user": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bot": "assistant", "bing": "assistant",
    "bard": "assistant", "model": "assistant", "answer": "assistant", "function_call": "assistant",
    "system": "system", "tool": "tool", "observation": "tool", "function_response": "tool", "function": "tool",
}  # fmt: skip
_OPENAI = {"developer": "system", "function": "tool", "model": "assistant"}
_SPEAKERS = re.compile(r"\n\n(Human|Assistant): ?")
_ORDER_HINT = (
    "After an optional system turn, user and assistant take turns, tool results follow the calls, and the "
    "assistant has the last word."
)

NOTES = {
    "trailing": "turns after the assistant's last one were left out",
    "rejected": "the rejected answers of preference pairs were left out",
}
"""What may have been done to a row, by its code."""


def to_row(record: Any, reading: Reading, origin: str) -> tuple[Row, tuple[str, ...]]:
    """Turn a record into a row.

    Args:
        record: A mapping of columns to values.
        reading: How the columns are read.
        origin: ``file, line N``.

    Returns:
        The row, and the codes of what was done to it (see `NOTES`).

    Raises:
        DataError: it is no mapping, lacks a column, holds something else than text, or its turns are out of order.

    """
    if not isinstance(record, Mapping):
        raise not_a_record(record, origin)
    row, notes = _MAKERS[reading.kind](_Cells(record, reading, origin))
    try:
        row.payload().encode()
    except UnicodeEncodeError:
        raise DataError(f"{origin}: holds half of a surrogate pair, which is no character.") from None
    return row, notes


def not_a_record(value: Any, origin: str) -> DataError:
    """The fault of a row that is no mapping of columns."""
    return DataError(
        f"{origin}: expected an object with columns, found {kind_of(value)}.",
        hint='A row looks like {"prompt": "...", "response": "..."}.',
    )


class _Cells:
    """The parts of one record, fetched with the checks that every format needs."""

    def __init__(self, record: Mapping[str, Any], reading: Reading, origin: str) -> None:
        self._record, self._parts, self.origin = record, reading.parts, origin

    def value(self, part: str, *, optional: bool = False) -> Any:
        column = self._parts.get(part)
        if column is None or (optional and column not in self._record):
            return None
        if column not in self._record:
            raise DataError(f"{self.origin}: the column {column!r} is missing.", hint="Every row needs it.")
        return self._record[column]

    def text(self, part: str, *, optional: bool = False) -> str:
        value = self.value(part, optional=optional)
        if value is None and (optional or part not in self._parts):
            return ""
        if not isinstance(value, str):
            raise DataError(
                f"{self.origin}, column {self._parts[part]!r}: expected text, found {kind_of(value)}.",
                hint="Put it in quotes.",
            )
        if not optional and not value.strip():
            raise DataError(f"{self.origin}: the {part} is empty.", hint="Fill it in, or remove the row.")
        return value

    def turns(self, part: str) -> list[Any]:
        value = self.value(part)
        value = as_list(value) or value if isinstance(value, str) else value
        if not isinstance(value, list) or not value:
            raise DataError(f"{self.origin}: {self._parts[part]!r} must be a list of turns, found {kind_of(value)}.")
        return value

    def system(self) -> list[Message]:
        text = self.text("system", optional=True)
        return [{"role": "system", "content": text}] if text.strip() else []


Made = tuple[Row, tuple[str, ...]]


def _pair(cells: _Cells) -> Made:
    if isinstance(cells.value("prompt"), list):
        turns = [*cells.turns("prompt"), *cells.turns("response")]
        return _conversation([*cells.system(), *_openai(turns, cells.origin)], cells)
    user = {"role": "user", "content": cells.text("prompt")}
    return Row((*cells.system(), user, {"role": "assistant", "content": cells.text("response")}), cells.origin), ()


def _instruction(cells: _Cells) -> Made:
    prompt = cells.text("prompt")
    if extra := cells.text("input", optional=True):
        prompt = f"{prompt}\n{extra}"
    turns = cells.system()
    for pair in cells.value("history", optional=True) or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DataError(f"{cells.origin}: 'history' must be a list of [prompt, response] pairs.")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": cells.text("response")}]
    return _conversation(turns, cells)


def _text(cells: _Cells) -> Made:
    return Row((), cells.origin, cells.text("text")), ()


def _preference(cells: _Cells) -> Made:
    chosen = cells.value("chosen")
    asked = cells.value("prompt", optional=True)
    before = _openai(asked, cells.origin) if isinstance(asked, list) else None
    if isinstance(chosen, list):
        turns = _openai(cells.turns("chosen"), cells.origin)
        if before is None and isinstance(asked, str) and turns[0]["role"] == "assistant":
            before = [{"role": "user", "content": asked}]
        if before and turns[: len(before)] != before:
            turns = [*before, *turns]
    else:
        text = cells.text("chosen")
        spoken = _SPEAKERS.split(text) if text.startswith("\n\nHuman:") else []
        turns = [{"role": "user" if who == "Human" else "assistant", "content": said}
                 for who, said in zip(spoken[1::2], spoken[2::2], strict=True)]  # fmt: skip
        if not turns:
            before = before or [{"role": "user", "content": cells.text("prompt")}]
            turns = [*before, {"role": "assistant", "content": text}]
    row, notes = _conversation([*cells.system(), *turns], cells)
    return row, (*notes, "rejected")


def _messages(cells: _Cells) -> Made:
    turns = _openai(cells.turns("messages"), cells.origin)
    if turns[0]["role"] != "system":
        turns = [*cells.system(), *turns]
    return _conversation(turns, cells, _tools(cells))


def _sharegpt(cells: _Cells) -> Made:
    turns: list[Message] = []
    for number, turn in enumerate(cells.turns("messages"), 1):
        said = turn.get("from") if isinstance(turn, Mapping) else None
        role = _SHAREGPT.get(str(said).lower())
        content = turn.get("value") if isinstance(turn, Mapping) else None
        if role is None or not isinstance(content, str):
            raise _bad_turn(
                cells.origin, number, "a known 'from' (human, gpt, system, tool) and a 'value' that is text"
            )
        message: Message = {"role": role, "content": content}
        if str(said).lower() == "function_call":
            message = {"role": role, "content": "", "tool_calls": [_call(_json_or_text(content), cells.origin, number)]}
        turns.append(message)
    if turns[0]["role"] != "system":
        turns = [*cells.system(), *turns]
    return _conversation(turns, cells, _tools(cells))


def _openai(turns: list[Any], origin: str) -> list[Message]:
    return [_turn(turn, origin, number) for number, turn in enumerate(turns, 1)]


def _turn(turn: Any, origin: str, number: int) -> Message:
    role = turn.get("role") if isinstance(turn, Mapping) else None
    role = _OPENAI.get(str(role), role)
    if role not in ROLES:
        raise _bad_turn(origin, number, f"a role ({', '.join(ROLES)}) and content that is text")
    content = _content(turn.get("content"))
    calls = turn.get("tool_calls")
    if content is None and not calls:
        raise _bad_turn(origin, number, f"a role ({', '.join(ROLES)}) and content that is text")
    message: Message = {"role": role, "content": content or ""}
    if calls:
        if not isinstance(calls, list):
            raise _bad_turn(origin, number, "a list of tool_calls")
        message["tool_calls"] = [_call(call, origin, number) for call in calls]
    for key in ("tool_call_id", "name", "reasoning_content"):
        if isinstance(turn.get(key), str):
            message[key] = turn[key]
    if turn.get("weight") in (0, 1) and role == "assistant":
        message["weight"] = int(turn["weight"])
    return message


def _content(content: Any) -> str | None:
    """Text, or the texts of a list of parts; None where there is something else (an image) or nothing."""
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type", "text") == "text"]
        return "".join(map(str, texts)) if len(texts) == len(content) else None
    return content if isinstance(content, str) else None


def _call(call: Any, origin: str, number: int) -> dict[str, Any]:
    """A tool call with its arguments as an object, which is what chat templates expect."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _bad_turn(origin, number, "tool calls with the name of a function")
    arguments = function.get("arguments", {})
    arguments = _json_or_text(arguments) if isinstance(arguments, str) else arguments
    made: dict[str, Any] = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **made} if isinstance(call.get("id"), str) else made


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _tools(cells: _Cells) -> tuple[Any, ...]:
    tools = cells.value("tools", optional=True)
    tools = _json_or_text(tools) if isinstance(tools, str) else tools
    if not tools:
        return ()
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise DataError(f"{cells.origin}: 'tools' must be a list of objects, found {kind_of(tools)}.")
    return tuple(tools)


def _bad_turn(origin: str, number: int, expected: str) -> DataError:
    return DataError(
        f"{origin}, message {number}: expected {expected}.",
        hint='A turn looks like {"role": "user", "content": "..."}.',
    )


def _conversation(turns: list[Message], cells: _Cells, tools: tuple[Any, ...] = ()) -> Made:
    roles = [turn["role"] for turn in turns]
    last = max((index for index, role in enumerate(roles) if role == "assistant"), default=-1)
    kept = turns[: last + 1]
    if problem := _disorder([turn["role"] for turn in kept]):
        raise DataError(f"{cells.origin}: {problem}: {_listed(roles)}.", hint=_ORDER_HINT)
    for number, turn in enumerate(kept, 1):
        if not turn["content"].strip() and turn["role"] in ("assistant", "user") and not turn.get("tool_calls"):
            raise DataError(
                f"{cells.origin}, message {number}: the {turn['role']} turn is empty.",
                hint="Fill it in, or remove the row.",
            )
    return Row(tuple(kept), cells.origin, None, tools), (("trailing",) if len(kept) < len(turns) else ())


_FOLLOWS = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"),
            "tool": ("tool", "assistant")}  # fmt: skip


def _disorder(roles: list[str]) -> str | None:
    if not roles:
        return "there is no assistant turn to learn from"
    for before, role in zip(["", *roles], roles, strict=False):
        if role not in _FOLLOWS[before]:
            return f"the roles are out of order ({role} after {before})" if before else f"{role} comes first"
    return None


def _listed(roles: list[str]) -> str:
    return ", ".join(roles[:8]) + (", ..." if len(roles) > 8 else "")


_MAKERS = {
    "pair": _pair, "instruction": _instruction, "text": _text, "preference": _preference, "messages": _messages,
    "sharegpt": _sharegpt,
}  # fmt: skip
