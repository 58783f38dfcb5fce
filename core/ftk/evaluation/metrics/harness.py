"""Tasks of EleutherAI's lm-evaluation-harness (the extra `harness`) on a model in memory."""

from __future__ import annotations

import fnmatch
import importlib
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelError, UsageError, did_you_mean
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
        UsageError: the extra is not installed, or has no such task.

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
        self._check_names()

    def _check_names(self) -> None:
        """Refuse what is no task, before any model is loaded."""
        known = [str(name) for name in getattr(self._manager, "all_tasks", ())]
        for task in self._tasks:
            if known and task not in known and not Path(task).is_file() and not fnmatch.filter(known, task):
                raise UsageError(
                    f"lm-evaluation-harness has no task {task!r}, and it is no file.{did_you_mean(task, known)}",
                    hint="`lm-eval ls tasks` lists the tasks.",
                )

    def run(self, model: Any, tokenizer: Any, batch_size: int) -> list[TaskScore]:
        """The scores of a model.

        Raises:
            ModelError: the harness cannot run a task.

        """
        try:
            with _silenced():
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


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep the harness's bars, its remarks and git's words on the working folder off the terminal."""
    logger = logging.getLogger("lm_eval")
    level, before = logger.level, list[tuple[Any, str, Any]]()
    logger.setLevel(logging.ERROR)
    for module in [module for name, module in sys.modules.items() if name.startswith("lm_eval.")]:
        for name, quiet in (("tqdm", _quiet_bar), ("get_git_commit_hash", lambda: None)):
            if callable(loud := vars(module).get(name)):
                before.append((module, name, loud))
                setattr(module, name, quiet)
    try:
        yield
    finally:
        logger.setLevel(level)
        for module, name, loud in before:
            setattr(module, name, loud)


def _quiet_bar(*arguments: Any, **options: Any) -> Any:
    from tqdm import tqdm

    return tqdm(*arguments, **{**options, "disable": True})


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
