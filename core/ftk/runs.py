"""The run folder: its layout, its journal, its lock. The only module that knows these paths.

runs/NAME/          private to its owner (0700)
  run.json          format version, versions of the packages, hardware, data hash, seed; written last: without it a
                    folder is no run
  config.yaml       the resolved settings, a preset that can be used again
  events.jsonl      the journal: one event a line, appended as it happens, never rewritten
  checkpoints/      step-000050/ ...: adapter, optimiser state, random states, manifest
  adapter/          the result, as PEFT and its users expect it, with tokenizer and chat template
  model/            the result instead, where all weights were trained
  owner.json        process number, host and start of the process that writes the run, while it does
  lock              empty; who writes the run holds the kernel's lock on it
  lock.exclusive    stands for that lock where the disk or the system has none
  requests/         what others ask of the process that writes: pause, go on, save, stop
  output.log        what a detached run prints

`FORMAT` counts changes that an older ftk would misread; new files, new keys and new kinds of events are none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import weakref
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from . import dataspec, events, files, journal, run_lock
from .config import check_run_name
from .errors import RunError, UsageError, did_you_mean
from .events import Event, Paused
from .plain_files import read_text
from .run_lock import Owner, RunLock
from .secrets import redact

FORMAT = 1
IN_MEMORY = "(in memory)"
"""What the settings say of data that was given as Python objects."""

State = Literal["running", "paused", "finished", "stopped", "interrupted", "failed", "new"]

_OF_NEW = {"config.yaml", "owner.json", "lock", "lock.exclusive", "requests", "output.log"}
"""What a process may leave that ends before `run.json` is written."""
_OF_RUN = _OF_NEW | {"run.json", "events.jsonl", "checkpoints", "adapter", "model"}
_TELLING = {"started", "step", "evaluation", "paused", "proceeded", *(kind.kind for kind in events.ENDINGS)}
"""The events from the last of which the state follows; the others may come at any time."""


class RunFolder:
    """The folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.config_file = path / "config.yaml"
        self.provenance_file = path / "run.json"
        self.journal_file = path / "events.jsonl"
        self.adapter = path / "adapter"
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"
        self.requests = path / "requests"
        self.output_file = path / "output.log"
        self._claim: RunLock | None = None

    @property
    def trained(self) -> Path:
        """What was trained: the adapter's folder, or the model's where all of it was."""
        return self.model if self.model.is_dir() else self.adapter

    @property
    def saved(self) -> bool:
        """Whether a checkpoint lies here; whether it is sound is seen when a run goes on from it."""
        return any(self.checkpoints.glob("step-*/manifest.json"))

    @classmethod
    def create(cls, name: str | None, model: str, parent: Path | None = None) -> RunFolder:
        """Make the folder of a new run; it is locked until its `run.json` is written.

        A folder of that name that was left by a process which ended before it wrote `run.json` is used again.

        Args:
            name: The run's name, or None to make one of the model, the date and the time.
            model: The model's name, used where `name` is None.
            parent: The folder of the runs; `files.runs_dir()` by default.

        Raises:
            UsageError: the name is not acceptable, or a run of that name exists.
            RunError: the folder cannot be made, or another process is just making a run of that name.

        """
        parent = parent or files.runs_dir()
        for attempt in range(100):
            run = cls(parent / (_checked(name) if name else _default_name(model, attempt)))
            try:
                run.path.mkdir(parents=True, mode=0o700)
                files.sync_dir(parent)
            except FileExistsError:
                if not name:
                    continue
                run._take_left_over()
            except OSError as error:
                raise RunError(f"The run folder {run.path} cannot be made: {error.strerror or error}.") from None
            else:
                run._hold()
            return run
        raise RunError(f"No free run name was found in {parent}.")

    def _hold(self) -> None:
        """Lock the folder until `run.json` is there, or until nobody has this object any more."""
        claim = RunLock(self.path)
        claim.acquire()
        self._claim = claim
        weakref.finalize(self, claim.release)

    def _take_left_over(self) -> None:
        exists = UsageError(
            f"A run named {self.name!r} exists in {self.path.parent}; nothing was changed.",
            hint="Choose another --name, or leave it out.",
        )
        if self.path.is_symlink() or not self._holds_only(_OF_NEW):
            raise exists
        self._hold()
        if not self._holds_only(_OF_NEW):  # now that nobody else can write it
            raise exists
        self.path.chmod(0o700)
        for path in (self.config_file, *self.path.glob(".*.tmp")):
            path.unlink(missing_ok=True)

    def _holds_only(self, known: set[str]) -> bool:
        """Whether nothing else is in the folder than some files of a run, and what was being written to become them."""
        try:
            names = [path.name for path in self.path.iterdir()]
        except OSError:
            return False
        return all(name in known or (name[:1] == "." and name[1:].startswith(tuple(_OF_RUN))) for name in names)

    @property
    def looks_like_run(self) -> bool:
        """Whether ftk made this folder: by its `run.json`, or, where that is missing or damaged, by what is in it."""
        with contextlib.suppress(RunError):
            return bool(self.provenance().get("format"))
        return self._holds_only(_OF_RUN) and any((self.path / name).exists() for name in _OF_RUN - {"requests"})

    @classmethod
    def open(cls, name: str, parent: Path | None = None) -> RunFolder:
        """An existing run by name, or by the path of its folder.

        Raises:
            UsageError: the name is none that a run can have.
            RunError: there is none.

        """
        parent = parent or files.runs_dir()
        path = Path(name) if os.sep in name else parent / _checked(name)
        if not dataspec.holds((path / "run.json").is_file):
            near = did_you_mean(name, _names(parent)) if os.sep not in name else ""
            hint = "`ftk runs` lists the runs; $FTK_RUNS moves their folder."
            raise RunError(f"There is no run in {path}.{near}", hint=hint)
        return cls(path.absolute())

    @contextlib.contextmanager
    def locked(self, *, tell: bool = True) -> Iterator[RunLock]:
        """Hold the run for writing.

        Args:
            tell: Whether `owner.json` is written, which a full disk prevents; without it nobody can see whose it is.

        Raises:
            RunError: another living process holds it, or the folder cannot be written.

        """
        lock = self._claim
        self._claim = None
        if lock is None:
            lock = RunLock(self.path)
            lock.acquire(_size(self.journal_file), tell=tell)
        try:
            yield lock
        finally:
            lock.release()

    def owner(self) -> Owner | None:
        """The process that writes the run, or that died while it did (see `Owner.alive`); None where there is none."""
        return run_lock.read_owner(self.path)

    def state(self) -> State:
        """What the run is doing, from its owner and the end of its journal.

        Returns:
            ``running`` or ``paused`` while a living process has it; else how it ended: ``finished``, ``stopped``,
            ``failed``, or ``interrupted`` where the process ended without a word; ``new`` where nothing happened yet.

        """
        owner = self.owner()
        place, last = next(journal.backwards(self.journal_file, _TELLING), (0, None))
        alive = owner is not None and owner.alive
        if owner and alive and place < owner.journal_bytes:
            return "running"  # a resumption that has told nothing yet
        if isinstance(last, events.ENDINGS):
            return _ENDED[type(last)]
        if alive:
            return "paused" if isinstance(last, Paused) else "running"
        return "interrupted" if last or any(True for _ in journal.backwards(self.journal_file)) else "new"

    @property
    def resumable(self) -> bool:
        """Whether another process may go on with the run: nobody has it, it is not finished, its settings are there.

        A run without a checkpoint is resumable too: it begins again.
        """
        if self.state() not in ("stopped", "interrupted", "failed", "new") or not self.config_file.is_file():
            return False
        try:
            self.provenance()
        except RunError:
            return False
        return True

    def write_provenance(self, values: dict[str, Any], *, hold: bool = False) -> None:
        """Write run.json: what is needed to know, later, what this run was.

        Args:
            values: What it holds besides the format.
            hold: Keep the lock of `create`, for `locked` to take over: else it ends here.

        """
        text = json.dumps({"format": FORMAT, **values}, indent=2, ensure_ascii=False)
        files.write_atomic(self.provenance_file, text + "\n")
        if self._claim and not hold:
            self._claim.release()
            self._claim = None

    def provenance(self) -> dict[str, Any]:
        """What run.json holds.

        Raises:
            RunError: it is unreadable, or of a later format.

        """
        try:
            values: dict[str, Any] = json.loads(read_text(self.provenance_file))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise RunError(f"{self.provenance_file}: {reason}") from None
        if not isinstance(values, dict) or type(values.get("format")) is not int:
            raise RunError(f"{self.provenance_file} was not written by ftk.")
        if values["format"] > FORMAT:
            raise RunError(
                f"{self.path} was written by a later version of ftk.", hint="pip install -U llm-finetune-kit"
            )
        return values

    def events(self) -> Iterator[Event]:
        """The journal from its beginning, with all that was interrupted; what is no event is left out."""
        return (event for _, event in journal.forwards(self.journal_file))

    def history(self) -> Iterator[Event]:
        """The journal as one uninterrupted course: what was computed again after a resumption is told once.

        For charts, and for whoever follows a run: at most one ending, and that comes last. A `Started` with
        `resumed_from` marks every resumption. See `journal.course`.
        """
        return journal.course(self.journal_file)


