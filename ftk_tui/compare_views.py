"""Four ways to see a comparison: columns that grow on a terminal, text in a pipe, JSON lines, and blindly with keys."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ftk.evaluation.compare import Compared, Watcher
from ftk.evaluation.comparisons import Record, Verdict, as_line, chance
from ftk.evaluation.differences import compare
from ftk.evaluation.generate import Answer, Prompt
from ftk.evaluation.render import tally
from ftk.models.loading import ModelInfo

from .asking import ENDED, Loading, note, on_terminal
from .keys import Keys
from .text import counted, shown

_COLUMN = 26
"""Characters below which a column is too narrow to read: answers then stand one below the other."""


class View(Watcher):
    """Shows a comparison.

    Args:
        labels: The models.
        prompts: What will be asked.
        loading: Shows what is being loaded.

    """

    def __init__(self, labels: Sequence[str], prompts: Sequence[Prompt], loading: Loading) -> None:
        self.labels, self.prompts = list(labels), list(prompts)
        self.verdicts: list[Verdict] = []
        self.left = False
        """Whether the person has seen enough."""
        self.interrupted: Callable[[], bool] = lambda: False
        """Whether Ctrl-C was pressed."""
        self._loading = loading
        self._waiting: Any = None

    def __enter__(self) -> Self:
        self._load()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rest()

    def _load(self) -> None:
        if self._waiting is None:
            self._waiting = self._loading.shown()
            self._waiting.__enter__()

    def _rest(self) -> None:
        if self._waiting is not None:
            self._waiting.__exit__(None, None, None)
            self._waiting = None

    def phase(self, phase: str, detail: str, done: float | None, total: float | None) -> None:
        self._load()
        self._loading(phase, detail, done, total)

    def loaded(self, labels: Sequence[str], info: ModelInfo) -> None:
        self._rest()

    def remark(self, text: str) -> None:
        note(f"Note: {text}")

    def say(self, text: str) -> None:
        """Say something that is no answer."""
        print(shown(text))

    def place(self, number: int) -> str:
        """Which prompt of how many."""
        return f"{number + 1}/{len(self.prompts)}"

    def summary(self, made: Record) -> None:
        """Say what came out."""


class JsonView(View):
    """An object a prompt on standard output, and nothing else there."""

    def done(self, compared: Compared) -> None:
        print(json.dumps(as_line(compared), ensure_ascii=False), flush=True)

    def say(self, text: str) -> None:
        note(text)


class PlainView(View):
    """Prompt and answers one below the other, as they come."""

    def done(self, compared: Compared) -> None:
        print(f"[{self.place(compared.number)}] {_indented(asked(compared.prompt))}")
        if compared.prompt.reference is not None:
            print(f"  reference: {_indented(compared.prompt.reference)}")
        for label, answer in compared.answers.items():
            ended = f" ({ENDED[answer.reason]})" if answer.reason in ENDED else ""
            print(f"  {shown(label)}: {_indented(answer.text)}{ended}")
        print(flush=True)


class LiveView(View):
    """Columns that grow while the models write; what is finished stays above."""

    side_by_side = True

    def __init__(self, labels: Sequence[str], prompts: Sequence[Prompt], loading: Loading) -> None:
        super().__init__(labels, prompts, loading)
        self._console = Console()
        self._texts: dict[tuple[str, int], str] = {}
        self._next = 0
        self._live: Live | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        super().__exit__(kind, error, trace)

    def _stop(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def phase(self, phase: str, detail: str, done: float | None, total: float | None) -> None:
        self._stop()
        super().phase(phase, detail, done, total)

    def loaded(self, labels: Sequence[str], info: ModelInfo) -> None:
        super().loaded(labels, info)
        self._live = Live(get_renderable=self._growing, console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def remark(self, text: str) -> None:
        self._console.print(Text(shown(f"Note: {text}"), style="yellow"))

    def text(self, label: str, number: int, text: str) -> None:
        self._texts[label, number] = self._texts.get((label, number), "") + text

    def done(self, compared: Compared) -> None:
        self._console.print(self._heading(compared.number))
        self._console.print(answers(compared.answers, self._console.width))
        self._next = compared.number + 1
        for label in self.labels:
            self._texts.pop((label, compared.number), None)

    def _heading(self, number: int) -> Text:
        prompt = self.prompts[number]
        made = Text(f"\n[{self.place(number)}] ", style="dim")
        made.append(shown(asked(prompt)), style="not dim bold")
        if prompt.reference is not None:
            made.append(f"\nreference: {shown(prompt.reference)}", style="not bold dim")
        return made

    def _growing(self) -> RenderableType:
        if self._next >= len(self.prompts):
            return Text("")
        texts = {label: Text(shown(self._texts.get((label, self._next), ""))) for label in self.labels}
        heading = self._heading(self._next)
        above = len(heading.wrap(self._console, max(1, self._console.width)))
        grown = _columns(texts, self._console, max(3, self._console.height - above - 7))
        written = counted(len({number for _, number in self._texts}), "prompt")
        status = Text(f"{written} being answered; Ctrl-C stops and keeps what there is", style="dim")
        return Group(*([heading] if above < self._console.height // 2 else []), grown, status)


class BlindView(View):
    """Two answers without names, and a key for the better one."""

    def __init__(self, labels: Sequence[str], prompts: Sequence[Prompt], loading: Loading) -> None:
        super().__init__(labels, prompts, loading)
        self._console = Console()
        self._random = random.SystemRandom()
        self._same = 0

    def done(self, compared: Compared) -> None:
        if self.left:
            return
        first, second = self._random.sample(self.labels, 2)
        pair = {"A": compared.answers[first], "B": compared.answers[second]}
        if pair["A"].text == pair["B"].text:
            self._same += 1
            self.verdicts.append(Verdict(compared.number, None, (first, second)))
            return
        self._console.print(Text(f"\n[{self.place(compared.number)}] {shown(asked(compared.prompt))}", style="bold"))
        self._console.print(answers(pair, self._console.width, marked=False))
        self._console.print(Text("Which is better?  a  b  = no difference  q enough", style="dim"))
        key = self._key()
        if key == "q":
            self.left = True
            return
        self.verdicts.append(Verdict(compared.number, {"a": first, "b": second}.get(key), (first, second)))

    def _key(self) -> str:
        with Keys() as keys:
            while keys.on and not self.interrupted():
                for key in keys.wait(0.5).lower():
                    if key in "ab=q":
                        return key
        return "q"  # Ctrl-C, or the terminal is gone

    def summary(self, made: Record) -> None:
        counts = tally(made)
        if not counts or not made.verdicts:
            return
        self.say("\n" + ", ".join(f"{name}: {count}" for name, count in counts.items()))
        if self._same:
            self.say(f"{counted(self._same, 'pair')} of equal answers counted as no difference, unasked.")
        one, other = (counts.get(label, 0) for label in self.labels)
        if one + other:
            by_chance = chance(one, other)
            words = "may well be chance" if by_chance > 0.05 else "is more than chance"
            self.say(f"That {words}: it would come about in {by_chance:.1%} of all cases if neither was better.")


def suitable(labels: Sequence[str], prompts: Sequence[Prompt], options: argparse.Namespace, loading: Loading) -> View:
    """The view for what is asked for, and for what standard output is."""
    kind: type[View] = JsonView if options.json else BlindView if options.blind else PlainView
    if kind is PlainView and on_terminal():
        kind = LiveView
    return kind(labels, prompts, loading)


def asked(prompt: Prompt) -> str:
    """What was asked: the last turn, with those before it if there are any but the system's."""
    turns = [turn for turn in prompt.messages if turn["role"] != "system"]
    if len(turns) < 2:
        return prompt.asked
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def _indented(text: str) -> str:
    return shown(text).replace("\n", "\n    ")


