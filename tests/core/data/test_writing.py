"""What is written in any format and layout is read back the same, or refused with the row that does not fit."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ftk import load_dataset
from ftk.data.rows import Row
from ftk.data.writing import LAYOUTS, Layout, layout_for, write
from ftk.errors import DataError, UsageError

ENDINGS = [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.gz", ".csv.zst", ".json.zst", ".tsv.gz"]
ODD = "So: \"quoted\",\r\nand\ttabbed; 'single' | ^ \\ \x0b\u2028 🙂 \r"
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": [1, None, "x"], "b": {}}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def turn(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def conversation(*roles: str, content: str = ODD, tools: tuple[Any, ...] = ()) -> Row:
    return Row(
        tuple(turn(role, f"{content}{number}") for number, role in enumerate(roles)), "here, line 1", None, tools
    )


PAIR = conversation("user", "assistant")
SYSTEM = conversation("system", "user", "assistant")
LONG = conversation("system", "user", "assistant", "user", "assistant")
TOOLS = conversation("user", "assistant", "tool", "assistant")
CALLS = Row(
    (turn("user", "Q"), turn("assistant", "", tool_calls=[CALL]), turn("tool", "r", tool_call_id="c1", name="f"),
     turn("assistant", ODD, weight=0, reasoning_content="hm")),
    "here, line 2", None, (TOOL,),
)  # fmt: skip
TEXT = Row((), "here, line 3", ODD)
HOLDS: dict[Layout, list[Row]] = {
    "messages": [PAIR, SYSTEM, LONG, TOOLS, CALLS],
    "sharegpt": [PAIR, SYSTEM, LONG, TOOLS],
    "alpaca": [PAIR, SYSTEM, LONG],
    "prompt-completion": [PAIR, SYSTEM],
    "text": [TEXT],
}


def contents(rows: Any) -> list[tuple[Any, ...]]:
    return [(row.messages, row.text, row.tools) for row in rows]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_come_back_as_they_were(layout: Layout, ending: str) -> None:
    kept = HOLDS[layout]
    many = [kept * 300] if ending in (".parquet", ".arrow") else []  # written in portions of 1 000
    for order in (kept, kept[::-1], *many):  # the first row alone must not decide what is kept
        path = Path(f"rows{len(order)}{ending}")
        assert write(order, path, layout, overwrite=True) == len(order)
        assert contents(load_dataset(str(path)).rows) == contents(order)


@pytest.mark.parametrize("ending", ENDINGS[:6])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_row_that_does_not_fit_is_named_and_nothing_is_written(layout: Layout, ending: str) -> None:
    for row in [PAIR, SYSTEM, LONG, TOOLS, CALLS, TEXT]:
        if row in HOLDS[layout]:
            continue
        with pytest.raises(DataError) as caught:
            write([HOLDS[layout][0], row], Path(f"rows{ending}"), layout)
        assert caught.value.message.startswith(f"{row.origin}: the layout {layout!r} cannot hold ")
        assert "--to " in str(caught.value.hint)
        assert list(Path().iterdir()) == []


def test_an_empty_system_turn_is_not_dropped_in_silence() -> None:
    row = Row((turn("system", " "), turn("user", "Q"), turn("assistant", "A")), "here, line 9")
    for layout in ("alpaca", "prompt-completion"):
        with pytest.raises(DataError, match=r"here, line 9: .* cannot hold an empty system turn"):
            write([row], Path("rows.jsonl"), layout)  # type: ignore[arg-type]
    for layout in ("messages", "sharegpt"):
        write([row], Path(f"{layout}.parquet"), layout)  # type: ignore[arg-type]
        assert contents(load_dataset(f"{layout}.parquet").rows) == contents([row])


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_may_come_one_by_one(ending: str) -> None:
    assert write((row for row in [PAIR, SYSTEM]), Path(f"rows{ending}"), "prompt-completion") == 2
    assert contents(load_dataset(f"rows{ending}").rows) == contents([PAIR, SYSTEM])


def test_tables_are_what_other_readers_expect() -> None:
    write([PAIR, SYSTEM], Path("rows.csv"), "prompt-completion")
    with Path("rows.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["prompt"], first["system"], second["system"]) == (f"{ODD}0", "", f"{ODD}0")
    write([conversation("user", "assistant", content="plain ")], Path("plain.tsv"), "prompt-completion")
    assert Path("plain.tsv").read_text() == "prompt\tcompletion\nplain 0\tplain 1\n"
    pandas = pytest.importorskip("pandas")
    write([PAIR, CALLS], Path("rows.parquet"), "messages")
    assert json.loads(pandas.read_parquet("rows.parquet")["messages"][1])[1]["tool_calls"] == [CALL]
    write([PAIR], Path("turns.parquet"), "sharegpt")
    assert pandas.read_parquet("turns.parquet")["conversations"][0][0] == {"from": "human", "value": f"{ODD}0"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_rows_are_no_file(ending: str) -> None:
    with pytest.raises(DataError, match="There are no rows to write"):
        write([], Path(f"rows{ending}"), "messages")
    assert list(Path().iterdir()) == []


def test_a_file_is_replaced_only_if_that_is_wanted() -> None:
    path = Path("deep/er/rows.jsonl")
    write([PAIR], path, "messages")
    with pytest.raises(UsageError, match="exists and was not changed"):
        write([SYSTEM], path, "messages")
    assert contents(load_dataset(str(path)).rows) == contents([PAIR])
    write([SYSTEM], path, "messages", overwrite=True)
    assert contents(load_dataset(str(path)).rows) == contents([SYSTEM])


@pytest.mark.parametrize("name", ["rows", "rows.xlsx", "rows.txt", "rows.parquet.gz", "rows.arrow.zst", "rows.gz"])
def test_an_unknown_ending_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError, match=r"ftk writes \.jsonl, \.json, \.csv, \.tsv, \.parquet, \.arrow"):
        write([PAIR], Path(name), "messages")


def test_a_folder_that_cannot_be_made_is_told() -> None:
    Path("file").write_text("x")
    with pytest.raises(DataError, match="could not be written"):
        write([PAIR], Path("file/rows.jsonl"), "messages")


def test_the_layout_that_suits_is_chosen() -> None:
    assert layout_for([PAIR, PAIR]) == "prompt-completion"
    assert layout_for([PAIR, LONG]) == "messages"
    assert layout_for([CALLS]) == "messages"
    assert layout_for([TEXT]) == "text"
    with pytest.raises(DataError, match="here, line 3: the layout 'messages' cannot hold a raw text"):
        write([PAIR, TEXT], Path("rows.jsonl"), layout_for([PAIR, TEXT]))
