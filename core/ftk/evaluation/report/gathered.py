"""What a report tells, gathered from the folder of a run; whatever is missing or damaged there is left out and said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ... import recipes, run_list
from ...config import RunConfig, field_names
from ...errors import FtkError, RunError
from ...events import Answered, Evaluation, Event, Finished, Step, Warned
from ...plain_files import read_text
from ...run_list import RunSummary
from ...runs import RunFolder
from .. import record
from ..results import Evaluated, Example

_LARGEST = 64 << 20


@dataclass
class Course:
    """The losses of a run by step."""

    train: list[tuple[int, float]] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """A setting that is not the default, and why ftk chose it where it did."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Facts:
    """Everything a report tells.

    Args:
        run: The run.
        summary: How far it came.
        about: What its `run.json` holds.
        settings: Those that differ from the defaults.
        course: Its losses.
        evaluated: Rows and tokens of its evaluations in training.
        last: Its last step.
        finished: How it ended, where it was finished.
        warnings: What was warned of, each once.
        evaluation: Its newest evaluation.
        examples: Prompts with the answers of base and tuned model.
        examples_from: Where they are from, in words.
        problems: What could not be read.

    """

    run: RunFolder
    summary: RunSummary
    about: Mapping[str, Any]
    settings: tuple[Setting, ...]
    course: Course
    evaluated: Evaluation | None
    last: Step | None
    finished: Finished | None
    warnings: tuple[str, ...]
    evaluation: Evaluated | None
    examples: tuple[Example, ...]
    examples_from: str
    problems: tuple[str, ...] = ()

    def part(self, key: str) -> Mapping[str, Any]:
        """A part of `about`; empty where it is missing or something else."""
        found = self.about.get(key)
        return found if isinstance(found, Mapping) else {}


def gather(run: RunFolder, most_examples: int = 8) -> Facts:
    """Gather what there is.

    Args:
        run: The run.
        most_examples: Examples at most.

    Raises:
        RunError: its `run.json` cannot be read: then it is no run.

    """
    about = run.provenance()
    heard = _Heard()
    for event in run.history():
        heard.take(event)
    evaluation, problems = record.newest(run)
    settings, wrong = _settings(run, about)
    examples, source, unread = _examples(run, evaluation, heard.answers)
    return Facts(
        run=run,
        summary=run_list.summary(run),
        about=about,
        settings=settings,
        course=heard.course,
        evaluated=heard.evaluated,
        last=heard.last,
        finished=heard.finished,
        warnings=tuple(dict.fromkeys(heard.warnings)),
        evaluation=evaluation,
        examples=tuple(islice(examples, most_examples)),
        examples_from=source,
        problems=(*problems, *wrong, *unread),
    )


@dataclass
class _Heard:
    """What the journal tells."""

    course: Course = field(default_factory=Course)
    evaluated: Evaluation | None = None
    last: Step | None = None
    finished: Finished | None = None
    warnings: list[str] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)

    def take(self, event: Event) -> None:
        if isinstance(event, Step):
            self.last = event
            if isinstance(event.loss, int | float):  # a loss that was not finite is null in the journal
                self.course.train.append((event.step, event.loss))
        elif isinstance(event, Evaluation):
            self.evaluated = event
            if isinstance(event.loss, int | float):
                self.course.held_out.append((event.step, event.loss))
        elif isinstance(event, Warned):
            self.warnings.append(f"{event.message} {event.hint}".strip())
        elif isinstance(event, Answered):
            self.answers.append(event)
        elif isinstance(event, Finished):
            self.finished = event


def _settings(run: RunFolder, about: Mapping[str, Any]) -> tuple[tuple[Setting, ...], list[str]]:
    try:
        config = recipes.load(str(run.config_file)).config
    except (FtkError, OSError, ValueError) as error:
        return (), [error.message if isinstance(error, FtkError) else str(error)]
    told = about.get("reasons")
    reasons = told if isinstance(told, Mapping) else {}
    changed = [key for key in field_names() if getattr(config, key) != RunConfig.model_fields[key].default]
    return tuple(Setting(key, getattr(config, key), str(reasons.get(key, ""))) for key in changed), []


def _examples(
    run: RunFolder, evaluation: Evaluated | None, answers: list[Answered]
) -> tuple[list[Example], str, list[str]]:
    """The best examples that there are: of the evaluation, of a comparison, or of the end of the training."""
    if evaluation and evaluation.examples:
        return list(evaluation.examples), "held-out rows of the evaluation", []
    found, unread = _compared(run)
    if found:
        return found, "the newest comparison", unread
    shown = [Example(one.prompt, "", one.base, one.tuned, "") for one in answers]
    return shown, "prompts that were asked at the end of the training" if shown else "", unread


def _compared(run: RunFolder) -> tuple[list[Example], list[str]]:
    """The newest comparison of the base with the run's result."""
    unread = []
    for path in sorted((run.path / "comparisons").glob("*.jsonl"), reverse=True):
        try:
            found = _of_comparison(read_text(path, _LARGEST), run.name)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            unread.append(f"{path.name} could not be read: {type(error).__name__}.")
            continue
        if found:
            return found, unread
    return [], unread


def _of_comparison(text: str, name: str) -> list[Example]:
    """The answers of base and tuned model in a comparison; none where it was one of other models."""
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    about = next(line for line in lines if line["kind"] == "comparison") if lines else {"models": []}
    base = next((model["label"] for model in about["models"] if model["kind"] == "base"), None)
    tuned = next(
        (model["label"] for model in about["models"] if model["run"] == name and model["kind"] != "base"), None
    )
    if tuned is None:
        return []
    return [
        Example(
            str(line["prompt"]),
            str(line.get("reference") or ""),
            str(line["answers"][base]["text"]) if base in line["answers"] else None,
            str(line["answers"][tuned]["text"]),
            "",
            str(line.get("origin") or ""),
        )
        for line in lines
        if line["kind"] == "answers"
    ]


def newest_with_result() -> RunFolder:
    """The run that was heard of last and has a result.

    Raises:
        RunError: there is none.

    """
    for summary in run_list.all_runs():
        run = RunFolder(summary.path)
        if summary.state != "damaged" and run.trained.is_dir():
            return run
    raise RunError("No run here has a result yet.", hint="`ftk runs` lists the runs; `ftk --preset smollm2` makes one.")
