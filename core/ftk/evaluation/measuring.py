"""Everything that is measured of one model, so that the other one is measured in the same way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..data.rows import Row, with_system
from ..errors import DataError
from .generate import Answer, Generation, Prompt, context_of, token_rows
from .losses import Measurable, RowLoss, row_losses
from .metrics.harness import Harness, TaskScore
from .sampling import Sampling

Progress = Callable[[str, str, float | None, float | None], None]
"""Called with phase, detail, how much is done and how much there is in all (None where unknown)."""

_LONGEST_ANSWER = 1024


@dataclass(frozen=True)
class Task:
    """What is measured, of each model the same.

    Args:
        held_out: Rows whose loss is measured.
        train: As many rows that were trained on.
        neutral: Texts that have nothing to do with the data.
        prompts: What is asked, with references.
        sampling: How answers are chosen.
        harness: Tasks of lm-evaluation-harness.
        context: Tokens to read at once for a loss; None for what the model can.
        batch_size: Rows of the longest kind at once, for losses.

    """

    held_out: Measurable
    train: Measurable | None = None
    neutral: Measurable | None = None
    prompts: tuple[Prompt, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    harness: Harness | None = None
    context: int | None = None
    batch_size: int = 4


@dataclass(frozen=True)
class Side:
    """What was measured of one model; each list is in the order of the task's."""

    held_out: list[RowLoss]
    train: list[RowLoss]
    neutral: list[RowLoss]
    answers: list[Answer]
    tasks: list[TaskScore]


def side(model: Any, tokenizer: Any, task: Task, name: str, progress: Progress) -> Side:
    """Measure one model.

    Args:
        model: The model.
        tokenizer: Its tokenizer, with a chat template.
        task: What to measure.
        name: Which one it is, for the progress: ``base`` or ``tuned``.
        progress: Told how far it is; may raise to cancel.

    """

    def losses(rows: Measurable | None, what: str) -> list[RowLoss]:
        if rows is None or not rows.rows:
            return []
        return row_losses(
            model,
            tokenizer.pad_token_id,
            rows,
            context=task.context,
            batch_size=task.batch_size,
            tell=lambda done, total: progress("loss", f"{what}, {name}", done, total),
        )

    held_out = losses(task.held_out, "held-out rows")
    train, neutral = losses(task.train, "training rows"), losses(task.neutral, "neutral text")
    answers = _answers(model, tokenizer, task, lambda done, total: progress("answer", name, done, total))
    tasks: list[TaskScore] = []
    if task.harness:
        progress("tasks", name, None, None)
        tasks = task.harness.run(model, tokenizer, task.batch_size)
    return Side(held_out, train, neutral, answers, tasks)


def _answers(model: Any, tokenizer: Any, task: Task, tell: Callable[[int, int], None]) -> list[Answer]:
    """The answers to all prompts, told by tokens written, of those that there may be."""
    if not task.prompts:
        return []
    work = Generation(model, tokenizer, task.prompts, task.sampling)
    most = len(task.prompts) * task.sampling.max_tokens
    told = 0

    def going_on() -> bool:
        nonlocal told
        if work.written >= told:
            told = work.written + len(task.prompts)
            tell(work.written, most)
        return False

    return work.run(going_on)


def prompts_of(rows: Sequence[Row], system: str | None) -> list[tuple[int, Prompt]]:
    """What to ask of some rows, with the place of each; rows that have no answer in words are left out."""
    found = []
    for place, row in enumerate(rows):
        turns = with_system(row, system).messages
        answered = bool(turns) and turns[-1]["role"] == "assistant" and any(turn["role"] == "user" for turn in turns)
        if row.text is None and answered and row.response.strip():
            found.append((place, Prompt(tuple(turns[:-1]), None, row.tools, row.response, row.origin)))
    return found


def readable(prompts: Sequence[tuple[int, Prompt]], model: Any, tokenizer: Any) -> list[tuple[int, Prompt]]:
    """Those of some prompts that the chat template takes and the model can read."""
    room = context_of(model)
    kept = []
    for place, prompt in prompts:
        try:
            (tokens,) = token_rows(tokenizer, [prompt])
        except DataError:
            continue
        if room is None or len(tokens) < room:
            kept.append((place, prompt))
    return kept


def long_enough(sampling: Sampling, prompts: Sequence[Prompt], tokenizer: Any) -> Sampling:
    """The sampling with answers as long as the longest reference and a quarter more, at most 1024 tokens."""
    texts = [prompt.reference or "" for prompt in prompts]
    rows = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
    longest = max(map(len, rows), default=0)
    return replace(sampling, max_tokens=min(_LONGEST_ANSWER, longest + longest // 4 + 16))
