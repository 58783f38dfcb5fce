"""Who writes a run: a lock of the kernel, which ends with its process, and a file that says whose it is.

`lock` is empty and stays; a process that writes the run holds `flock` on it. The kernel gives the lock back however
the process ends, so there is no stale lock to break, and of two processes exactly one gets it. `owner.json` beside it
is for those who want to know: process number, host, and when the process started, because numbers are used again. It
is removed at an orderly end and otherwise taken over by the next owner. While a process holds the lock it touches that
file now and then: see `run_signs`.

Where the system or the disk knows no such lock, the file `lock.exclusive` stands for it: who makes it is the owner.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import psutil

from . import files, run_signs
from .errors import RunError
from .plain_files import read_text

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK, MARKER, OWNER = "lock", "lock.exclusive", "owner.json"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_UNKNOWN = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_PATIENCE = 1.0  # seconds for which the name of an owner is waited for that has just taken the lock
_SAME_START = 2.0  # seconds by which two readings of one start may differ: the clock may have been set between them
_open: set[int] = set()  # the descriptors that hold locks, for a fork to let go of


@dataclass(frozen=True)
class Owner:
    """The process that writes a run.

    Args:
        pid: Its number.
        host: Where it runs.
        started: When it started, in seconds since 1970.
        ticks: The same in ticks of the kernel since the machine started, which no clock moves; None where unknown.
        boot: Which start of the machine that was; None where unknown.
        journal_bytes: How long the journal was when it took the run.
        signs_s: Seconds between its signs of life; 0 where it gives none, as earlier versions did.
        silent_s: Seconds since the last sign, seen from here; None where that is not known or of no importance.

    """

    pid: int
    host: str
    started: float
    ticks: int | None = None
    boot: str | None = None
    journal_bytes: int = 0
    signs_s: float = 0
    silent_s: float | None = field(default=None, compare=False)

    @property
    def gone(self) -> bool:
        """Whether it is a process of another host that gives signs of life and has given none for minutes."""
        return not self.here and self.silent_s is not None and self.silent_s > run_signs.SILENT_S

    @property
    def heard_of(self) -> str:
        """When it was last heard of, by the clock here: a date and a time; empty where that is not known."""
        if self.silent_s is None:
            return ""
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() - self.silent_s))

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this host."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether it still runs; of a process on another host, whether it gave a sign of life in the last minutes."""
        if not self.here:
            return not self.gone
        now = _boot()
        if self.boot and now and self.boot != now:
            return False
        found = _start_of(self.pid)
        if found is None:
            return False
        started, ticks = found
        if self.ticks is not None and ticks is not None:
            return self.ticks == ticks
        return abs(self.started - started) < _SAME_START


def read_owner(folder: Path) -> Owner | None:
    """What `owner.json` of a run says; None where there is none, or none that can be read."""
    return _read(folder / OWNER)


def _read(path: Path) -> Owner | None:
    try:
        values = json.loads(read_text(path, 2**14))
        owner = Owner(**{item.name: values[item.name] for item in fields(Owner) if item.name in values})
        sound = type(owner.pid) is int and 0 < owner.pid < 2**31 and isinstance(owner.host, str)
        sound = sound and isinstance(owner.started, int | float) and isinstance(owner.journal_bytes, int)
        sound = sound and isinstance(owner.signs_s, int | float)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if not sound:
        return None
    return replace(owner, silent_s=run_signs.silence(path) if owner.signs_s > 0 and not owner.here else None)


