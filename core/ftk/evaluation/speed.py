"""How fast a model answers, and what memory that takes: base, adapter, merged."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from .. import hardware
from ..errors import UsageError
from ..models.sources import Progress
from ..training.recovery import give_back_memory
from .generate import Generation, Sampling, conversation, evaluating
from .in_memory import InMemory, load
from .subjects import Subject, groups

PROMPT = "Explain in a few sentences how tides work."
BATCHES = (1, 4, 16)
_LOOK_S = 0.02
"""Seconds between two looks at the memory of the process."""


@dataclass(frozen=True)
class Spread:
    """A quantity that was measured several times: the middle value, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of some values, to five digits."""
        return cls(*(float(f"{value:.5g}") for value in (statistics.median(values), min(values), max(values))))


@dataclass(frozen=True)
class Speed:
    """How fast a model is.

    Args:
        model: What it is called.
        first_token_s: Seconds from the question to the first token, one prompt.
        tokens_per_s: Tokens a second of all answers together, the reading of the prompt included, by batch size.
        peak_memory_bytes: The most memory in use while the largest batch was answered, the model included: of the
            GPU, or of the process where there is none.
        tokens: How many tokens each answer had.
        repeats: How often each was measured, after a warm-up.

    """

    model: str
    first_token_s: Spread
    tokens_per_s: dict[int, Spread]
    peak_memory_bytes: int
    tokens: int
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def measure(
    model: Any,
    tokenizer: Any,
    *,
    name: str = "model",
    prompt: str = PROMPT,
    max_tokens: int = 64,
    batch_sizes: Sequence[int] = BATCHES,
    repeats: int = 3,
) -> Speed:
    """Measure how fast a model answers; every answer is written to its full length, whatever the model says.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer.
        name: What it is called.
        prompt: What it is asked.
        max_tokens: Tokens of each answer.
        batch_sizes: Numbers of equal prompts answered at once.
        repeats: How often each is measured.

    Raises:
        UsageError: a number is below 1, or there is no batch size.

    """
    if min([max_tokens, repeats, *batch_sizes]) < 1 or not batch_sizes:
        raise UsageError("Tokens, repeats and batch sizes must be 1 or more, and there must be a batch size.")

    def answered(batch: int, tokens: int) -> None:
        question = conversation(prompt)
        work = Generation(model, tokenizer, [question] * batch, Sampling(tokens), batch_size=batch, endless=True)
        work.refuse_long()
        work.run()

    device = model.get_input_embeddings().weight.device
    with evaluating(model):
        with _peak(device) as peak:
            answered(max(batch_sizes), max_tokens)  # the first call pays for set-up as well
        first = [_seconds(partial(answered, 1, 1), device) for _ in range(repeats + 1)][1:]
        rates = {}
        for size in batch_sizes:
            taken = [_seconds(partial(answered, size, max_tokens), device) for _ in range(repeats)]
            rates[size] = Spread.of([size * max_tokens / seconds for seconds in taken])
    return Speed(name, Spread.of(first), rates, peak(), max_tokens, repeats)


def benchmark_speed(
    model: Any,
    tokenizer: Any,
    prompt: str = PROMPT,
    *,
    max_tokens: int = 64,
    batch_sizes: Sequence[int] = BATCHES,
    repeats: int = 3,
) -> dict[str, Any]:
    """How fast a model answers.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer.
        prompt: What it is asked.
        max_tokens: Tokens of each answer; all are written to that length.
        batch_sizes: Numbers of equal prompts answered at once.
        repeats: How often each is measured, after a warm-up.

    Returns:
        ``first_token_s`` (seconds to the first token, one prompt, warm) and ``tokens_per_s`` by batch size, medians;
        the same as ``first_token_range`` and ``tokens_per_s_range`` with lowest and highest; ``peak_memory_bytes``.

    """
    found = measure(model, tokenizer, prompt=prompt, max_tokens=max_tokens, batch_sizes=batch_sizes, repeats=repeats)
    return {
        "first_token_s": found.first_token_s.median,
        "first_token_range": (found.first_token_s.low, found.first_token_s.high),
        "tokens_per_s": {size: rate.median for size, rate in found.tokens_per_s.items()},
        "tokens_per_s_range": {size: (rate.low, rate.high) for size, rate in found.tokens_per_s.items()},
        "peak_memory_bytes": found.peak_memory_bytes,
    }


def measure_run(
    subjects: Sequence[Subject],
    *,
    merged: bool = True,
    device: str | None = None,
    progress: Progress,
    loaded: Callable[[InMemory], None] = lambda found: None,
    **settings: Any,
) -> Iterator[Speed]:
    """Measure the models of a run, and each adapter merged into its base as well; nothing is written.

    Args:
        subjects: The models, from `subjects.find`.
        merged: Also merge every adapter into the base, in memory, and measure that.
        device: Another device than the run had.
        progress: Told what goes on.
        loaded: Called with what was loaded.
        settings: Those of `measure`.

    Raises:
        ModelError: a model cannot be loaded.

    """
    for group in groups(subjects):
        found = load(group, device=device, progress=progress)
        loaded(found)
        for label in found.labels:
            progress("measure", label, None, None)
            with found.using(label) as model:
                yield measure(model, found.tokenizer(label), name=label, **settings)
        del found, model
        give_back_memory()
        for subject in group if merged else ():
            if subject.folder and not subject.whole:  # merging changes the base: every adapter gets a fresh one
                found = load([subject], device=device, progress=progress)
                progress("merge", subject.label, None, None)
                whole = found.model.merge_and_unload()
                yield measure(whole, found.tokenizer(subject.label), name=f"{subject.label}, merged", **settings)
                del found, whole
                give_back_memory()


def _seconds(action: Callable[[], None], device: torch.device) -> float:
    _finish(device)
    begin = time.monotonic()
    action()
    _finish(device)
    return time.monotonic() - begin


def _finish(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _peak(device: torch.device) -> Iterator[Callable[[], int]]:
    """A block whose peak of memory in bytes is known afterwards: the GPU's, or the process's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield lambda: int(torch.cuda.max_memory_allocated(device))
        return
    seen, over = [hardware.process_memory()], threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            seen.append(max(seen.pop(), hardware.process_memory()))

    thread = threading.Thread(target=look, name="ftk-memory", daemon=True)
    thread.start()
    try:
        yield lambda: seen[0]
    finally:
        over.set()
        thread.join()
