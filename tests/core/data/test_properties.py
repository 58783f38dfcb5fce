"""Whatever texts, bytes and settings come in: the same rows come out again, or a fault in words."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ftk import dataspec, load_dataset
from ftk.data.preview import preview
from ftk.data.recognise import recognise
from ftk.data.rows import Row
from ftk.data.writing import LAYOUTS, Layout, write
from ftk.errors import DataError, FtkError, UsageError

modest = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Texts of any characters, and more often of those that formats trip over.
tricky = st.sampled_from(
    list("\"'\\,;\t|^\n\r\x0b\x1c\x85\u2028\u2029\0\ufeff{}[]:ae é漢🙂\u200b") + ["\r\n", '""', "[{", "NA"]
)
texts = st.one_of(
    st.lists(tricky, max_size=12).map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
filled = texts.filter(lambda text: bool(text.strip()))
pairs = st.lists(st.tuples(filled, filled), min_size=1, max_size=6)


@st.composite
def conversations(draw: st.DrawFn) -> Row:
    """A conversation that any layout but `text` may hold, and some that only `messages` does."""
    turns = [{"role": "system", "content": draw(texts)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns.append({"role": "user", "content": draw(filled)})
        if draw(st.integers(0, 5)) == 0:
            arguments = draw(st.dictionaries(texts, st.one_of(st.none(), st.integers(), texts), max_size=3))
            call = {"type": "function", "function": {"name": draw(texts), "arguments": arguments}}
            turns.append({"role": "assistant", "content": draw(texts), "tool_calls": [call]})
            turns.append({"role": "tool", "content": draw(texts)})
        turns.append({"role": "assistant", "content": draw(filled)})
    return Row(tuple(turns), "made, row 1")


raw = texts.filter(lambda text: bool(text.strip())).map(lambda text: Row((), "made, row 1", text))


def contents(rows: Any) -> list[tuple[Any, ...]]:
    return [(row.messages, row.text, row.tools) for row in rows]


@modest
@given(
    rows=st.one_of(st.lists(conversations(), min_size=1, max_size=4), st.lists(raw, min_size=1, max_size=4)),
    layout=st.sampled_from(LAYOUTS),
    ending=st.sampled_from([".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".csv.gz", ".jsonl.zst"]),
)
def test_what_is_written_is_read_the_same_or_refused_with_its_row(rows: list[Row], layout: Layout, ending: str) -> None:
    path = Path(f"rows{ending}")
    try:
        write(rows, path, layout, overwrite=True)
    except DataError as error:
        assert re.match(r"made, row 1: the layout '[\w-]+' cannot hold ", error.message)
        return
    assert contents(load_dataset(str(path), columns=_as_told(layout)).rows) == contents(rows)


def _as_told(layout: Layout) -> str | None:
    """A text may look like turns, or both columns may; whether they do is not what is asked here."""
    return "text=text" if layout == "text" else None


def _table(rows: list[tuple[str, str]], delimiter: str, quote: str, every: bool, ends: str) -> str:
    sink = io.StringIO()
    quoting = csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL
    writer = csv.writer(sink, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=ends)
    writer.writerows([("prompt", "response"), *rows])
    return sink.getvalue()


@modest
@given(
    rows=pairs,
    delimiter=st.sampled_from(list(",;\t|^~:§\x1f\x01")),
    every=st.booleans(),
    ends=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_tables_come_back_whatever_their_form(
    rows: list[tuple[str, str]], delimiter: str, every: bool, ends: str, encoding: str
) -> None:
    every = every or any("\r" in cell for row in rows for cell in row)  # csv's own writer forgets to quote these
    text = _table(rows, delimiter, '"', every, ends)
    Path("rows.csv").write_bytes(text.encode(encoding))
    assert [
        (row.prompt, row.response) for row in load_dataset("rows.csv", columns="prompt=prompt,response=response").rows
    ] == rows


@modest
@given(rows=pairs, delimiter=st.sampled_from(list(",;\t|")), ends=st.sampled_from(["\n", "\r\n"]))
def test_tables_in_single_quotes_come_back(rows: list[tuple[str, str]], delimiter: str, ends: str) -> None:
    Path("rows.csv").write_bytes(_table(rows, delimiter, "'", True, ends).encode())
    assert [(row.prompt, row.response) for row in load_dataset("rows.csv").rows] == rows


@modest
@given(
    rows=pairs,
    form=st.sampled_from(["lines", "array", "pretty", "splits", "columns", "others"]),
    escaped=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]),
)
def test_json_comes_back_whatever_its_form(
    rows: list[tuple[str, str]], form: str, escaped: bool, encoding: str
) -> None:
    records = [{"prompt": prompt, "response": response} for prompt, response in rows]
    columns = {"prompt": [prompt for prompt, _ in rows], "response": [response for _, response in rows]}
    value: Any = {"columns": columns, "splits": {"train": records}}.get(form, records)
    indent = 2 if form in ("pretty", "others") else None
    parts = records if form in ("lines", "others") else [value]
    text = "\n".join(json.dumps(part, ensure_ascii=escaped, indent=indent) for part in parts)
    Path("rows.json").write_bytes(text.encode(encoding))
    assert [(row.prompt, row.response) for row in load_dataset("rows.json").rows] == rows


@modest
@given(rows=pairs, binary=st.sampled_from(["parquet", "arrow", "stream"]))
def test_binary_files_come_back(rows: list[tuple[str, str]], binary: str) -> None:
    table = pa.table({"prompt": [prompt for prompt, _ in rows], "response": [response for _, response in rows]})
    if binary == "parquet":
        parquet.write_table(table, "rows")
    else:
        with (ipc.new_stream if binary == "stream" else ipc.new_file)("rows", table.schema) as writer:
            writer.write_table(table)
    assert [(row.prompt, row.response) for row in load_dataset("rows").rows] == rows


SUFFIXES = [
    "",
    ".jsonl",
    ".json",
    ".csv",
    ".tsv",
    ".txt",
    ".md",
    ".parquet",
    ".arrow",
    ".jsonl.gz",
    ".parquet.zst",
    ".x",
]
BEGINNINGS = [b"", b"{", b"[{", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"PAR1", b"ARROW1\0\0", b"\xff" * 4,
              b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"prompt,response\n", b"{\"prompt\":\"a\"}\n"]  # fmt: skip


@settings(modest, max_examples=150)
@given(
    begin=st.sampled_from(BEGINNINGS),
    rest=st.one_of(st.binary(max_size=60), st.lists(tricky, max_size=20).map(lambda parts: "".join(parts).encode())),
    suffix=st.sampled_from(SUFFIXES),
)
@example(begin=b"", rest=b"\0" * 40, suffix=".txt")
@example(begin=b"\xff\xfe", rest=b"a\0\0\xd8\n\0", suffix=".csv")
@example(begin=b"\x1f\x8b\x08\0", rest=b"", suffix=".csv")
def test_arbitrary_bytes_give_rows_or_a_fault_in_words(begin: bytes, rest: bytes, suffix: str) -> None:
    name = f"rows{suffix}"
    Path(name).write_bytes(begin + rest)
    for read in (load_dataset, preview):
        try:
            read(name)
        except DataError as error:
            assert name in error.message
            error.message.encode()


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["role", "content", "from", "value", "tool_calls", "x"]), inner, max_size=3),
    ),
    max_leaves=8,
)
names = st.one_of(
    st.sampled_from(["prompt", "response", "instruction", "input", "output", "messages", "conversations", "text",
                     "chosen", "rejected", "history", "system", "tools", "question", "answer", "Q", "A"]),
    st.text(max_size=3),
)  # fmt: skip


@settings(modest, max_examples=150)
@given(rows=st.lists(st.one_of(st.dictionaries(names, values, max_size=4), values), max_size=4))
@example(rows=[{"instruction": "Q", "output": "A", "history": 5}])
@example(rows=[{"messages": [{"role": "user", "content": "Q"}, {"role": ["x"], "content": "A"}]}])
def test_arbitrary_rows_are_recognised_or_refused_in_words(rows: list[Any]) -> None:
    try:
        assert recognise(rows, "rows").said
    except DataError as error:
        error.message.encode()
    try:
        data = load_dataset(rows)
    except DataError as error:
        error.message.encode("utf-8", "surrogatepass")
    else:
        assert all(row.text or row.messages[-1]["role"] == "assistant" for row in data.rows)


@settings(modest, max_examples=300)
@given(
    st.one_of(
        texts, st.text(max_size=20), st.lists(st.sampled_from(list("a./:,?*[]{}=-0129&~") + ["sample:"])).map("".join)
    )
)
def test_a_data_setting_is_taken_apart_or_refused_in_words(spec: str) -> None:
    try:
        found = dataspec.parts(spec)
        assert found
        assert all(part.name and 0 < part.weight <= 1000 for part in found)
        for part in found:
            dataspec.hub_id(part.name)
            dataspec.is_glob(part.name)
    except UsageError as error:
        assert error.message


@modest
@given(st.lists(st.sampled_from(list("a./:,?*[]{}=02&~") + ["sample:", "**"]), min_size=1, max_size=8).map("".join))
def test_a_data_setting_that_names_nothing_is_refused_in_words(spec: str) -> None:
    if "/" in spec.strip("./~") and dataspec.hub_id(spec.split(",")[0].split(":")[0].strip() or "x"):
        return  # would ask the Hub
    try:
        load_dataset(spec if not spec.startswith(("/", "~", "..")) else "x" + spec)
    except FtkError as error:
        assert error.message


@modest
@given(st.text(max_size=30))
@example("prompt=a,response=b,response=c")
def test_a_columns_setting_is_taken_apart_or_refused_in_words(spec: str) -> None:
    try:
        assert dataspec.columns(spec)
    except UsageError as error:
        assert error.message


@modest
@given(prompt=st.from_regex(r"[^\s=,][^\n=,]*[^\s=,]", fullmatch=True), response=st.from_regex(r"\w+", fullmatch=True))
def test_columns_of_any_name_can_be_chosen(prompt: str, response: str) -> None:
    assert dataspec.columns(f"prompt={prompt},response={response}") == {"prompt": prompt, "response": response}
