"""The report as Markdown, for a model card or a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..results import Example
from . import words
from .gathered import Facts
from .page import config_text, cut
from .visible import shortened, visible

_MARKUP = re.compile(r"([\\`*_\[\]<>|~$&]|:(?=//)|^[#+=-]|(?<=^\d)[.)])")


def markdown(facts: Facts) -> str:
    """The whole report."""
    parts = (_head, _scores, _examples, _data, _settings, _warnings, _again, _machine)
    return "\n".join(line for part in parts for line in part(facts)).rstrip() + "\n"


def inline(text: str) -> str:
    """Text that stays text: what Markdown or HTML would take for markup is escaped, and it stays on its line."""
    return _MARKUP.sub(r"\\\1", " ".join(visible(text).split()))


def fenced(text: str, language: str = "text") -> list[str]:
    """A text as a block of code, whatever it holds."""
    shown = visible(text)
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", shown)), default=0))
    return [f"{fence}{language}", shown, fence, ""]


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    heads = list(headings)
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(inline(cell) for cell in row)} |"
    yield ""


def _list(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for label, text in pairs:
        yield f"- **{inline(label)}:** {inline(text)}"
    yield ""


def _head(facts: Facts) -> Iterator[str]:
    yield f"# {inline(facts.run.name)}"
    yield ""
    yield inline(words.headline(facts))
    yield ""
    yield from _list(words.overview(facts))


def _scores(facts: Facts) -> Iterator[str]:
    found = facts.evaluation
    yield "## Evaluation"
    yield ""
    if found is None:
        yield f"Not evaluated yet: `ftk evaluate {facts.run.name}` measures it."
        yield ""
        return
    yield from _table(("metric", "base", "tuned", "difference", "verdict"), words.score_rows(found.measures))
    for line in words.about_scores(found):
        yield inline(line)
        yield ""


def _examples(facts: Facts) -> Iterator[str]:
    if not facts.examples:
        return
    yield "## Examples"
    yield ""
    yield f"From {inline(facts.examples_from)}, in their order, not chosen."
    yield ""
    for example in facts.examples:
        yield from _example(example)


def _example(example: Example) -> Iterator[str]:
    for label, text in (
        ("Prompt", example.prompt),
        ("Base", example.base),
        ("Tuned", example.tuned),
        ("Reference", example.reference or None),
    ):
        if text is not None:
            yield f"**{label}**"
            yield ""
            yield from fenced(cut(text) or "(empty)")
    yield "---"
    yield ""


def _data(facts: Facts) -> Iterator[str]:
    yield "## Data"
    yield ""
    yield from _list(words.data_rows(facts))


def _settings(facts: Facts) -> Iterator[str]:
    if facts.settings:
        yield "## Settings"
        yield ""
        yield from _table(
            ("setting", "value", "why"), ((one.key, shortened(one.value), one.why) for one in facts.settings)
        )


def _warnings(facts: Facts) -> Iterator[str]:
    lines = [*facts.warnings, *facts.problems]
    if lines:
        yield "## Warnings"
        yield ""
        yield from (f"- {inline(line)}" for line in lines)
        yield ""


def _again(facts: Facts) -> Iterator[str]:
    yield "## How to repeat it"
    yield ""
    yield from fenced("\n".join(words.commands(facts)), "sh")
    yield inline(words.reproduction(facts))
    yield ""
    if text := config_text(facts):
        yield "<details><summary>config.yaml</summary>"
        yield ""
        yield from fenced(text, "yaml")
        yield "</details>"
        yield ""


def _machine(facts: Facts) -> Iterator[str]:
    yield "## Machine and versions"
    yield ""
    yield from _list(words.machine_rows(facts))