def answers(found: Mapping[str, Answer], width: int, *, marked: bool = True) -> RenderableType:
    """Answers side by side, words that the first and another do not share in bold; below each other where it is narrow.

    Args:
        found: The answers by what they are called.
        width: Columns of the terminal.
        marked: Whether differences are shown.

    """
    labels = list(found)
    texts = {label: Text(shown(answer.text)) for label, answer in found.items()}
    if marked and len(labels) > 1:
        first = shown(found[labels[0]].text)
        for number, label in enumerate(labels):
            other = shown(found[labels[1] if number == 0 else label].text)
            parts = compare(first, other)[0 if number == 0 else 1]
            texts[label] = Text.assemble(*((text, "bold" if differs else "") for text, differs in parts))
    for label, answer in found.items():
        if answer.reason in ENDED:
            texts[label].append(f"\n({ENDED[answer.reason]})", style="dim")
    return _table(texts, width)


def _columns(texts: Mapping[str, Text], console: Console, lines: int) -> RenderableType:
    """Texts side by side, of each only the last lines that fit."""
    side_by_side = _fits(len(texts), console.width)
    width = console.width // len(texts) - 4 if side_by_side else console.width - 4
    room = lines if side_by_side else max(2, lines // len(texts) - 2)
    cut = {label: Text("\n").join(list(text.wrap(console, max(1, width)))[-room:]) for label, text in texts.items()}
    return _table(cut, console.width)


def _fits(columns: int, width: int) -> bool:
    return width // columns >= _COLUMN


def _table(texts: Mapping[str, Text], width: int) -> RenderableType:
    if not _fits(len(texts), width):
        parts = [part for label, text in texts.items() for part in (Text(shown(label), style="bold underline"), text)]
        return Group(*parts)
    table = Table(box=box.ROUNDED, expand=True)
    for label in texts:
        table.add_column(Text(shown(label)), ratio=1, overflow="fold")
    table.add_row(*texts.values())
    return table
