"""Ask a model behind an OpenAI-compatible address, as servers of all kinds speak it: `POST .../chat/completions`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import ModelError, UsageError

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_LARGEST = 4 << 20
"""Bytes of a reply that are read at most."""
_LONGEST_WAIT = 60.0
_SLOW = "It may be slow: give it more time (--judge-timeout), or take a smaller model."


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirection would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True)
class ChatServer:
    """A server and one of its models.

    Args:
        url: Its address, as OpenAI's clients take it: ``http://127.0.0.1:8000/v1``.
        model: The model's name there.
        key_variable: The environment variable that holds the key; it need not exist. The key itself is never in a
            setting, a file or a message.
        timeout: Seconds to wait for a reply.
        tries: How often a request is made before it counts as failed.
        pause: Seconds before the second try; each later pause is twice as long.

    Raises:
        UsageError: the address is none, or holds a password.

    """

    url: str
    model: str
    key_variable: str = "FTK_JUDGE_KEY"
    timeout: float = 60.0
    tries: int = 4
    pause: float = 1.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port)
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(f"{self.url!r} is no address of a server.", hint="Such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise UsageError(
                "The address of the judge must not hold a key or password.",
                hint=f"Put it into the environment: export {self.key_variable}=...",
            )

    def ask(self, text: str, max_tokens: int = 1024, wait: Callable[[float], None] = time.sleep) -> str:
        """The model's answer to a message, at temperature 0.

        Args:
            text: What a user says.
            max_tokens: The longest answer.
            wait: How to let time pass between two tries.

        Raises:
            ModelError: no answer came, after several tries where another may help.

        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        request = self._request(json.dumps(body).encode())
        reason = ""
        for attempt in range(self.tries):
            try:
                return _content(self._reply(request))
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {_said(error)}".strip()
                if error.code not in _RETRIED:
                    raise self._failure(reason, _hint(error.code, self.key_variable)) from None
                pause = _asked_pause(error)
            except (OSError, http.client.HTTPException, ValueError) as error:  # a timeout is an OSError
                reason, pause = _why(error), None
                if _is_timeout(error) and attempt:  # more requests would only keep it busier
                    raise self._failure(f"it took longer than {self.timeout:g} s, twice.", _SLOW) from None
            if attempt + 1 < self.tries:
                wait(min(_LONGEST_WAIT, self.pause * 2**attempt if pause is None else pause))
        raise self._failure(f"{reason} ({self.tries} tries)", "Is the server running, and the address its own?")

    def _request(self, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "ftk"}
        if key := os.environ.get(self.key_variable, "").strip():
            headers["Authorization"] = f"Bearer {key}"
        return urllib.request.Request(  # noqa: S310 - the scheme was looked at
            f"{self.url.rstrip('/')}/chat/completions", body, headers, method="POST"
        )

    def _reply(self, request: urllib.request.Request) -> Any:
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=self.timeout) as reply:
            data = reply.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise ValueError("the reply is too long")
        return json.loads(data)

    def _failure(self, reason: str, hint: str) -> ModelError:
        return ModelError(f"The model {self.model!r} at {self.url} gave no answer: {reason}", hint=hint)


def _is_timeout(error: Exception) -> bool:
    return isinstance(getattr(error, "reason", None) or error, TimeoutError)


def _content(reply: Any) -> str:
    """The text of a reply.

    Raises:
        ValueError: it is not such a reply.

    """
    try:
        content = reply["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError("the reply is no chat completion") from None
    return str(content or "")


def _why(error: Exception) -> str:
    """Why there was no reply, in words: those of the system where it has some."""
    inner = getattr(error, "reason", None) or error
    return str(getattr(inner, "strerror", None) or f"{type(error).__name__}: {inner}")


def _said(error: urllib.error.HTTPError) -> str:
    """What a server says about an error, in one line."""
    try:
        text = error.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        text = str(json.loads(text)["error"]["message"])  # as OpenAI's servers say it
    return " ".join(text.split())[:200]


def _asked_pause(error: urllib.error.HTTPError) -> float | None:
    """The seconds after which the server wants to be asked again, where it says so in numbers."""
    try:
        return max(0.0, float(error.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _hint(code: int, variable: str) -> str:
    if code in (401, 403):
        return f"The server wants a key: export {variable}=..."
    if code == 404:
        return "Is the model's name right, and does the address end with /v1?"
    if 300 <= code < 400:
        return "The server points to another address; give that one."
    return "Does the server speak OpenAI's chat completions?"
