"""From a record of a file to a row: strict about types and roles, and nothing repaired without a note."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..errors import DataError
from .recognise import Reading, as_list
from .rows import ROLES, Message, Row, kind_of, shorten

_SHAREGPT = {
    "human": "user", "user": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bot": "assistant", "bing": "assistant",
    "bard": "assistant", "model": "assistant", "answer": "assistant", "function_call": "assistant",
    "system": "system", "tool": "tool", "observation": "tool", "function_response": "tool", "function": "tool",
}  # fmt: skip
_OPENAI = {"developer": "system", "function": "tool", "model": "assistant"}
_SPEAKERS = re.compile(r"(?:^\s*|\n\n)(Human|Assistant): ?")
_ORDER_HINT = (
    "After an optional system turn, user and assistant take turns, tool results follow the calls, and the "
    "assistant has the last word."
)

NOTES = {
    "trailing": "left out, the turns after the assistant's last one",
    "rejected": "left out, the rejected answers of preference pairs",
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
    try:
        row, notes = _MAKERS[reading.kind](_Cells(record, reading, origin))
        _see_storable(row)
    except UnicodeEncodeError as error:
        near = error.object[max(0, error.start - 20) : error.start + 20]
        raise DataError(
            f"{origin}: holds half of a surrogate pair, which is no character. Near: {near!r}",
            hint="Write the whole character, or remove it.",
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"{origin}: cannot be kept as JSON: {reason}.", hint="Mend the row, or remove it.") from None
    return row, notes


def _see_storable(row: Row) -> None:
    """Raise what writing the row would raise; for texts alone without the cost of making it JSON."""
    if row.text is not None:
        row.text.encode()
    elif not row.tools and all(len(turn) == 2 for turn in row.messages):  # role and content
        for turn in row.messages:
            turn["content"].encode()
    else:
        row.payload().encode()


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
                hint="Fill it in, or remove the row." if value is None else "Put it in quotes.",
            )
        if not optional and not value.strip():
            raise DataError(f"{self.origin}: the {part} is empty.", hint="Fill it in, or remove the row.")
        return value

    def turns(self, part: str) -> list[Message]:
        value = parsed(self.value(part))
        if not isinstance(value, list) or not value:
            raise DataError(
                f"{self.origin}: {self._parts[part]!r} must be a list of turns, found {_found(value)}.",
                hint='Like [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}].',
            )
        return [_turn(turn, self.origin, number) for number, turn in enumerate(value, 1)]

    def said(self, part: str, role: str) -> list[Message]:
        """The turns of a part, which may be one text."""
        return self.turns(part) if _are_turns(self.value(part)) else [{"role": role, "content": self.text(part)}]

    def with_system(self, turns: list[Message]) -> list[Message]:
        """The turns behind the system's column, unless they begin with a system turn themselves."""
        text = self.text("system", optional=True)
        if not text.strip() or turns[0]["role"] == "system":
            return turns
        return [{"role": "system", "content": text}, *turns]


def parsed(value: Any) -> Any:
    """A value, or the list of turns that a text writes as JSON: tables have no lists."""
    return as_list(value) or value if isinstance(value, str) else value


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(turn, Mapping) for turn in value)


def _found(value: Any) -> str:
    return "an empty list" if value == [] else kind_of(value)


Made = tuple[Row, tuple[str, ...]]


def _pair(cells: _Cells) -> Made:
    prompt, response = cells.value("prompt"), cells.value("response")
    if _are_turns(prompt) or _are_turns(response):
        return _conversation(
            cells.with_system([*cells.said("prompt", "user"), *cells.said("response", "assistant")]), cells
        )
    if isinstance(parsed(prompt), list) and isinstance(parsed(response), list):  # both, as a table writes them
        return _conversation(cells.with_system([*cells.turns("prompt"), *cells.turns("response")]), cells)
    turns = [
        {"role": "user", "content": cells.text("prompt")},
        {"role": "assistant", "content": cells.text("response")},
    ]
    return Row(tuple(cells.with_system(turns)), cells.origin), ()


def _instruction(cells: _Cells) -> Made:
    prompt = cells.text("prompt")
    if extra := cells.text("input", optional=True):
        prompt = f"{prompt}\n{extra}"
    turns = _history(cells)
    turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": cells.text("response")}]
    return _conversation(cells.with_system(turns), cells)


def _history(cells: _Cells) -> list[Message]:
    history = cells.value("history", optional=True) or []
    history = _json_or_text(history) if isinstance(history, str) else history
    turns: list[Message] = []
    for pair in history if isinstance(history, list) else [None]:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise DataError(
                f"{cells.origin}: 'history' must be a list of [prompt, response] pairs.",
                hint='Like [["Hello", "Hello, how can I help?"]], or leave it empty.',
            )
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return turns


def _text(cells: _Cells) -> Made:
    return Row((), cells.origin, cells.text("text")), ()


