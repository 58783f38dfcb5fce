"""What `ftk data` prints: a report on a data set, its rows, and a row as the model sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ftk.data.checks import Finding
from ftk.data.inspection import Inspection
from ftk.data.preview import Browsed, Preview
from ftk.data.rows import Row
from ftk.data.store import SourceInfo
from ftk.data.view import View, Views

from .text import bar, counted, shown

_MARKS = {"error": ("✗ error", "bold red"), "warning": ("! warning", "yellow"), "note": ("· note", "dim")}
_LENGTHS = (("prompt", "prompts"), ("response", "answers"), ("row", "whole rows"))
"""Of a tokenised data set the prompts are all that is not learnt, and the answers what is."""
_CELL = 8
LEARNT = ("⟦", "⟧")
"""What stands around learnt text: colour alone would be lost in a pipe."""


def inspection(found: Inspection, model: str | None) -> None:
    """Print what is known of a data set."""
    console = Console()
    for source in found.sources:
        _source(console, source)
    stats = found.statistics
    say(console, f"{_size(stats)}.")
    _lengths(console, found)
    if model is None:
        say(console, "With --model NAME the lengths are in tokens, and you see what fits.", "dim")
    else:
        name = "the model's own" if found.template == "model" else f"{found.template} (the model has none of its own)"
        say(console, f"Chat template: {name}.")
    say(console, "")
    for finding in found.findings:
        _finding(console, finding)
    errors = sum(finding.severity == "error" for finding in found.findings)
    warnings = sum(finding.severity == "warning" for finding in found.findings)
    found_any = f"{counted(errors, 'error')}, {counted(warnings, 'warning')}."
    say(console, found_any if errors or warnings else "Nothing is wrong with it.")


def _size(stats: dict[str, Any]) -> str:
    """How many rows there are, and what becomes of them."""
    aside = f", and {counted(stats['held_out_rows'], 'row')} held out" if stats["held_out_rows"] else ""
    sides = (
        f": {stats['train_rows']:,} to train on, {stats['eval_rows']:,} to measure with" if "eval_rows" in stats else ""
    )
    return f"{counted(stats['rows'], 'row')} with {counted(stats['turns'], 'turn')}{aside}{sides}"


def _source(console: Console, source: SourceInfo) -> None:
    said = f", {source.said}" if source.said else ""
    weight = f", weight {source.weight:g}" if source.weight != 1 else ""
    say(console, f"{source.name}: {source.kind}{said}, {counted(source.rows, 'row')}{weight}", "bold")
    if source.reading:
        say(console, f"  read as {source.reading}")


def _lengths(console: Console, found: Inspection) -> None:
    stats = found.statistics
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(f"length in {stats['unit']}")
    for heading in ("least", "5 %", "median", "95 %", "99 %", "most"):
        table.add_column(heading, justify="right")
    for key, label in _LENGTHS:
        if numbers := stats.get(key):
            table.add_row(label, *(f"{numbers[at]:,}" for at in ("min", "p5", "median", "p95", "p99", "max")))
    console.print(table)
    key = "row" if "row" in stats else "response"
    histogram(console, stats[key]["histogram"], "whole rows" if key == "row" else "answers", stats["unit"])
    if "fits" in stats:
        say(
            console,
            f"{stats['fits']:.1%} of the rows fit into {stats['max_length']:,} tokens; "
            f"{stats['supervised']['sum'] / max(1, stats['row']['sum']):.0%} of their tokens are learnt. Batches of "
            f"{stats['batch_size']}: {stats['padding']:.0%} padding, "
            f"{counted(stats['steps_per_epoch'], 'step')} an epoch.",
        )
    if "fits" in stats and any(source.reading_kind == "text" for source in found.sources):
        say(console, "Longer raw texts are cut into windows of that length, and nothing of them is lost.")


def histogram(console: Console, values: dict[str, list[int]], label: str, unit: str) -> None:
    """Print how many rows have which length, a bar a line; the last line is open upwards."""
    say(console, f"{label} by {unit}:")
    edges, counts = values["edges"], values["counts"]
    most = max(counts)
    for index, count in enumerate(counts):
        last = index == len(counts) - 1
        begin = f"{edges[index]:,}" + ("+" if last else "")
        say(console, f"{begin:>{_CELL}} {bar(count / most, 40)} {count:,}")


def _finding(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.severity]
    say(console, f"{mark}: {finding.message}", style)
    for place in finding.rows:
        say(console, f"    {place}")
    if finding.count > len(finding.rows) > 0 and finding.severity != "note":
        say(console, f"    ... and {finding.count - len(finding.rows):,} more")
    if finding.action:
        say(console, f"  ftk {finding.action}.")
    if finding.change:
        say(console, f"  To change that: {finding.change}.")


def preview(found: Preview) -> None:
    """Print how a data set begins."""
    console = Console()
    for source in found.sources:
        _source(console, source)
    for number, row in enumerate(found.rows, 1):
        say(console, "")
        for text in row_lines(row, str(number)):
            console.print(text, soft_wrap=True)
    for fault in found.faults:
        say(console, f"✗ {fault.message}", "bold red")
    say(
        console,
        f"\nAbout {counted(found.estimated_rows, 'row')} in all. `ftk data inspect` reads and checks every one.",
        "dim",
    )


def row_lines(row: Row, number: str) -> Iterator[Text]:
    """A row for people, role by role."""
    yield Text(f"{number}  {shown(row.origin)}", style="bold")
    if row.text is not None:
        yield Text(shown(row.text))
    for turn in row.messages:
        style = {"user": "cyan", "assistant": "green"}.get(turn["role"], "magenta")
        calls = [f"calls {call['function']['name']}({_json(call['function']['arguments'])})"
                 for call in turn.get("tool_calls", ())]  # fmt: skip
        said = "\n".join(filter(None, [str(turn["content"]), *calls]))
        yield Text.assemble((f"{turn['role']}: ", style), shown(said))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def browsed_lines(item: Browsed) -> Iterator[Text]:
    """A row of a list of rows, or why it cannot be read."""
    number = f"{item.number}{' (held out)' if item.held_out else ''}"
    if item.row is not None:
        yield from row_lines(item.row, number)
    elif item.fault is not None:
        yield Text(f"{number}  ✗ {shown(item.fault.message)}", style="bold red")
    yield Text("")


def views(row: Row, found: Views, *, tokens: bool) -> None:
    """Print a row as the model sees it, what is learnt marked and in colour."""
    console = Console(highlight=False)
    say(console, f"{row.origin}; template: {found.template}", "dim")
    for number, view in enumerate(found.examples, 1):
        if len(found.examples) > 1:
            say(console, f"\nexample {number} of {len(found.examples)}", "bold")
        console.print(_tokens(view) if tokens else _text(view), soft_wrap=not tokens)
        say(
            console,
            f"{counted(len(view.tokens), 'token')}, of which {view.learnt:,} are learnt ({''.join(LEARNT)}).",
            "dim",
        )
    if not found.examples:
        why = "no token of an answer fits into the length, or every answer has the weight 0"
        say(console, f"Nothing of this row is learnt: {why}.", "yellow")
    elif found.cut:
        say(console, f"{found.cut} of them cut at the length that --max-length allows.", "yellow")


def _text(view: View) -> Text:
    whole = Text()
    for piece in view.pieces:
        text = shown(piece.text)
        whole.append(f"{LEARNT[0]}{text}{LEARNT[1]}" if piece.learnt else text, "green" if piece.learnt else "")
    return whole


def _tokens(view: View) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("place", justify="right")
    table.add_column("id", justify="right")
    table.add_column("learnt", justify="center")
    table.add_column("text")
    for place, token in enumerate(view.tokens):
        style = "green" if token.learnt else ""
        text = Text(repr(shown(token.text)), style=style)
        table.add_row(str(place), str(token.id), "yes" if token.learnt else "", text)
    return table


def views_json(row: Row, found: Views) -> dict[str, Any]:
    """The same as plain values."""
    return {
        "row": row.origin,
        "template": found.template,
        "cut": found.cut,
        "examples": [
            {
                "pieces": [{"text": piece.text, "learnt": piece.learnt} for piece in view.pieces],
                "tokens": [[token.id, token.text, token.learnt] for token in view.tokens],
            }
            for view in found.examples
        ],
    }


def row_json(row: Row, number: int, *, held_out: bool = False) -> dict[str, Any]:
    """A row as plain values."""
    content: dict[str, Any] = {"text": row.text} if row.text is not None else {"messages": list(row.messages)}
    tools = {"tools": list(row.tools)} if row.tools else {}
    return {"number": number, "origin": row.origin, "held_out": held_out, **content, **tools}


def say(console: Console, text: str, style: str = "") -> None:
    """Print text that is nobody's markup; on a terminal with its lines broken between words, below their indent."""
    safe = shown(text)
    if not console.is_terminal:
        console.print(Text(safe, style=style), soft_wrap=True)
        return
    for line in safe.split("\n"):
        bare = line.lstrip(" ")
        console.print(Padding(Text(bare, style=style), (0, 0, 0, len(line) - len(bare))))


def matches(row: Row, words: Sequence[str]) -> bool:
    """Whether every word stands somewhere in a row, upper and lower case alike."""
    text = (row.text or "\n".join(str(turn["content"]) for turn in row.messages)).casefold()
    return all(word.casefold() in text for word in words)
