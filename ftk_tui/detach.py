"""`ftk --detach`: start a run in a process of its own, which neither the shell's end nor the terminal's touches."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ftk.config import RunConfig
from ftk.errors import EXIT_DONE, RunError
from ftk.events import Started
from ftk.resume import prepare
from ftk.runs import RunFolder
from ftk.training import provenance

from . import headless
from .attach_command import Tail, called
from .meter import meter, reading
from .options import flag

_LOOK_EVERY_S = 0.1
_SHOWN_LINES = 20


def train(settings: RunConfig, *, as_json: bool, debug: bool = False) -> int:
    """Plan, make the run's folder, and train in a process of its own; returns the exit code.

    Raises:
        FtkError: the plan does not work, or the process ended before the run began.

    """
    run = provenance.begin(headless.planned(settings, as_json=False))
    try:
        return start(run, as_json=as_json, debug=debug)
    except RunError:
        if not run.journal_file.exists():  # nothing has happened yet: leave the name free
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def resume(name: str | None, changes: Mapping[str, Any], *, override: bool, as_json: bool, debug: bool = False) -> int:
    """Check that a run can be gone on with, and do so in a process of its own; returns the exit code.

    Args:
        name: The run's name or folder; the newest that was stopped, interrupted or failed by default.
        changes: Settings that are to be different from now on.
        override: Take settings and rows that differ from those the run was started with.
        as_json: Print what was started as one JSON object.
        debug: Let the process show tracebacks and the libraries' messages.

    Raises:
        FtkError: it cannot; see `ftk.resume.prepare`.

    """
    with meter() as tell:
        run = prepare(name, changes, override=override, progress=reading(tell)).run
    return start(run, [*flags(changes), *(["--override"] if override else [])], as_json=as_json, debug=debug)


def flags(changes: Mapping[str, Any]) -> list[str]:
    """Settings as the flags from which `options.settings_from` makes them again."""
    given = []
    for key, value in changes.items():
        if key == "compare" and isinstance(value, list):
            given += [f"{flag(key)}={prompt}" for prompt in value or ["none"]]
        elif isinstance(value, list):
            given.append(f"{flag(key)}={','.join(value)}")
        else:
            given.append(f"{flag(key)}={'null' if value is None else value}")
    return given


def start(run: RunFolder, options: Sequence[str] = (), *, as_json: bool, debug: bool = False) -> int:
    """Go on with a run in a process of its own, from its beginning if it has no checkpoint; returns the exit code.

    Comes back when the run has begun. The process leads a session of its own: it gets neither the hang-up of our
    terminal nor our Ctrl-C. What it prints is appended to the run's `output.log`.

    Args:
        run: The run.
        options: What else to give to `ftk resume`.
        as_json: Print what was started as one JSON object.
        debug: Let the process show tracebacks and the libraries' messages.

    Raises:
        RunError: the process ended before the run began; shows the end of what it printed.

    """
    tail = Tail(run.journal_file)
    for _ in tail.new():  # what happened before
        pass
    # -P: no module of the working folder is taken for one of ours
    command = [sys.executable, "-P", "-m", "ftk_tui", "resume", str(run.path), *options]
    log = os.open(run.output_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    place = os.fstat(log).st_size
    try:
        process = subprocess.Popen(
            [*command, "--debug"] if debug else command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    try:
        while not any(isinstance(event, Started) for event in tail.new()):
            if process.poll() is not None:
                raise _failed(run, place, process.returncode)
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        process.terminate()  # whoever presses Ctrl-C now does not want the run
        raise
    _tell(run, process.pid, as_json=as_json)
    return EXIT_DONE


def _failed(run: RunFolder, place: int, code: int) -> RunError:
    """What to say of a process that ended at once; the end of its output is the best explanation."""
    with run.output_file.open(encoding="utf-8", errors="replace") as file:
        file.seek(place)
        lines = deque((line.rstrip() for line in file), maxlen=_SHOWN_LINES)
    how = f"exit code {code}" if code >= 0 else f"signal {-code}"
    output = "\n".join(lines) or "It said nothing."
    return RunError(f"The process of the run {run.name!r} ended before the run began ({how}).", hint=output)


def _tell(run: RunFolder, pid: int, *, as_json: bool) -> None:
    output = str(run.output_file)
    if as_json:
        print(json.dumps({"run": run.name, "folder": str(run.path), "pid": pid, "output": output}))
        return
    name = called(run)
    print(f"The run {run.name} goes on by itself, as process {pid}.")
    print(f"  ftk attach {name:<32} follow it")
    print(f"  ftk attach {name + ' --send stop':<32} save and stop it, from anywhere")
    print(f"What it prints: {output}")
