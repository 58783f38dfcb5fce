"""A local server that plays the Hub: the requests that its clients make to look up and fetch models and data sets."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """What the server holds under an id, and how it answers for it."""

    files: dict[str, bytes] = field(default_factory=dict)
    weights: int | None = None
    page: bytes | None = None  # sent instead of the model's description
    info_error: tuple[int, str] | None = None  # status and X-Error-Code of the model's page
    file_error: tuple[int, str] | None = None  # the same, of its files only: what the Hub does for gated models
    echoes: bool = False  # whether an error tells what was sent as authorization
    cut: set[str] = field(default_factory=set)  # files of which the first half is sent, then nothing more

    @staticmethod
    def of(folder: Path) -> Repository:
        """The files of a folder."""
        return Repository({file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()})


class HubServer:
    """Serves repositories on a free port of this machine; remembers every request with its headers."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; the next connection is refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def downloaded(self) -> list[str]:
        """The files whose content was asked for."""
        return [path.rsplit("/", 1)[-1] for method, path, _ in self.requests if method == "GET" and "/resolve/" in path]


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *args: object) -> None:
        return None

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
        parts = path.removeprefix("/datasets").strip("/").split("/")  # a data set's files lie one level deeper
        is_api = parts[:2] in (["api", "models"], ["api", "datasets"])
        owner_and_name = "/".join(parts[2:4] if is_api else parts[:2])
        repository = self.hub.repositories.get(owner_and_name)
        if repository is None:
            self._refuse(404, "RepoNotFound")
        elif is_api and repository.info_error:
            self._refuse(*repository.info_error, echoes=repository.echoes)
        elif is_api and parts[4:5] == ["tree"]:
            below = "/".join(parts[6:])
            self._json(_tree(repository, below, recursive="recursive=True" in self.path))
        elif is_api and parts[4:5] == ["paths-info"]:
            asked = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()).get("paths", [])
            self._json([entry for entry in _tree(repository, "", recursive=True) if entry["path"] in asked])
        elif is_api and repository.page is not None:
            self._send(200, repository.page, {"Content-Type": "text/html"})
        elif is_api:
            self._json(_info(owner_and_name, repository))
        elif repository.file_error:
            self._refuse(*repository.file_error, echoes=repository.echoes)
        else:
            self._file(repository, "/".join(parts[4:]), body=body)

    def _refuse(self, status: int, code: str, *, echoes: bool = False) -> None:
        message = f"Refused: {self.headers.get('Authorization')}" if echoes else "Refused for the test"
        body = json.dumps({"error": message}).encode()
        self._send(status, body, {"X-Error-Code": code, "X-Error-Message": message})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: Repository, name: str, *, body: bool) -> None:
        if name not in repository.files:
            self._refuse(404, "EntryNotFound")
            return
        content = repository.files[name]
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if not body:
            self._send(200, b"", {**headers, "Content-Length": str(len(content))})
        elif name in repository.cut:
            if "Range" not in self.headers:  # the client goes on where it was cut, and gets no answer
                self._send(200, content[: len(content) // 2], {**headers, "Content-Length": str(len(content))})
        else:
            self._send(200, content, headers)

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _info(name: str, repository: Repository) -> dict[str, object]:
    info: dict[str, object] = {
        "_id": "1",
        "id": name,
        "modelId": name,
        "sha": COMMIT,
        "private": False,
        "siblings": [{"rfilename": file} for file in repository.files],
    }
    if repository.weights is not None:
        info["safetensors"] = {"parameters": {"F32": repository.weights}, "total": repository.weights}
    return info


def _tree(repository: Repository, below: str, *, recursive: bool) -> list[dict[str, object]]:
    """The files and folders below a folder, as the Hub lists them."""
    inside = {
        name: content for name, content in repository.files.items() if name.startswith(f"{below}/" if below else "")
    }
    folders = {
        str(parent) for name in inside for parent in PurePosixPath(name).parents if str(parent) not in (".", below)
    }
    found = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
    found += [_entry(name, content) for name, content in inside.items()]
    depth = below.count("/") + 1 if below else 0
    return [entry for entry in found if recursive or str(entry["path"]).count("/") == depth]


def _entry(name: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
