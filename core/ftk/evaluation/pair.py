"""A run and its base, or any two models, asked again and again: in memory as long as somebody looks at them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..events import Finished, Stopped
from ..models.loading import ModelInfo
from ..models.sources import Progress
from ..runs import RunFolder
from ..training.recovery import give_back_memory
from .asked import Prompt, Sampling
from .chosen import Chosen
from .compare import Compared, Watcher, compare_subjects
from .generate import context_of
from .in_memory import InMemory, load
from .losses import Measurable, measurable, need_tokens, row_losses
from .subjects import Subject, groups

_ADAPTER = "default"
"""What peft calls the adapter that a run trains."""


class Trained(Protocol):
    """A run that has ended in this process, with its model: `ftk.training.trainer.RunResult`."""

    run: RunFolder | None
    ending: Any
    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class HeldOutLoss:
    """The mean loss of a model over the supervised tokens of held-out rows, in nats."""

    loss: float
    rows: int
    tokens: int

    @property
    def perplexity(self) -> float:
        """Exp of the loss."""
        return math.exp(min(self.loss, 700))


def is_of(result: Trained | None, subject: Subject) -> bool:
    """Whether the model in memory after a run is a subject: its result, or the checkpoint that it stopped at."""
    if result is None or result.model is None or result.run is None or subject.folder is None:
        return False
    if result.run.path != subject.run.path:
        return False
    if isinstance(result.ending, Finished):
        return subject.folder == result.run.trained
    kept = result.ending.checkpoint if isinstance(result.ending, Stopped) else None
    return bool(kept) and str(subject.folder.parent) == kept


class Pair:
    """Models to be asked one prompt after the other; those that share their base are loaded once.

    To be used by one thread at a time.

    Args:
        subjects: The models, from `subjects.find`.
        result: A run of this process; where one of the subjects is its model, that is asked as it is in memory.
        device: Another device than the run had.

    """

    def __init__(
        self, subjects: Sequence[Subject], *, result: Trained | None = None, device: str | None = None
    ) -> None:
        self.subjects = list(subjects)
        self._device = device
        self._given = _given(self.subjects, result)
        self._loaded: InMemory | None = None

    @property
    def labels(self) -> list[str]:
        """What the models are called."""
        return [subject.label for subject in self.subjects]

    @property
    def given(self) -> bool:
        """Whether the model that a run of this process trained is asked, with nothing loaded for it."""
        return self._given is not None

    def ask(
        self, prompt: Prompt, number: int, sampling: Sampling, watcher: Watcher, stop: Callable[[], bool]
    ) -> Compared | None:
        """Answer a prompt with all models; None where a stop came before there was anything.

        Args:
            prompt: What is asked.
            number: Its number from 0, on which hangs what is drawn.
            sampling: How tokens are chosen.
            watcher: Hears what goes on; its `phase` may raise to cancel the loading.
            stop: Asked before every token; true ends the answers with what there is.

        Raises:
            ModelError: a model cannot be loaded, see `in_memory.load`.

        """
        found = compare_subjects(
            self.subjects,
            [prompt],
            sampling,
            watcher=watcher,
            batch_size=1,
            stop=stop,
            first=number,
            loader=lambda group: self._ready(group, watcher.phase),
        )
        return found[0] if found else None

    def losses(self, chosen: Chosen, progress: Progress) -> dict[str, HeldOutLoss]:
        """The held-out loss of every model on the same rows.

        Args:
            chosen: The rows, from `chosen.rows_of_run`.
            progress: Told what is loaded, and ``measure`` with windows done and in all; may raise to cancel.

        Raises:
            FtkError: a model cannot be loaded, or there is nothing to measure.

        """
        found: dict[str, HeldOutLoss] = {}
        rows: Measurable | None = None
        config = self.subjects[-1].config
        for group in reversed(groups(self.subjects)):  # the tuned one first: both are measured in its tokens
            loaded = self._ready(group, progress)
            for subject in reversed(group):
                tokenizer = loaded.tokenizer(subject.label)
                if rows is None:
                    rows = measurable(chosen.held_out, tokenizer, turns=config.train_on, system=config.system_prompt)
                    need_tokens(rows, chosen.name)
                with loaded.using(subject.label) as model:
                    found[subject.label] = _loss(model, tokenizer, rows, _telling(subject.label, progress))
        return {label: found[label] for label in self.labels}

    def release(self) -> None:
        """Let go of everything in memory; what is asked next loads it again."""
        self._given = self._loaded = None
        give_back_memory()

    def _ready(self, group: Sequence[Subject], progress: Progress) -> InMemory:
        labels = {subject.label for subject in group}
        for held in (self._given, self._loaded):
            if held and labels <= set(held.labels):
                return held
        self._loaded = None
        give_back_memory()
        self._loaded = load(group, device=self._device, progress=progress)
        return self._loaded


def _given(subjects: Sequence[Subject], result: Trained | None) -> InMemory | None:
    """The subjects that are the model of a run of this process: its adapter and, with that off, its base."""
    tuned = next((subject for subject in subjects if is_of(result, subject)), None)
    if tuned is None or result is None:
        return None
    names: dict[str, str | None] = {tuned.label: None if tuned.whole else _ADAPTER}
    if not tuned.whole:
        names |= {one.label: None for one in subjects if one.folder is None and one.memory == tuned.memory}
    tokenizers = dict.fromkeys(names, result.tokenizer)
    return InMemory(result.model, _info(result.model, tuned), tokenizers, {**names})


def _info(model: Any, subject: Subject) -> ModelInfo:
    config, weight = model.config.get_text_config(), next(model.parameters())
    quantization = subject.config.quantization
    return ModelInfo(
        name=subject.config.model,
        reference=subject.config.model,
        architecture=str(config.model_type),
        weights=sum(parameter.numel() for parameter in model.parameters()),
        context=context_of(model) or 0,
        vocabulary=int(config.vocab_size),
        quantization=quantization if quantization != "auto" else "none",
        precision=str(weight.dtype).rpartition(".")[2],  # type: ignore[arg-type]
        device=str(weight.device),
        source="memory",
        entry=None,
    )


def _telling(label: str, progress: Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress("measure", label, done, total)


def _loss(model: Any, tokenizer: Any, rows: Measurable, tell: Callable[[int, int], None]) -> HeldOutLoss:
    found = row_losses(model, tokenizer.pad_token_id, rows, tell=tell)
    tokens = sum(row.tokens for row in found)
    return HeldOutLoss(sum(row.total for row in found) / tokens, len(found), tokens)
