"""A server that speaks OpenAI's chat completions, and says what a test wants it to say."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Reply:
    """What is answered: a text, or something else."""

    text: str = ""
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stall: float = 0.0


@dataclass
class Heard:
    """A request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def said(self) -> str:
        """The last message."""
        return str(self.body["messages"][-1]["content"])


@dataclass
class Server:
    """A running server: its address, and what it heard."""

    url: str
    heard: list[Heard]


@contextmanager
def serving(answer: Callable[[Heard], Reply]) -> Iterator[Server]:
    """A server on a free port of this machine while the block runs."""
    heard: list[Heard] = []
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = Heard(self.path, dict(self.headers), body)
            heard.append(request)
            reply = answer(request)
            if reply.stall:
                ended.wait(reply.stall)
            content = {"choices": [{"message": {"role": "assistant", "content": reply.text}}]}
            data = json.dumps(content).encode() if reply.body is None else reply.body
            try:
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(data)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:
                pass  # the client had enough

        def do_GET(self) -> None:
            heard.append(Heard(self.path, dict(self.headers), {}))
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}/v1", heard)
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