class RunLock:
    """The lock on a run's folder. Held by an object and not by a thread; a forked child does not hold it.

    Args:
        folder: The run's folder. May be changed to where the folder was moved while the lock is held.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._fd: int | None = None
        self._marked = False
        self._pid = 0
        self._myself: Owner | None = None
        self._signs: run_signs.Signs | None = None
        self._signed_at = 0.0
        self._telling = threading.Lock()
        self.on_loss: Callable[[str], object] | None = None
        """Called, in another thread, with the reason if the run was taken by another host: this process was silent too
        long, because its machine stood still. It must write nothing more."""

    def acquire(self, journal_bytes: int = 0, *, tell: bool = True) -> None:
        """Take the run.

        Args:
            journal_bytes: How long its journal is.
            tell: Whether to write `owner.json`.

        Raises:
            RunError: another living process has it (the message names it), or the folder cannot be written.

        """
        try:
            self._fd = self._kernel_lock()
            if self._fd is None:
                self._mark()
            else:
                self._refuse_living()
            if tell:
                self._myself = _myself(journal_bytes)
                files.write_atomic(self.folder / OWNER, _text(self._myself))
                self._signed_at = time.time()
                self._signs = run_signs.Signs(self._sign)
        except OSError as error:
            self._let_go()
            raise RunError(f"{self.folder} cannot be locked: {error.strerror or error}.") from None
        except BaseException:
            self._let_go()
            raise
        self._pid = os.getpid()

    def release(self) -> None:
        """Give the run back; does nothing where it is not held, or held by the process that this one was forked of."""
        if self._pid == os.getpid():
            with self._telling:
                self._end_signs()
                owner = _read(self.folder / OWNER)
                if owner is None or owner == (self._myself or owner):  # else it is another's by now
                    with contextlib.suppress(OSError):
                        (self.folder / OWNER).unlink(missing_ok=True)
            self._let_go()

    def _sign(self) -> bool:
        """Give a sign of life, or find that the run is another's; returns whether it is still ours."""
        with self._telling:
            if self._signs is None or self._myself is None:
                return False
            path, silent = self.folder / OWNER, time.time() - self._signed_at
            owner = _read(path)
            if owner == self._myself:
                os.utime(path)
            elif owner is None and silent < run_signs.SILENT_S:  # somebody removed it by hand
                files.write_atomic(path, _text(self._myself))
            else:
                self._end_signs()
            if self._signs:
                if self._marked:
                    os.utime(self.folder / MARKER)
                self._signed_at = time.time()
                return True
        who = f"process {owner.pid} on {owner.host}" if owner else "another process"
        if self.on_loss:
            self.on_loss(f"{who} has taken the run over: this one gave no sign of life for {silent:.0f} s")
        return False

    def _end_signs(self) -> None:
        if self._signs:
            self._signs.end()
            self._signs = None

    def _let_go(self) -> None:
        self._pid = 0
        self._end_signs()
        if self._fd is not None:
            _open.discard(self._fd)
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)  # also of a copy that a child may have
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None
        if self._marked:
            self._marked = False
            owner = _read(self.folder / MARKER)
            if owner is None or (owner.pid, owner.host) == (os.getpid(), socket.gethostname()):
                with contextlib.suppress(OSError):
                    (self.folder / MARKER).unlink(missing_ok=True)

    def _kernel_lock(self) -> int | None:
        """The descriptor that holds the lock; None where there is no such thing."""
        path = self.folder / LOCK
        while fcntl is not None:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(path, flags, 0o600)
            _open.add(fd)
            kept = False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                with contextlib.suppress(FileNotFoundError):  # somebody has just removed it: make it again
                    kept = os.path.samestat(os.fstat(fd), path.lstat())
                if kept:
                    return fd
            except OSError as error:
                if error.errno in _HELD:
                    raise self._taken() from None
                if error.errno not in _UNKNOWN:
                    raise
                break
            finally:
                if not kept:
                    _open.discard(fd)
                    os.close(fd)
        return None

    def _refuse_living(self) -> None:
        """Respect an owner that lives but is not seen by the kernel's lock: on another host, or its lock removed."""
        owner = read_owner(self.folder)
        if owner and owner.alive and not (owner.here and owner.pid == os.getpid()):
            raise self._taken()

    def _mark(self) -> None:
        """Take the run where only the existence of a file can be a lock."""
        path = self.folder / MARKER
        while True:
            try:
                fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                self._take_stale_marker(path)
                continue
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                file.write(_text(_myself(0)))
            self._marked = True
            return

    def _take_stale_marker(self, path: Path) -> None:
        """Put the marker of a dead process away; a rename, which only one of several can do to one file."""
        stale = _read(path)
        if stale is None or stale.alive:
            raise self._taken()
        aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            path.rename(aside)
        except FileNotFoundError:
            return
        if _read(aside) == stale:
            aside.unlink()
            return
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)  # the marker of one who was faster than we
        aside.unlink()
        raise self._taken()

    def _taken(self) -> RunError:
        """The error of a run that another process has; waits a moment for the name of one that has just taken it."""
        end = time.monotonic() + _PATIENCE
        while not (((owner := self._told()) and owner.alive) or time.monotonic() > end):
            time.sleep(0.02)
        known = owner is not None and owner.alive
        name, who = self.folder.name, f"process {owner.pid} on {owner.host}" if owner and known else "another process"
        if owner and known and owner.here:
            hint = f"`ftk attach {name}` follows it and can stop it."
        else:
            signs = " and ".join(str(path) for path in (self.folder / OWNER, self.folder / MARKER) if path.exists())
            hint = "Wait for it or stop it there." + (f" If it is gone for good, remove {signs}." if signs else "")
            if owner and known and owner.silent_s is not None:
                left = max(1, round(run_signs.SILENT_S - owner.silent_s))
                hint += f" If it gives no sign of life, the run can be taken from here in {left} s."
        return RunError(f"The run {name!r} is being written by {who}.", hint=hint)

    def _told(self) -> Owner | None:
        return _read(self.folder / OWNER) or _read(self.folder / MARKER)


def _myself(journal_bytes: int) -> Owner:
    pid = os.getpid()
    started, ticks = _start_of(pid) or (0.0, None)
    return Owner(pid, socket.gethostname(), started, ticks, _boot(), journal_bytes, run_signs.EVERY_S)


def _text(owner: Owner) -> str:
    return json.dumps({key: value for key, value in asdict(owner).items() if key != "silent_s"}, indent=1) + "\n"


def _start_of(pid: int) -> tuple[float, int | None] | None:
    """When a living process started: seconds since 1970, and the kernel's ticks; None where there is none."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:  # dead; only its parent has not asked yet
            return None
        started = process.create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:  # there is one, of which we may not know more
        started = 0.0
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields_behind_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        return started, int(fields_behind_name.split()[19])
    return started, None


def _boot() -> str | None:
    """Which start of the machine this is, where the system tells."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def _let_go_in_child() -> None:
    """Close the locks in a forked child: a child that outlives its parent must not hold what the parent held."""
    for fd in list(_open):
        with contextlib.suppress(OSError):
            os.close(fd)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)
