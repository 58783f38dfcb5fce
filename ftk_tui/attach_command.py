"""`ftk attach`: follow a run that another process carries out, and tell it to pause, go on, save or stop."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from ftk import events, files, journal, requests, run_list
from ftk.errors import EXIT_DONE, EXIT_RESUMABLE, RunError, TrainingError
from ftk.events import Event, Failed, Paused, Proceeded, Started
from ftk.plain_files import open_regular
from ftk.requests import Request
from ftk.runs import RunFolder

from .displays import Display, JsonDisplay, exit_code, suitable
from .keys import Keys
from .parsing import command_parser

LOOK_EVERY_S = 0.25
_ASK_EVERY = 4
"""So many looks without news until it is asked whether the run's process still lives."""
_KEYS = "p pause/go on   s save   x stop   q leave it alone"
_HELP = "p holds the run or lets it go on, s saves, x saves and stops it (asks first); q and Ctrl-C leave it alone."
_GOING_ON = ("running", "paused")


def main(arguments: Sequence[str]) -> int:
    """Run `ftk attach`; returns the exit code: that of the run where it ended, else 0."""
    parser = command_parser("attach", "Follow a run that goes on elsewhere, pause or stop it: `ftk attach [RUN]`.")
    parser.add_argument("run", metavar="RUN", nargs="?", help="its name or folder [the newest that is running]")
    parser.add_argument(
        "--send", choices=get_args(Request), help="ask the run for this and leave; abort stops without saving"
    )
    options = parser.parse_args(arguments)
    run = RunFolder.open(options.run) if options.run else _newest()
    if options.send:
        return _send(run, options.send, as_json=options.json)
    return attach(run, as_json=options.json)


def attach(run: RunFolder, *, as_json: bool) -> int:
    """Show a run from its beginning and follow it to its end; returns the exit code.

    Raises:
        TrainingError: the run failed; says what its last event says.

    """
    display = suitable(as_json=as_json)
    watch = _Watch(run, display)
    try:
        with Keys(wanted=not as_json and run.state() in _GOING_ON) as keys, display:
            watch.follow(keys)
    except KeyboardInterrupt:
        watch.left = True
    if watch.left:
        if not as_json:
            print(f"The run goes on without you. `ftk attach {called(run)}` shows it again.")
        return EXIT_DONE
    ending = watch.ending
    if isinstance(ending, Failed):
        raise TrainingError(ending.message, hint=ending.hint or None)
    if ending is None:
        began = "has not begun" if run.state() == "new" else "was interrupted: its process is gone"
        raise _InterruptedError(f"The run {run.name!r} {began}.", hint=f"Go on with it: ftk resume {called(run)}")
    display.summary(ending)
    return exit_code(ending)


class _InterruptedError(RunError):
    """A run has no process any more, and no ending."""

    exit_code = EXIT_RESUMABLE


class Tail:
    """What is appended to a journal, event by event, as far as its lines are whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._size = 0

    def new(self) -> Iterator[Event]:
        """The events since the last call; only the size of the file is asked for where there are none."""
        try:
            size = self._path.stat().st_size
            if size == self._size:
                return
            file = open_regular(self._path)
        except OSError:  # not there yet, or a volume that does not answer now
            return
        self._size = size
        with file:
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._place += len(line)
                if event := journal.parse(line):
                    yield event


class _Watch:
    """Follows one run on one display."""

    def __init__(self, run: RunFolder, display: Display) -> None:
        self._run, self._display = run, display
        self._tail = Tail(run.journal_file)
        self._folder = str(run.path)
        self._verbatim = isinstance(display, JsonDisplay)
        self._paused = self._asking = False
        self.ending: Event | None = None
        """The last event of the run, if it is an ending."""
        self.left = False
        """Whether the one who watches leaves the run alone."""

    def follow(self, keys: Keys) -> None:
        """Show what happens until the run ends, or until it is left alone."""
        self._display.ask(_KEYS if keys.on else "")
        quiet = _ASK_EVERY
        while not self.left:
            quiet = 0 if self._show_new() else quiet + 1
            if (quiet >= _ASK_EVERY or self.ending) and self._run.state() not in _GOING_ON:
                self._show_new()  # what came before the answer
                return
            quiet %= _ASK_EVERY
            for key in keys.wait(LOOK_EVERY_S).lower():
                self._press(key)

    def _show_new(self) -> bool:
        news = False
        for event in self._tail.new():
            news = True
            if isinstance(event, Started):
                self._folder = event.folder
            elif isinstance(event, Paused | Proceeded):
                self._paused = isinstance(event, Paused)
            shown = event if self._verbatim else self._relocated(event)
            self.ending = shown if isinstance(event, events.ENDINGS) else None
            self._display(shown)
        return news

    def _relocated(self, event: Event) -> Event:
        """An event with the paths that lead to the run from here: it may be renamed, or another machine's."""
        changes: dict[str, Any] = {
            key: str(self._run.path) + value[len(self._folder) :]
            for key in ("folder", "path", "adapter", "checkpoint")
            if isinstance(value := getattr(event, key, None), str)
            and self._folder
            and (value == self._folder or value.startswith(self._folder + os.sep))
        }
        if isinstance(event, Started):
            changes["run"] = self._run.name
        return replace(event, **changes) if changes else event

    def _press(self, key: str) -> None:
        if self._asking:
            self._asking = False
            self._display.ask(_KEYS)
            if key == "y":
                self._request("stop", "It saves and stops.")
            return
        if key in ("q", "\x04"):
            self.left = True
        elif key == "p":
            self._request("proceed" if self._paused else "pause", "It goes on." if self._paused else "It will hold.")
            self._paused = not self._paused
        elif key == "s":
            self._request("save", "It will save after this step.")
        elif key == "x":
            self._asking = True
            self._display.ask(f"Save and stop {self._run.name}? y/N")
        elif key in "?h":
            self._display.note(_HELP)

    def _request(self, request: Request, text: str) -> None:
        try:
            requests.send(self._run, request)
        except RunError as error:
            text = error.message
        self._display.note(text)


def _send(run: RunFolder, request: Request, *, as_json: bool) -> int:
    requests.send(run, request)
    told = {"run": run.name, "sent": request}
    print(json.dumps(told) if as_json else f"{run.name} was asked to {request}.")
    return EXIT_DONE


def _newest() -> RunFolder:
    parent = files.runs_dir()
    run = run_list.newest_running(parent)
    if run is None:
        raise RunError(f"No run is going on in {parent}.", hint="`ftk runs` lists all; `ftk attach RUN` shows one.")
    return run


def called(run: RunFolder) -> str:
    """The word that `ftk resume` and `ftk attach` know the run by."""
    return run.name if run.path.parent == files.runs_dir() else str(run.path)
