"""The server: a model behind OpenAI's API, with limits, and an orderly end.

The standard library's threading server is enough here: one worker writes all answers, and the threads only wait for it.
A framework would bring four packages for the same few addresses. It is made for one machine or a network that is
trusted; for the open internet `deploy` prints what vLLM needs.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ...errors import DataError, ExportError
from ...evaluation.generate import Prompt, context_of, token_rows
from ...evaluation.sampling import Sampling
from .engine import Engine, Job
from .http import Handler, Listener, is_loopback
from .protocol import ApiError, Asked


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Args:
        requests: Requests at once, being written or waiting; more are answered with 429.
        max_tokens: Longest answer.
        body: Largest request, in bytes.
        connections: Connections at once; more are closed.
        idle_s: Seconds after which a silent connection is closed.

    """

    requests: int = 64
    max_tokens: int = 1024
    body: int = 4 << 20
    connections: int = 512
    idle_s: float = 60.0


class Server:
    """Serves a model, and its base where it carries an adapter.

    Args:
        model: With an adapter, or without: then there is one name only.
        tokenizer: Its tokenizer.
        names: What the tuned model and (where there is one) its base are called.
        host: The address to listen at.
        port: The port; 0 takes a free one.
        key: What clients have to know; None lets everybody in.
        limits: What is taken.
        batch: Answers that are computed at once.

    Raises:
        ExportError: the address cannot be had.

    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        names: Sequence[str],
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        key: str | None = None,
        limits: Limits | None = None,
        batch: int = 8,
    ) -> None:
        self.names, self.limits, self.since = list(names), limits or Limits(), int(time.time())
        self.engine = Engine(model, tokenizer, batch=batch)
        self.tokenizer = copy.deepcopy(tokenizer)  # the worker decodes with the other one at the same time
        self.context = context_of(model)
        self.vocabulary = model.get_input_embeddings().weight.shape[0]
        self.key = key
        self.local = key is None and is_loopback(host)
        self.tokenizing = threading.Lock()
        self._taken, self._lock, self._closing = 0, threading.Lock(), threading.Event()
        handler = type("Handler", (Handler,), {"app": self, "timeout": self.limits.idle_s})
        try:
            self._http = Listener((host, port), handler, self.limits.connections)
        except (OSError, OverflowError) as error:
            raise ExportError(
                f"The server cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}.",
                hint="Choose another --port or --host.",
            ) from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="ftk-http", daemon=True)

    def start(self) -> Server:
        """Listen and answer, in threads of their own."""
        self.engine.start()
        self._thread.start()
        return self

    def stop(self, wait_s: float = 30.0) -> None:
        """Take nothing new, let what is being answered come to its end, then close.

        Args:
            wait_s: Seconds to wait for that; what is not ended then is broken off.

        """
        self._closing.set()
        deadline = time.monotonic() + wait_s
        while self._taken and time.monotonic() < deadline:
            time.sleep(0.02)
        self.engine.stop()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join(10)
        self._http.server_close()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests that are answered.

        Raises:
            ApiError: there is none.

        """
        with self._lock:
            if self._closing.is_set():
                raise ApiError(503, "The server is being stopped.")
            if self._taken >= self.limits.requests:
                raise ApiError(
                    429,
                    f"The server answers {self.limits.requests} requests at once, and has as many. Try again later.",
                    "rate_limit_exceeded",
                )
            self._taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken -= 1

    @property
    def taken(self) -> int:
        """Requests that are being answered."""
        return self._taken

    def jobs(self, asked: Asked) -> tuple[list[Job], int]:
        """The answers that a request asks for, and the tokens of its prompts.

        Raises:
            ApiError: the model's name is unknown, or a prompt cannot be read or is too long.

        """
        if asked.model not in self.names:
            known = ", ".join(self.names)
            raise ApiError(
                404, f"The model {asked.model!r} does not exist. Known: {known}.", "model_not_found", "model"
            )
        sampling = Sampling(
            temperature=asked.temperature, top_p=asked.top_p, top_k=asked.top_k,
            repetition_penalty=asked.repetition_penalty, seed=asked.seed or 0,
        )  # fmt: skip
        found, rows = [], self._rows(asked)
        for row in rows:
            limit = self._room(asked, len(row))
            for number in range(asked.answers):
                mine = sampling if asked.seed is None else _moved(sampling, number)
                tuned, seeded = asked.model == self.names[0], asked.seed is not None
                found.append(Job(row, limit, tuned, mine, seeded, asked.stop, asked.is_chat))
        return found, sum(map(len, rows))

    def _rows(self, asked: Asked) -> list[list[int]]:
        field = "messages" if asked.is_chat else "prompt"
        texts = [Prompt(messages=asked.messages)] if asked.messages is not None else []
        texts += [Prompt(text=prompt) for prompt in asked.prompts if isinstance(prompt, str)]
        try:
            with self.tokenizing:  # a tokenizer is not made for several threads
                made = iter(token_rows(self.tokenizer, texts))
        except DataError as error:
            raise ApiError(400, error.message, param=field) from None
        rows = list(made) if asked.is_chat else [next(made) if isinstance(p, str) else list(p) for p in asked.prompts]
        if any(token >= self.vocabulary for row in rows for token in row):
            raise ApiError(400, f"A token is none of the model's {self.vocabulary}.", param=field)
        return rows

    def _room(self, asked: Asked, length: int) -> int:
        """How many tokens may be written behind a prompt of a length."""
        if asked.max_tokens is not None and asked.max_tokens > self.limits.max_tokens:
            raise ApiError(
                400,
                f"max_tokens is too large: {asked.max_tokens}. This server writes at most {self.limits.max_tokens}.",
                param="max_tokens",
            )
        wanted = asked.max_tokens or self.limits.max_tokens
        if self.context is None:
            return wanted
        if length >= self.context or (asked.max_tokens and length + asked.max_tokens > self.context):
            raise ApiError(
                400,
                f"This model's maximum context length is {self.context} tokens. However, you requested "
                f"{length + (asked.max_tokens or 1)} tokens ({length} in the prompt, {asked.max_tokens or 1} in the "
                "completion). Please reduce the length of either one.",
                "context_length_exceeded",
                "messages" if asked.is_chat else "prompt",
            )
        return min(wanted, self.context - length)


def _moved(sampling: Sampling, number: int) -> Sampling:
    """The sampling of the nth answer to one prompt, so that the answers differ."""
    return replace(sampling, seed=(sampling.seed + number) % 2**32)
