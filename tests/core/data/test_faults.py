"""One small file a fault: each message names the file, the place, what stands there and the mend."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as parquet
import pytest

from ftk import load_dataset
from ftk.data.preview import preview
from ftk.errors import DataError

GOOD = '{"prompt": "a", "response": "b"}\n'
PAIR = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def put(content: str | bytes, name: str) -> str:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    return name


def refusal(source: Any, **how: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(source, **how)
    assert caught.value.hint, caught.value.message
    return caught.value


def saved(kind: str) -> bytes:
    table, sink = pa.table({"prompt": ["a"] * 500, "response": ["b"] * 500}), pa.BufferOutputStream()
    if kind == "parquet":
        parquet.write_table(table, sink)
    else:
        with ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue())


def row(**values: Any) -> str:
    return json.dumps({"prompt": "a", "response": "b", **values}) + "\n"


@pytest.mark.parametrize(
    ("content", "name", "told"),
    [
        # JSON Lines: the line, the column and what stands there
        (GOOD + '{"prompt": "a", "response": \n' + GOOD, "x.jsonl", "line 2, column 29: Expecting value. Near: "),
        (GOOD * 2 + "{'prompt': 'a'}\n", "x.jsonl", "line 3, column 2: Expecting property name"),
        (GOOD + GOOD.strip() + GOOD, "x.jsonl", "line 2, column 33: Extra data. Near: "),
        (GOOD + '{"prompt": "a", "response": "b\0c"}\n', "x.jsonl", "line 2, column 31: Invalid control character"),
        (GOOD + '{"prompt": "a", "prompt": "c", "response": "b"}\n', "x.jsonl", "line 2, column 1: the key 'prompt'"),
        (GOOD + "[" * 100_000 + "\n", "x.jsonl", "line 2, column 1: nested too deeply"),
        (GOOD + '{"prompt": ' + "9" * 5000 + "}\n", "x.jsonl", "line 2, column 1: Exceeds the limit"),
        (GOOD + '"text"\n', "x.jsonl", "line 2: expected an object with columns, found text"),
        (GOOD + "[1, 2]\n", "x.jsonl", "line 2: expected an object with columns, found a list"),
        (GOOD + "null\n", "x.jsonl", "line 2: expected an object with columns, found nothing (null)"),
        (GOOD + "{}\n", "x.jsonl", "line 2: the column 'prompt' is missing"),
        (GOOD + row(response=None), "x.jsonl", "line 2, column 'response': expected text, found nothing (null)"),
        (GOOD + row(response=5), "x.jsonl", "line 2, column 'response': expected text, found a number"),
        (GOOD + row(response=True), "x.jsonl", "line 2, column 'response': expected text, found true/false"),
        (GOOD + row(response={"a": 1}), "x.jsonl", "line 2, column 'response': expected text, found an object"),
        (GOOD + row(response=["a"]), "x.jsonl", "line 2, column 'response': expected text, found a list"),
        (GOOD + row(prompt=" \n"), "x.jsonl", "line 2: the prompt is empty"),
        (GOOD + '{"prompt": "a\\ud800", "response": "b"}\n', "x.jsonl", "line 2: holds half of a surrogate pair"),
        (GOOD.encode() + b'{"prompt": "\xe2\x82\xac \xe2\x82", "response": "b"}\n', "x.jsonl", "line 2, column 15"),
        # a document, which cannot be read past such a place
        ('[{"prompt": "a",\n "response": "b"},\n', "x.json", "line 3, column 1: Expecting value"),
        ('[{"prompt": "a",\n "response": "b"}\n', "x.json", "line 3, column 1: the list is not ended"),
        ('[{"prompt": "a",\n "response": "b', "x.json", "line 2, column 14: Unterminated string"),
        ('[{"prompt": "a",\n "response": "b"}\n {"prompt": 1}]', "x.json", "line 3, column 2: Expecting ',' or ']'"),
        ('[{"prompt": "a",\n "response": "b"}] 5', "x.json", "line 2, column 20: there is more after the end"),
        ('\n\n{"train": [{"prompt": "a",\n "response": 05}]}', "x.json", "line 4, column 15: Expecting ',' delimiter"),
        ('[{"prompt": "a",\n "prompt": "b"}]', "x.json", "line 1, column 2: the key 'prompt' is there twice"),
        ("[" * 100_000, "x.json", "line 1, column 2: nested too deeply"),
        ('{"a": ' * 100_000, "x.json", "nested too deeply"),
        ('"text"', "x.json", "expected a list of rows, found"),
        ('{"train": [' + GOOD + ', 5], "test": [' + GOOD + "]}", "x.json", "line 2: expected an object"),
        # tables
        ('prompt,response\na,b\nc,"d\ne,f\n', "x.csv", "line 3, column 3: unexpected end of data"),
        ('prompt,response\na,"b" c\n', "x.csv", "line 2, column 3: ',' expected after '\"'"),
        ("prompt,response\na,b\nc\n", "x.csv", "line 3, column 2: 1 cells where the header has 2. Near: 'c'"),
        ("prompt,response\na,b,c\n", "x.csv", "line 2, column 3: 3 cells where the header has 2. Near: 'a | b | c'"),
        ("prompt,response,prompt\na,b,c\n", "x.csv", "line 1: the column 'prompt' is there twice. Near: "),
        ("prompt,response\na,b\n,\n", "x.csv", "line 3: the prompt is empty"),
        ("prompt,response\r\na,b\r\n\r\nc,\r\n", "x.csv", "line 4: the response is empty"),
        ('prompt,response\n"a\nb",c\n\nd,\n', "x.csv", "line 5: the response is empty"),
        # bytes
        (gzip.compress(GOOD.encode() * 500)[:-30], "x.jsonl.gz", "could not be read"),
        (gzip.compress(GOOD.encode())[:12] + b"\xff" * 9, "x.gz", "could not be read"),
        (pa.compress(GOOD.encode() * 500, codec="zstd", asbytes=True)[:-3], "x.jsonl.zst", "could not be read"),
        (GOOD.encode("utf-16")[:-3], "x.jsonl", "line 1, column 32: not UTF-16 text"),
        (saved("parquet")[:-20], "x.parquet", "could not be read as Parquet"),
        (saved("parquet")[:100], "x.parquet", "could not be read as Parquet"),
        (b"no parquet", "x.parquet", "could not be read as Parquet"),
        (saved("arrow")[:-200], "x.arrow", "could not be read as Arrow"),
        (b"no arrow", "x.arrow", "could not be read as Arrow"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\xff", "x.txt", "is no text: it holds null bytes"),
        (b"PK\x03\x04rest", "x.csv", "is a ZIP archive (or an Excel workbook), not a data file"),
        (b"", "x.jsonl", "is empty: it holds no rows"),
        (b" \n\t\n" * 5000, "x.jsonl", "is empty: it holds no rows"),
        (gzip.compress(b""), "x.csv.gz", "is empty: it holds no rows"),
        ("prompt,response\n", "x.csv", "there are no rows"),
        ("[]", "x.json", "there are no rows"),
        ('{"train": [], "test": []}', "x.json", "there are no rows"),
        ("\ufeff", "x.txt", "there are no rows"),
        ("some words", "x.docx", "ftk reads .jsonl"),
    ],
    ids=lambda value: ascii(value)[-40:],
)  # fmt: skip
def test_a_fault_is_told_with_file_place_and_mend(content: str | bytes, name: str, told: str) -> None:
    message = refusal(put(content, name)).message
    assert message.startswith(name) or message.startswith(str(Path(name).absolute()))
    assert told in message
    with contextlib.suppress(DataError):  # a look at its beginning tells as much, or shows the rows before
        preview(name)


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": "x"} for role in roles]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (turns("assistant"), "assistant comes first: assistant."),
        (turns("user", "user", "assistant"), "the roles are out of order (user after user): user, user, assistant."),
        (turns("user", "system", "assistant"), "out of order (system after user)"),
        (turns("user", "tool", "assistant"), "out of order (tool after user)"),
        (turns("system", "system", "user", "assistant"), "out of order (system after system)"),
        (turns("user"), "there is no assistant turn to learn from"),
        (turns("system"), "there is no assistant turn to learn from"),
        ([], "'messages' must be a list of turns, found an empty list"),
        ("text", "'messages' must be a list of turns, found text"),
        (None, "'messages' must be a list of turns, found nothing (null)"),
        ([5], "message 1: expected a role"),
        ([PAIR[0], {"role": "pirate", "content": "arr"}], "message 2: expected a role (system, user, assistant, tool)"),
        ([PAIR[0], {"role": "assistant"}], "message 2: expected a role"),
        ([PAIR[0], {"role": "assistant", "content": 5}], "message 2: expected a role"),
        ([PAIR[0], {"role": "assistant", "content": " "}], "message 2: the assistant turn is empty"),
        ([{"role": "user", "content": ""}, PAIR[1]], "message 1: the user turn is empty"),
        ([PAIR[0], {"role": "assistant", "content": None, "tool_calls": 5}], "message 2: expected a list of tool"),
        ([PAIR[0], {"role": "assistant", "tool_calls": [{"function": {}}]}], "message 2: expected tool calls"),
        ([{"from": "alien", "value": "x"}, PAIR[1]], "message 1: expected a known 'from'"),
        ([{"from": "human", "value": None}, PAIR[1]], "message 1: expected a known 'from'"),
    ],
)  # fmt: skip
def test_turns_that_cannot_be_learnt_from_are_refused(value: Any, told: str) -> None:
    rows = [{"messages": PAIR}, {"messages": value}]
    for source in (rows, put("".join(json.dumps(row) + "\n" for row in rows), "rows.jsonl")):
        message = refusal(source).message
        assert told in message
        assert ", row 2" in message or "rows.jsonl, line 2" in message


def test_turns_after_the_last_answer_are_left_out_and_counted() -> None:
    data = load_dataset([{"messages": [*PAIR, PAIR[0]]}, {"messages": PAIR}])
    assert [len(row.messages) for row in data.rows] == [2, 2]
    assert data.info.notes == {"trailing": 1}
    assert data.info.noted == {"trailing": ["the list, row 1"]}


def test_what_is_no_json_inside_a_row_is_refused() -> None:
    for thing in (object(), {1, 2}, b"bytes"):
        call = {"function": {"name": "f", "arguments": {"x": thing}}}
        value = [PAIR[0], {"role": "assistant", "content": None, "tool_calls": [call]}]
        assert "row 1: cannot be kept as JSON" in refusal([{"messages": value}]).message
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert "row 2: nested too deeply" in refusal([{"messages": PAIR}, {"messages": deep}]).message


@pytest.mark.parametrize("bad", ['{"prompt": \n', "[1]\n", '{"prompt": "a"}\n', row(response=None), row(response=" ")])
@pytest.mark.parametrize("count", [1, 3])
def test_as_many_bad_rows_are_left_out_as_is_allowed(bad: str, count: int) -> None:
    name = put(GOOD + bad * count + GOOD, "rows.jsonl")
    error = refusal(name, skip_bad=count - 1)
    assert error.message.startswith("rows.jsonl, line 2")
    if count > 1:
        assert f"{count} rows cannot be read, more than the {count - 1} that --skip-bad allows" in error.message
        assert f"--skip-bad {count} leaves them out" in refusal(name).message
    for allowed in (count, count + 1):
        data = load_dataset(name, skip_bad=allowed)
        assert [line.origin for line in data.rows] == ["rows.jsonl, line 1", f"rows.jsonl, line {count + 2}"]
        assert data.info.faults == count
        assert len(data.info.fault_messages) == count


def test_bad_rows_of_tables_are_left_out_too() -> None:
    name = put("prompt,response\na,b\nc\nd,e,f\n,\ng,h\n", "rows.csv")
    data = load_dataset(name, skip_bad=3)
    assert [line.prompt for line in data.rows] == ["a", "g"]
    assert [message.split(":")[0] for message, _ in data.info.fault_messages] == [
        "rows.csv, line 3, column 2", "rows.csv, line 4, column 3", "rows.csv, line 5",
    ]  # fmt: skip
    refusal(name, skip_bad=2)


def test_good_rows_behind_many_bad_ones_are_not_lost() -> None:
    name = put('{"\n' * 450 + GOOD * 1000, "rows.jsonl")
    data = load_dataset(name, skip_bad=450)
    assert (len(data), data.info.faults) == (1000, 450)
    put(GOOD * 2, "more.jsonl")
    assert len(load_dataset("more.jsonl,rows.jsonl", skip_bad=450)) == 1002


def test_a_file_of_bad_rows_is_given_up_early_but_never_cut_in_silence() -> None:
    name = put(GOOD + '{"\n' * 3000 + GOOD * 10, "rows.jsonl")
    assert "Most rows cannot be read" in refusal(name).message
    data = load_dataset(name, skip_bad=3000)
    assert (len(data), data.info.faults) == (11, 3000)


def test_text_of_a_table_stays_text() -> None:
    words = ["NA", "None", "null", "NaN", "true", "5", "1e5", "007", "-", "2024-01-01"]
    name = put("prompt,response\n" + "".join(f"{word},{word}\n" for word in words), "rows.csv")
    assert [line.prompt for line in load_dataset(name).rows] == words
    assert [line.response for line in load_dataset(name).rows] == words


def test_null_characters_in_a_table_stay_where_they_are() -> None:
    (line,) = load_dataset(put('prompt,response\n"a\0b",c\n', "rows.csv")).rows
    assert line.prompt == "a\0b"


def test_line_ends_of_windows_and_blank_lines_count() -> None:
    name = put(GOOD.replace("\n", "\r\n") + "\r\n" + GOOD.strip(), "rows.jsonl")
    assert [line.origin for line in load_dataset(name).rows] == ["rows.jsonl, line 1", "rows.jsonl, line 3"]
    text = 'prompt,response\r\n"a\r\nb",c\r\n'
    assert load_dataset(put(text, "rows.csv")).rows[0].prompt == "a\r\nb"


def test_names_of_columns_that_are_no_text_do_not_end_in_a_traceback() -> None:
    name = put('{"prompt": "a", "response": "b", "\\ud800": 1}\n', "rows.jsonl")
    assert len(load_dataset(name)) == 1
    assert len(load_dataset(name)) == 1  # from the cache
    message = refusal(put('{"\\ud800": 1, "b": 2}\n', "odd.jsonl")).message
    message.encode()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("none.jsonl", "There is no data file or folder 'none.jsonl'"),
        ("row.jsonl", "Did you mean 'rows.jsonl'?"),
        ("*.parquet", "No file matches '*.parquet'"),
        ("empty/*", "No file matches 'empty/*'"),
        ("empty", "The folder 'empty' holds no file that ftk reads"),
        ("**.jsonl", "is not understood"),
        ("sample:chatt", "Did you mean 'chat'?"),
        ("empty/none", "There is no data file or folder 'empty/none'"),
        ("a\0b", "There is no data file or folder"),
        ("x" * 5000, "There is no data file or folder"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(spec: str, told: str) -> None:
    put(GOOD, "rows.jsonl")
    Path("empty").mkdir()
    assert told in refusal(spec).message


def test_nothing_piped_in_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert "nothing is piped in" in refusal("-").message


@pytest.mark.parametrize(
    ("content", "name", "place"),
    [
        ('prompt,response\na,b\nc,"d\ne,f\n', "x.csv", "line 3, column 3"),
        ('[{"prompt": "a", "response": "b"},\n{"prompt": "c" "response": "d"}]', "x.json", "line 2, column 16"),
        ('{"train": [{"prompt": "a", "response": "b"},\n{"prompt" 1}]}', "x.json", "line 2, column 11"),
    ],
)
def test_where_nothing_after_a_fault_can_be_read_the_message_says_that_skip_bad_does_not_help(
    content: str, name: str, place: str
) -> None:
    error = refusal(put(content, name), skip_bad=5)
    assert f"x{Path(name).suffix}, {place}: " in error.message
    assert "--skip-bad does not help" in str(error.hint)


def test_of_a_file_without_a_readable_row_the_first_faults_are_told() -> None:
    put("".join(f"bad {number}\n" for number in range(8)), "x.jsonl")
    for error in (refusal("x.jsonl", skip_bad=8), refusal("x.jsonl", skip_bad=100)):
        assert error.message.startswith("No row can be read:\nx.jsonl, line 1, column 1: Expecting value.")
        assert error.message.count("x.jsonl, line") == 5
        assert error.message.endswith("... and 3 more")


def test_a_missing_value_is_to_be_filled_in_and_not_quoted() -> None:
    assert refusal(put(GOOD + row(response=None), "x.jsonl")).hint == "Fill it in, or remove the row."
    assert refusal(put(GOOD + row(response=5), "x.jsonl")).hint == "Put it in quotes."


def test_a_cache_that_cannot_be_written_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    put(GOOD, "x.jsonl")
    monkeypatch.setenv("FTK_CACHE", str(Path("x.jsonl").absolute()))
    error = refusal("x.jsonl")
    assert str(Path("x.jsonl").absolute()) in error.message
    assert "Not a directory" in error.message
    assert "FTK_CACHE" in str(error.hint)


def test_a_full_disk_is_told_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    put("".join(row(prompt=str(number), response="long " * 100) for number in range(2000)), "x.jsonl")
    monkeypatch.setenv("FTK_CACHE", str(Path("full").absolute()))
    handler, limits = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        error = refusal("x.jsonl")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "could not be written: File too large" in error.message
    assert not [path for path in Path("full").rglob("*") if path.is_file()]
