"""What a person should know about the data before the first step: everything that was left out, cut or changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from ..events import Warned

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..data.prepare import Prepared


def remarks(dataset: Dataset, data: Prepared, length: int, long_rows: Literal["cut", "drop"]) -> Iterator[Warned]:
    """One warning for every kind of row that is not trained on just as it stands in the file.

    Args:
        dataset: As it was read.
        data: As it was prepared.
        length: The limit in tokens.
        long_rows: What was done with longer rows.

    """
    from ..data.normalise import NOTES

    info = dataset.info
    for source in info.sources:
        if source.said:
            yield Warned(code="format", message=f"{source.name}: {source.said}.")
    if info.faults:
        yield Warned(
            code="skipped",
            message=f"{info.faults} rows could not be read and were left out. The first: {info.fault_messages[0][0]}",
        )
    for code, count in info.notes.items():
        yield Warned(code=code, message=f"{count} rows: {NOTES[code]} ({', '.join(info.noted[code])}).")
    if data.overlap:
        yield Warned(
            code="overlap",
            message=f"{data.overlap} training rows are also held out and were left out of the training.",
        )
    if data.train.cut:
        yield Warned(
            code="cut",
            message=f"{data.train.cut} rows are longer than {length} tokens and were cut at the end.",
            hint="Raise --max-length if their ends matter, or leave them out: --long-rows drop",
        )
    if data.train.dropped:
        first = ", ".join(data.train.dropped[:3])
        why = f"longer than {length} tokens" if long_rows == "drop" else "no token of the response fits"
        yield Warned(
            code="dropped",
            message=f"{len(data.train.dropped)} rows were left out: {why} ({first}).",
            hint="Raise --max-length, or shorten the prompts.",
        )
