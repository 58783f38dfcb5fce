"""A local server that plays the writing side of the Hub: it makes repositories and takes commits."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


class UploadServer:
    """Keeps what is committed; remembers every request with its headers.

    `refuse` maps the last part of an address (``create``, ``preupload``, ``commit``) to the status that it gets.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.cards: list[str] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.refuse: dict[str, int] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    hub: UploadServer

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        return None

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        parts = path.strip("/").split("/")
        what = parts[-1] if parts[1:2] in (["repos"], ["validate-yaml"]) else parts[4] if len(parts) > 4 else "info"
        if what in self.hub.refuse:
            self._send(self.hub.refuse[what], {"error": "refused for the test"})
        elif what == "create":
            self._create(json.loads(body))
        elif what == "validate-yaml":
            self.hub.cards.append(json.loads(body)["content"])
            self._send(200, {"errors": [], "warnings": []})
        else:
            name = "/".join(parts[2:4])
            if name not in self.hub.repositories:
                self._send(404, {}, {"X-Error-Code": "RepoNotFound"})
            else:
                {"info": self._info, "preupload": self._preupload, "commit": self._commit}[what](name, body)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}" if wanted.get("organization") else wanted["name"]
        if name in self.hub.repositories:
            self._send(409, {"error": "exists", "url": f"{self.hub.url}/{name}"})
            return
        self.hub.repositories[name] = {".gitattributes": b""}
        self.hub.private[name] = bool(wanted.get("private")) or wanted.get("visibility") == "private"
        self._send(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def _info(self, name: str, body: bytes) -> None:
        held = [{"rfilename": file} for file in self.hub.repositories[name]]
        info = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "private": self.hub.private[name]}
        self._send(200, {**info, "siblings": held})

    def _preupload(self, name: str, body: bytes) -> None:
        listed = [
            {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]
        ]
        self._send(200, {"files": listed})

    def _commit(self, name: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            entry = json.loads(line)
            if entry["key"] == "header":
                self.hub.messages.append(entry["value"]["summary"])
            elif entry["key"] == "file":
                self.hub.repositories[name][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        self._send(200, {"commitUrl": f"{self.hub.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT, "success": True})

    def _send(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for key, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(key, text)
        self.end_headers()
        self.wfile.write(data)
