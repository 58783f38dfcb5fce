"""What the Compare screen shows, in words: pure functions of what it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from .text import counted, shown

if TYPE_CHECKING:
    from ftk.evaluation.asked import Answer, Prompt, Sampling

    from .comparing import Opened, Work
    from .sitting import Entry
    from .widgets.painted import Part

_ENDED = {"length": "cut off", "stopped": "stopped", "no room": "the prompt is too long for the model"}
"""Why an answer ended, where it did not come to its end."""
LIST = 36
"""Cells of a prompt in the list."""
STYLES = ("pane--first", "pane--second")


@dataclass(frozen=True)
class Pane:
    """An answer as it is shown: its title, its text with the names of styles, what is to be known of it."""

    title: str
    parts: tuple[Part, ...]
    note: str = ""


@dataclass(frozen=True)
class Look:
    """What there is to show: the run, the prompt, what goes on, and how answers are to be shown."""

    opened: Opened
    place: int
    work: Work | None = None
    blind: bool = False
    marked: bool = True
    """Whether differences are shown."""

    @property
    def entry(self) -> Entry | None:
        """The prompt that is shown."""
        entries = self.opened.sitting.entries
        return entries[self.place] if self.place < len(entries) else None

    @property
    def hidden(self) -> bool:
        """Whether it is not shown whose the answers are."""
        return self.blind and self.entry is not None and not self.entry.seen

    @property
    def writing(self) -> bool:
        """Whether this prompt is being answered."""
        return self.work is not None and self.work.entry is not None and self.work.entry is self.entry


def panes(look: Look) -> tuple[Pane, Pane]:
    """Both answers, in the order in which they are shown."""
    entry, sitting = look.entry, look.opened.sitting
    labels = (sitting.labels[0], sitting.labels[1])
    if entry and look.blind:
        labels = sitting.order(entry) if look.hidden else entry.verdict.order if entry.verdict else labels
    made = []
    for number, label in enumerate(labels):
        answer = entry.answers.get(label) if entry and entry.answers else None
        title = "AB"[number] if look.hidden else _title(look, label)
        made.append(Pane(title, _parts(look, label, answer), _note(answer)))
    return made[0], made[1]


def _title(look: Look, label: str) -> str:
    """A model by its name; of one that was judged, which letter it had and whether it was the better one."""
    model = "" if label != look.opened.sitting.labels[0] else f": {_short(look.opened.tuned.config.model)}"
    verdict = look.entry.verdict if look.entry else None
    if verdict is None:
        return f"{label}{model}"
    letter = "AB"[verdict.order.index(label)] if label in verdict.order else ""
    return f"{label} ({letter}{', better' if verdict.better == label else ''}){model}"


def _short(model: str) -> str:
    """A model's name; of a path the last part, which is what tells it from others."""
    return f"…/{model.rstrip('/').rpartition('/')[2]}" if model.startswith(("/", "~", ".")) else model


def _parts(look: Look, label: str, answer: Answer | None) -> tuple[Part, ...]:
    entry = look.entry
    if answer is None:
        text = look.work.texts.get(label, "") if look.writing and look.work else ""
        return ((shown(text), ""),) if text else ()
    if not answer.text:
        return (("(nothing)", "pane--note"),)
    if entry and entry.parts and look.marked and not look.hidden:
        number = look.opened.sitting.labels.index(label)
        return tuple((part.text, STYLES[number] if part.differs else "") for part in entry.parts[number])
    return ((shown(answer.text), ""),)


def _note(answer: Answer | None) -> str:
    if answer is None:
        return ""
    return ", ".join(filter(None, (counted(answer.tokens, "token"), _ENDED.get(answer.reason, ""))))


