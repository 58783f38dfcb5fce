"""The part of OpenAI's API that is served: requests read strictly, answers and errors in words that clients know."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...data.rows import Message

_STOPS, _ANSWERS, _PROMPTS = 16, 16, 128
_NOT_SERVED = {
    "tools": "function calls",
    "functions": "function calls",
    "logprobs": "log probabilities",
    "top_logprobs": "log probabilities",
    "presence_penalty": "presence penalties",
    "frequency_penalty": "frequency penalties",
    "logit_bias": "a bias of logits",
    "suffix": "insertion",
    "echo": "echoing the prompt",
    "audio": "audio",
}
"""Fields that change an answer, and that are refused where they are set: an answer must be what was asked for."""
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class ApiError(Exception):
    """A request that cannot be answered; becomes OpenAI's error JSON.

    Args:
        status: The HTTP status.
        message: What is wrong.
        code: OpenAI's word for it.
        param: The field that is wrong.

    """

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param

    @property
    def body(self) -> dict[str, Any]:
        """The error as clients expect it."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True)
class Asked:
    """A request: which model, what it goes on from, how tokens are chosen.

    `messages` is a conversation; `prompts` are raw texts or tokens instead. `answers` are wanted of each; `max_tokens`
    None is as many as the server writes, `seed` None lets it be drawn.
    """

    model: str
    messages: tuple[Message, ...] | None
    prompts: tuple[str | tuple[int, ...], ...]
    answers: int
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    seed: int | None
    stop: tuple[str, ...]
    stream: bool
    usage: bool

    @property
    def is_chat(self) -> bool:
        """Whether a conversation is gone on with."""
        return self.messages is not None


