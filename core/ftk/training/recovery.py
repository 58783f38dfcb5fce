"""What to do when the memory is full in the middle of a step."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch

from ..config import RunConfig
from ..data.batches import micro_batches
from ..errors import TrainingError
from .failures import HalfUpdateError

_WORDS = (
    "out of memory",  # CUDA, HIP, XPU, MPS and Triton
    "can't allocate memory",  # torch's CPU allocator
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "std::bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory, in any of the ways in which libraries say so."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def give_back_memory() -> None:
    """Return what is cached; to be called outside of the `except`, whose traceback still holds the tensors."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def smaller(lengths: Sequence[int], budget: int, config: RunConfig, *, padded: bool = True) -> int:
    """A smaller budget of tokens for micro-batches that did not fit.

    Args:
        lengths: Tokens of the rows to compute, longest first.
        budget: Tokens that a micro-batch may hold until now.
        config: The settings, to say what else would help.
        padded: Whether rows take the room of the longest one beside them.

    Raises:
        TrainingError: every micro-batch is a single row already; says what to change, which ftk does not do unasked.

    """
    portions = micro_batches(range(len(lengths)), lengths, budget, padded=padded)
    if max(map(len, portions), default=1) > 1:
        return max(1, budget // 2)
    longest = max(lengths, default=0)
    measures = []
    if config.gradient_checkpointing is not True:
        measures.append("--gradient-checkpointing true (about 30 % slower)")
    if config.quantization == "none":
        measures.append("--quantization nf4")
    measures.append(f"--max-length {max(8, longest // 2)} (longer rows are cut)")
    raise TrainingError(
        f"The memory does not hold a single row of {longest} tokens.",
        hint="What was learnt is saved. Ways out, the gentlest first: " + "; ".join(measures) + ".",
    )


def no_room_to_update(step: int, message: str, config: RunConfig, *, half: bool) -> TrainingError:
    """The error of an update that finds no memory.

    Args:
        step: The step that it belongs to.
        message: What the library said.
        config: The settings, to say what would help.
        half: Whether it was done for some weights already, so that only the last checkpoint is sound.

    """
    kept = f"What was learnt up to step {step - 1} is saved."
    if half:
        kept = "Some weights were updated and some not, so the last checkpoint is what is kept."
    measures = []
    if config.gradient_checkpointing is not True:
        measures.append("--gradient-checkpointing true (about 30 % slower)")
    if config.batch_size != 1:
        measures.append("a smaller --batch-size and as much more --gradient-accumulation")
    measures.append("in a new run --optimizer paged-adamw-8bit, a lower --lora-rank or --quantization nf4")
    text = f"The update of step {step} did not fit the memory: {message}"
    kind = HalfUpdateError if half else TrainingError
    return kind(text, hint=f"{kept} Ways out: {'; '.join(measures)}.")
