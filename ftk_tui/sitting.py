"""What the Compare screen holds: prompts, the answers of two models, blind verdicts; kept with the run as it grows.

Knows no widget and imports no torch. A sitting has one sampling: with another one a new sitting begins, so that
answers in a file can always be compared.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ftk.evaluation import comparisons, render
from ftk.evaluation.asked import Answer, Compared, Prompt, Sampling
from ftk.evaluation.comparisons import Record, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from ftk.evaluation.differences import Part
    from ftk.evaluation.pair import HeldOutLoss
    from ftk.evaluation.subjects import Subject

_FEW = 5
"""Preferences below which even a unanimous tally may well be chance."""
_SURE = 0.05
"""Below that share of chance a tally is taken for more than chance."""


def _seed() -> int:
    return random.SystemRandom().randrange(2**32)


@dataclass
class Entry:
    """A prompt, and what became of it.

    `seen` tells that its answers were shown with the names of the models, so that it can no longer be judged blindly.
    """

    number: int
    """Its number from 0 among all of the sitting, on which hangs what is drawn."""
    prompt: Prompt
    source: str
    answers: Mapping[str, Answer] | None = None
    verdict: Verdict | None = None
    seen: bool = False
    parts: tuple[list[Part], list[Part]] | None = None
    """Both answers in stretches that they share or do not; None until that was worked out."""

    @property
    def judgeable(self) -> bool:
        """Whether it is answered, and nobody knows whose the answers are."""
        return self.answers is not None and self.verdict is None and not self.seen

    @property
    def texts(self) -> list[str]:
        """The answers, in the order of the models."""
        return [answer.text for answer in self.answers.values()] if self.answers else []


@dataclass
class Sitting:
    """Two models, a sampling, and what they were asked so far.

    Args:
        subjects: The models: the base (or another one) first.
        sampling: How tokens are chosen.
        seed: What the order of blind answers follows from.
        path: The file that it is kept in, once it is.

    """

    subjects: Sequence[Subject]
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=200))
    seed: int = field(default_factory=lambda: _seed())
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    losses: dict[str, HeldOutLoss] = field(default_factory=dict)
    path: Path | None = None

    @property
    def labels(self) -> list[str]:
        """What the models are called."""
        return [subject.label for subject in self.subjects]

    def add(self, prompts: Iterable[Prompt], source: str) -> int | None:
        """Put prompts behind those that are there, but none twice; returns the place of the first of them."""
        known = {_question(entry.prompt): place for place, entry in reversed(list(enumerate(self.entries)))}
        first = None
        for prompt in prompts:
            place = known.setdefault(_question(prompt), len(self.entries))
            if place == len(self.entries):
                number = max((entry.number for entry in self.entries), default=-1) + 1
                self.entries.append(Entry(number, prompt, source))
            first = place if first is None else first
        return first

    def again(self, sampling: Sampling) -> Sitting:
        """The same prompts, not answered yet, with another sampling."""
        entries = [Entry(place, entry.prompt, entry.source) for place, entry in enumerate(self.entries)]
        return Sitting(self.subjects, sampling, self.seed, entries, list(self.notes), dict(self.losses))

    # Blind

    def order(self, entry: Entry) -> tuple[str, str]:
        """The models in the order in which the blind answers to a prompt are shown: by seed and number alone."""
        one, other = self.labels
        coin = hashlib.sha256(f"{self.seed}/{entry.number}".encode()).digest()[0] & 1
        return (one, other) if coin else (other, one)

    def judge(self, entry: Entry, better: str | None) -> None:
        """Note which of two answers is better, None for neither, and tell whose they were."""
        entry.verdict = Verdict(entry.number, better, self.order(entry))
        entry.seen = True

    @property
    def tally(self) -> dict[str, int]:
        """How often each model was preferred, and how often neither; empty where nothing was judged."""
        return render.tally(self.record()) if any(entry.verdict for entry in self.entries) else {}

    @property
    def standing(self) -> str:
        """The tally in words, and how much it says."""
        if not (counts := self.tally):
            return ""
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        one, other = (counts.get(label, 0) for label in self.labels)
        if one + other < _FEW:
            return f"{told}: too few to tell."
        share = comparisons.chance(one, other)
        words = "may well be chance" if share > _SURE else "is more than chance"
        return f"{told}: {words} ({share:.1%} if neither was better)."

    # On disk

    def record(self) -> Record:
        """Everything that was answered, in plain values."""
        done = [entry for entry in self.entries if entry.answers is not None]
        sources = ""
        for entry in done:  # those of a restored sitting are in one text already
            if entry.source not in sources:
                sources = ", ".join(filter(None, (sources, entry.source)))
        found = [Compared(entry.number, entry.prompt, entry.answers or {}) for entry in done]
        verdicts = [entry.verdict for entry in done if entry.verdict]
        made = comparisons.record(
            self.subjects, self.sampling, found, sources, notes=[*self.notes, *self._measured()], verdicts=verdicts
        )
        made.about["blind_seed"] = self.seed
        made.about["seen"] = [entry.number for entry in done if entry.seen]
        return made

    def _measured(self) -> list[str]:
        """What was measured, in words."""
        return [
            f"held-out loss of {label}: {loss.loss:.4f}, perplexity {loss.perplexity:.4g}, over {loss.rows} rows"
            for label, loss in self.losses.items()
        ]

    @classmethod
    def restored(cls, subjects: Sequence[Subject], path: Path) -> Sitting | None:
        """A sitting that was kept; None where the file is of other models.

        Raises:
            RunError: it cannot be read.

        """
        made = comparisons.read(path)
        if made.labels != [subject.label for subject in subjects]:
            return None
        try:
            return cls._of(subjects, made, path)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    @classmethod
    def _of(cls, subjects: Sequence[Subject], made: Record, path: Path) -> Sitting:
        about = made.about
        seed = about.get("blind_seed")
        sitting = cls(subjects, Sampling(**about["sampling"]), path=path)
        sitting.seed = seed if isinstance(seed, int) else sitting.seed
        seen, verdicts = about.get("seen"), {line["number"]: line for line in made.verdicts}
        for line in made.answers:
            answers = {label: _answer(line["answers"][label]) for label in sitting.labels}
            entry = Entry(int(line["number"]) - 1, _prompt(line), str(about["prompts"]), answers)
            entry.seen = not isinstance(seen, list) or entry.number in seen
            if found := verdicts.get(entry.number):
                one, other = found["order"]
                entry.verdict = Verdict(entry.number, found["better"], (one, other))
            sitting.entries.append(entry)
        return sitting


def _question(prompt: Prompt) -> str:
    return repr((prompt.text, prompt.messages))


def _answer(values: Mapping[str, Any]) -> Answer:
    return Answer(str(values["text"]), int(values["tokens"]), 0, values["ended"])


def _prompt(line: Mapping[str, Any]) -> Prompt:
    messages = tuple(dict(turn) for turn in line["messages"])
    text = None if messages else str(line["prompt"])
    reference = line.get("reference")
    return Prompt(messages, text, (), None if reference is None else str(reference), str(line.get("origin", "")))


def newest(subjects: Sequence[Subject]) -> Sitting | None:
    """The newest sitting of these models that can be read; None where there is none."""
    from ftk.errors import FtkError

    folder = comparisons.folder(subjects[-1].run)
    try:
        paths = sorted((path for path in folder.iterdir() if path.suffix == ".jsonl"), reverse=True)
    except OSError:
        return None
    for path in paths[:20]:
        try:
            if sitting := Sitting.restored(subjects, path):
                return sitting
        except FtkError:
            continue
    return None
