"""Reading JSON, JSON Lines and CSV files and lists: what is taken, what is refused, and with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftk import load_dataset
from ftk.errors import DataError
from ftk.evaluation.generate import conversation

PAIR = (*conversation("Q"), {"role": "assistant", "content": "A"})


def write(text: str | bytes, name: str = "rows.jsonl") -> str:
    Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    return name


def refusal(source: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(source)
    return str(caught.value)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Q", "response": "A"},
        {"Prompt": "Q", "Completion": "A"},
        {"question": "Q", "answer": "A"},
        {"instruction": "Q", "output": "A"},
        {"instruction": "Q", "input": "", "output": "A"},
        {"instruction": "Q", "input": None, "output": "A"},
        {"messages": list(PAIR)},
        {"conversations": list(PAIR), "id": 3},
    ],
)
def test_the_usual_columns_are_recognised_in_every_format(record: dict[str, Any]) -> None:
    lines = [json.dumps(record), json.dumps(record)]
    assert [row.messages for row in load_dataset([record]).rows] == [PAIR]
    assert [row.messages for row in load_dataset(write("\n".join(lines))).rows] == [PAIR] * 2
    assert [row.messages for row in load_dataset(write(f"[{','.join(lines)}]", "a.json")).rows] == [PAIR] * 2
    assert [row.messages for row in load_dataset(write(json.dumps([record], indent=2), "a.json")).rows] == [PAIR]
    assert [row.messages for row in load_dataset(write("\n".join(lines), "b.json")).rows] == [PAIR] * 2
    if all(isinstance(value, str) for value in record.values()):
        text = ",".join(record) + "\n" + ",".join(record.values()) + "\n"
        assert [row.messages for row in load_dataset(write(text, "a.csv")).rows] == [PAIR]


def test_input_and_system_take_their_places() -> None:
    (row,) = load_dataset([{"instruction": "Sum up:", "input": "Text.", "output": "T", "system": "Be brief."}]).rows
    assert [turn["role"] for turn in row.messages] == ["system", "user", "assistant"]
    assert row.prompt == "Sum up:\nText."
    assert (row.response, row.messages[0]["content"]) == ("T", "Be brief.")


def test_text_of_a_csv_stays_text_and_quoting_is_understood() -> None:
    name = write('prompt;response\n"a ""b"";\nc";NA\n\n1e5;null\n', "a.csv")
    rows = load_dataset(name).rows
    assert [(row.prompt, row.response) for row in rows] == [('a "b";\nc', "NA"), ("1e5", "null")]
    assert [row.origin for row in rows] == ["a.csv, line 2", "a.csv, line 5"]


def test_a_byte_order_mark_and_line_breaks_of_windows_are_no_matter() -> None:
    line = json.dumps({"prompt": "Q", "response": "A"})
    assert len(load_dataset(write("\ufeff" + line + "\r\n\r\n" + line + "\r\n"))) == 2


def test_the_content_makes_the_fingerprint() -> None:
    first = load_dataset([{"prompt": "Q", "response": "A"}])
    same = load_dataset(write("question,answer\nQ,A\n", "a.csv"))
    other = load_dataset([{"prompt": "Q", "response": "B"}])
    assert first.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ('{"prompt": "a", "response": "b"}\n{"prompt": "a"\n', "x.jsonl", ["x.jsonl, line 2", "column"]),
        ('{"prompt": "a", "response": "b"}\n{"prompt": "a"}\n', "x.jsonl", ["line 2", "'response' is missing"]),
        ('{"prompt": "a", "response": 5}\n', "x.jsonl", ["line 1", "'response'", "a number", "quotes"]),
        ('{"prompt": "a", "response": null}\n', "x.jsonl", ["line 1", "nothing (null)"]),
        ('{"prompt": "a", "response": "  "}\n', "x.jsonl", ["line 1", "the response is empty"]),
        ('{"promt": "a", "respons": "b"}\n', "x.jsonl", ["'promt' (text), 'respons' (text)", "Did you mean 'prompt'?"]),
        ("[1, 2]\n", "x.jsonl", ["line 1", "a list"]),
        ('[{"prompt": "a",\n "response": "b"},\n {"x" 1}]', "x.json", ["x.json, line 3, column 7"]),
        ('{"a": 1, "b": 2}', "x.json", ["'a' (other), 'b' (other)", "--columns"]),
        ("prompt,response\na,b,c\n", "x.csv", ["x.csv, line 2", "3 cells", "2"]),
        ('prompt,response\na,"b\n', "x.csv", ["x.csv, line 2", "quotation mark"]),
        ("prompt,response\né,b\n".encode() + b"a,caf\xe9\n", "x.csv", ["line 3, column 6", "not UTF-8", "mend"]),
        ("", "x.jsonl", ["no rows"]),
        ("[]", "x.json", ["no rows"]),
        ("prompt,response\n", "x.csv", ["no rows"]),
        ("x", "x.docx", [".jsonl", ".json", "Convert it"]),
    ],
)
def test_a_fault_is_told_with_file_line_and_mend(text: str | bytes, name: str, told: list[str]) -> None:
    message = refusal(write(text, name))
    for part in told:
        assert part in message


@pytest.mark.parametrize(
    ("turns", "told"),
    [
        ([], "list of turns"),
        ("text", "text"),
        ([{"role": "user", "content": "a"}], "no assistant turn"),
        ([{"role": "assistant", "content": "a"}], "assistant comes first"),
        ([{"role": "user", "content": "a"}, *PAIR], "out of order (user after user)"),
        ([{"role": "bot", "content": "a"}], "message 1"),
        ([PAIR[0], {"role": "assistant", "content": None}], "message 2"),
        ([PAIR[0], {"role": "assistant", "content": ""}], "empty"),
    ],
)
def test_a_conversation_out_of_order_is_refused(turns: Any, told: str) -> None:
    message = refusal([{"messages": list(PAIR)}, {"messages": turns}])
    assert "row 2" in message
    assert told in message


def test_what_is_not_there_is_refused_with_what_is() -> None:
    assert "none.jsonl" in refusal("none.jsonl")
    assert "Did you mean 'chat'?" in refusal("sample:chatt")
    write("{}", "rows.jsonl")
    assert "rows.jsonl" in refusal("row.jsonl")
