"""Evaluate a run: base and tuned model on the same held-out rows, with everything that is known of how sure it is."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import files, hardware
from .._version import __version__
from ..data.dataset import Dataset, load_dataset
from ..data.rows import Row, digest
from ..data.split import mixed
from ..errors import UsageError
from ..models.adapters import is_adapted
from ..models.fingerprint import fingerprint
from ..training import checkpoint
from . import in_memory, neutral, record, subjects
from .chosen import Chosen, marks, rows_of_run
from .generate import Prompt
from .in_memory import InMemory
from .losses import Measurable, measurable, need_tokens, plain
from .measuring import Progress, Side, Task, long_enough, prompts_of, readable, side
from .metrics import embedding
from .metrics import judge as judging
from .metrics.chat_client import ChatServer
from .metrics.confidence import Confidence
from .metrics.formats import Expectation
from .metrics.harness import Harness
from .metrics.judge import Judged
from .results import Evaluated, Example, Forgetting, plain_values
from .sampling import Sampling
from .scoring import answer_samples, loss_samples, measure, measures, overfitting, task_measures
from .subjects import Subject


@dataclass(frozen=True)
class Wanted:
    """What is measured, and how.

    Args:
        rows: Held-out rows at most; which ones is decided by their content.
        answers: Of these, how many are answered; 0 for none.
        sampling: How answers are chosen; greedy by default.
        fit_length: Let answers be as long as the longest reference and a quarter more, at most 1024 tokens, whatever
            `sampling` says.
        expected: The form that answers shall have.
        embedding: An embedding model for the semantic score: a folder, a hub id, or ``minilm``.
        judge: A model that judges the answers.
        tasks: Tasks of lm-evaluation-harness.
        task_limit: Questions of a task at most.
        confidence: How intervals are made.
        context: Tokens to read at once for a loss; None for what the model can, at most 4096.
        batch_size: Rows of the longest kind at once, for losses.
        device: Another device than the run had.
        model: Where the base model is now, if it moved.

    """

    rows: int = 1000
    answers: int = 50
    sampling: Sampling | None = None
    fit_length: bool = True
    expected: Expectation = field(default_factory=Expectation)
    embedding: str | None = None
    judge: ChatServer | None = None
    tasks: tuple[str, ...] = ()
    task_limit: int | None = None
    confidence: Confidence = field(default_factory=Confidence)
    context: int | None = None
    batch_size: int = 4
    device: str | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        if self.rows < 1 or self.answers < 0 or self.batch_size < 1:
            raise UsageError("rows and batch_size must be 1 or more, answers 0 or more.")


def evaluate_run(
    run: str | Path,
    wanted: Wanted | None = None,
    *,
    data: Any = None,
    dataset: Any = None,
    name: str | None = None,
    runs_dir: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Evaluated:
    """Measure base and tuned model of a run, and write what was found into its folder.

    Args:
        run: The run's name or folder; a checkpoint of it is ``RUN@50``.
        wanted: What to measure; everything that needs no other model by default.
        data: Rows to measure on instead of the run's held-out ones: whatever `load_dataset` takes. Rows that the run
            was trained on are left out.
        dataset: The rows of the run, where they were given as Python objects.
        name: What the evaluation is called; date and time by default.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.
        progress: Told how far it is; may raise to cancel.

    Raises:
        FtkError: there is no such run, its rows or models cannot be had, or what is wanted cannot be measured.

    """
    begin, wanted = time.monotonic(), wanted or Wanted()
    base, tuned = subjects.find([str(run)], model=wanted.model, runs_dir=runs_dir)
    name = record.free_name(tuned.run, name)
    given: Dataset | None = None if dataset is None else load_dataset(dataset)
    chosen = rows_of_run(tuned.config, tuned.run.provenance(), data=data, given=given, most=wanted.rows)
    harness = Harness(wanted.tasks, wanted.task_limit) if wanted.tasks else None
    if wanted.judge and wanted.answers:
        progress("judge", "is it there", None, None)
        judging.check(wanted.judge)
    encoder = embedding.find(wanted.embedding, progress) if wanted.embedding and wanted.answers else None
    work = _Work(wanted, chosen, harness, encoder, progress)
    work.measure(base, tuned)
    found = work.evaluated()
    about = work.about(base, tuned) | {"seconds": round(time.monotonic() - begin, 1)}
    found = replace(found, name=name, about=plain_values(about))
    record.write(tuned.run, found)
    return found


class _Work:
    """An evaluation on its way."""

    def __init__(
        self, wanted: Wanted, chosen: Chosen, harness: Harness | None, encoder: Path | None, progress: Progress
    ) -> None:
        self._wanted, self._chosen, self._harness = wanted, chosen, harness
        self._encoder, self._progress = encoder, progress
        self._notes = list(chosen.notes)
        self._answered: tuple[Row, ...] = ()
        self._models: dict[str, Any] = {}
        self._judged: Judged | None = None
        self._task: Task
        self._sides: dict[str, Side] = {}

    def measure(self, base: Subject, tuned: Subject) -> None:
        """Measure both, the tuned one first: its tokenizer has the chat template that both are asked with."""
        tokenizer: Any = None
        for group in subjects.groups([tuned, base]):
            memory = in_memory.load(group, device=self._wanted.device, progress=self._progress)
            self._notes += [remark for remark in memory.remarks if remark not in self._notes]
            if tokenizer is None:
                tokenizer = memory.tokenizer(tuned.label)
                with memory.using(tuned.label) as model:
                    self._task = self._made(model, tokenizer, tuned)
            for subject in group:
                which = "base" if subject.folder is None else "tuned"
                with memory.using(subject.label) as model:
                    self._sides[which] = side(model, tokenizer, self._task, which, self._progress)
                self._models[which] = _described(subject, memory)

    def _made(self, model: Any, tokenizer: Any, tuned: Subject) -> Task:
        """What is measured, in the tokens of the model."""
        config, wanted = tuned.config, self._wanted

        def encoded(rows: Sequence[Row]) -> Measurable:
            return measurable(rows, tokenizer, turns=config.train_on, system=config.system_prompt)

        held_out, train = encoded(self._chosen.held_out), encoded(self._chosen.train)
        need_tokens(held_out, self._chosen.name)
        if held_out.left_out:
            self._notes.append(f"{held_out.left_out} held-out rows have nothing to measure and were left out.")
        prompts = self._prompts(model, tokenizer, config.system_prompt) if wanted.answers else ()
        sampling = wanted.sampling or Sampling(seed=config.seed)
        return Task(
            held_out=held_out,
            train=train,
            neutral=plain(neutral.texts(), tokenizer),
            prompts=prompts,
            sampling=long_enough(sampling, prompts, tokenizer) if wanted.fit_length else sampling,
            harness=self._harness,
            context=wanted.context,
            batch_size=wanted.batch_size,
        )

    def _prompts(self, model: Any, tokenizer: Any, system: str | None) -> tuple[Prompt, ...]:
        """What is asked: of the rows that can be, as many as wanted, chosen by their content."""
        rows = self._chosen.held_out
        asked = prompts_of(rows, system)
        usable = readable(asked, model, tokenizer)
        if len(usable) < len(asked):
            self._notes.append(f"{len(asked) - len(usable)} prompts are too long for the model and were not asked.")
        if not usable:
            self._notes.append("No held-out row has a prompt and an answer in words, so that nothing was answered.")
        picked = sorted(usable, key=lambda one: _rank(rows[one[0]]))[: self._wanted.answers]
        picked.sort(key=lambda one: one[0])
        self._answered = tuple(rows[place] for place, _ in picked)
        return tuple(prompt for _, prompt in picked)

    def evaluated(self) -> Evaluated:
        """Score what was measured."""
        base, tuned, how = self._sides["base"], self._sides["tuned"], self._wanted.confidence
        found = measures(loss_samples(tuned.held_out), loss_samples(base.held_out), how)
        if self._task.prompts:
            found += self._of_answers(base, tuned)
        found += task_measures(tuned.tasks, base.tasks, how)
        tokens = sum(row.tokens for row in tuned.held_out)
        return Evaluated(
            rows=len(tuned.held_out),
            supervised_tokens=tokens,
            loss=sum(row.total for row in tuned.held_out) / tokens,
            measures=found,
            answered=len(self._task.prompts),
            overfitting=self._overfitting(base, tuned),
            forgetting=self._forgetting(base, tuned),
            examples=self._examples(base, tuned),
            notes=tuple(self._notes),
        )

    def _of_answers(self, base: Side, tuned: Side) -> Any:
        references = [prompt.reference or "" for prompt in self._task.prompts]
        alike = self._semantic(base, tuned, references)
        how, expected = self._wanted.confidence, self._wanted.expected
        samples = {
            which: answer_samples(of.answers, references, expected, alike.get(which))
            for which, of in (("base", base), ("tuned", tuned))
        }
        found = measures(samples["tuned"], samples["base"], how)
        if self._wanted.judge:
            self._judged = self._ask_judge(self._wanted.judge, base, tuned)
            theirs, mine = self._judged.samples
            found += (measure("judged", mine, theirs, how),)
        return found

    def _semantic(self, base: Side, tuned: Side, references: list[str]) -> dict[str, list[float]]:
        if self._encoder is None:
            return {}
        from .metrics.semantic import Embedder

        embedder = Embedder(self._encoder)
        said = [answer.text for of in (base, tuned) for answer in of.answers]
        values = embedder.similarities(
            said, [*references, *references], lambda done, total: self._progress("embed", "", done, total)
        )
        return {"base": values[: len(references)], "tuned": values[len(references) :]}

    def _ask_judge(self, server: ChatServer, base: Side, tuned: Side) -> Judged:
        pairs = [
            (_asked(prompt), prompt.reference or "", theirs.text, mine.text)
            for prompt, theirs, mine in zip(self._task.prompts, base.answers, tuned.answers, strict=True)
        ]
        judged = judging.judge(server, pairs, tell=lambda done, total: self._progress("judge", "", done, total))
        silent = judged.preferences.count("")
        if silent:
            reason = f" ({judged.failure})" if judged.failure else ""
            self._notes.append(f"The judge gave no verdict on {silent} of {len(pairs)} pairs{reason}.")
        return judged

    def _overfitting(self, base: Side, tuned: Side) -> Any:
        if not tuned.train:
            return None
        pairs = (base.held_out, tuned.held_out), (base.train, tuned.train)
        return overfitting(*pairs, self._wanted.confidence)

    def _forgetting(self, base: Side, tuned: Side) -> Forgetting:
        mine, theirs = loss_samples(tuned.neutral)["perplexity"], loss_samples(base.neutral)["perplexity"]
        return Forgetting(measure("perplexity", mine, theirs, self._wanted.confidence))

    def _examples(self, base: Side, tuned: Side) -> tuple[Example, ...]:
        said = self._judged.preferences if self._judged else ("",) * len(self._answered)
        return tuple(
            Example(prompt.asked, prompt.reference or "", theirs.text, mine.text, mark, prompt.origin, judged)
            for prompt, theirs, mine, mark, judged in zip(
                self._task.prompts, base.answers, tuned.answers, marks(self._answered), said, strict=True
            )
        )

    def about(self, base: Subject, tuned: Subject) -> dict[str, Any]:
        """How it came about: enough to repeat it, and to see whether two evaluations can be compared."""
        wanted, chosen = self._wanted, self._chosen
        return {
            "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "ftk": __version__,
            "python": platform.python_version(),
            "packages": _versions(),
            "hardware": hardware.detect().to_dict(),
            "run": {"name": tuned.run.name, "model": tuned.label},
            "models": self._models,
            "data": {"name": chosen.name, "sha256": chosen.sha256, "held_out_rows": chosen.available},
            "rows": {
                "held_out": [marks(chosen.held_out)[place] for place in self._task.held_out.kept],
                "train": marks(chosen.train),
                "answered": marks(self._answered),
            },
            "settings": {
                "sampling": asdict(self._task.sampling),
                "expected": asdict(wanted.expected),
                "confidence": asdict(wanted.confidence),
                "context": wanted.context,
                "batch_size": wanted.batch_size,
                "system_prompt": tuned.config.system_prompt,
                "template": tuned.config.template,
                "train_on": tuned.config.train_on,
                "embedding": wanted.embedding,
                "judge": {"url": wanted.judge.url, "model": wanted.judge.model} if wanted.judge else None,
                "tasks": list(wanted.tasks),
                "task_limit": wanted.task_limit,
            },
        }


def _asked(prompt: Prompt) -> str:
    """A conversation as a judge reads it."""
    if len(prompt.messages) < 2:
        return prompt.asked
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt.messages)


def _rank(row: Row) -> int:
    """A place for each row that follows from its content alone."""
    import numpy as np

    return int(mixed(np.asarray([digest(row.payload())], np.uint64), 2)[0])


def _described(subject: Subject, memory: InMemory) -> dict[str, Any]:
    """What a model is: its name, how it was held in memory, and marks of its weights."""
    info = memory.info
    known = {
        **subject.to_dict(),
        "reference": info.reference,
        "architecture": info.architecture,
        "quantization": info.quantization,
        "precision": info.precision,
        "device": info.device,
    }
    if subject.folder is not None and not subject.whole:
        return {**known, "sha256": files.sha256(subject.folder / in_memory.WEIGHTS)}
    mark = _noted_mark(subject) if is_adapted(memory.model) else fingerprint(memory.model)
    revision = (subject.run.provenance().get("model") or {}).get("revision") if subject.folder is None else None
    return {**known, "fingerprint": mark, "revision": revision}


def _noted_mark(base: Subject) -> str | None:
    """The mark of a base model in the run's checkpoints, which loading has compared with its weights."""
    newest, _ = checkpoint.newest(base.run.checkpoints)
    return checkpoint.read_progress(newest).base if newest else None


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    from ..training.provenance import versions

    found = versions()
    for name in ("sacrebleu", "lm_eval", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
