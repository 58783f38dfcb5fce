"""A comparison as a page that can be shown around: Markdown, or HTML in one file without scripts."""

from __future__ import annotations

import html as html_module
import re
from pathlib import Path
from typing import Any

from .. import files
from ..errors import UsageError
from .comparisons import Record
from .differences import compare
from .report.visible import visible

ENDINGS = {".md": "markdown", ".html": "html", ".htm": "html"}

_ENDED = {
    "length": "cut off: it reached the longest answer",
    "stopped": "stopped",
    "no room": "not answered: the prompt is longer than the model can read",
}
"""Why an answer ended, where it did not come to its end."""

_STYLE = """\
:root { color-scheme: light dark; --line: #8886; --was: #b3261e; --is: #1a7f37; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: .9rem; margin: 0 0 .3rem; } dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; }
dt { opacity: .7; } dd { margin: 0; } .answers { display: grid; gap: 1rem;
grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext; }
.card { border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .8rem; }
.asked { font-weight: 600; } .note { opacity: .7; font-size: .85rem; }
del { color: var(--was); text-decoration: line-through 1px; } ins { color: var(--is); text-decoration: underline 2px; }
"""


def write(made: Record, target: Path, *, title: str, force: bool = False) -> Path:
    """Write a comparison to a file, whole or not at all.

    Args:
        made: The comparison.
        target: A file that ends with ``.md`` or ``.html``.
        title: What stands above it.
        force: Replace a file that is there.

    Raises:
        UsageError: the ending says no format, the file exists, or it cannot be written.

    """
    kind = kind_of(target, force=force)
    text = markdown(made, title) if kind == "markdown" else html(made, title)
    try:
        with files.staged_file(target) as staging:
            staging.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target} could not be written: {error.strerror or error}.") from None
    return target


def kind_of(target: Path, *, force: bool = False) -> str:
    """What a file would be written as; to be asked before hours of work.

    Raises:
        UsageError: the ending says no format, its folder is missing, or the file exists and `force` is not set.

    """
    kind = ENDINGS.get(target.suffix.lower())
    if kind is None:
        raise UsageError(f"{target} says no format.", hint="Name a file that ends with .md or .html.")
    if target.is_dir() or (target.exists() and not force):
        raise UsageError(f"{target} exists and was not changed.", hint="--force replaces it.")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"There is no folder {target.absolute().parent}.", hint="Make it first, or name another.")
    return kind


def settings(made: Record) -> list[tuple[str, str]]:
    """What is told of a comparison as a whole: each with its name."""
    about, sampling = made.about, made.about["sampling"]
    how = "likeliest token each time" if not sampling["temperature"] else f"temperature {sampling['temperature']:g}"
    if sampling["temperature"]:
        how += f", top-p {sampling['top_p']:g}, seed {sampling['seed']}"
        how += f", top-k {sampling['top_k']}" if sampling["top_k"] else ""
    if sampling["repetition_penalty"] != 1:
        how += f", repetition penalty {sampling['repetition_penalty']:g}"
    models = [f"{model['label']}: {_place(model)}" for model in about["models"]]
    found = [("models", "; ".join(models)), ("prompts", f"{len(made.answers)}, {about['prompts']}")]
    found += [("answers", f"{how}, at most {sampling['max_tokens']} tokens"), ("time", str(about["time"]))]
    if made.verdicts:
        found.append(("blind verdicts", ", ".join(f"{name} {count}" for name, count in tally(made).items())))
    return [*found, ("made with", f"ftk {about['ftk']}"), *(("note", note) for note in about["notes"])]


def tally(made: Record) -> dict[str, int]:
    """How often each model was preferred, and how often neither."""
    chosen = [verdict["better"] for verdict in made.verdicts]
    shown = dict.fromkeys(label for verdict in made.verdicts for label in sorted(verdict["order"]))
    return {**{label: chosen.count(label) for label in shown}, "no difference": chosen.count(None)}


