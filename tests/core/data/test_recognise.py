"""What columns are is recognised, with the reason; two readings are a question, none is a refusal that helps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftk import load_dataset
from ftk.data.dataset import Dataset
from ftk.data.recognise import recognise
from ftk.errors import DataError, UsageError

USER = {"role": "user", "content": "Q"}
ANSWER = {"role": "assistant", "content": "A"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


def said(data: Dataset) -> str:
    return data.info.sources[0].reading


def refusal(rows: Any, **how: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        load_dataset(rows, **how)
    return caught.value


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"prompt": "Q", "completion": "A"}, "prompts and responses"),
        ({"prompt": "Q", "response": "A"}, "prompts and responses"),
        ({"question": "Q", "answer": "A", "id": 5}, "prompts and responses"),
        ({"query": "Q", "response": "A", "type": "GSM"}, "prompts and responses"),
        ({"problem": "Q", "solution": "A", "level": "Level 5"}, "prompts and responses"),
        ({"input": "Q", "output": "A"}, "prompts and responses"),
        ({"inputs": "Q", "targets": "A"}, "prompts and responses"),
        ({"user": "Q", "assistant": "A"}, "prompts and responses"),
        ({"Human": "Q", "Bot": "A"}, "prompts and responses"),
        ({"q": "Q", "a": "A"}, "prompts and responses"),
        ({" Question ": "Q", "ANSWER": "A"}, "prompts and responses"),
        ({"article": "Q", "highlights": "A", "id": "x"}, "prompts and responses"),
        ({"dialogue": "Q", "summary": "A"}, "prompts and responses"),
        ({"text": "Q", "summary": "A"}, "prompts and responses"),
        ({"instruction": "Q", "output": "A"}, "instructions (alpaca)"),
        ({"instruction": "Q", "input": "", "output": "A", "text": "Q A"}, "instructions (alpaca)"),
        ({"instruction": "Q", "context": None, "response": "A", "category": "open_qa"}, "instructions (alpaca)"),
        ({"question": "Q", "context": "", "answer": "A"}, "instructions (alpaca)"),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, "ShareGPT"),
        ({"messages": [USER, ANSWER]}, "OpenAI messages"),
        ({"chat": [USER, ANSWER], "score": 5}, "OpenAI messages"),
        ({"whatever": [USER, ANSWER]}, "OpenAI messages"),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompts and responses"),
        ({"prompt": "Q", "completion": [ANSWER]}, "prompts and responses"),
        ({"prompt": [USER], "response": "A"}, "prompts and responses"),
        ({"prompt": "Q", "prompt_id": "1", "messages": [USER, ANSWER]}, "OpenAI messages"),
    ],
)
def test_forms_are_recognised_and_the_reason_is_said(record: dict[str, Any], kind: str) -> None:
    data = load_dataset([record, record])
    assert data.rows[0].messages == (USER, ANSWER)
    assert kind in said(data)
    assert said(data).rsplit(": ", 1)[1]  # the reason


def test_every_part_of_an_alpaca_row_takes_its_place() -> None:
    record = {"instruction": "Sum up:", "input": "Text.", "output": "T", "system": "Be brief.",
              "history": [["Hi", "Hello"], ["And?", "So."]]}  # fmt: skip
    as_table = record | {"history": json.dumps(record["history"])}
    for value in (record, as_table):
        (row,) = load_dataset([value]).rows
        assert [turn["role"] for turn in row.messages] == ["system"] + ["user", "assistant"] * 3
        assert [turn["content"] for turn in row.messages[1:]] == ["Hi", "Hello", "And?", "So.", "Sum up:\nText.", "T"]
    for nothing in (None, [], "", "[]"):
        assert len(load_dataset([record | {"history": nothing}]).rows[0].messages) == 3


@pytest.mark.parametrize("history", [5, "text", {"a": "b"}, [["only one"]], [["a", None]], "[1]"])
def test_a_history_of_something_else_is_refused(history: Any) -> None:
    error = refusal([{"instruction": "Q", "output": "A", "history": history}])
    assert "row 1: 'history' must be a list of [prompt, response] pairs." in error.message
    assert error.hint


def test_the_system_columns_begin_the_conversation_once() -> None:
    system = {"role": "system", "content": "S"}
    for name in ("system", "system_prompt", "System_Message"):
        assert load_dataset([{name: "S", "question": "Q", "response": "A"}]).rows[0].messages == (system, USER, ANSWER)
        assert load_dataset([{name: "S", "messages": [USER, ANSWER]}]).rows[0].messages == (system, USER, ANSWER)
        own = {"role": "system", "content": "own"}
        assert load_dataset([{name: "S", "messages": [own, USER, ANSWER]}]).rows[0].messages == (own, USER, ANSWER)
        for rows in (
            [{"prompt": [own, USER], "completion": [ANSWER]}],
            [{"chosen": [own, USER, ANSWER], "rejected": []}],
        ):
            assert load_dataset([rows[0] | {name: "S"}]).rows[0].messages == (own, USER, ANSWER)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("human", "user"), ("user", "user"), ("Human", "user"), ("prompter", "user"), ("gpt", "assistant"),
        ("assistant", "assistant"), ("chatgpt", "assistant"), ("bot", "assistant"), ("bing", "assistant"),
        ("bard", "assistant"), ("model", "assistant"), ("system", "system"), ("tool", "tool"),
        ("observation", "tool"), ("function_response", "tool"),
    ],
)  # fmt: skip
def test_the_names_of_sharegpt_are_known(name: str, role: str) -> None:
    turns = {
        "system": [("system", "x"), ("human", "x"), ("gpt", "x")],
        "user": [("human", "x"), ("gpt", "x")],
        "assistant": [("human", "x"), ("gpt", "x")],
        "tool": [("human", "x"), ("gpt", "x"), ("tool", "x"), ("gpt", "x")],
    }[role]
    standing = {"user": "human", "assistant": "gpt"}.get(role, role)
    values = [{"from": name if said == standing else said, "value": text} for said, text in turns]
    roles = [turn["role"] for turn in load_dataset([{"conversations": values}]).rows[0].messages]
    assert role in roles
    assert roles == [{"human": "user", "gpt": "assistant"}.get(said, said) for said, _ in turns]


def test_tool_calls_of_sharegpt_become_calls() -> None:
    turns = [
        {"from": "human", "value": "Q"},
        {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Oslo"}})},
        {"from": "observation", "value": "rain"},
        {"from": "gpt", "value": "A"},
    ]
    (row,) = load_dataset([{"conversations": turns, "tools": json.dumps(TOOLS)}]).rows
    assert row.messages[1]["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert [turn["role"] for turn in row.messages] == ["user", "assistant", "tool", "assistant"]
    assert list(row.tools) == TOOLS


@pytest.mark.parametrize(
    "calls",
    [
        {"content": None, "tool_calls": [CALL]},
        {"tool_calls": [CALL]},
        {"content": "", "tool_calls": [CALL], "function_call": None},
        {"content": None, "tool_calls": json.dumps([CALL])},
        {"content": None, "tool_calls": [{**CALL, "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}]},
    ],
)
def test_tool_calls_and_results_of_openai_are_kept(calls: dict[str, Any]) -> None:
    turns = [USER, {"role": "assistant", **calls}, {"role": "tool", "tool_call_id": "c1", "content": "rain"}, ANSWER]
    (row,) = load_dataset([{"messages": turns, "tools": TOOLS}]).rows
    assert row.messages[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert row.messages[2] == {"role": "tool", "tool_call_id": "c1", "content": "rain"}
    assert list(row.tools) == TOOLS


def test_the_older_function_calls_of_openai_are_tool_calls() -> None:
    call = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    turns = [USER, {"role": "assistant", "content": None, "function_call": call},
             {"role": "function", "name": "weather", "content": "rain"}, ANSWER]  # fmt: skip
    (row,) = load_dataset([{"messages": turns}]).rows
    assert row.messages[1]["tool_calls"][0]["function"] == CALL["function"]
    assert row.messages[2] == {"role": "tool", "name": "weather", "content": "rain"}


def test_contents_in_parts_are_joined_and_images_refused() -> None:
    parts = [{"type": "text", "text": "Q"}, {"type": "text", "text": "?"}]
    assert load_dataset([{"messages": [{"role": "user", "content": parts}, ANSWER]}]).rows[0].prompt == "Q?"
    for part in ({"type": "image_url", "image_url": "x"}, {"type": "text", "text": None}):
        error = refusal([{"messages": [{"role": "user", "content": [*parts, part]}, ANSWER]}])
        assert "row 1, message 1: expected a role" in error.message
        assert "Near: " in error.message


def test_a_turn_says_whether_it_is_learnt() -> None:
    turns = [
        USER,
        ANSWER | {"weight": 0},
        USER | {"weight": 1},
        ANSWER | {"weight": 1},
    ]
    (row,) = load_dataset([{"messages": turns}]).rows
    assert [turn.get("weight") for turn in row.messages] == [None, 0, None, 1]


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Q", "chosen": "A", "rejected": "B"},
        {"question": "Q", "chosen": "A", "rejected": "B"},
        {"chosen": [USER, ANSWER], "rejected": [USER, {"role": "assistant", "content": "B"}]},
        {"prompt": "Q", "chosen": [USER, ANSWER], "rejected": [USER, ANSWER], "messages": [USER, ANSWER]},
        {"prompt": "Q", "chosen": [ANSWER], "rejected": [ANSWER]},
        {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER]},
        {"prompt": [USER], "chosen": [USER, ANSWER], "rejected": [USER, ANSWER]},
        {"prompt": [USER], "chosen": "A", "rejected": "B"},
        {"chosen": "\n\nHuman: Q\n\nAssistant: A", "rejected": "\n\nHuman: Q\n\nAssistant: B"},
        {"chosen": "Human: Q\n\nAssistant: A", "rejected": "x"},
        {"prompt": "\n\nHuman: Q\n\nAssistant:", "chosen": "A", "rejected": "B"},
        {"chosen": json.dumps([USER, ANSWER]), "rejected": "[]"},
        {"conversations": [{"from": "human", "value": "Q"}], "chosen": {"from": "gpt", "value": "A"},
         "rejected": {"from": "gpt", "value": "B"}},
        {"prompt": "Q", "chosen": [{"from": "gpt", "value": "A"}], "rejected": [{"from": "gpt", "value": "B"}]},
    ],
)  # fmt: skip
def test_of_preference_pairs_the_chosen_answer_is_learnt_and_that_is_said(record: dict[str, Any]) -> None:
    data = load_dataset([record])
    assert data.rows[0].messages == (USER, ANSWER)
    assert "of which the chosen answer is learnt" in said(data)
    assert data.info.notes == {"rejected": 1}


def test_a_dialogue_in_one_text_becomes_its_turns() -> None:
    text = "\n\nHuman: One\n\ntwo\n\nAssistant: B\n\nHuman: C\n\nAssistant: D"
    (row,) = load_dataset([{"chosen": text, "rejected": text}]).rows
    assert [(turn["role"], turn["content"]) for turn in row.messages] == [
        ("user", "One\n\ntwo"), ("assistant", "B"), ("user", "C"), ("assistant", "D"),
    ]  # fmt: skip


def test_a_chosen_answer_without_a_prompt_is_refused() -> None:
    assert "row 1: the chosen answer has no prompt." in refusal([{"chosen": "A", "rejected": "B"}]).message


@pytest.mark.parametrize(
    "record", [{"text": "x"}, {"content": "x", "url": "u"}, {"anything": "x"}, {"text": "x", "id": 3, "meta": {"a": 1}}]
)
def test_a_lone_column_of_text_is_raw_text(record: dict[str, Any]) -> None:
    data = load_dataset([record])
    assert data.rows[0].text == "x"
    assert "raw text for continued training" in said(data)


def test_an_input_that_comes_late_is_not_lost() -> None:
    rows = [{"instruction": f"Q{number}", "input": "", "output": "A"} for number in range(300)]
    assert load_dataset([*rows, {"instruction": "Q", "input": "late", "output": "A"}]).rows[300].prompt == "Q\nlate"
    error = refusal([*rows, {"instruction": "Q", "input": 5, "output": "A"}])
    assert "row 301, column 'input': expected text, found a number." in error.message


def test_questions_tell_unknown_columns_apart() -> None:
    rows = [{"Antwort": f"Die Nummer {number}.", "Frage": f"Welche Nummer hat {number}?"} for number in range(10)]
    data = load_dataset(rows)
    assert data.rows[0].messages[0]["content"] == "Welche Nummer hat 0?"
    assert "100% of 'Frage' are questions" in said(data)


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        ({"left": "a", "right": "b"}, ["prompt=left,response=right", "prompt=right,response=left"]),
        ({"prompt": "a", "response": "b", "answer": "c"}, ["prompt=prompt,response=response", "response=answer"]),
        ({"question": "a", "problem": "b", "answer": "c"}, ["prompt=question,response=answer", "prompt=problem"]),
        ({"one": [USER, ANSWER], "two": [USER, ANSWER]}, ["messages=one", "messages=two"]),
    ],
)
def test_two_readings_are_a_question_with_the_flags_that_decide(record: dict[str, Any], flags: list[str]) -> None:
    error = refusal([record] * 4)
    assert "the columns can be read in more than one way" in error.message
    assert error.hint is not None
    for flag in flags:
        assert flag in error.hint
    assert error.hint.count("--columns") == 2
    decided = error.hint.split("--columns ")[1].strip()
    assert "as --columns says" in said(load_dataset([record] * 4, columns=decided))


def test_an_undecidable_file_is_refused_with_columns_rows_and_flag() -> None:
    rows = [{"alpha": number, "beta": f"x{number}", "gamma": [number]} for number in range(5)]
    Path("rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    error = refusal("rows.jsonl")
    assert error.message.startswith("rows.jsonl: ")
    assert "Columns: 'alpha' (other), 'beta' (text), 'gamma' (other)" in error.message
    assert [json.dumps(row) in error.message for row in rows] == [True] * 3 + [False] * 2
    assert "--columns prompt=COLUMN,response=COLUMN" in str(error.hint)


def test_a_wrong_type_does_not_make_another_column_the_answer() -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"What is {n}?", "response": f"{n}", "note": "n"} for n in range(9)]
    error = refusal([*rows, {"prompt": "What is 9?", "response": 9, "note": "n"}])
    assert "row 10, column 'response': expected text, found a number." in error.message


def test_the_setting_columns_decides() -> None:
    rows = [
        {"prompt": "wrong", "response": "wrong", "Q": "Q", "A": "A", "S": "S", "H": [["h", "i"]], "T": [USER, ANSWER]}
    ]
    assert load_dataset(rows, columns="prompt=Q,response=A").rows[0].messages == (USER, ANSWER)
    assert load_dataset(rows, columns="question=Q, answer=A, system=S").rows[0].messages[0]["content"] == "S"
    assert len(load_dataset(rows, columns="instruction=Q,output=A,history=H").rows[0].messages) == 4
    assert load_dataset(rows, columns="messages=T").rows[0].messages == (USER, ANSWER)
    assert load_dataset(rows, columns="text=A").rows[0].text == "A"
    assert load_dataset(rows, columns="prompt=Q,chosen=A").rows[0].messages == (USER, ANSWER)
    turns = [{"from": "user", "value": "Q"}, {"from": "bot", "value": "A"}]
    assert load_dataset([{"x": turns}], columns="messages=x").rows[0].messages == (USER, ANSWER)
    comma = [{"a, b": "Q", "c=d": "A"}]
    assert load_dataset(comma, columns="prompt=a, b,response=c=d").rows[0].messages == (USER, ANSWER)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("prompt=x,response=A", "there is no column 'x'"),
        ("prompt=q,response=A", "Did you mean 'Q'?"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_those_that_are(columns: str, told: str) -> None:
    error = refusal([{"Q": "Q", "A": "A"}], columns=columns)
    assert told in error.message
    assert error.hint == "Columns: Q, A"


@pytest.mark.parametrize(
    "columns", ["", "prompt", "prompt=", "promt=a,response=b", "prompt=a", "prompt=a,question=b,response=c"]
)
def test_a_setting_columns_that_makes_no_row_is_refused(columns: str) -> None:
    with pytest.raises(UsageError):
        load_dataset([{"a": "Q", "b": "A", "c": "A"}], columns=columns or "x")


def test_turns_in_the_cells_of_a_table_are_read() -> None:
    cell = json.dumps([USER, ANSWER]).replace('"', '""')
    Path("rows.csv").write_text(f'id,messages\n1,"{cell}"\n', encoding="utf-8")
    assert load_dataset("rows.csv").rows[0].messages == (USER, ANSWER)
    prompt, answer = (json.dumps([turn]).replace('"', '""') for turn in (USER, ANSWER))
    Path("pairs.csv").write_text(f'prompt,completion\n"{prompt}","{answer}"\n', encoding="utf-8")
    assert load_dataset("pairs.csv").rows[0].messages == (USER, ANSWER)


def test_a_text_that_looks_like_turns_stays_text_beside_a_plain_answer() -> None:
    text = json.dumps([USER, ANSWER])
    rows = [{"prompt": text, "response": "A"}, {"prompt": "Q", "response": "A"}]
    assert [row.prompt for row in load_dataset(rows).rows] == [text, "Q"]


def test_rows_that_are_no_objects_are_refused_in_words() -> None:
    for rows in ([], [1, 2]):
        with pytest.raises(DataError, match=r"rows.jsonl: expected rows with columns, found"):
            recognise(rows, "rows.jsonl")
