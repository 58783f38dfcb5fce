"""The run folder: its layout, its journal, its lock. The only module that knows these paths.

runs/NAME/
  run.json        format version, versions of the packages, hardware, data hash, seed
  config.yaml     the resolved settings, a preset that can be used again
  events.jsonl    the journal: one event a line, appended and flushed as it happens
  checkpoints/    step-000050/ ...: adapter, optimiser state, random states, manifest
  adapter/        the result, as PEFT and its users expect it, with tokenizer and chat template
  lock            process number and host of the process that writes, while it does
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from . import events, files
from .config import check_run_name
from .errors import RunError, UsageError
from .events import Event

FORMAT = 1


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
        self._lock_file = path / "lock"

    @property
    def trained(self) -> Path:
        """What was trained: the adapter's folder, or the model's where all of it was."""
        return self.model if self.model.is_dir() else self.adapter

    @classmethod
    def create(cls, name: str | None, model: str, parent: Path | None = None) -> RunFolder:
        """Make the folder of a new run.

        Args:
            name: The run's name, or None to make one of the model, the date and the time.
            model: The model's name, used where `name` is None.
            parent: The folder of the runs; `files.runs_dir()` by default.

        Raises:
            UsageError: the name is not acceptable, or a run of that name exists.
            RunError: the folder cannot be made.

        """
        parent = parent or files.runs_dir()
        for attempt in range(100):
            path = parent / (_checked(name) if name else _default_name(model, attempt))
            try:
                path.mkdir(parents=True, mode=0o700)
            except FileExistsError:
                if name:
                    raise UsageError(
                        f"A run named {name!r} exists in {parent}; nothing was changed.",
                        hint="Choose another --name, or leave it out.",
                    ) from None
            except OSError as error:
                raise RunError(f"The run folder {path} cannot be made: {error.strerror or error}.") from None
            else:
                return cls(path)
        raise RunError(f"No free run name was found in {parent}.")

    @classmethod
    def open(cls, name: str, parent: Path | None = None) -> RunFolder:
        """An existing run by name, or by the path of its folder.

        Raises:
            RunError: there is none.

        """
        path = Path(name) if os.sep in name else (parent or files.runs_dir()) / _checked(name)
        if not (path / "run.json").is_file():
            raise RunError(f"There is no run in {path}.", hint="`ls runs` shows the names; $FTK_RUNS moves the folder.")
        return cls(path.absolute())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing.

        Raises:
            RunError: another living process holds it.

        """
        mine = f"{os.getpid()} {socket.gethostname()}"
        while True:
            try:
                fd = os.open(self._lock_file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                self._break_stale_lock()
                continue
            with os.fdopen(fd, "w") as file:
                file.write(mine)
            break
        try:
            yield
        finally:
            self._lock_file.unlink(missing_ok=True)

    def _break_stale_lock(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            pid, _, host = self._lock_file.read_text().partition(" ")
            if host != socket.gethostname() or (pid.isdigit() and _runs(int(pid))):
                raise RunError(
                    f"The run {self.name!r} is being written by process {pid} on {host}.",
                    hint=f"Wait for it or stop it. If it is gone for good, remove {self._lock_file}.",
                )
            self._lock_file.unlink(missing_ok=True)

    def write_provenance(self, values: dict[str, Any]) -> None:
        """Write run.json: what is needed to know, later, what this run was."""
        text = json.dumps({"format": FORMAT, **values}, indent=2, ensure_ascii=False)
        files.write_atomic(self.provenance_file, text + "\n")

    def provenance(self) -> dict[str, Any]:
        """What run.json holds.

        Raises:
            RunError: it is unreadable, or of a later format.

        """
        try:
            values: dict[str, Any] = json.loads(self.provenance_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.provenance_file}: {error}") from None
        if values.get("format", 0) > FORMAT:
            raise RunError(
                f"{self.path} was written by a later version of ftk.", hint="pip install -U llm-finetune-kit"
            )
        return values

    def events(self) -> Iterator[Event]:
        """The journal from its beginning; a torn last line of a killed process is left out."""
        with contextlib.suppress(FileNotFoundError), self.journal_file.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    with contextlib.suppress(ValueError):
                        yield events.from_json(line)


class Journal:
    """Appends events to a run's journal; each is a whole line on disk before the next one is taken."""

    def __init__(self, run: RunFolder) -> None:
        self._file = run.journal_file.open("ab", buffering=0)
        if self._file.tell() and not run.journal_file.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # a killed process left half a line: keep it apart from ours

    def __call__(self, event: Event) -> None:
        """Append one event; an ending is synced to disk."""
        self._file.write(event.to_json().encode() + b"\n")
        if isinstance(event, events.ENDINGS):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
