"""Write checkpoints beside the training: the disk works while the next steps are computed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import CheckpointSaved, Event, Warned
from . import checkpoint
from .checkpoint import Saved, Snapshot
from .control import Control

if TYPE_CHECKING:
    from .loop import TrainingLoop

_COPIED_UP_TO = 512 << 20
"""Bytes up to which a snapshot is copied and written in the background; a larger one would cost too much memory."""


class Saver:
    """Writes the checkpoints of a run, one at a time.

    A checkpoint that cannot be written is a warning: training on is worth more than stopping, and the older ones stay.

    Args:
        folder: The run's folder of checkpoints; None saves nothing (a process that only helps another).
        tokenizer: Saved with each.
        keep: Newest checkpoints to keep.
        emit: Takes the events; called in the thread that calls `save`, `poll` or `finish`.
        control: Is told how long saving takes, so that a stop for lack of time comes early enough.
        damaged: Checkpoints that the run could not go on from. They stay until there is a new one, and then go: as
            newer ones they would count among those to keep.

    """

    def __init__(
        self,
        folder: Path | None,
        tokenizer: Any,
        keep: int,
        emit: Callable[[Event], None],
        control: Control,
        damaged: Sequence[Path] = (),
    ) -> None:
        self._folder, self._tokenizer, self._keep, self._emit = folder, tokenizer, keep, emit
        self._control, self._damaged = control, list(damaged)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ftk-save")
        self._pending: tuple[int, Future[Saved]] | None = None
        self.last: Path | None = None
        self.seconds = 0.0

    def save(self, snapshot: Snapshot) -> None:
        """Begin to write a snapshot; waits for the one before it, and for one that is too large to be copied."""
        if self._folder is None:
            return
        self.finish()
        small, taken = snapshot.bytes <= _COPIED_UP_TO, snapshot
        if small:
            try:
                taken = snapshot.copied()
            except (MemoryError, RuntimeError):  # no room for a copy: the training waits, as for a large one
                small = False
        self._pending = (snapshot.progress.step, self._pool.submit(self._write, self._folder, taken))
        if not small:
            self.finish()

    def _write(self, folder: Path, snapshot: Snapshot) -> Saved:
        saved = checkpoint.write(folder, self._tokenizer, snapshot)
        while self._damaged:
            if (path := self._damaged.pop()) != saved.path:  # else the new one stands in its place
                shutil.rmtree(path, ignore_errors=True)
        checkpoint.rotate(folder, self._keep)
        return saved

    def poll(self) -> None:
        """Tell of a checkpoint that has come to be."""
        if self._pending and self._pending[1].done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if there is one, and tell of it."""
        if not self._pending:
            return
        (step, future), self._pending = self._pending, None
        try:
            saved = future.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, training on loses less than ending here
            of_disk = isinstance(error, OSError)
            reason = (error.strerror if isinstance(error, OSError) else "") or " ".join(str(error).split())[:200]
            message = f"The checkpoint of step {step} could not be written: {reason or type(error).__name__}."
            hint = f"Training goes on{'; free some room on the disk' if of_disk else ''}."
            self._emit(Warned(code="checkpoint", message=message, hint=hint))
            return
        self.last, self.seconds = saved.path, saved.seconds
        self._control.saving_s = max(self._control.saving_s, saved.seconds)
        self._emit(CheckpointSaved(step=step, path=str(saved.path), bytes=saved.bytes, seconds=round(saved.seconds, 3)))

    def save_last(self, loop: TrainingLoop | None) -> None:
        """Save where a run is left, unless it made no update or nothing is to be saved (None); then end."""
        if loop and loop.progress.step:
            self.save(loop.snapshot())
        self.close()

    def close(self) -> None:
        """Wait for what is being written, and end the thread."""
        self.finish()
        self._pool.shutdown(wait=True)