def _preference(cells: _Cells) -> Made:
    """The chosen answer: a text, its turns with or without those that it answers, or a dialogue in one text."""
    chosen = parsed(cells.value("chosen"))
    chosen = [chosen] if isinstance(chosen, Mapping) else chosen
    asked = parsed(cells.value("prompt", optional=True))
    if isinstance(chosen, list) and chosen:
        turns = [_turn(turn, cells.origin, number) for number, turn in enumerate(chosen, 1)]
    else:
        turns = _spoken(cells.text("chosen")) or [{"role": "assistant", "content": cells.text("chosen")}]
    if turns[0]["role"] == "assistant" or isinstance(asked, list):
        before = _asked(cells, asked)
        turns = turns if turns[: len(before)] == before else [*before, *turns]
    row, notes = _conversation(cells.with_system(turns), cells)
    return row, (*notes, "rejected")


def _asked(cells: _Cells, asked: Any) -> list[Message]:
    """The turns that the chosen answer answers."""
    if isinstance(asked, list) and asked:
        return [_turn(turn, cells.origin, number) for number, turn in enumerate(asked, 1)]
    if asked is None:
        raise DataError(
            f"{cells.origin}: the chosen answer has no prompt.",
            hint="Add a column prompt, or turns that begin with it.",
        )
    return _spoken(cells.text("prompt")) or [{"role": "user", "content": cells.text("prompt")}]


def _spoken(text: str) -> list[Message]:
    """The turns of a dialogue in one text, which begins with ``Human:``; none where it is no dialogue."""
    begin, *parts = _SPEAKERS.split(text)
    if begin or parts[:1] != ["Human"]:
        return []
    turns = zip(parts[::2], parts[1::2], strict=True)
    roles = {"Human": "user", "Assistant": "assistant"}
    said = [{"role": roles[who], "content": what} for who, what in turns]
    return said if said[-1]["content"].strip() else said[:-1]  # a prompt ends with an empty "Assistant:"


def _messages(cells: _Cells) -> Made:
    return _conversation(cells.with_system(cells.turns("messages")), cells, _tools(cells))


def _turn(turn: Any, origin: str, number: int) -> Message:
    """A turn as OpenAI writes it, or ShareGPT."""
    if isinstance(turn, Mapping) and "from" in turn and "role" not in turn:
        return _sharegpt_turn(turn, origin, number)
    role = turn.get("role") if isinstance(turn, Mapping) else None
    role = _OPENAI.get(str(role), role)
    expected = f"a role ({', '.join(ROLES)}) and content that is text"
    if role not in ROLES:
        raise _bad_turn(turn, origin, number, expected)
    content, calls = _content(turn.get("content")), _calls(turn)
    if content is None and (not calls or turn.get("content") is not None):
        raise _bad_turn(turn, origin, number, expected)
    message: Message = {"role": role, "content": content or ""}
    if calls:
        if not isinstance(calls, list):
            raise _bad_turn(turn, origin, number, "a list of tool_calls")
        message["tool_calls"] = [_call(call, origin, number) for call in calls]
    for key in ("tool_call_id", "name", "reasoning_content"):
        if isinstance(turn.get(key), str):
            message[key] = turn[key]
    if turn.get("weight") in (0, 1) and role == "assistant":
        message["weight"] = int(turn["weight"])
    return message


def _calls(turn: Mapping[str, Any]) -> Any:
    """The tool calls of a turn; `function_call` is how OpenAI wrote a single one before."""
    calls = turn.get("tool_calls")
    if not calls and isinstance(turn.get("function_call"), Mapping):
        return [turn["function_call"]]
    return _json_or_text(calls) if isinstance(calls, str) else calls


def _sharegpt_turn(turn: Mapping[str, Any], origin: str, number: int) -> Message:
    said, content = str(turn.get("from")).lower(), turn.get("value")
    role = _SHAREGPT.get(said)
    if role is None or not isinstance(content, str):
        raise _bad_turn(turn, origin, number, "a known 'from' (human, gpt, system, tool) and a 'value' that is text")
    if said == "function_call":
        calls = _json_or_text(content)
        calls = calls if isinstance(calls, list) else [calls]
        return {"role": role, "content": "", "tool_calls": [_call(call, origin, number) for call in calls]}
    return {"role": role, "content": content}


def _content(content: Any) -> str | None:
    """Text, or the texts of a list of parts; None where there is something else (an image) or nothing."""
    if isinstance(content, list) and content and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type", "text") == "text"]
        whole = len(texts) == len(content) and all(isinstance(text, str) for text in texts)
        return "".join(texts) if whole else None
    return content if isinstance(content, str) else None


def _call(call: Any, origin: str, number: int) -> dict[str, Any]:
    """A tool call with its arguments as an object, which is what chat templates expect."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise _bad_turn(call, origin, number, "tool calls with the name of a function")
    arguments = function.get("arguments") or {}
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


def _bad_turn(turn: Any, origin: str, number: int, expected: str) -> DataError:
    return DataError(
        f"{origin}, message {number}: expected {expected}. Near: {shorten(repr(turn))}",
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
    "sharegpt": _messages,
}  # fmt: skip