def read(text: bytes, *, chat: bool, default_model: str) -> Asked:
    """Read the body of a request.

    Args:
        text: JSON.
        chat: Whether it is for chat completions.
        default_model: Taken where none is named.

    Raises:
        ApiError: it is no JSON, or a field is not acceptable.

    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, f"The body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.")
    for name, what in _NOT_SERVED.items():
        if body.get(name):
            raise ApiError(400, f"This server does not do {what} ({name}).", "unsupported_parameter", name)
    _check_format(body.get("response_format"))
    options = body.get("stream_options") or {}
    return Asked(
        model=_text(body, "model", default_model),
        messages=_messages(body.get("messages")) if chat else None,
        prompts=() if chat else _prompts(body.get("prompt")),
        answers=int(_number(body, "n", 1, 1, _ANSWERS, whole=True)),
        max_tokens=_length(body),
        temperature=_number(body, "temperature", 1.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 0, 1) or 1e-6,
        top_k=max(0, int(_number(body, "top_k", 0, -1, 1 << 20, whole=True))),
        repetition_penalty=_number(body, "repetition_penalty", 1.0, 0.01, 10),
        seed=_seed(body),
        stop=_stops(body.get("stop")),
        stream=_flag(body, "stream"),
        usage=bool(options.get("include_usage")) if isinstance(options, dict) else False,
    )


def _check_format(wanted: Any) -> None:
    if wanted is not None and not (isinstance(wanted, dict) and wanted.get("type") == "text"):
        raise ApiError(
            400, "This server writes text only (response_format).", "unsupported_parameter", "response_format"
        )


def _text(body: dict[str, Any], name: str, default: str) -> str:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise ApiError(400, f"{name} must be text.", param=name)
    return value or default


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise ApiError(400, f"{name} must be true or false.", param=name)
    return bool(value)


def _number(body: dict[str, Any], name: str, default: float, low: float, high: float, *, whole: bool = False) -> float:
    value = body.get(name)
    if value is None:
        return default
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise ApiError(400, f"{name} must be {what} from {low:g} to {high:g}.", param=name)
    return float(value)


def _length(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if body.get(name) is not None:
            return int(_number(body, name, 1, 1, 1 << 31, whole=True))
    return None


def _seed(body: dict[str, Any]) -> int | None:
    _number(body, "seed", 0, -(2**63), 2**64, whole=True)
    return None if body.get("seed") is None else int(body["seed"]) % 2**32


def _stops(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value or []
    if not isinstance(found, list) or len(found) > _STOPS or not all(isinstance(part, str) for part in found):
        raise ApiError(400, f"stop must be a text, or a list of at most {_STOPS} texts.", param="stop")
    return tuple(part for part in found if part)


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise ApiError(400, "messages must be a list of one message or more.", param="messages")
    return tuple(_message(number, turn) for number, turn in enumerate(value))


def _message(number: int, turn: Any) -> Message:
    where = f"messages[{number}]"
    if not isinstance(turn, dict) or turn.get("role") not in _ROLES:
        raise ApiError(400, f"{where}.role must be one of {', '.join(_ROLES)}.", param=f"{where}.role")
    content = turn.get("content")
    if isinstance(content, list):
        parts = [
            part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in content
        ]
        if not all(isinstance(part, str) for part in parts):
            raise ApiError(400, f"{where}.content: this model reads text only.", param=f"{where}.content")
        content = "".join(str(part) for part in parts)
    if content is None and turn["role"] == "assistant":
        content = ""
    if not isinstance(content, str):
        raise ApiError(400, f"{where}.content must be text.", param=f"{where}.content")
    return {"role": _ROLES[turn["role"]], "content": content}


def _prompts(value: Any) -> tuple[str | tuple[int, ...], ...]:
    many = value if isinstance(value, list) and value and not _are_tokens(value) else [value]
    if len(many) > _PROMPTS:
        raise ApiError(400, f"prompt must hold at most {_PROMPTS} prompts.", param="prompt")
    found: list[str | tuple[int, ...]] = []
    for prompt in many:
        if isinstance(prompt, str) and prompt:
            found.append(prompt)
        elif _are_tokens(prompt):
            found.append(tuple(prompt))
        else:
            raise ApiError(400, "prompt must be a text or tokens, or a list of such.", param="prompt")
    return tuple(found)


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int and token >= 0 for token in value)


@dataclass(frozen=True)
class Written:
    """An answer: its text, why it ended (``stop`` or ``length``), and its length in tokens."""

    text: str
    reason: str
    tokens: int


class Reply:
    """Writes the answer to one request in OpenAI's form, whole or in parts.

    Args:
        asked: The request.
        prompt_tokens: Tokens of all its prompts.

    """

    def __init__(self, asked: Asked, prompt_tokens: int) -> None:
        self._asked, self._prompt_tokens = asked, prompt_tokens
        self._common = {
            "id": f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": asked.model,
        }

    def whole(self, written: Sequence[Written]) -> dict[str, Any]:
        """The answer in one piece."""
        kind = "chat.completion" if self._asked.is_chat else "text_completion"
        choices = []
        for index, answer in enumerate(written):
            text = (
                {"message": {"role": "assistant", "content": answer.text, "refusal": None}}
                if self._asked.is_chat
                else {"text": answer.text}
            )
            choices.append({"index": index, **text, "logprobs": None, "finish_reason": answer.reason})
        return {**self._common, "object": kind, "choices": choices, "usage": self.usage(written)}

    def part(self, index: int, text: str, reason: str | None = None, *, first: bool = False) -> dict[str, Any]:
        """A part of answer `index`; the first of a chat names the role, the last the reason."""
        delta: dict[str, Any] = {"text": text}
        if self._asked.is_chat:
            delta = {"delta": ({"role": "assistant"} if first else {}) | ({"content": text} if text or first else {})}
        choice = {"index": index, **delta, "logprobs": None, "finish_reason": reason}
        return {**self._common, "object": self._kind, "choices": [choice]}

    def counts(self, written: Sequence[Written]) -> dict[str, Any]:
        """The last part where the client asked for the usage."""
        return {**self._common, "object": self._kind, "choices": [], "usage": self.usage(written)}

    def usage(self, written: Sequence[Written]) -> dict[str, int]:
        """The tokens read and written."""
        out = sum(answer.tokens for answer in written)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": out,
            "total_tokens": self._prompt_tokens + out,
        }

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._asked.is_chat else "text_completion"


def models(names: Sequence[str], since: int) -> dict[str, Any]:
    """The list of models."""
    return {"object": "list", "data": [model(name, since) for name in names]}


def model(name: str, since: int) -> dict[str, Any]:
    """One model of the list."""
    return {"id": name, "object": "model", "created": since, "owned_by": "ftk"}
