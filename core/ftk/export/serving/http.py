"""Requests over HTTP: addresses, keys, bodies, and answers in one piece or as a stream of events."""

from __future__ import annotations

import hmac
import ipaddress
import json
import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import protocol
from .engine import Broken, Job
from .protocol import ApiError, Asked, Reply, Written

if TYPE_CHECKING:
    from .server import Server

_PATHS = {"/v1/chat/completions": True, "/v1/completions": False}
_LOOK_EVERY_S = 0.5


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Listener(ThreadingHTTPServer):
    """Takes connections, each in a thread of its own, up to a number."""

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type, connections: int) -> None:
        self._free = threading.BoundedSemaphore(connections)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread, or close it where there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error."""


class Handler(BaseHTTPRequestHandler):
    """One connection; `app` is the server that it belongs to."""

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
        if self.app.local and not is_loopback(name):
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
