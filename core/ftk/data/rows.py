"""Rows: the one form in which every data set is held, a conversation (or a raw text) and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Message = dict[str, Any]
"""A turn: `role`, `content` (text), and where there are any `tool_calls`, `tool_call_id`, `name`, `weight`."""

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")

_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Row:
    """A conversation that ends with an assistant's turn, or a raw text for continued training.

    `origin` is ``file, line N`` for messages; `tools` are the descriptions of functions that the model may call.
    """

    messages: tuple[Message, ...]
    origin: str
    text: str | None = None
    tools: tuple[Any, ...] = ()

    @property
    def prompt(self) -> str:
        """The last user turn; empty for a raw text."""
        return next((m["content"] for m in reversed(self.messages) if m["role"] == "user"), "")

    @property
    def response(self) -> str:
        """The last assistant turn, or the raw text."""
        return self.text if self.text is not None else str(self.messages[-1]["content"])

    def payload(self) -> str:
        """The content as one line of JSON, the same for the same content whatever file it came from."""
        content: Any = {"text": self.text} if self.text is not None else list(self.messages)
        if self.tools:
            content = {"messages": content, "tools": list(self.tools)}
        return _canonical(content)


def from_payload(payload: str, origin: str) -> Row:
    """The row whose `payload` this is."""
    content = json.loads(payload)
    if isinstance(content, list):
        return Row(tuple(content), origin)
    if "text" in content:
        return Row((), origin, content["text"])
    return Row(tuple(content["messages"]), origin, None, tuple(content["tools"]))


def digest(payload: str) -> int:
    """A 64-bit hash of a row's content."""
    return int.from_bytes(hashlib.blake2b(payload.encode(), digest_size=8).digest(), "little")


def with_system(row: Row, system: str | None) -> Row:
    """The row, with a system turn put before it if it is a conversation that has none."""
    if not system or not row.messages or row.messages[0]["role"] == "system":
        return row
    return Row(({"role": "system", "content": system}, *row.messages), row.origin, row.text, row.tools)


def fingerprint(payloads: Iterable[str]) -> str:
    """A SHA-256 over contents in their order, independent of file format and column names."""
    total = hashlib.sha256()
    for payload in payloads:
        total.update(payload.encode() + b"\n")
    return total.hexdigest()


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    names = {type(None): "nothing (null)", bool: "true/false", int: "a number", float: "a number",
             list: "a list", dict: "an object", str: "text", bytes: "binary data"}  # fmt: skip
    if isinstance(value, Mapping):
        return "an object"
    return names.get(type(value), f"a value of type {type(value).__name__}")


def shorten(text: str, width: int = 60) -> str:
    """The beginning of a text in one line, for messages."""
    flat = " ".join(text.split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
