"""The server: OpenAI's addresses over HTTP, on the standard library.

The standard library's threading server is enough here: one worker writes all answers, and the threads only wait for it.
A framework would bring four packages for the same few addresses. It is made for one machine or a network that is
trusted; for the open internet `deploy` prints what vLLM needs.
"""

from __future__ import annotations

import copy
import hmac
import ipaddress
import json
import select
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty
from typing import Any
from urllib.parse import urlsplit

from ...errors import DataError, ExportError
from ...evaluation.generate import Prompt, context_of, token_rows
from ...evaluation.sampling import Sampling
from . import protocol
from .engine import Broken, Engine, Job
from .protocol import ApiError, Asked, Reply, Written

_PATHS = {"/v1/chat/completions": True, "/v1/completions": False}
_LOOK_EVERY_S = 0.5


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
        self.local = key is None and _is_loopback(host)
        self.tokenizing = threading.Lock()
        self._taken, self._lock, self._closing = 0, threading.Lock(), threading.Event()
        handler = type("Handler", (_Handler,), {"app": self, "timeout": self.limits.idle_s})
        try:
            self._http = _Http((host, port), handler, self.limits.connections)
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
            raise ApiError(404, f"The model {asked.model!r} does not exist.", "model_not_found", "model")
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _moved(sampling: Sampling, number: int) -> Sampling:
    """The sampling of the nth answer to one prompt, so that the answers differ."""
    from dataclasses import replace

    return replace(sampling, seed=(sampling.seed + number) % 2**32)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type, connections: int) -> None:
        self._free = threading.BoundedSemaphore(connections)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""


class _Handler(BaseHTTPRequestHandler):
    app: Server
    protocol_version = "HTTP/1.1"
    server_version = "ftk"
    sys_version = ""

    def do_GET(self) -> None:
        """Health and the list of models."""
        self._guarded(self._get)

    def do_POST(self) -> None:
        """Answers."""
        self._guarded(self._post)

    def log_message(self, *args: Any) -> None:
        """Print nothing: prompts and answers are nobody else's."""

    def _guarded(self, action: Any) -> None:
        self._begun = False
        try:
            self._check_host()
            action()
        except ApiError as error:
            self._refuse(error)
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - one request must not take the connection's thread down
            self._refuse(ApiError(500, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"))

    def _check_host(self) -> None:
        """Refuse what a web page may send that let its own name lead to this machine (DNS rebinding)."""
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:
            name = ""
        if self.app.local and not _is_loopback(name):
            self.close_connection = True
            raise ApiError(403, "This server is for this machine only: ask it as 127.0.0.1 or localhost.")

    def _get(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        if path == "/health":
            going, waiting = self.app.engine.counts
            self._send(200, {"status": "ok", "requests": self.app.taken, "writing": going, "waiting": waiting})
            return
        self._check_key()
        name = path.removeprefix("/v1/models/")
        if path == "/v1/models":
            self._send(200, protocol.models(self.app.names, self.app.since))
        elif path.startswith("/v1/models/") and name in self.app.names:
            self._send(200, protocol.model(name, self.app.since))
        elif path.startswith("/v1/models/"):
            raise ApiError(404, f"The model {name!r} does not exist.", "model_not_found", "model")
        else:
            raise self._unknown(path)

    @staticmethod
    def _unknown(path: str) -> ApiError:
        return ApiError(404, f"There is nothing at {path[:100]}. Known: {', '.join(_PATHS)}, /v1/models, /health.")

    def _post(self) -> None:
        body = self._body()
        self._check_key()
        path = self.path.partition("?")[0].rstrip("/")
        if path not in _PATHS:
            raise self._unknown(path)
        if self.headers.get_content_type() != "application/json":  # which no foreign web page can send unasked
            raise ApiError(415, "Send application/json.")
        with self.app.place():
            asked = protocol.read(body, chat=_PATHS[path], default_model=self.app.names[0])
            jobs, read = self.app.jobs(asked)
            self.app.engine.submit(jobs)
            try:
                (self._stream if asked.stream else self._whole)(jobs, asked, Reply(asked, read))
            finally:
                for job in jobs:
                    job.cancelled = True  # does nothing to those that have ended

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            raise ApiError(411, "Send the length of the body (Content-Length).")
        if int(length) > self.app.limits.body:
            self.close_connection = True  # without reading it
            raise ApiError(413, f"The body is larger than {self.app.limits.body} bytes.")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionError("the client went away")
        return body

    def _check_key(self) -> None:
        if self.app.key is None:
            return
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        sent = given.strip().encode("latin-1")  # the bytes that came
        if kind.lower() != "bearer" or not hmac.compare_digest(sent, self.app.key.encode()):
            raise ApiError(401, "The API key is missing or wrong.", "invalid_api_key")

    def _whole(self, jobs: list[Job], asked: Asked, reply: Reply) -> None:
        written = []
        for job in jobs:
            texts = []
            for part in self._parts(job):
                texts.append(part.text)
            written.append(Written("".join(texts), part.reason, part.tokens))
        self._send(200, reply.whole(written))

    def _parts(self, job: Job) -> Iterator[Any]:
        """The parts of an answer up to its last.

        Raises:
            ApiError: it could not be written.
            ConnectionError: the client went away.

        """
        while True:
            try:
                part = job.parts.get(timeout=_LOOK_EVERY_S)
            except Empty:
                if self._gone():
                    raise ConnectionError("the client went away") from None
                continue
            if isinstance(part, Broken):
                raise part.error
            yield part
            if part.reason:
                return

    def _gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _stream(self, jobs: list[Job], asked: Asked, reply: Reply) -> None:
        written = []
        self._begin_stream()
        for index, job in enumerate(jobs):
            if asked.is_chat:
                self._event(reply.part(index, "", first=True))
            for part in self._parts(job):
                if part.text:
                    self._event(reply.part(index, part.text))
            self._event(reply.part(index, "", part.reason))
            written.append(Written("", part.reason, part.tokens))
        if asked.usage:
            self._event(reply.counts(written))
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _begin_stream(self) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache"),
            ("Transfer-Encoding", "chunked"),
        ):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self._begun = True

    def _event(self, value: dict[str, Any]) -> None:
        self._chunk(b"data: " + _json(value) + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _refuse(self, error: ApiError) -> None:
        try:
            if self._begun:  # the status is sent already: the error comes as an event
                self._event(error.body)
                self._chunk(b"")
            else:
                self._send(error.status, error.body, {"Retry-After": "1"} if error.status in (429, 503) else {})
        except OSError:
            self.close_connection = True

    def _send(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = _json(value)
        self.send_response(status)
        closing = {"Connection": "close"} if self.close_connection else {}
        length = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, text in {**length, **closing, **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
