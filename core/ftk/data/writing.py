"""Write rows in any of the formats: lossless where the target can hold them, refused where it cannot."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from .. import files
from ..errors import DataError, UsageError
from .rows import Row

Layout = Literal["messages", "sharegpt", "alpaca", "prompt-completion", "text"]
LAYOUTS: tuple[Layout, ...] = ("messages", "sharegpt", "alpaca", "prompt-completion", "text")
_SHAREGPT = {"user": "human", "assistant": "gpt", "system": "system", "tool": "tool"}
_ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_LOSSY_HINT = "Choose --to messages, which holds everything."


def layout_for(rows: Iterable[Row]) -> Layout:
    """The layout that suits some rows: prompt-completion where each is one question and one answer, else messages."""
    first = list(rows)
    if all(row.text is not None for row in first):
        return "text"
    roles = {tuple(turn["role"] for turn in row.messages) for row in first}
    plain = all(turn.keys() == {"role", "content"} for row in first for turn in row.messages)
    return "prompt-completion" if roles == {("user", "assistant")} and plain else "messages"


def write(rows: Iterable[Row], path: Path, layout: Layout, *, overwrite: bool = False) -> int:
    """Write rows to a file; returns how many.

    Args:
        rows: What to write.
        path: Its ending tells the format: .jsonl, .json, .csv, .tsv, .parquet or .arrow; with .gz or .zst behind it
            the first four are compressed.
        layout: How a row becomes columns.
        overwrite: Replace a file that is there.

    Raises:
        UsageError: the file exists, or its ending is not known.
        DataError: a row holds what the layout cannot; the message names it. Nothing is written then.

    """
    name = path.name.lower()
    squeezed = name.endswith((".gz", ".zst"))
    ending = Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
    if ending not in _ENDINGS or (squeezed and ending in (".parquet", ".arrow")):
        raise UsageError(
            f"{path}: ftk writes {', '.join(_ENDINGS)} files, the first four also with .gz or .zst.",
            hint="Give the file one of these endings.",
        )
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists and was not changed.", hint="Choose another name, or remove it first.")
    make = _MAKERS[layout]
    records = (make(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with files.staged_file(path) as staging:
            return _WRITERS[ending](records, staging, name)
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}.") from None


def _messages(row: Row) -> dict[str, Any]:
    if row.text is not None:
        return {"text": row.text}
    record: dict[str, Any] = {"messages": list(row.messages)}
    return record | ({"tools": list(row.tools)} if row.tools else {})


def _sharegpt(row: Row) -> dict[str, Any]:
    _plain(row, "sharegpt")
    turns = [{"from": _SHAREGPT[turn["role"]], "value": turn["content"]} for turn in row.messages]
    return {"conversations": turns}


def _alpaca(row: Row) -> dict[str, Any]:
    _plain(row, "alpaca")
    system, turns = _without_system(row)
    if any(turn["role"] == "tool" for turn in turns):
        raise _cannot(row, "alpaca", "a tool's result")
    history = [[turns[index]["content"], turns[index + 1]["content"]] for index in range(0, len(turns) - 2, 2)]
    return {
        "instruction": turns[-2]["content"],
        "input": "",
        "output": turns[-1]["content"],
        "system": system,
        "history": history,
    }


def _prompt_completion(row: Row) -> dict[str, Any]:
    _plain(row, "prompt-completion")
    system, turns = _without_system(row)
    if len(turns) != 2:
        raise _cannot(row, "prompt-completion", f"{len(turns)} turns")
    record = {"prompt": turns[0]["content"], "completion": turns[1]["content"]}
    return {"system": system, **record} if system else record


def _text(row: Row) -> dict[str, Any]:
    if row.text is None:
        raise _cannot(row, "text", "a conversation")
    return {"text": row.text}


def _plain(row: Row, layout: Layout) -> None:
    """See that a row is a conversation with nothing but roles and contents."""
    if row.text is not None:
        raise _cannot(row, layout, "a raw text")
    extra = {key for turn in row.messages for key in turn} - {"role", "content"}
    if extra or row.tools:
        raise _cannot(row, layout, ", ".join(sorted(extra)) or "tools")


def _without_system(row: Row) -> tuple[str, list[Any]]:
    turns = list(row.messages)
    return (str(turns[0]["content"]), turns[1:]) if turns[0]["role"] == "system" else ("", turns)


def _cannot(row: Row, layout: Layout, what: str) -> DataError:
    return DataError(f"{row.origin}: the layout {layout!r} cannot hold {what}.", hint=_LOSSY_HINT)


_MAKERS: dict[Layout, Callable[[Row], dict[str, Any]]] = {
    "messages": _messages, "sharegpt": _sharegpt, "alpaca": _alpaca, "prompt-completion": _prompt_completion,
    "text": _text,
}  # fmt: skip


@contextmanager
def _open(path: Path, name: str) -> Iterator[IO[str]]:
    if name.endswith(".gz"):
        with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
            yield file
    elif name.endswith(".zst"):
        import pyarrow

        with (
            pyarrow.output_stream(str(path), compression="zstd") as raw,
            io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", newline="") as file,
        ):
            yield file
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield file


def _json_lines(records: Iterable[dict[str, Any]], path: Path, name: str) -> int:
    count = 0
    with _open(path, name) as file:
        for count, record in enumerate(records, 1):  # noqa: B007 - the last number is the answer
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return count


def _json(records: Iterable[dict[str, Any]], path: Path, name: str) -> int:
    count = 0
    with _open(path, name) as file:
        file.write("[")
        for count, record in enumerate(records, 1):
            file.write(("," if count > 1 else "") + "\n" + json.dumps(record, ensure_ascii=False))
        file.write("\n]\n")
    return count


def _table(records: Iterable[dict[str, Any]], path: Path, name: str) -> int:
    """Lists (turns, history) become JSON in their cell, which the reader recognises."""
    count = 0
    with _open(path, name) as file:
        writer: Any = None
        for count, record in enumerate(records, 1):
            cells = {key: value if isinstance(value, str) else _cell(value) for key, value in record.items()}
            if writer is None:
                delimiter = "\t" if ".tsv" in name else ","
                writer = csv.DictWriter(file, list(cells), delimiter=delimiter, lineterminator="\n")
                writer.writeheader()
            if cells.keys() - set(writer.fieldnames):
                raise DataError(
                    f"row {count}: has the columns {', '.join(cells)}, the first one {', '.join(writer.fieldnames)}.",
                    hint="A table needs the same columns in every row: write .jsonl instead.",
                )
            writer.writerow(cells)
    return count


def _cell(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _parquet(records: Iterable[dict[str, Any]], path: Path, name: str) -> int:
    import pyarrow.parquet as parquet

    return _batches(records, lambda schema: parquet.ParquetWriter(path, schema))


def _arrow(records: Iterable[dict[str, Any]], path: Path, name: str) -> int:
    import pyarrow as pa

    return _batches(records, lambda schema: pa.ipc.new_file(str(path), schema))


def _batches(records: Iterable[dict[str, Any]], opened: Callable[[Any], Any]) -> int:
    """In portions of 1 000 rows; the first portion decides the types, as these formats need them beforehand."""
    import pyarrow as pa

    writer: Any = None
    count = 0
    remaining = iter(records)
    while portion := list(islice(remaining, 1000)):
        try:
            table = pa.Table.from_pylist(
                [_storable(record) for record in portion], schema=writer.schema if writer else None
            )
        except pa.ArrowException as error:
            raise DataError(f"The rows do not fit into one table: {error}.", hint="Write .jsonl instead.") from None
        writer = writer or opened(table.schema)
        writer.write_table(table)
        count += len(portion)
    if writer is None:
        raise DataError("There are no rows to write.")
    writer.close()
    return count


def _storable(record: dict[str, Any]) -> dict[str, Any]:
    """Free-form objects (arguments of tool calls) become JSON text: their types would clash between rows."""
    return {key: json.dumps(value, ensure_ascii=False) if key in ("tools", "history") or _has_calls(value) else value
            for key, value in record.items()}  # fmt: skip


def _has_calls(value: Any) -> bool:
    return isinstance(value, list) and any(
        isinstance(turn, dict) and turn.keys() - {"role", "content"} for turn in value
    )


_WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], Path, str], int]] = {
    ".jsonl": _json_lines, ".json": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet, ".arrow": _arrow,
}  # fmt: skip
