"""Which format a file has: by its first bytes, then by its content, then by its name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...errors import DataError
from . import columnar, json_text, plain_text, table_text
from .base import BROKEN, Encoding, Input, Records, detect_encoding, guarded, is_compressed, open_bytes, open_text, told

Kind = Literal["JSON Lines", "JSON", "CSV", "TSV", "Parquet", "Arrow", "text"]
_COMPRESSED = (".gz", ".gzip", ".zst", ".zstd")
_BY_SUFFIX: dict[str, Kind] = {
    ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".json": "JSON", ".csv": "CSV", ".tsv": "TSV", ".tab": "TSV",
    ".parquet": "Parquet", ".pq": "Parquet", ".arrow": "Arrow", ".feather": "Arrow", ".txt": "text", ".md": "text",
    ".markdown": "text", ".text": "text",
}  # fmt: skip
_PREVIEW_BYTES = 4 << 20
_SAMPLE = 1 << 16
_STREAM = b"\xff\xff\xff\xff"
"""How an Arrow stream begins."""
_FOREIGN = {
    b"PK\x03\x04": "a ZIP archive (or an Excel workbook)", b"%PDF-": "a PDF", b"SQLite format 3": "an SQLite data base",
    b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive", b"7z\xbc\xaf": "a 7-Zip archive",
}  # fmt: skip


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


def open_file(path: Path, *, preview: bool = False, name: str | None = None) -> Opened:
    """Find out the format of a file.

    Args:
        path: The file.
        preview: Judge the encoding by the first 4 MiB only.
        name: How it is called in messages; its own name by default.

    Raises:
        DataError: it cannot be read, or is of no format that ftk knows.

    """
    source = Input(path, name or path.name)
    head = _first(source)
    ending = suffix(path)
    is_arrow = head.startswith((b"ARROW1", _STREAM))
    if head.startswith(b"PAR1") or (ending in (".parquet", ".pq") and not is_arrow):
        return Opened(path, "Parquet", "", "row", lambda: columnar.read_parquet(source))
    if is_arrow or ending in (".arrow", ".feather"):
        return Opened(path, "Arrow", "", "row", lambda: columnar.read_arrow(source))
    encoding = detect_encoding(source, _PREVIEW_BYTES if preview else None)
    with told(source, encoding):
        return _open_text(source, encoding)


def _open_text(source: Input, encoding: Encoding) -> Opened:
    with open_text(source, encoding) as file:
        text = file.read(_SAMPLE)
    kind = _kind(source, text)
    if kind in ("CSV", "TSV"):
        form = table_text.dialect(source, encoding)
        said = ", ".join(filter(None, (encoding.said, form.said("\t" if kind == "TSV" else ","))))
        return Opened(source.path, kind, said, "line", _guarded(source, encoding, table_text.read, form))
    if kind == "JSON":
        by_line = "\n" in text.strip()
        read = _guarded(source, encoding, json_text.read_document, by_line)
        return Opened(source.path, kind, encoding.said, "line" if by_line else "row", read)
    read = _guarded(source, encoding, json_text.read_lines if kind == "JSON Lines" else plain_text.read)
    return Opened(source.path, kind, encoding.said, "line", read)


def _guarded(source: Input, encoding: Encoding, read: Callable[..., Records], *arguments: Any) -> Callable[[], Records]:
    return lambda: guarded(source, encoding, read(source, encoding, *arguments))


def _first(source: Input) -> bytes:
    """The first bytes of the content, of a file that is not empty and no archive."""
    try:
        with open_bytes(source.path) as file:
            head = file.read(4096)
            filled = bool(head.strip())
            while not filled and (chunk := file.read(1 << 20)):
                filled = bool(chunk.strip())
    except BROKEN as error:
        raise DataError(f"{source.name} could not be read: {error}.", hint="Is the file complete?") from None
    if not filled:
        raise DataError(f"{source.name} is empty: it holds no rows.", hint="Is it the right file?")
    for magic, what in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{source.name} is {what}, not a data file.", hint="Unpack or export it first.")
    return head


def _kind(source: Input, text: str) -> Kind:
    """By content where it is JSON (names lie), by name otherwise."""
    ending = suffix(source.path)
    by_name = _BY_SUFFIX.get(ending)
    if by_name in ("CSV", "TSV") or (by_name == "text" and not _is_lines(text)):
        return by_name
    begin = text.lstrip()[:1]
    if begin == "[" and by_name != "JSON Lines":
        return "JSON" if by_name or _is_list_of_rows(text) else "text"
    if begin == "[":
        return "JSON" if _is_list_of_rows(text) else "JSON Lines"
    if begin == "{":
        pretty = text.lstrip().split("\n", 1)[0].strip() == "{"
        return "JSON Lines" if not pretty and (by_name == "JSON Lines" or _first_line_is_json(text)) else "JSON"
    if by_name and by_name != "text":
        return by_name
    if ending in ("", ".dat", ".data"):
        return "CSV" if table_text.looks_like_table(text, len(text) < _SAMPLE) else "text"
    raise DataError(
        f"{source.path}: ftk reads {', '.join(_BY_SUFFIX)} files, also with .gz or .zst.",
        hint="Convert it, or rename it if it is one of these.",
    )


def _is_lines(text: str) -> bool:
    """Whether a file that is called text holds rows: its first line is an object, and so is the second if any."""
    lines = [line for line in text.lstrip("\ufeff").split("\n", 3)[:2] if line.strip()]
    return bool(lines) and all(isinstance(_parsed(line), dict) for line in lines)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_list_of_rows(text: str) -> bool:
    """Whether a list begins that holds objects: a JSON document under the name of JSON Lines."""
    return text.lstrip()[1:].lstrip()[:1] in ("{", "")


def _first_line_is_json(text: str) -> bool:
    """Whether the first line is a whole object and more follows, or it is a row alone."""
    first, _, rest = text.lstrip().partition("\n")
    value = _parsed(first)
    if not isinstance(value, dict):
        return not rest and len(text) >= _SAMPLE  # one line, longer than what was read
    return bool(rest.strip()) or not any(isinstance(part, list | dict) for part in value.values())


def estimated_rows(path: Path, kind: str, values: list[Any]) -> float:
    """A guess at the number of rows of a file, from its size and that of its first rows; exact for Parquet."""
    if kind == "Parquet" and not is_compressed(path):
        import pyarrow.parquet as parquet

        return float(parquet.ParquetFile(path).metadata.num_rows)
    mean = sum(len(json.dumps(value, ensure_ascii=False, default=str).encode()) for value in values) / len(values)
    return path.stat().st_size / max(1.0, mean + 1)
