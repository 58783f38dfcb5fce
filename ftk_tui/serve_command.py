"""`ftk serve`: a run behind OpenAI's API, on this machine."""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ftk.errors import EXIT_DONE, EXIT_FAILED, UsageError

from .busy import busy
from .parsing import command_parser
from .runs_report import line

if TYPE_CHECKING:
    from ftk.export.serving.server import Server
    from ftk.export.source import Trained

_DESCRIPTION = """\
Serve what a run trained, and its base, to everything that speaks OpenAI's API.

  ftk serve RUN                                    http://127.0.0.1:8000/v1, models RUN and the base
  ftk serve RUN --port 9000 --key-env MY_KEY       clients have to send the key in the variable MY_KEY
  ftk serve RUN --print-vllm                       the command that serves it with vLLM, for production
  ftk serve RUN --print-dockerfile > Dockerfile    the same in a container

Ctrl-C lets what is being answered come to its end; a second one leaves at once.
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk serve`; returns the exit code."""
    options = _parser().parse_args(arguments)
    _check(options)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    from ftk.export import source

    trained = source.find(options.run, options.checkpoint)
    if options.print_vllm or options.print_dockerfile:
        return _print(trained, options)
    key = _key(options.key_env)
    server = _server(trained, options, key)
    _tell(server, options, key)
    return _serve(server)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("serve", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="the run's name, or its folder")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="Serve this checkpoint, not the result.")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen [127.0.0.1].")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="The port; 0 takes a free one [8000].")
    parser.add_argument("--key-env", metavar="NAME", help="The environment variable that holds the clients' key.")
    parser.add_argument("--max-concurrent", type=int, default=64, metavar="N", help="Requests at once; more: 429 [64].")
    parser.add_argument("--max-tokens", type=int, default=1024, metavar="N", help="Longest answer in tokens [1024].")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="Answers computed at once [8].")
    parser.add_argument("--print-vllm", action="store_true", help="Print the command for vLLM; serve nothing.")
    parser.add_argument("--print-dockerfile", action="store_true", help="Print a Dockerfile; serve nothing.")
    return parser


def _check(options: argparse.Namespace) -> None:
    for name in ("max_concurrent", "max_tokens", "batch_size"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} must be 1 or more.")
    if not 0 <= options.port < 65536:
        raise UsageError("--port must be between 0 and 65535.")


def _print(trained: Trained, options: argparse.Namespace) -> int:
    from ftk.export.serving import deploy

    if options.print_vllm:
        print(deploy.command(trained, host=options.host, port=options.port))
    if options.print_dockerfile:
        print(deploy.dockerfile(trained, port=options.port), end="")
    return EXIT_DONE


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UsageError(f"The environment variable {variable} is empty.", hint=f"export {variable}=...")
    return key


def _server(trained: Trained, options: argparse.Namespace, key: str | None) -> Server:
    from ftk.export import loading
    from ftk.export.serving.server import Limits, Server

    with busy(as_json=options.json) as tell:
        loaded = loading.load(trained, progress=tell)
    names = [trained.name] if trained.whole else [trained.name, _base_name(trained)]
    limits = Limits(requests=options.max_concurrent, max_tokens=options.max_tokens)
    return Server(
        loaded.model, loaded.tokenizer, names, host=options.host, port=options.port, key=key, limits=limits,
        batch=options.batch_size,
    )  # fmt: skip


def _base_name(trained: Trained) -> str:
    """What clients call the base model; a path says too much of this machine."""
    name = trained.entry.id if trained.entry else trained.hub or Path(trained.config.model).name
    return name if name != trained.name else "base"


def _tell(server: Server, options: argparse.Namespace, key: str | None) -> None:
    open_to_all = key is None and not _only_here(options.host)
    if options.json:
        print(json.dumps({"url": f"{server.url}/v1", "models": server.names, "key": key is not None}), flush=True)
        return
    print(line(f"{server.url}/v1   models: {', '.join(server.names)}"))
    if open_to_all:
        print("Note: everybody who reaches this address can use it; --key-env NAME asks for a key.")
    print("Ctrl-C stops it.", flush=True)


def _only_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _serve(server: Server) -> int:
    asked = threading.Event()
    again = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        (again if asked.is_set() else asked).set()

    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.start()
        while not asked.wait(0.2):
            pass
        ending = threading.Thread(target=server.stop, daemon=True)
        ending.start()
        while ending.is_alive() and not again.is_set():
            ending.join(0.1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return EXIT_FAILED if again.is_set() else EXIT_DONE
