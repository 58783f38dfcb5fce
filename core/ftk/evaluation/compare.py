"""Base and tuned model on the same prompts; or several runs and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..errors import UsageError
from ..models.loading import ModelInfo
from ..training.recovery import give_back_memory
from .asked import Compared as Compared
from .generate import BATCH, Answer, Asked, Generation, Prompt, Sampling, as_prompt, evaluating, generate
from .generate import without_adapter as without_adapter
from .in_memory import InMemory, load
from .subjects import Subject, groups

Loader = Callable[[Sequence[Subject]], InMemory]

_TURN = 4
"""Tokens that a model writes before the next one takes its turn, where answers appear side by side."""


@dataclass(frozen=True)
class Comparison:
    """A prompt with the answers of both models."""

    prompt: str
    base: str
    tuned: str


def compare_models(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Asked],
    *,
    base: Any = None,
    sampling: Sampling | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Comparison]:
    """Answer prompts with the base and with the tuned model, under the same seed.

    Args:
        model: The tuned model. If it carries an adapter, the base is the same model with the adapter off,
            and no second copy is loaded.
        tokenizer: Used for both.
        prompts: Texts, or conversations that end with a user's turn.
        base: Another model to compare with instead.
        sampling: How tokens are chosen; greedy by default.
        stop: Asked before every token; true ends early.

    Raises:
        UsageError: the model carries no adapter, and no `base` is given.

    """
    if base is None and not hasattr(model, "disable_adapter"):
        raise UsageError("This model carries no adapter, so there is nothing to compare it with.", hint="Give base=...")
    tuned = generate(model, tokenizer, prompts, sampling, stop=stop)
    if base is not None:
        plain = generate(base, tokenizer, prompts, sampling, stop=stop)
    else:
        with without_adapter(model):
            plain = generate(model, tokenizer, prompts, sampling, stop=stop)
    texts = [as_prompt(asked).asked for asked in prompts]
    return [Comparison(*parts) for parts in zip(texts, plain, tuned, strict=True)]


class Watcher:
    """Override what you want to hear of a comparison; called in the thread that answers."""

    side_by_side = False
    """Whether the models of one memory take turns every few tokens, so that their answers grow side by side."""

    def phase(self, phase: str, detail: str, done: float | None, total: float | None) -> None:
        """What is being loaded; bytes done and in all where they are known."""

    def loaded(self, labels: Sequence[str], info: ModelInfo) -> None:
        """Some models are in memory now."""

    def remark(self, text: str) -> None:
        """Something a person should know."""

    def text(self, label: str, number: int, text: str) -> None:
        """The next part of an answer."""

    def done(self, compared: Compared) -> None:
        """All models have answered a prompt; prompts come in their order."""


@dataclass
class _Asking:
    """What is asked, and how."""

    prompts: Sequence[Prompt]
    sampling: Sampling
    batch: int
    watcher: Watcher
    stop: Callable[[], bool]
    first: int = 0
    answers: dict[str, list[Answer]] = field(default_factory=dict)


def compare_subjects(  # noqa: PLR0913 - each is named where it is given
    subjects: Sequence[Subject],
    prompts: Sequence[Prompt],
    sampling: Sampling | None = None,
    *,
    watcher: Watcher | None = None,
    batch_size: int = BATCH,
    device: str | None = None,
    stop: Callable[[], bool] = lambda: False,
    first: int = 0,
    loader: Loader | None = None,
) -> list[Compared]:
    """Answer prompts with several models under the same seed; a base that they share is loaded once.

    Args:
        subjects: The models, from `subjects.find`.
        prompts: What is asked.
        sampling: How tokens are chosen; greedy by default.
        watcher: Hears what goes on.
        batch_size: Prompts computed at once.
        device: Another device than the runs had.
        stop: Asked before every token; true ends early with what there is.
        first: The number of the first prompt where these go on with earlier ones: it decides what is drawn.
        loader: Brings a group of models into memory; `in_memory.load` by default.

    Returns:
        The prompts that all models have answered, after a stop some of them in part.

    Raises:
        ModelError: a model cannot be loaded, see `in_memory.load`.

    """
    asking = _Asking(prompts, sampling or Sampling(), batch_size, watcher or Watcher(), stop, first)
    bring = loader or partial(load, device=device, progress=asking.watcher.phase)
    found: list[Compared] = []
    parts = groups(subjects)
    for number, group in enumerate(parts):
        if stop():
            break
        loaded = bring(group)
        for remark in loaded.remarks:
            asking.watcher.remark(remark)
        asking.watcher.loaded(loaded.labels, loaded.info)
        found += _asked(loaded, asking, [s.label for s in subjects] if number == len(parts) - 1 else None)
        del loaded  # before the next one is loaded
        give_back_memory()
    return found


def _asked(loaded: InMemory, asking: _Asking, labels: list[str] | None) -> list[Compared]:
    """Ask one group everything; with the `labels` of all, tell what is complete now."""
    found = []
    portion = asking.batch * (1 if asking.watcher.side_by_side else 4)
    for label in loaded.labels:
        asking.answers[label] = []
    for begin in range(0, len(asking.prompts), portion):
        if asking.stop():
            break
        some = asking.prompts[begin : begin + portion]
        for label, new in _answered(loaded, some, asking.first + begin, asking).items():
            asking.answers[label] += new
        for place, prompt in enumerate(some if labels else (), begin):
            answers = {label: asking.answers[label][place] for label in labels or ()}
            if all(answer.tokens or answer.reason != "stopped" for answer in answers.values()):
                found.append(Compared(asking.first + place, prompt, answers))
                asking.watcher.done(found[-1])
    return found


def _answered(loaded: InMemory, prompts: Sequence[Prompt], first: int, asking: _Asking) -> dict[str, list[Answer]]:
    """The answers of each model of a group to some prompts; the models take turns where that is wanted."""

    def begun(label: str) -> Generation:
        return Generation(
            loaded.answering(label),
            loaded.tokenizer(label),
            prompts,
            asking.sampling,
            batch_size=asking.batch,
            on_text=lambda number, text: asking.watcher.text(label, first + number, text),
            first=first,
        )

    works = {label: begun(label) for label in loaded.labels}
    with evaluating(loaded.model):
        while not asking.stop() and (going := [label for label, work in works.items() if not work.done]):
            for label in going:
                with loaded.using(label):
                    _turn(works[label], asking)
    return {label: work.answers() for label, work in works.items()}


def _turn(work: Generation, asking: _Asking) -> None:
    left = _TURN if asking.watcher.side_by_side else None
    while not work.done and not asking.stop() and left != 0:
        work.step()
        left = None if left is None else left - 1