class Journal:
    """Appends events to a run's journal; each is a whole line on disk before the next one is taken.

    May be called from several threads. Nothing that was written is ever changed, and no secret is written.
    """

    def __init__(self, run: RunFolder) -> None:
        self._file = run.journal_file.open("ab", buffering=0)
        self._lock = threading.RLock()
        self._offset = self._file.seek(0, os.SEEK_END)
        self._torn = not _ends_with_break(run.journal_file)  # a killed process left half a line: keep it apart

    @property
    def offset(self) -> int:
        """Bytes in the journal so far; where the next event will stand."""
        return self._offset

    def __call__(self, event: Event) -> None:
        """Append one event; an ending and a checkpoint are synced to disk.

        Raises:
            OSError: the disk is full or broken. The event is lost, the next ones are not.

        """
        line = redact(event.to_json()).encode() + b"\n"
        with self._lock:
            self._write(b"\n" + line if self._torn else line)
            if isinstance(event, (*events.ENDINGS, events.CheckpointSaved)):
                files.sync_open(self._file.fileno())

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._torn = True  # until all of it is written; a full disk takes a part
            written = self._file.write(left) or 0
            self._offset += written
            left = left[written:]
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        self._file.close()


_ENDED: dict[type[Event], State] = {
    events.Finished: "finished",
    events.Stopped: "stopped",
    events.Failed: "failed",
}


def _ends_with_break(path: Path) -> bool:
    with path.open("rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _names(parent: Path) -> tuple[str, ...]:
    """What lies in the folder of the runs and does not hide."""
    try:
        return tuple(path.name for path in parent.iterdir() if not path.name.startswith("."))
    except OSError:
        return ()


def _checked(name: str) -> str:
    try:
        return check_run_name(name)
    except ValueError as error:
        raise UsageError(f"{name!r} cannot name a run: {error}.") from None


def _default_name(model: str, attempt: int) -> str:
    short = re.sub(r"[^A-Za-z0-9.-]+", "-", Path(model).stem if model.endswith(".gguf") else Path(model).name)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    suffix = f"-{attempt + 1}" if attempt else ""
    return f"{short.strip('.-')[:32] or 'run'}-{stamp}{suffix}"
