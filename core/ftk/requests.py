"""Requests to a run from other processes: pause, go on, save, stop, abort.

A request is an empty file in ``requests/`` of the run's folder, named by a number and a word such as
``000001-pause``; the process that owns the run looks there four times a second, does what the files say in the order
of their numbers, and removes them. Files and not a socket, because the path of a socket may have 107 bytes at most
and because files also reach a run on another machine that shares the volume. Everything is in the name, because a
file appears with its whole name or not at all; and numbers give the order, because clocks jump.

The folder is for its owner only (0700), and a file that belongs to somebody else is not obeyed. Looking costs about
20 µs of a local disk's time, which is less than 0.01 % of one core.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol, get_args

from .errors import RunError, UsageError, did_you_mean
from .runs import RunFolder

Request = Literal["pause", "proceed", "save", "stop", "abort"]
REQUESTS: tuple[Request, ...] = get_args(Request)

LOOK_EVERY_S = 0.25
_NAME = re.compile(rf"([0-9]{{6,}})-({'|'.join(REQUESTS)})")
_ATTEMPTS = 1000
_CLOSED_IN_CHILDREN = getattr(os, "O_CLOEXEC", 0)
_FOLDER = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0) | _CLOSED_IN_CHILDREN
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | _CLOSED_IN_CHILDREN
_log = logging.getLogger(__name__)


class Obedient(Protocol):
    """What can be told to do what was asked for: `ftk.training.control.Control`."""

    def stop(self, reason: str = ..., *, save: bool = ...) -> None:
        """End; a checkpoint first, unless `save` is false."""

    def save(self) -> None:
        """Write a checkpoint after this step."""

    def pause(self) -> None:
        """Hold."""

    def proceed(self) -> None:
        """Go on after a pause."""


def send(run: RunFolder, request: Request) -> Path:
    """Ask the process that owns a run for something; returns at once, it is done within about a quarter second.

    Args:
        run: The run, on this machine or on a volume that is shared with another.
        request: ``pause``, ``proceed``, ``save``, ``stop`` (a checkpoint first) or ``abort`` (none).

    Returns:
        The file that asks; it is gone as soon as the request is taken.

    Raises:
        UsageError: there is no such request.
        RunError: nobody owns the run, or it belongs to another user.

    """
    if request not in REQUESTS:
        raise UsageError(f"A run cannot be asked to {request!r}.{did_you_mean(request, REQUESTS)}")
    owner = run.owner()
    if owner is None or not owner.alive:
        raise RunError(
            f"No process is running {run.name!r}, so nobody can be asked to {request}.",
            hint=f"`ftk resume {run.name}` goes on with it, if it is not finished.",
        )
    try:
        with _opened(run.requests) as folder:
            return run.requests / _put(folder, request)
    except FileNotFoundError:
        raise RunError(
            f"The run {run.name!r} takes no requests: it begins just now, or it ends.", hint="Try again in a second."
        ) from None
    except OSError as error:
        raise RunError(f"The run {run.name!r} cannot be asked to {request}: {error.strerror or error}.") from None


def _put(folder: int, request: Request) -> str:
    """Make the file of a request behind all that wait; returns its name."""
    for _ in range(_ATTEMPTS):
        waiting = [int(match[1]) for name in _names(folder) if (match := _NAME.fullmatch(name))]
        name = f"{max(waiting, default=0) + 1:06d}-{request}"
        try:
            os.close(os.open(name, _NEW, 0o600, dir_fd=folder))
        except FileExistsError:  # somebody asks for the same at the same time
            continue
        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_uid != os.fstat(folder).st_uid:
            os.unlink(name, dir_fd=folder)
            raise PermissionError(0, "it belongs to another user")
        return name
    raise FileExistsError(0, "too many ask at once")


@contextlib.contextmanager
def listening(run: RunFolder, control: Obedient) -> Iterator[None]:
    """Do what other processes ask for while the block runs.

    Requests that an earlier process left behind are removed at the start, and everything at the end. What cannot be
    read, understood or removed is a line in the log of ``ftk.requests``, never an error: it must not end a run.

    Args:
        run: The run that this process owns.
        control: Is told what was asked for, in a thread of its own.

    """
    mailbox = _Mailbox(run.requests, control)
    mailbox.empty()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(LOOK_EVERY_S):
            mailbox.look()

    thread = threading.Thread(target=watch, name="ftk-requests", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)  # longer only where a network volume hangs, and then the run must not
        mailbox.close()


class _Mailbox:
    """The folder of the requests, on the side that takes them."""

    def __init__(self, path: Path, control: Obedient) -> None:
        self._path = path
        self._control = control
        self._told: set[str] = set()

    def empty(self) -> None:
        """Begin with an empty folder that only its owner can use."""
        with self._warning("cannot be made; `ftk attach` can only watch"):
            if self._path.is_symlink() or (self._path.exists() and not self._path.is_dir()):
                self._path.unlink()
            self._path.mkdir(mode=0o700, exist_ok=True)
            with _opened(self._path) as folder:
                os.fchmod(folder, 0o700)
                self._clear(folder)

    def look(self) -> None:
        """Do what is asked for, in order."""
        try:
            with _opened(self._path) as folder:
                for name in sorted(_names(folder), key=_order):
                    word = self._word(name, folder)
                    if self._remove(name, folder) and word:  # one that stays would be obeyed again and again
                        self._obey(word)
        except FileNotFoundError:  # somebody tidied up
            self.empty()
        except OSError as error:
            self._tell("", f"cannot be read: {error.strerror or error}")

    def close(self) -> None:
        """Leave nothing behind."""
        with self._warning("cannot be removed"):
            with _opened(self._path) as folder:
                self._clear(folder)
            self._path.rmdir()

    def _clear(self, folder: int) -> None:
        for name in _names(folder):
            self._remove(name, folder)

    def _word(self, name: str, folder: int) -> str | None:
        """What a file asks for; None, with a line in the log, where it is none that may."""
        try:
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:  # whoever made it took it back
            return None
        match = _NAME.fullmatch(name)
        if not match or not stat.S_ISREG(state.st_mode):
            self._tell(name, "is no request and was left out")
        elif state.st_uid != os.fstat(folder).st_uid:
            self._tell(name, f"belongs to user {state.st_uid} and was not obeyed")
        else:
            return match[2]
        return None

    def _obey(self, word: str) -> None:
        if word == "stop":
            self._control.stop("on request")
        elif word == "abort":
            self._control.stop("on request, without saving", save=False)
        elif word == "save":
            self._control.save()
        elif word == "pause":
            self._control.pause()
        else:
            self._control.proceed()

    def _remove(self, name: str, folder: int) -> bool:
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=folder)
            else:
                os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return False
        except OSError as error:
            self._tell(name, f"cannot be removed: {error.strerror or error}")
            return False
        return True

    @contextlib.contextmanager
    def _warning(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._tell("", f"{what}: {error.strerror or error}")

    def _tell(self, name: str, what: str) -> None:
        """Say something once; a file that stays is met four times a second."""
        if (line := f"{name} {what}") not in self._told:
            self._told.add(line)
            _log.warning("%r %s.", f"{self._path.name}/{name}", what)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder as a descriptor: it stays the same folder, whatever its name comes to mean. No link is followed.

    Opening it also makes a network volume look for files of other machines.
    """
    fd = os.open(folder, os.O_RDONLY | _FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


def _order(name: str) -> tuple[int, str]:
    match = _NAME.fullmatch(name)
    return (int(match[1]) if match else 0, name)
