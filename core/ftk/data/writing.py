"""Write rows in any of the formats: lossless where the target can hold them, refused where it cannot."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_TURNS = {"messages": ("role", "content"), "conversations": ("from", "value")}
_ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_LOSSY_HINT = "Choose --to messages, which holds every conversation."
_TEXT_HINT = "Choose --to text, and write conversations to another file."
_BARE = re.compile(r"[\w.:/!?()%+*=-](?:[\w .:/!?()%+*=-]*[\w.:/!?()%+*=-])?")
"""A cell that needs no quotation marks, whoever reads it; an empty one is told from an empty line by them."""


def layout_for(rows: Iterable[Row]) -> Layout:
    """The layout that suits some rows: prompt-completion where each is one question and one answer, else messages."""
    texts = pairs = others = 0
    for row in rows:
        texts += row.text is not None
        pairs += _is_pair(row)
        others += row.text is None and not _is_pair(row)
        if others or (texts and pairs):
            return "messages"
    return "prompt-completion" if pairs else "text"


def _is_pair(row: Row) -> bool:
    """Whether a row is one question and one answer, and no more."""
    roles = [turn["role"] for turn in row.messages]
    return roles == ["user", "assistant"] and all(turn.keys() == {"role", "content"} for turn in row.messages)


def check(rows: Iterable[Row], path: Path, layout: Layout) -> None:
    """See that rows can be written, without writing.

    Raises:
        UsageError: the file's ending is not known.
        DataError: a row holds what the layout cannot; the message names it.

    """
    _ending(path)
    for row in rows:
        _MAKERS[layout](row)


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
    name, ending = path.name.lower(), _ending(path)
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists and was not changed.", hint="Choose another name, or remove it first.")
    make, write_records = _MAKERS[layout], _WRITERS[ending]
    if ending not in (".jsonl", ".json") and not isinstance(rows, Sequence):
        rows = list(rows)  # for tables they are looked at twice
    columns = {} if ending in (".jsonl", ".json") else _columns(map(make, rows))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.staged_file(path) as staging:
            if count := write_records(map(make, rows), staging, name, columns):
                return count
            raise DataError("There are no rows to write.")
    except OSError as error:
        raise DataError(f"{path} could not be written: {error.strerror or error}.") from None


def _ending(path: Path) -> str:
    name = path.name.lower()
    squeezed = name.endswith((".gz", ".zst"))
    ending = Path(name.removesuffix(".gz").removesuffix(".zst")).suffix
    if ending not in _ENDINGS or (squeezed and ending in (".parquet", ".arrow")):
        raise UsageError(
            f"{path}: ftk writes {', '.join(_ENDINGS)} files, the first four also with .gz or .zst.",
            hint="Give the file one of these endings.",
        )
    return ending


Columns = Mapping[str, Literal["text", "turns", "json"]]
"""What the columns of a table hold; `json` is a text that writes a list or an object."""


def _columns(records: Iterable[dict[str, Any]]) -> Columns:
    """The columns that any record has: formats with a head must know them before the first row."""
    found: dict[str, Literal["text", "turns", "json"]] = {}
    for record in records:
        for name, value in record.items():
            kind: Literal["text", "turns", "json"] = "text" if isinstance(value, str) else "json"
            if name in _TURNS and not _has_more(value):
                kind = "turns"
            found[name] = "json" if "json" in (kind, found.get(name)) else kind
    return found


def _has_more(turns: list[dict[str, Any]]) -> bool:
    """Whether a turn holds more than its role and text: free-form objects, whose types would clash between rows."""
    return any(len(turn) > 2 for turn in turns)


def _messages(row: Row) -> dict[str, Any]:
    if row.text is not None:
        raise _cannot(row, "messages", "a raw text", _TEXT_HINT)
    record: dict[str, Any] = {"messages": list(row.messages)}
    return record | ({"tools": list(row.tools)} if row.tools else {})


def _sharegpt(row: Row) -> dict[str, Any]:
    _plain(row, "sharegpt")
    turns = [{"from": _SHAREGPT[turn["role"]], "value": turn["content"]} for turn in row.messages]
    return {"conversations": turns}


def _alpaca(row: Row) -> dict[str, Any]:
    _plain(row, "alpaca")
    system, turns = _without_system(row, "alpaca")
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
    system, turns = _without_system(row, "prompt-completion")
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
        raise _cannot(row, layout, "a raw text", _TEXT_HINT)
    extra = {key for turn in row.messages for key in turn} - {"role", "content"}
    if extra or row.tools:
        raise _cannot(row, layout, ", ".join(sorted(extra)) or "tools")


def _without_system(row: Row, layout: Layout) -> tuple[str, list[Any]]:
    turns = list(row.messages)
    if turns[0]["role"] != "system":
        return "", turns
    if not str(turns[0]["content"]).strip():
        raise _cannot(row, layout, "an empty system turn")
    return str(turns[0]["content"]), turns[1:]


def _cannot(row: Row, layout: Layout, what: str, hint: str = _LOSSY_HINT) -> DataError:
    return DataError(f"{row.origin}: the layout {layout!r} cannot hold {what}.", hint=hint)


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


def _json_lines(records: Iterable[dict[str, Any]], path: Path, name: str, columns: Columns) -> int:
    count = 0
    with _open(path, name) as file:
        for count, record in enumerate(records, 1):  # noqa: B007 - the last number is the answer
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return count


def _json(records: Iterable[dict[str, Any]], path: Path, name: str, columns: Columns) -> int:
    count = 0
    with _open(path, name) as file:
        file.write("[")
        for count, record in enumerate(records, 1):
            file.write(("," if count > 1 else "") + "\n" + json.dumps(record, ensure_ascii=False))
        file.write("\n]\n")
    return count


def _table(records: Iterable[dict[str, Any]], path: Path, name: str, columns: Columns) -> int:
    """Lists (turns, history) become JSON in their cell, which the reader recognises."""
    delimiter = "\t" if ".tsv" in name else ","
    count = 0
    with _open(path, name) as file:
        file.write(delimiter.join(columns) + "\n")
        for count, record in enumerate(records, 1):  # noqa: B007 - the last number is the answer
            file.write(delimiter.join(_quoted(_cell(record.get(key))) for key in columns) + "\n")
    return count


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if value else ""


def _quoted(cell: str) -> str:
    """A cell in quotation marks, unless it is so plain that any reader takes it as it stands."""
    return cell if _BARE.fullmatch(cell) else '"' + cell.replace('"', '""') + '"'


def _parquet(records: Iterable[dict[str, Any]], path: Path, name: str, columns: Columns) -> int:
    import pyarrow.parquet as parquet

    return _batches(records, columns, lambda schema: parquet.ParquetWriter(path, schema))


def _arrow(records: Iterable[dict[str, Any]], path: Path, name: str, columns: Columns) -> int:
    import pyarrow as pa

    return _batches(records, columns, lambda schema: pa.ipc.new_file(str(path), schema))


def _batches(records: Iterable[dict[str, Any]], columns: Columns, opened: Callable[[Any], Any]) -> int:
    """In portions of 1 000 rows."""
    import pyarrow as pa

    types = {name: pa.list_(pa.struct([(key, pa.string()) for key in _TURNS[name]])) if kind == "turns" else pa.string()
             for name, kind in columns.items()}  # fmt: skip
    count = 0
    remaining = iter(records)
    with opened(pa.schema(types)) as writer:
        while portion := list(islice(remaining, 1000)):
            arrays = [
                pa.array([_storable(record.get(name), kind) for record in portion], type=types[name])
                for name, kind in columns.items()
            ]
            writer.write_table(pa.table(arrays, schema=pa.schema(types)))
            count += len(portion)
    return count


def _storable(value: Any, kind: str) -> Any:
    return json.dumps(value, ensure_ascii=False) if kind == "json" and value is not None else value


_WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], Path, str, Columns], int]] = {
    ".jsonl": _json_lines, ".json": _json, ".csv": _table, ".tsv": _table, ".parquet": _parquet, ".arrow": _arrow,
}  # fmt: skip
