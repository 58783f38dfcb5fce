"""The report as one page of HTML: no network, no script, light and dark, also on paper."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

from ...plain_files import read_text
from ..results import Example
from . import words
from .elements import Child, document, table, tag
from .gathered import Facts
from .plot import loss_plot
from .visible import shortened

STYLE = """
:root { color-scheme: light dark; --page: #fcfcfb; --card: #ffffff; --text: #1d1f23; --soft: #5c626b;
  --line: #d9dce1; --accent: #1f5fbf; --held: #b5480f; --good: #14743a; --bad: #b3261e; --code: #f2f3f5; }
@media (prefers-color-scheme: dark) { :root { --page: #16181c; --card: #1e2126; --text: #e6e8eb; --soft: #a0a7b1;
  --line: #363b43; --accent: #7fb0ff; --held: #ffa36b; --good: #6fce91; --bad: #ff8a80; --code: #262a31; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; margin: 0 0 1.25rem; }
.soft, footer { color: var(--soft); font-size: .9rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.25rem; margin: .75rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); white-space: nowrap; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; } .settings td:first-child { white-space: nowrap; }
.settings td:nth-child(2) { min-width: 10rem; }
.scores td:nth-child(-n+4) { white-space: nowrap; } .scores td:last-child { min-width: 11rem; }
.better { color: var(--good); } .worse { color: var(--bad); }
pre { background: var(--code); padding: .75rem 1rem; border-radius: 6px; overflow-x: auto; margin: .5rem 0;
  font: .88rem/1.5 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
.example { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem;
  margin: 1rem 0; break-inside: avoid; }
.answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); gap: .25rem 1.5rem; }
.answers > div { min-width: 0; } h3 { font-size: .85rem; color: var(--soft); margin: .5rem 0 .15rem; font-weight: 600; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; } .asked { font-weight: 600; }
.plot { width: 100%; height: auto; display: block; } .plot .tick { fill: var(--soft); font-size: 12px; }
.plot .end { text-anchor: end; } .plot .middle { text-anchor: middle; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .train, .plot .held { fill: none; stroke-width: 2; stroke-linejoin: round; }
.plot .train { stroke: var(--accent); } .plot .held { stroke: var(--held); stroke-dasharray: 5 4; }
.plot .band { fill: var(--accent); opacity: .18; } .plot .train-dot { fill: var(--accent); }
.plot .held-dot { fill: var(--held); }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--accent); }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { body { background: none; } main { max-width: none; padding: 0; } details { display: none; } }
"""

_LONGEST = 4000
"""Characters of a text of an example that are shown."""


def page(facts: Facts) -> str:
    """The whole page."""
    sections = (_scores, _losses, _examples, _data, _settings, _warnings, _again, _machine)
    body = tag(
        "main",
        tag("h1", facts.run.name),
        tag("p", words.headline(facts), class_="lead"),
        _pairs(words.overview(facts)),
    )
    for section in sections:
        body.extend(part for part in section(facts))
    body.append(tag("footer", tag("p", "Made by ftk, the LLM Finetune Kit, from the folder of the run.")))
    return document(f"{facts.run.name}: report of a fine-tuning", STYLE, tag("body", body))


def _pairs(pairs: Iterable[tuple[str, str]]) -> Element:
    made = tag("dl")
    for label, text in pairs:
        made.extend((tag("dt", label), tag("dd", text)))
    return made


def _scores(facts: Facts) -> Iterable[Element]:
    found = facts.evaluation
    yield tag("h2", "Is it better?")
    if found is None:
        yield tag("p", "Not evaluated yet: ", tag("code", f"ftk evaluate {facts.run.name}"), " measures it.")
        return
    kinds = [measure.difference.verdict if measure.difference else "" for measure in found.measures]
    rows: list[list[Child]] = []
    for (*cells, verdict), kind in zip(words.score_rows(found.measures), kinds, strict=True):
        rows.append([*cells, tag("span", verdict, class_=kind if kind in ("better", "worse") else None)])
    yield table(("metric", "base", "tuned", "difference", "verdict"), rows, "scores")
    for line in words.about_scores(found):
        yield tag("p", line, class_="soft")


def _losses(facts: Facts) -> Iterable[Element]:
    yield tag("h2", "How it learnt")
    drawing = loss_plot(facts.course)
    if drawing is None:
        yield tag("p", "The journal tells no loss.")
        return
    yield drawing
    if facts.course.held_out:
        rows = [(f"{step}", f"{loss:.4f}") for step, loss in facts.course.held_out[-50:]]
        yield tag("details", tag("summary", "Held-out losses in numbers"), table(("step", "held-out loss"), rows))


def _examples(facts: Facts) -> Iterable[Element]:
    if not facts.examples:
        return
    yield tag("h2", "Examples")
    yield tag("p", f"From {facts.examples_from}, in their order, not chosen.", class_="soft")
    for example in facts.examples:
        yield _example(example)


def _example(example: Example) -> Element:
    answers: list[Element] = []
    for label, text in (("Base", example.base), ("Tuned", example.tuned), ("Reference", example.reference or None)):
        if text is not None:
            answers.append(tag("div", tag("h3", label), tag("p", cut(text) or "(empty)", class_="said")))
    judged = tag("p", f"The judge preferred: {example.judged}.", class_="soft") if example.judged else None
    asked = tag("p", cut(example.prompt), class_="said asked")
    return tag("div", asked, tag("div", *answers, class_="answers"), judged, class_="example")


def cut(text: str) -> str:
    """A text no longer than is shown, with how much is missing."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text) - _LONGEST:,} more characters)"


def _data(facts: Facts) -> Iterable[Element]:
    yield tag("h2", "Data")
    yield _pairs(words.data_rows(facts))


def _settings(facts: Facts) -> Iterable[Element]:
    yield tag("h2", "Settings")
    if not facts.settings:
        yield tag("p", "All settings are the defaults, or config.yaml cannot be read.")
        return
    yield tag("p", "Those that are not ftk's defaults.", class_="soft")
    rows = [(one.key, shortened(one.value), one.why) for one in facts.settings]
    yield table(("setting", "value", "why"), rows, "settings")


def _warnings(facts: Facts) -> Iterable[Element]:
    lines = [*facts.warnings, *facts.problems]
    if lines:
        yield tag("h2", "Warnings")
        yield tag("ul", *(tag("li", line) for line in lines))


def _again(facts: Facts) -> Iterable[Element]:
    yield tag("h2", "How to repeat it")
    yield tag("pre", "\n".join(words.commands(facts)))
    yield tag("p", words.reproduction(facts), class_="soft")
    if text := config_text(facts):
        yield tag("details", tag("summary", "config.yaml"), tag("pre", text))


def config_text(facts: Facts) -> str:
    """The settings as a preset; empty where they cannot be read."""
    try:
        return shortened(read_text(facts.run.config_file))
    except (OSError, ValueError):
        return ""


def _machine(facts: Facts) -> Iterable[Element]:
    yield tag("h2", "Machine and versions")
    yield _pairs(words.machine_rows(facts))