def head(opened: Opened, look: Look | None, memory: str) -> Text:
    """Two lines: the models and their losses; how they are asked."""
    text = Text()
    text.append(shown(opened.tuned.label), "bold").append(f", base {shown(_short(opened.tuned.config.model))}. ")
    text.append(f"{losses(opened)}\n")
    parts = [sampling_words(opened.sitting.sampling), memory]
    if look and look.blind:
        parts.insert(0, "blind")
    return text.append(", ".join(filter(None, parts)), "dim")


def losses(opened: Opened) -> str:
    """What is known of the held-out loss and perplexity of both."""
    if found := opened.sitting.losses:
        base, tuned = (found[label] for label in opened.sitting.labels)
        rows = counted(tuned.rows, "row")
        return f"{_losses(base.loss, tuned.loss)}, measured on {rows}."
    before, after = opened.summary.loss_before, opened.summary.loss_after
    if before is None or after is None or "@" in opened.name:
        return "m measures the held-out loss of both."
    return f"{_losses(before, after)}."


def _losses(base: float, tuned: float) -> str:
    perplexities = " → ".join(f"{math.exp(min(loss, 700)):.3g}" for loss in (base, tuned))
    return f"Held-out loss {base:.3f} → {tuned:.3f}, perplexity {perplexities}"


def sampling_words(sampling: Sampling) -> str:
    """How tokens are chosen."""
    if not sampling.temperature:
        return f"likeliest token each time, at most {counted(sampling.max_tokens, 'token')}"
    return (
        f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}, "
        f"at most {counted(sampling.max_tokens, 'token')}"
    )


def asked(look: Look) -> Text:
    """The prompt with its number, the turns before it, and the reference."""
    entry = look.entry
    if entry is None:
        return Text("No prompt yet: t types one, f reads a file.", "dim")
    text = Text(f"[{look.place + 1}/{len(look.opened.sitting.entries)}] ", "dim")
    text.append(shown(_conversation(entry.prompt)), "not dim bold")
    if entry.prompt.reference is not None:
        text.append("\nreference: ", "not bold").append(shown(entry.prompt.reference), "not bold dim")
    return text


def _conversation(prompt: Prompt) -> str:
    turns = [turn for turn in prompt.messages if turn["role"] != "system"]
    if len(turns) < 2:
        return prompt.asked
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def line(look: Look, entry: Entry, place: int) -> Text:
    """A prompt in the list: a sign for what became of it, its number, its beginning."""
    sign = "…" if look.work and look.work.entry is entry else _sign(look, entry)
    words = " ".join(shown(entry.prompt.asked).split())
    text = Text(f"{sign} {place + 1} {words}", no_wrap=True, end="")
    text.truncate(LIST, overflow="ellipsis")
    return text


def _sign(look: Look, entry: Entry) -> str:
    if entry.answers is None:
        return "·"
    if entry.verdict is None:
        return "?" if look.blind and entry.judgeable else "✓"
    better = entry.verdict.better
    return "=" if better is None else "t" if better == look.opened.sitting.labels[1] else "b"


def advice(look: Look) -> str:
    """What can be done now."""
    entry = look.entry
    if look.work is not None:
        return ""
    if entry is None:
        return look.opened.problem
    if entry.answers is None:
        problem = f"{look.opened.problem} " if look.opened.problem else ""
        return f"{problem}Enter asks both, w all prompts."
    if look.hidden:
        return "Which is better?  a: A   b: B   =: no difference"
    if entry.verdict and look.blind:
        return f"{_verdict(look, entry)} {look.opened.sitting.standing}"
    texts = entry.texts
    if len(set(texts)) == 1:
        return "Both answers are equal."
    return "Words that the other lacks are underlined." if look.marked else ""


def _verdict(look: Look, entry: Entry) -> str:
    assert entry.verdict is not None
    if len(set(entry.texts)) == 1:
        return "Both are equal: no difference."
    better, order = entry.verdict.better, entry.verdict.order
    if better is None:
        return f"No difference. A was {shown(order[0])}."
    return f"You chose {'AB'[order.index(better)] if better in order else '?'}: {shown(better)}."
