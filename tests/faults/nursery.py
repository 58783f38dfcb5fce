"""A process that has imported everything and forks a child for each command: `ftk` in milliseconds instead of seconds.

    python -m tests.faults.nursery

Reads one JSON array a line, the arguments of an `ftk` command; answers with the child's process number, and with its
exit code when it has ended (negative: the signal that ended it). The process itself computes nothing: threads that a
library would start do not survive a fork.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def _say(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _serve() -> None:
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    from ftk.training import eva, loop, saver, trainer  # noqa: F401
    from ftk_tui import headless, resume_command  # noqa: F401

    _say("ready")
    for line in sys.stdin:
        if pid := os.fork():
            _say(pid)
            _say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        else:
            _child(json.loads(line))


def _child(arguments: list[str]) -> None:
    code = 99
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        out = os.open(os.environ["NURSERY_OUTPUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, source in ((0, null), (1, out), (2, out)):
            os.dup2(source, number)
        from ftk_tui.cli import main

        code = main(arguments)
    finally:
        sys.stdout.flush()
        os._exit(code)


class Nursery:
    """The other end of it.

    Args:
        folder: Where the commands run; their output is gathered there in `output.log`.

    """

    def __init__(self, folder: Path) -> None:
        self.output = folder / "output.log"
        paths = {"FTK_CACHE": folder / "cache", "FTK_RUNS": folder / "runs", "HF_HOME": folder / "hub"}
        settings = {
            **{key: str(path) for key, path in paths.items()},
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "NURSERY_OUTPUT": str(self.output),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._read() == "ready"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def start(self, arguments: Sequence[str]) -> int:
        """Begin a command; returns the number of its process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(list(arguments)) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def ended(self) -> int:
        """Wait for the command that was begun last; returns its exit code."""
        return int(self._read())

    def run(self, arguments: Sequence[str]) -> int:
        """Begin a command and wait for it."""
        self.start(arguments)
        return self.ended()

    def close(self) -> None:
        """End it with whatever it has begun."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


if __name__ == "__main__":
    _serve()
