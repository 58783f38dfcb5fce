"""In place of two models in memory: a pair that says what the test wants, word by word, and stops when it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ftk.config import build
from ftk.errors import FtkError
from ftk.evaluation.asked import Answer, Compared, Prompt
from ftk.evaluation.pair import HeldOutLoss
from ftk.runs import Journal, RunFolder
from ftk_tui import comparing
from tests import run_folders

Says = Callable[[Prompt, int], tuple[str, str]]


def answers(prompt: Prompt, number: int) -> tuple[str, str]:
    """What is said by default: something that the models share, and something that they do not."""
    return (
        f"I think that the answer number {number + 1} is not known to me, sorry.",
        f"I think that the answer number {number + 1} is easy: ask [b]politely[/b], then wait.\nThat is all.",
    )


class FakePair:
    """Two models.

    Args:
        subjects: Which they are.
        says: What base and tuned model say to a prompt.

    """

    def __init__(self, subjects: Sequence[Any], says: Says = answers) -> None:
        self.labels = [subject.label for subject in subjects]
        self.says = says
        self.given = False
        self.asked: list[tuple[str, int, Any]] = []
        """Prompts, their numbers and the sampling, in order."""
        self.words_left = 1_000_000
        """Words after which it waits until `more` is called."""
        self.released = 0
        self.phases: list[tuple[str, str, float | None, float | None]] = [("load", "smollm2", 30.0, 100.0)]
        self.error: FtkError | None = None
        self._more = threading.Event()

    def more(self) -> None:
        """Go on without end."""
        self.words_left = 1_000_000
        self._more.set()

    def ask(self, prompt: Prompt, number: int, sampling: Any, watcher: Any, stop: Callable[[], bool]) -> Any:
        """Answer a prompt."""
        self.asked.append((prompt.asked, number, sampling))
        for phase in self.phases if len(self.asked) == 1 else ():
            watcher.phase(*phase)
        if self.error:
            raise self.error
        told = dict.fromkeys(self.labels, "")
        texts = dict(zip(self.labels, self.says(prompt, number), strict=True))
        for place in range(max(len(text.split(" ")) for text in texts.values())):
            self._wait(stop)
            if stop():
                break
            for label, text in texts.items():
                words = text.split(" ")
                if place < len(words):
                    part = f" {words[place]}" if place else words[place]
                    told[label] += part
                    watcher.text(label, number, part)
            self.words_left -= 1
        if not any(told.values()):
            return None
        return Compared(number, prompt, {label: self._answer(told[label], texts[label]) for label in self.labels})

    def _wait(self, stop: Callable[[], bool]) -> None:
        while self.words_left <= 0 and not stop():
            self._more.wait(0.01)

    def _answer(self, told: str, text: str) -> Answer:
        return Answer(told, len(told.split()), 9, "end" if told == text else "stopped")

    def losses(self, chosen: Any, progress: Any) -> dict[str, HeldOutLoss]:
        """Measure both."""
        if self.error:
            raise self.error
        return {label: HeldOutLoss(3.0 - number, 12, 345) for number, label in enumerate(self.labels)}

    def release(self) -> None:
        """Note it."""
        self.released += 1


class Pairs:
    """Makes pairs for the app, and keeps them: ``pairs.pair`` is the newest."""

    def __init__(self, says: Says = answers) -> None:
        self.says = says
        self.made: list[FakePair] = []
        self.words: int | None = None
        """Words after which a new pair waits."""
        self.error: FtkError | None = None

    def __call__(self, subjects: Sequence[Any], result: Any) -> FakePair:
        pair = FakePair(subjects, self.says)
        pair.given = result is not None
        pair.error = self.error
        pair.words_left = self.words if self.words is not None else pair.words_left
        self.made.append(pair)
        return pair

    @property
    def pair(self) -> FakePair:
        """The newest pair."""
        return self.made[-1]


def use(monkeypatch: pytest.MonkeyPatch, says: Says = answers) -> Pairs:
    """Have the app ask fake pairs."""
    pairs = Pairs(says)
    monkeypatch.setattr(comparing, "make_pair", pairs)
    return pairs


def run(name: str = "mine", *, checkpoints: Sequence[int] = (), result: bool = True, **settings: Any) -> RunFolder:
    """The folder of a run on the chat sample, with what it trained, as far as its files are looked at here."""
    made = RunFolder.create(name, "smollm2")
    values = {"model": "smollm2", "data": "sample:chat", **settings}
    made.config_file.write_text(build(values).to_yaml())
    made.write_provenance({"model": {"name": "smollm2"}, "data": {"name": "sample:chat"}})
    journal = Journal(made)
    for event in (
        run_folders.started(),
        run_folders.evaluation(0, 3.0),
        run_folders.step(100),
        run_folders.evaluation(100, 1.5),
        run_folders.finished() if result else run_folders.STOPPED,
    ):
        journal(run_folders.at_last(event))  # fmt: skip
    journal.close()
    if result:
        made.adapter.mkdir()
    for step in checkpoints:
        (made.checkpoints / f"step-{step:06d}" / "adapter").mkdir(parents=True)
    return made
