"""Every container a data set may come in gives the same rows: formats, encodings, folders, objects, mixtures."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet
import pytest

from ftk import dataspec, load_dataset
from ftk.data.dataset import Dataset
from ftk.data.preview import preview
from ftk.errors import DataError, UsageError

ROWS = [
    {"prompt": "Wie groß?", "response": 'So: "groß",\nund\tmehr; | ^ \\'},
    {"prompt": "NA", "response": "None"},
    {"prompt": "007", "response": "1e5"},
    {"prompt": "null", "response": "日本語 🙂"},
]
TEXTS = [(row["prompt"], row["response"]) for row in ROWS]
TURNS = [
    {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": f"A{number}"}]}
    for number in range(3)
]


def texts(data: Dataset) -> list[tuple[str, str]]:
    return [(row.prompt, row.response) for row in data.rows]


def put(content: str | bytes, name: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def lines(rows: list[dict[str, Any]] = ROWS) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def table(delimiter: str = ",", **how: Any) -> str:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, ["prompt", "response"], delimiter=delimiter, lineterminator="\n", **how)
    writer.writeheader()
    writer.writerows(ROWS)
    return sink.getvalue()


def columns(rows: list[dict[str, Any]] = ROWS) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def arrow(*, stream: bool, rows: list[dict[str, Any]] = ROWS) -> bytes:
    content, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with (ipc.new_stream if stream else ipc.new_file)(sink, content.schema) as writer:
        writer.write_table(content)
    return bytes(sink.getvalue())


def packed_parquet(rows: list[dict[str, Any]] = ROWS) -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


CONTENTS: dict[str, Callable[[], str | bytes]] = {
    "lines.jsonl": lines,
    "lines.ndjson": lines,
    "lines.json": lines,
    "array.json": lambda: json.dumps(ROWS),
    "array.jsonl": lambda: json.dumps(ROWS, indent=1),
    "pretty.json": lambda: json.dumps(ROWS, indent=4, ensure_ascii=False),
    "one-after-the-other.json": lambda: "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "columns.json": lambda: json.dumps(columns()),
    "indexed.json": lambda: json.dumps({name: dict(enumerate(cells)) for name, cells in columns().items()}),
    "data.json": lambda: json.dumps({"version": "1.0", "data": ROWS}),
    "commas.csv": table,
    "semicolons.csv": lambda: table(";"),
    "bars.csv": lambda: table("|"),
    "tildes.csv": lambda: table("~"),
    "colons.csv": lambda: table(":"),
    "controls.csv": lambda: table("\x01"),
    "tabs.csv": lambda: table("\t"),
    "tabs.tsv": lambda: table("\t"),
    "single.csv": lambda: table(quotechar="'", quoting=csv.QUOTE_ALL),
    "backslash.csv": lambda: table(doublequote=False, escapechar="\\", quoting=csv.QUOTE_ALL),
    "windows.csv": lambda: table(quoting=csv.QUOTE_ALL).replace('"\n"', '"\r\n"'),
    "rows.parquet": packed_parquet,
    "file.arrow": lambda: arrow(stream=False),
    "stream.arrow": lambda: arrow(stream=True),
    "file.feather": lambda: arrow(stream=False),
    "lines.txt": lines,
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_format_gives_the_same_rows(name: str) -> None:
    data = load_dataset(put(CONTENTS[name](), name))
    assert texts(data) == TEXTS
    assert {row.origin.split(",")[0] for row in data.rows} == {name}
    assert [row.response for row in preview(name).rows] == [response for _, response in TEXTS]


@pytest.mark.parametrize("name", ["lines.jsonl", "pretty.json", "semicolons.csv", "tabs.tsv", "rows.parquet",
                                  "file.arrow", "stream.arrow"])  # fmt: skip
@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_files_are_read_by_their_content(name: str, ending: str) -> None:
    content = CONTENTS[name]()
    content = content if isinstance(content, bytes) else content.encode()
    packed = gzip.compress(content) if ending == ".gz" else pa.compress(content, codec="zstd", asbytes=True)
    assert texts(load_dataset(put(packed, name + ending))) == TEXTS
    assert texts(load_dataset(put(packed, name))) == TEXTS  # the ending is forgotten often


@pytest.mark.parametrize(
    "content",
    [lines, lambda: json.dumps(ROWS), table, lambda: table(";"), packed_parquet, lambda: arrow(stream=False),
     lambda: arrow(stream=True)],
    ids=["lines", "array", "commas", "semicolons", "parquet", "arrow", "stream"],
)  # fmt: skip
def test_a_file_without_an_ending_and_standard_input_are_recognised(
    content: Callable[[], str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = content()
    assert texts(load_dataset(put(made, "rows"))) == TEXTS
    piped = io.TextIOWrapper(io.BytesIO(made if isinstance(made, bytes) else made.encode()))
    monkeypatch.setattr(sys, "stdin", piped)
    data = load_dataset("-")
    assert texts(data) == TEXTS
    assert data.rows[0].origin.startswith("standard input, ")
    assert load_dataset("-") == data  # a pipe gives its content once, and it is wanted more often


def test_faults_of_standard_input_are_not_told_of_a_file_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"prompt": "a", "response": "b"}\n{"x\n')))
    with pytest.raises(DataError, match=r"^standard input, line 2, column "):
        load_dataset("-")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(DataError, match=r"^standard input is empty"):
        load_dataset("-")


def test_a_named_pipe_is_read_as_a_shell_hands_it_over() -> None:
    os.mkfifo("pipe")
    writer = threading.Thread(target=lambda: Path("pipe").write_text(lines(), encoding="utf-8"))
    writer.start()
    assert texts(load_dataset("pipe")) == TEXTS
    writer.join()


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
    ],
)
@pytest.mark.parametrize("name", ["lines.jsonl", "pretty.json", "commas.csv", "tabs.tsv"])
def test_encodings_are_recognised_and_said(encoding: str, said: str, name: str) -> None:
    content = CONTENTS[name]()
    assert isinstance(content, str)
    data = load_dataset(put(content.encode(encoding), name))
    assert texts(data) == TEXTS
    assert said in data.info.sources[0].said
    assert bool(data.info.sources[0].said) == bool(said)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_recognised_in_scripts_with_few_zero_bytes(encoding: str) -> None:
    content = '{"prompt":"' + "漢字" * 50 + '","response":"' + "仮名" * 50 + '"}\n'
    (row,) = load_dataset(put(content.encode(encoding), "rows.jsonl")).rows
    assert row.prompt == "漢字" * 50


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.txt"])
def test_latin_1_is_recognised_and_said(encoding: str, name: str) -> None:
    price = "5 £" if encoding == "latin-1" else "5 €"
    content = f"prompt,response\nCafé über Straße?,{price} für Zoë\n"
    if name != "rows.csv":
        content = json.dumps({"prompt": "Café über Straße?", "response": f"{price} für Zoë"}, ensure_ascii=False)
    data = load_dataset(put(content.encode(encoding), name))
    assert texts(data) == [("Café über Straße?", f"{price} für Zoë")]
    assert "Latin-1" in data.info.sources[0].said


def test_one_damaged_byte_does_not_turn_a_utf_8_file_into_latin_1() -> None:
    content = b'{"prompt": "caf\xe9", "response": "x"}\n' + '{"prompt": "é", "response": "über ß"}\n'.encode()
    with pytest.raises(DataError, match=r"rows.jsonl, line 1, column 16: not UTF-8"):
        load_dataset(put(content, "rows.jsonl"))


@pytest.mark.parametrize("name", ["essay.txt", "essay.md", "essay.txt.gz"])
def test_raw_text_is_cut_at_paragraphs_and_loses_nothing(name: str) -> None:
    paragraph = "Once upon a time. " * 500
    content = "\r\n\r\n".join([paragraph.strip()] * 30)
    data = load_dataset(put(gzip.compress(content.encode()) if name.endswith("gz") else content, name))
    assert len(data) > 1
    assert [row.text for row in data.rows] == [row.response for row in data.rows]
    assert "\n\n".join(str(row.text) for row in data.rows) == content.replace("\r\n", "\n")
    assert all(row.origin.startswith(f"{name}, line ") for row in data.rows)


@pytest.mark.parametrize("delimiter", list(",;\t|^~\x1f§"))
def test_what_is_unusual_about_a_table_is_said(delimiter: str) -> None:
    (source,) = load_dataset(put(table(delimiter), "rows.csv")).info.sources
    assert bool(source.said) == (delimiter != ",")


def test_blanks_behind_delimiters_and_empty_names_of_columns_are_no_matter() -> None:
    spaced = 'prompt, response\n"a, b", "c"\nd, e\n'
    assert texts(load_dataset(put(spaced, "a.csv"))) == [("a, b", "c"), ("d", "e")]
    numbered = ",Frage,Antwort\n0,Wer?,Ich\n1,Was?,Das\n"
    assert texts(load_dataset(put(numbered, "b.csv"))) == [("Wer?", "Ich"), ("Was?", "Das")]


def test_a_backslash_that_escapes_nothing_stays() -> None:
    content = 'prompt,response\n"say \\"hi\\"","\\frac{1}{2} \\n"\n"b \\"c\\"",d\n'
    assert texts(load_dataset(put(content, "rows.csv")))[0] == ('say "hi"', "\\frac{1}{2} \\n")


def test_tabs_without_quoting_are_taken_literally() -> None:
    content = 'prompt\tresponse\n"Hi" she said\tok\n"a\tb\n'
    assert texts(load_dataset(put(content, "rows.tsv"))) == [('"Hi" she said', "ok"), ('"a', "b")]


def test_a_sample_that_ends_inside_a_cell_is_still_understood() -> None:
    cell = "'" + "it is; long\n" * 300 + "'"
    content = "prompt;response\n" + f"{cell};{cell}\n" * 30
    data = load_dataset(put(content, "rows.csv"))
    assert len(data) == 30
    assert data.rows[0].prompt == "it is; long\n" * 300


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_of_splits_keeps_its_held_out_part(indent: int | None) -> None:
    data = load_dataset(put(json.dumps({"train": ROWS[:3], "test": ROWS[3:]}, indent=indent), "rows.json"))
    assert texts(data) == TEXTS[:3]
    assert [row.response for row in data.held_out] == [TEXTS[3][1]]


def test_rows_of_a_document_are_found_by_their_true_line() -> None:
    names = {
        "array.json": json.dumps(ROWS, indent=2),
        "splits.json": json.dumps({"note": "x\ny", "train": ROWS[:2], "more": ROWS[2:]}, indent=2),
        "others.json": "\n\n".join(json.dumps(row, indent=2) for row in ROWS),
    }
    for name, content in names.items():
        for row in load_dataset(put(content, name)).rows:
            line = int(row.origin.rsplit(" ", 1)[1])
            assert content.splitlines()[line - 1].strip() == "{", name
            assert json.dumps(row.prompt) in content.splitlines()[line], name
    for indent, unit in ((None, "row"), (2, "line")):
        content = json.dumps(columns(), indent=indent)
        origins = [row.origin for row in load_dataset(put(content, "columns.json")).rows]
        assert len(set(origins)) == len(ROWS)
        assert all(f", {unit} " in origin for origin in origins)


def test_rows_on_one_line_are_numbered() -> None:
    data = load_dataset(put(json.dumps(ROWS), "rows.json"))
    assert [row.origin for row in data.rows] == [f"rows.json, row {number}" for number in range(1, 5)]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_row_is_a_row_and_no_list_of_them(indent: int | None) -> None:
    alpaca = {"instruction": "Q", "output": "A", "history": [["a", "b"]]}
    assert len(load_dataset(put(json.dumps(alpaca, indent=indent), "a.json")).rows[0].messages) == 4
    assert len(load_dataset(put(json.dumps(TURNS[0], indent=indent), "b.json")).rows) == 1
    tools = TURNS[0] | {"tools": [{"type": "function", "function": {"name": "f"}}]}
    assert load_dataset(put(json.dumps(tools, indent=indent), "c.json")).rows[0].tools


def test_huge_elements_and_lines_are_read_whole() -> None:
    long = [{"prompt": "x" * 700_000, "response": "y🙂" * 200_000}, {"prompt": "a", "response": "b"}]
    for name, content in (("a.json", json.dumps(long, indent=1)), ("a.jsonl", lines(long))):
        assert [len(row.response) for row in load_dataset(put(content, name)).rows] == [400_000, 1]


def test_a_folder_gives_its_files_and_holds_out_those_that_are_called_so() -> None:
    put(lines(ROWS[:1]), "set/train.jsonl")
    put(json.dumps(ROWS[1:2]), "set/deep/more.json")
    put(table(), "set/validation.csv")
    put("# Read me", "set/README.md")
    put("{}", "set/dataset_info.json")
    put("junk", "set/.hidden.jsonl")
    data = load_dataset("set")
    assert sorted(texts(data)) == sorted(TEXTS[:2])
    assert len(data.held_out) == 4
    assert {row.origin for row in data.rows} == {"train.jsonl, line 1", "deep/more.json, row 1"}


def test_files_of_one_name_are_told_apart_in_messages() -> None:
    put(lines(), "set/de/train.jsonl")
    put("{", "set/en/train.jsonl")
    for spec in ("set", "set/*/train.jsonl"):
        with pytest.raises(DataError, match=r"^en/train.jsonl, line 1"):
            load_dataset(spec)


def test_a_folder_that_is_called_like_a_held_out_part_is_trained_on() -> None:
    put(lines(), "test/rows.jsonl")
    assert len(load_dataset("test")) == 4
    put(lines(ROWS[:1]), "eval/train.jsonl")
    put(lines(ROWS[1:]), "eval/validation.jsonl")
    data = load_dataset("eval")
    assert (len(data), len(data.held_out)) == (1, 3)


def test_a_folder_of_texts_is_raw_text() -> None:
    put("One.", "texts/a.txt")
    put("Two.", "texts/b.md")
    assert [row.text for row in load_dataset("texts").rows] == ["One.", "Two."]


@pytest.mark.parametrize("spec", ["part*.jsonl", "part?.jsonl", "part[12].jsonl", "part{1,2}.jsonl", "**/part*.jsonl",
                                  "sub/part?.jsonl", "sub/part{1,2}.jsonl"])  # fmt: skip
def test_globs_find_their_files(spec: str) -> None:
    folder = "sub" if spec.startswith("sub/") else "."
    put(lines(ROWS[:2]), f"{folder}/part1.jsonl")
    put(lines(ROWS[2:]), f"{folder}/part2.jsonl")
    assert texts(load_dataset(spec)) == TEXTS
    assert texts(load_dataset(str(Path.cwd() / spec))) == TEXTS


def test_weights_count_rows_more_often_or_choose_some_of_them() -> None:
    put(lines([{"prompt": f"a{number}", "response": "x"} for number in range(10)]), "a.jsonl")
    put(lines([{"prompt": f"b{number}", "response": "y"} for number in range(4)]), "b.csv.jsonl")
    data = load_dataset("a.jsonl:2.5, b.csv.jsonl")
    asked = [row.prompt for row in data.rows]
    assert len(asked) == 25 + 4
    assert {asked.count(f"a{number}") for number in range(10)} == {2, 3}
    half = {row.prompt for row in load_dataset("a.jsonl:.5").rows}
    assert len(half) == 5
    assert half < set(asked)
    assert len(load_dataset("a.jsonl:0.01")) == 1  # never nothing
    assert [source.weight for source in data.info.sources] == [2.5, 1]


@pytest.mark.parametrize("weight", ["0", "1001", "-1", "nan", "inf", "1e9", "0.0", "+0"])
def test_weights_out_of_range_are_refused(weight: str) -> None:
    put(lines(), "a.jsonl")
    with pytest.raises(UsageError, match=r"the weight of 'a.jsonl' must be above 0 and at most 1000"):
        load_dataset(f"a.jsonl:{weight}")


def test_a_file_with_a_comma_or_a_colon_in_its_name_is_found() -> None:
    for name in ("a,b.jsonl", "a.jsonl:2", "x,y:3.jsonl"):
        assert texts(load_dataset(put(lines(), name))) == TEXTS
    assert len(load_dataset("a.jsonl:2:3")) == 12


def test_python_objects_give_the_same_rows() -> None:
    datasets = pytest.importorskip("datasets")
    pandas = pytest.importorskip("pandas")
    for value in (
        ROWS,
        tuple(ROWS),
        (row for row in ROWS),
        columns(),
        {"train": ROWS},
        pandas.DataFrame(ROWS),
        datasets.Dataset.from_list(ROWS),
        datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
        datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}),
    ):
        assert texts(load_dataset(value)) == TEXTS
    splits = {"train": ROWS[:3], "validation": ROWS[3:]}
    for value in (splits, datasets.DatasetDict({name: datasets.Dataset.from_list(v) for name, v in splits.items()})):
        data = load_dataset(value)
        assert texts(data) == TEXTS[:3]
        assert [row.origin for row in data.held_out] == ["validation, row 1"]
    assert load_dataset(data) is data
    assert texts(load_dataset({"prompt": "Q", "response": "A"})) == [("Q", "A")]
    assert texts(load_dataset({0: ["Q"], 1: ["A"]}, columns="prompt=0,response=1")) == [("Q", "A")]


def test_gaps_and_arrays_of_pandas_are_no_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    pandas = pytest.importorskip("pandas")
    rows = [{"instruction": "Q", "input": None, "output": "A"}, {"instruction": "R", "input": "x", "output": "B"}]
    assert [row.prompt for row in load_dataset(pandas.DataFrame(rows)).rows] == ["Q", "R\nx"]
    turns = pandas.DataFrame({"messages": [numpy.array(row["messages"], dtype=object) for row in TURNS]})
    assert [row.response for row in load_dataset(turns).rows] == ["A0", "A1", "A2"]
    twice = pandas.DataFrame([["a", "b"]], columns=["prompt", "prompt"])
    with pytest.raises(DataError, match="'prompt' twice"):
        load_dataset(twice)


@pytest.mark.parametrize("value", [5, b"bytes", None, 2.5])
def test_what_is_no_rows_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match="Expected rows, found"):
        load_dataset(value)


def test_folders_that_datasets_saved_are_read() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk("saved")
    assert texts(load_dataset("saved")) == TEXTS
    datasets.Dataset.from_list(ROWS).save_to_disk("validation", num_shards=2)
    assert texts(load_dataset("validation")) == TEXTS
    parts = {"train": ROWS[:2], "validation": ROWS[2:3], "test": ROWS[3:]}
    datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()}).save_to_disk("dict")
    data = load_dataset("dict")
    assert texts(data) == TEXTS[:2]
    assert [row.prompt for row in data.held_out] == ["007"]  # the test split stays unseen
    Path("dict/train/state.json").write_text("{}")
    with pytest.raises(DataError, match="looks like a saved data set, but is damaged"):
        load_dataset("dict")


@pytest.mark.parametrize("build", [packed_parquet, lambda rows: arrow(stream=False, rows=rows)])
def test_nested_columns_come_back(build: Callable[..., bytes]) -> None:
    assert [row.response for row in load_dataset(put(build(TURNS), "rows.bin.parquet")).rows] == ["A0", "A1", "A2"]


def test_a_setting_becomes_one_that_works_from_anywhere(tmp_path: Path) -> None:
    put(lines(), "here/a.jsonl")
    folder = tmp_path / "here"
    assert dataspec.absolute("a.jsonl:2,sample:chat,-,owner/name?split=train", folder) == (
        f"{folder}/a.jsonl:2,sample:chat,-,owner/name?split=train"
    )
    assert dataspec.absolute("*.jsonl", folder) == f"{folder}/*.jsonl"
