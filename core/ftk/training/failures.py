"""Unexpected errors of a run, in words."""

from __future__ import annotations

import traceback
from pathlib import Path

from ..errors import FtkError, TrainingError


class HalfUpdateError(TrainingError):
    """An update was done for some weights only: what is in memory must not be saved."""


def explain(error: Exception) -> FtkError:
    """Say what an unexpected error means; for a full memory, what to do about it."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return TrainingError(
            f"The memory is full: {text}",
            hint="Lower --batch-size (and raise --gradient-accumulation), lower --max-length, or use "
            "--quantization nf4 or --gradient-checkpointing true.",
        )
    if isinstance(error, OSError) and error.filename:
        return TrainingError(
            f"{error.filename}: {error.strerror or text}.", hint="Is the disk full, or the folder read-only?"
        )
    last = traceback.extract_tb(error.__traceback__)[-1]
    return TrainingError(
        f"{type(error).__name__}: {text} ({Path(last.filename).name}, line {last.lineno})",
        hint="Run again with --debug to see the whole traceback.",
    )
