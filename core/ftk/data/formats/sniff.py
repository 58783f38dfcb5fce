"""Which format a file has: by its first bytes, then by its content, then by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import DataError
from . import columnar, json_text, plain_text, table_text
from .base import Encoding, Records, detect_encoding, guarded, open_bytes, open_text

Kind = Literal["JSON Lines", "JSON", "CSV", "TSV", "Parquet", "Arrow", "text"]
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
_BY_SUFFIX: dict[str, Kind] = {
    ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".json": "JSON", ".csv": "CSV", ".tsv": "TSV", ".tab": "TSV",
    ".parquet": "Parquet", ".pq": "Parquet", ".arrow": "Arrow", ".feather": "Arrow", ".txt": "text", ".md": "text",
    ".markdown": "text", ".text": "text",
}  # fmt: skip
_PREVIEW_BYTES = 4 << 20


@dataclass(frozen=True)
class Opened:
    """A file whose format is known: `said` is what is unusual about it, `read` yields its records."""

    path: Path
    kind: Kind
    said: str
    unit: Literal["line", "row"]
    read: Callable[[], Records]


def suffix(path: Path) -> str:
    """The ending that tells the format, below a compression's: ``.jsonl`` of ``a.jsonl.gz``."""
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def is_data(path: Path) -> bool:
    """Whether a file's name is that of a format which ftk reads."""
    return suffix(path) in _BY_SUFFIX


def open_file(path: Path, *, preview: bool = False) -> Opened:
    """Find out the format of a file.

    Args:
        path: The file.
        preview: Judge the encoding by the first 4 MiB only.

    Raises:
        DataError: it cannot be read, or is of no format that ftk knows.

    """
    with open_bytes(path) as file:
        head = _first(path, file)
    if not head.strip():
        raise DataError(f"{path.name} is empty: it holds no rows.")
    if head.startswith(b"PAR1"):
        return Opened(path, "Parquet", "", "row", lambda: columnar.read_parquet(path))
    if head.startswith(b"ARROW1") or suffix(path) in (".arrow", ".feather"):
        return Opened(path, "Arrow", "", "row", lambda: columnar.read_arrow(path))
    encoding = detect_encoding(path, _PREVIEW_BYTES if preview else None)
    kind = _kind(path, encoding)
    if kind in ("CSV", "TSV"):
        form = table_text.dialect(path, encoding)
        said = ", ".join(filter(None, (encoding.said, form.said)))
        return Opened(path, kind, said, "line", lambda: guarded(path, table_text.read(path, encoding, form)))
    readers = {"JSON Lines": json_text.read_lines, "JSON": json_text.read_document, "text": plain_text.read}
    return Opened(path, kind, encoding.said, "line", lambda: guarded(path, readers[kind](path, encoding)))


def _first(path: Path, file: object) -> bytes:
    try:
        head: bytes = file.read(4096)  # type: ignore[attr-defined]
    except (OSError, EOFError) as error:
        raise DataError(f"{path.name} could not be read: {error}.", hint="Is the file complete?") from None
    if not head.startswith((b"PAR1", b"ARROW1")) and suffix(path) == ".parquet":
        raise DataError(f"{path.name} is not a Parquet file.", hint="Is the file complete?")
    return head


def _kind(path: Path, encoding: Encoding) -> Kind:
    """By content where it is JSON (names lie), by name otherwise."""
    by_name = _BY_SUFFIX.get(suffix(path))
    if by_name in ("CSV", "TSV", "text"):
        return by_name
    with open_text(path, encoding) as file:
        text = file.read(1 << 16)
    begin = text.lstrip()[:1]
    if begin == "[" and by_name != "JSON Lines":
        return "JSON"
    if begin == "[":
        return "JSON" if _is_list_of_rows(text) else "JSON Lines"
    if begin == "{":
        pretty = text.lstrip().split("\n", 1)[0].strip() == "{"
        return "JSON Lines" if not pretty and (by_name == "JSON Lines" or _first_line_is_json(text)) else "JSON"
    if by_name:
        return by_name
    if suffix(path) in ("", ".dat", ".data"):
        return "CSV" if _looks_like_table(text) else "text"
    raise DataError(
        f"{path}: ftk reads {', '.join(_BY_SUFFIX)} files, also with .gz or .zst.",
        hint="Convert it, or rename it if it is one of these.",
    )


def _is_list_of_rows(text: str) -> bool:
    """Whether a list begins that holds objects: a JSON document under the name of JSON Lines."""
    return text.lstrip()[1:].lstrip()[:1] in ("{", "")


def _first_line_is_json(text: str) -> bool:
    """Whether the first line is a whole object and more follows, or it is a row alone."""
    first, _, rest = text.lstrip().partition("\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return not rest and len(text) >= 1 << 16  # one line, longer than what was read
    return bool(rest.strip()) or not any(isinstance(part, list | dict) for part in value.values())


def _looks_like_table(text: str) -> bool:
    first = text.split("\n", 1)[0]
    return any(delimiter in first for delimiter in (",", ";", "\t", "|"))


def estimated_rows(path: Path, kind: str, values: list[Any]) -> float:
    """A guess at the number of rows of a file, from its size and that of its first rows; exact for Parquet."""
    if kind == "Parquet":
        import pyarrow.parquet as parquet

        return float(parquet.ParquetFile(path).metadata.num_rows)
    mean = sum(len(json.dumps(value, ensure_ascii=False, default=str).encode()) for value in values) / len(values)
    return path.stat().st_size / max(1.0, mean + 1)
