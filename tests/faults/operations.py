"""Let the Nth operation on files fail, or kill the process there: for every N until a pass is clean.

    python -m tests.faults.operations FOLDER SCENARIO ...

Runs scenarios in forked children and prints one JSON object a line: what was done, at how many points, and what
was wrong afterwards. A process of its own, with one thread, because a fork takes no other thread along.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch  # here, and not in every child
from safetensors import SafetensorError

Mode = Literal["once", "on", "kill"]
MODES: tuple[Mode, ...] = ("once", "on", "kill")
"""There is no space for one operation; nothing works any more from one operation on; the process is killed there."""

KILLED, FAILED, DONE = 77, 1, 0
_LIMIT, _PATIENCE_S = 1000, 60


class Faults:
    """The operations on files that Python code can reach, counted, with a fault at the Nth.

    Args:
        at: Which operation it happens to; 0: none.
        mode: What happens.

    """

    def __init__(self, at: int, mode: Mode) -> None:
        self.count, self._at, self._mode = 0, at, mode
        self.names: list[str] = []

    def hit(self, name: str, half: Callable[[], object] = lambda: None) -> None:
        """Count an operation; at the Nth do half of it, and raise or leave."""
        self.count += 1
        self.names.append(name)
        if self.count == self._at and self._mode == "kill":
            half()
            os._exit(KILLED)
        if self.count == self._at and self._mode == "once":
            half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self._mode == "on" and 0 < self._at <= self.count:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    @contextlib.contextmanager
    def injected(self) -> Iterator[Faults]:
        """The same with these operations put in the place of the real ones."""
        names = ("open", "mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "chmod")
        before = [(os, name, getattr(os, name)) for name in names]
        before += [(io, "open", io.open), (builtins, "open", builtins.open)]
        before += [(safetensors.torch, "serialize_file", safetensors.torch.serialize_file)]
        try:
            for name in names:
                setattr(os, name, self._counted(f"os.{name}", getattr(os, name)))
            io.open = builtins.open = self._opening(io.open)  # type: ignore[assignment]
            safetensors.torch.serialize_file = self._serializing(safetensors.torch.serialize_file)
            yield self
        finally:
            for module, name, real in before:
                setattr(module, name, real)

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            self.hit(name)
            return real(*args, **kwargs)

        return operation

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            self.hit("open")
            made = real(file, mode, *args, **kwargs)
            return Writing(self, made) if set(mode) & set("wax+") else made

        return opened

    def _serializing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def half(path: Path) -> None:
            path.write_bytes(b"\x08\0\0\0\0\0\0\0half")

        def serialize_file(tensors: Any, path: Any, metadata: Any = None) -> Any:
            try:
                self.hit("serialize_file", lambda: half(Path(path)))
            except OSError as error:
                text = f"Error while serializing: I/O error: {error.strerror} (os error {error.errno})"
                raise SafetensorError(text) from None
            return real(tensors, path, metadata)

        return serialize_file


class Writing:
    """An open file of which the Nth write is cut in its middle."""

    def __init__(self, faults: Faults, file: Any) -> None:
        self._faults, self._file, self._full = faults, file, False

    def write(self, data: Any) -> int:
        if not isinstance(self._file, io.RawIOBase):
            self._faults.hit("write", lambda: self._half(data))
            return int(self._file.write(data))
        if self._full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            self._faults.hit("write", lambda: self._half(data))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._full = True  # the kernel takes what there is room for, and refuses the next time
            return len(data) // 2
        return int(self._file.write(data))

    def _half(self, data: Any) -> None:
        self._file.write(data[: len(data) // 2])
        self._file.flush()

    def room_again(self) -> None:
        self._full = False

    def close(self) -> None:
        try:
            if not self._file.closed and not isinstance(self._file, io.RawIOBase):
                self._faults.hit("close")
        finally:
            self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Writing:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)


@dataclass(frozen=True)
class Scenario:
    """Something that writes, and what must hold afterwards.

    Args:
        prepare: Makes what is there before, in an empty folder.
        act: What is done to it under faults; an OSError is what may come of it.
        check: Looks at the folder, told whether `act` came to its end, and says what is wrong.
        modes: The faults that are put into it.

    """

    prepare: Callable[[Path], object]
    act: Callable[[Path], object]
    check: Callable[[Path, bool], Iterator[str]]
    modes: tuple[Mode, ...] = MODES


def carry_out(scenario: Scenario, mode: Mode, folder: Path) -> tuple[int, list[str]]:
    """The number of points at which the fault happened, and everything that was wrong afterwards."""
    template = folder / "template"
    template.mkdir()
    scenario.prepare(template)
    wrong = []
    for at in range(1, _LIMIT):
        place = folder / f"at-{at}"
        shutil.copytree(template, place, symlinks=True)
        code, reached = _in_child(scenario, Faults(at, mode), place)
        if code not in (DONE, FAILED, KILLED):
            wrong.append(f"point {at}: it ended with {code}, not with an OSError")
        wrong += [f"point {at} ({reached}): {fault}" for fault in scenario.check(place, code == DONE)]
        shutil.rmtree(place)
        if not reached:
            return at - 1, wrong
    raise AssertionError("no pass was clean")


def _in_child(scenario: Scenario, faults: Faults, place: Path) -> tuple[int, str]:
    """The exit code of a child that acts, and the operation that was hit; empty where it ended before that."""
    told, tell = os.pipe()
    if pid := os.fork():
        os.close(tell)
        with os.fdopen(told) as answer:
            operation = answer.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), operation
    code = 99
    signal.alarm(_PATIENCE_S)
    try:
        code = _act(scenario, faults, place, tell)
    finally:
        os._exit(code)


def _act(scenario: Scenario, faults: Faults, place: Path, tell: int) -> int:
    real = faults.hit

    def hit(name: str, half: Callable[[], object] = lambda: None) -> None:
        if faults.count + 1 == faults._at:
            os.write(tell, name.encode())
        real(name, half)

    faults.hit = hit  # type: ignore[method-assign]
    with faults.injected():
        try:
            scenario.act(place)
        except OSError:
            return FAILED
    return DONE


def main() -> None:
    """Carry out the scenarios that are named and print what came of them."""
    from .scenarios import SCENARIOS

    for name in sys.argv[2:]:
        scenario = SCENARIOS[name]
        for mode in scenario.modes:
            with tempfile.TemporaryDirectory(dir=sys.argv[1]) as folder:
                points, wrong = carry_out(scenario, mode, Path(folder))
            outcome = {"scenario": name, "mode": mode, "points": points, "wrong": wrong}
            sys.stdout.write(json.dumps(outcome) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
