"""Tasks of EleutherAI's lm-evaluation-harness (the extra `harness`) on a model in memory."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ModelError, UsageError
from ..results import Better


@dataclass(frozen=True)
class TaskScore:
    """A metric of a task.

    Args:
        key: Task and metric, such as ``arc_easy acc``.
        value: What the harness reports.
        better: Which values are better.
        values: The value of every question, where the metric is their mean; else empty.

    """

    key: str
    value: float
    better: Better
    values: tuple[float, ...] = ()


class Harness:
    """Some tasks, found once and run on several models.

    Args:
        tasks: Names of tasks or groups, or YAML files of one's own (which may name code to run).
        limit: Questions of a task at most; None for all.

    Raises:
        UsageError: the extra is not installed.

    """

    def __init__(self, tasks: Sequence[str], limit: int | None = None) -> None:
        try:
            evaluator = importlib.import_module("lm_eval")
            wrapper = importlib.import_module("lm_eval.models.huggingface")
            tasks_module = importlib.import_module("lm_eval.tasks")
        except ImportError as error:
            raise UsageError(
                f"--tasks needs lm-evaluation-harness, which is not installed ({error.name or error}).",
                hint="pip install 'llm-finetune-kit[harness]'",
            ) from error
        self._evaluate, self._wrap = evaluator.simple_evaluate, wrapper.HFLM
        self._tasks, self._limit = list(tasks), limit
        self._manager = tasks_module.TaskManager()

    def run(self, model: Any, tokenizer: Any, batch_size: int) -> list[TaskScore]:
        """The scores of a model.

        Raises:
            ModelError: the harness cannot run a task.

        """
        try:
            found = self._evaluate(
                model=self._wrap(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
                tasks=self._tasks,
                task_manager=self._manager,
                limit=self._limit,
                bootstrap_iters=0,
                log_samples=True,
            )
        except Exception as error:  # whatever a task, a data set or the Hub may raise
            raise ModelError(
                f"lm-evaluation-harness could not run {', '.join(self._tasks)}: {' '.join(str(error).split())[:300]}",
                hint="`lm-eval ls tasks` lists the tasks; most fetch their questions from the Hub.",
            ) from error
        return scores_of(found)


def scores_of(found: Mapping[str, Any]) -> list[TaskScore]:
    """The scores in what the harness returns."""
    made = []
    for task, metrics in found["results"].items():
        higher = (found.get("higher_is_better") or {}).get(task) or {}
        for column, value in metrics.items():
            name, comma, kind = column.partition(",")
            if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            key = f"{task} {name}" if kind == "none" else f"{task} {name} ({kind})"
            samples = (found.get("samples") or {}).get(task) or []
            values = _values([sample for sample in samples if sample.get("filter", kind) == kind], name, float(value))
            made.append(TaskScore(key, float(value), "lower" if higher.get(name) is False else "higher", values))
    return made


def _values(samples: Sequence[Mapping[str, Any]], name: str, reported: float) -> tuple[float, ...]:
    """The value of every question if the metric is their mean; else nothing."""
    found = [sample.get(name) for sample in sorted(samples, key=lambda sample: int(sample.get("doc_id", 0)))]
    if not found or not all(isinstance(value, int | float) for value in found):
        return ()
    values = tuple(float(value) for value in found if value is not None)
    return values if math.isclose(sum(values) / len(values), reported, rel_tol=1e-6, abs_tol=1e-9) else ()