def _place(model: dict[str, Any]) -> str:
    if model["kind"] == "ensemble":
        shares = ", ".join(f"{label} {share:.3g}" for label, share in model.get("members", {}).items())
        return f"the adapters together, on {model['base']}: {shares}"
    return str(model["base"]) if model["kind"] == "base" else f"run {model['run']}, {model['kind']} on {model['base']}"


def markdown(made: Record, title: str) -> str:
    """A comparison as Markdown; texts of data and models stand in blocks in which nothing is markup."""
    lines = [f"# {_inline(title)}", ""]
    lines += [f"- {name}: {_inline(text)}" for name, text in settings(made)]
    for line in made.answers:
        lines += ["", f"## Prompt {line['number']}", *_asked_markdown(line)]
        if line["reference"] is not None:
            lines += ["", "Reference:", "", _fenced(line["reference"])]
        for label in made.labels:
            answer = line["answers"][label]
            note = f" ({_ENDED[answer['ended']]})" if answer["ended"] in _ENDED else ""
            lines += ["", f"**{_inline(label)}**{note}:", "", _fenced(answer["text"])]
    return "\n".join(lines) + "\n"


def _asked_markdown(line: dict[str, Any]) -> list[str]:
    found = []
    for role, text in _turns(line):
        found += ["", f"{role}:" if role else "", "", _fenced(text)]
    return found


def _turns(line: dict[str, Any]) -> list[tuple[str, str]]:
    """Who said what in a prompt; the name is left out where there is only the user's turn."""
    turns = [(str(turn["role"]), str(turn["content"])) for turn in line["messages"]] or [("", line["prompt"])]
    return [("", turns[0][1])] if len(turns) == 1 else turns


def _inline(text: str) -> str:
    """Text that stands in a line of Markdown, without any mark of it."""
    flat = " ".join(visible(text).split())
    return re.sub(r"([\\`*_{}\[\]<>#|~&!])", r"\\\1", flat)


def _fenced(text: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{visible(text)}\n{fence}"


def html(made: Record, title: str) -> str:
    """A comparison as one HTML page: no script, nothing from elsewhere, all text escaped.

    The first model's words that the second lacks are struck through, those of the others that the first lacks are
    underlined.
    """
    rows = "".join(f"<dt>{_safe(name)}</dt><dd>{_safe(text)}</dd>\n" for name, text in settings(made))
    body = "".join(_section(line, made.labels) for line in made.answers)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{_safe(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<h1>{_safe(title)}</h1>\n"
        f"<dl>\n{rows}</dl>\n{body}</body>\n</html>\n"
    )


def _section(line: dict[str, Any], labels: list[str]) -> str:
    asked = "".join(
        (f'<h3 class="note">{_safe(role)}</h3>' if role else "") + f'<div class="text asked">{_safe(text)}</div>\n'
        for role, text in _turns(line)
    )
    cards = ""
    if line["reference"] is not None:
        cards += _card("reference", _safe(line["reference"]), "")
    texts = {label: str(line["answers"][label]["text"]) for label in labels}
    first = texts[labels[0]]
    for number, label in enumerate(labels):
        if len(labels) == 1:
            shown = _safe(first)
        elif number == 0:
            shown = _marked(compare(first, texts[labels[1]])[0], "del")
        else:
            shown = _marked(compare(first, texts[label])[1], "ins")
        cards += _card(label, shown, _ENDED.get(line["answers"][label]["ended"], ""))
    origin = f'<p class="note">{_safe(line["origin"])}</p>\n' if line["origin"] else ""
    return (
        f"<section>\n<h2>Prompt {int(line['number'])}</h2>\n{asked}{origin}"
        f'<div class="answers">\n{cards}</div>\n</section>\n'
    )


def _card(label: str, shown: str, note: str) -> str:
    below = f'<p class="note">{_safe(note)}</p>' if note else ""
    return f'<div class="card"><h3>{_safe(label)}</h3><div class="text">{shown}</div>{below}</div>\n'


def _marked(parts: list[Any], tag: str) -> str:
    return "".join(f"<{tag}>{_safe(text)}</{tag}>" if differs else _safe(text) for text, differs in parts)


def _safe(text: str) -> str:
    return html_module.escape(visible(text), quote=True)
