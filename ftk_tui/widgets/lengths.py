"""How long the rows are: a histogram, the numbers that matter, and the longest length that fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..text import bar, counted
from .painted import Painted, Row

_LABELS = (("prompt", "prompts"), ("response", "answers"), ("row", "whole rows"))
"""In tokens the prompts are all that is not learnt, and the answers what is."""
_NUMBERS = (("median", "median"), ("p95", "95 %"), ("p99", "99 %"), ("max", "most"))
_NAME, _NUMBER = 11, 9
_WORDS = {"rows": "whole rows", "answers": "answers"}


class Lengths(Painted):
    """Shows the lengths of a data set in as many lines as there are."""

    DEFAULT_CSS = """
    Lengths {
        height: 1fr;
        padding: 0 1;
        .lengths--name { color: $text-muted; }
        .lengths--bar { color: $text-primary; }
        .lengths--beyond { color: $text-warning; text-style: bold; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {"lengths--name", "lengths--bar", "lengths--beyond"}

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self._statistics: Mapping[str, Any] = {}
        self._note = ""

    def show(self, statistics: Mapping[str, Any], note: str = "") -> None:
        """Show what `ftk.data.statistics` measured.

        Args:
            statistics: The numbers; empty where nothing was measured yet.
            note: What else is to be said: what is missing, and why.

        """
        self._statistics, self._note = statistics, note
        self.draw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        """Sentence, table and histogram, as far as there is room."""
        if not self._statistics:
            return [[(line, "lengths--name")] for line in folded(self._note, width)]
        said = [[(line, "")] for text in (fits(self._statistics), self._note) for line in folded(text, width)]
        rows: list[Row] = [*table(self._statistics, width), *said, []]
        return [*rows, *histogram(self._statistics, width, max(3, height - len(rows)))]


def folded(text: str, width: int) -> list[str]:
    """A sentence in lines of a width; none for nothing."""
    import textwrap

    return textwrap.wrap(text, max(10, width))


def table(statistics: Mapping[str, Any], width: int) -> list[Row]:
    """Percentiles of prompts, answers and rows."""
    columns = _NUMBERS if width >= _NAME + _NUMBER * len(_NUMBERS) else _NUMBERS[:: len(_NUMBERS) - 1]
    unit = str(statistics["unit"])
    head = f"{unit:<{_NAME}}" + "".join(f"{label:>{_NUMBER}}" for _, label in columns)
    rows: list[Row] = [[(head, "lengths--name")]]
    for key, label in _LABELS:
        if numbers := statistics.get(key):
            cells = "".join(f"{numbers[at]:>{_NUMBER},}" for at, _ in columns)
            rows.append([(f"{label:<{_NAME}}", "lengths--name"), (cells, "")])
    return rows


def fits(statistics: Mapping[str, Any]) -> str:
    """What fits into the longest length, and what padding costs; nothing where no tokens were counted."""
    if "fits" not in statistics:
        return ""
    learnt = statistics["supervised"]["sum"] / max(1, statistics["row"]["sum"])
    return (
        f"{statistics['fits']:.0%} of the rows fit into {statistics['max_length']:,} tokens (max_length); {learnt:.0%} "
        f"of their tokens are learnt. Batches of {statistics['batch_size']}: {statistics['padding']:.0%} padding."
    )


def histogram(statistics: Mapping[str, Any], width: int, height: int) -> list[Row]:
    """How many rows have which length, a bar a line, in as many lines as there are."""
    key = "row" if "row" in statistics else "response"
    values = statistics[key]["histogram"]
    edges, counts = merged(values["edges"], values["counts"], max(2, height - 1))
    limit = statistics.get("max_length") if key == "row" else None
    name = "whole rows" if key == "row" else "answers"
    rows: list[Row] = [[(f"{name} by {statistics['unit']}", "lengths--name")]]
    most = max(max(counts), 1)
    label = max(len(f"{edge:,}") for edge in edges) + 1
    count_width = len(f"{most:,}") + 1
    room = max(4, width - label - count_width - 2)
    for index, count in enumerate(counts):
        last = index == len(counts) - 1
        begin = f"{edges[index]:,}" + ("+" if last and len(counts) > 1 else " ")
        beyond = limit is not None and edges[index + 1] > limit
        style = "lengths--beyond" if beyond else "lengths--bar"
        mark = "›" if beyond else " "
        rows.append(
            [(f"{begin:>{label}}", "lengths--name"), (f"{mark}{bar(count / most, room)}", style), (f" {count:,}", "")]
        )
    if limit is not None and edges[-1] > limit and len(rows) < height:
        rows.append([(f"› {counted(limit, 'token')} are exceeded", "lengths--beyond")])
    return rows


def merged(edges: Sequence[int], counts: Sequence[int], most: int) -> tuple[list[int], list[int]]:
    """The same in at most `most` bins, neighbours joined."""
    each = -(-len(counts) // most)
    sums = [sum(counts[begin : begin + each]) for begin in range(0, len(counts), each)]
    return [*(edges[begin] for begin in range(0, len(counts), each)), edges[-1]], sums
