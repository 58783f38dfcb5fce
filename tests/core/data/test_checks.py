"""What is wrong with a data set is found, counted, and told with rows, action and mend; what is right is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk import get_dataset_stats, inspect_dataset, load_dataset, load_sample_dataset, prepare_dataset
from ftk.data import characters, checks, near, statistics
from ftk.data.checks import Finding
from ftk.data.dataset import SAMPLES
from ftk.data.encoding import Shape
from ftk.data.inspection import Settings
from ftk.errors import DataError
from tests import tiny

GOOD = [{"prompt": f"What is {n} and {n}?", "response": f"It makes {2 * n}, which is even."} for n in range(60)]


def findings(rows: Any, **options: Any) -> dict[str, Finding]:
    return {finding.code: finding for finding in checks.check(load_dataset(rows), **options)}


def with_row(prompt: str, response: str) -> dict[str, Finding]:
    return findings([*GOOD, {"prompt": prompt, "response": response}])


def test_good_rows_give_no_warning() -> None:
    words = ("alpha bravo", "charlie delta", "echo foxtrot", "golf hotel", "india juliett", "kilo lima")
    rows = [{"prompt": f"Tell me of {w}.", "response": f"All that is known of {w} is {w[::-1]}."} for w in words]
    assert {f.code for f in findings(rows).values() if f.severity != "note"} == set()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_free_of_faults(name: str) -> None:
    found = checks.check(load_sample_dataset(name))
    assert [finding for finding in found if finding.severity != "note"] == []


@pytest.mark.parametrize(
    ("prompt", "response", "code", "message"),
    [
        ("Who\u200b?", "Me.", "hidden", "zero width space (1)"),
        ("Who?", "Me\u202e.", "hidden", "right-to-left override (1)"),
        ("Who?", "Me\U000e0041.", "hidden", "tag latin capital letter a (1)"),
        ("Key?", "sk-" + "a1B2" * 8, "secrets", "an API key"),
        ("Key?", "AKIAIOSFODNN7EXAMPLE", "secrets", "an access key"),
        ("Key?", "-----BEGIN RSA PRIVATE KEY-----", "secrets", "a private key"),
        ("Key?", "password: hunter2hunter2", "secrets", "a password"),
        ("Mail?", "Write to jane.doe@firm.de now.", "emails", "e-mail addresses"),
        ("What is the capital of France?", "What is the capital of France? Paris.", "leak", "repeating their prompt"),
        ("Who?", "As an AI language model, I cannot.", "refusal", "AI language model"),
    ],
)
def test_a_planted_row_is_found_and_named(prompt: str, response: str, code: str, message: str) -> None:
    finding = with_row(prompt, response)[code]
    assert (finding.severity, finding.count, finding.rows) == ("warning", 1, ("the list, row 61",))
    assert message in finding.message
    assert finding.message.endswith("1 row")
    assert finding.action
    assert finding.change
    assert "hunter2" not in finding.message


@pytest.mark.parametrize(
    ("prompt", "response", "code"),
    [
        ("A family?", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "hidden"),
        ("In Persian?", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "hidden"),
        ("Mail?", "Write to you@example.com or me@mail.example.", "emails"),
        ("Key?", "Set password: in the form, the token: is shown, api_key = YOUR_KEY_HERE", "secrets"),
        ("Hi?", "Hi? Hi there, how can I help?", "leak"),
    ],
)  # fmt: skip
def test_what_only_looks_alike_is_left_alone(prompt: str, response: str, code: str) -> None:
    assert code not in with_row(prompt, response)


def test_copies_near_copies_and_contradictions() -> None:
    long = "The quick brown fox jumps over the lazy dog and runs away into the dark green forest at night"
    rows = [
        *GOOD,
        GOOD[0],
        {"prompt": "Write.", "response": long},
        {"prompt": "Write!", "response": long.replace("night", "dawn")},
        {"prompt": "what is 5 AND 5", "response": "Twenty."},
    ]
    found = findings(rows)
    assert (found["duplicates"].count, found["duplicates"].rows) == (1, ("the list, row 61",))
    assert "--duplicates drop" in found["duplicates"].change
    assert (found["near-duplicates"].count, found["near-duplicates"].rows) == (
        1,
        ("the list, row 62 ~ the list, row 63",),
    )
    assert found["contradiction"].rows == ("the list, row 63 ~ the list, row 62", "the list, row 64 ~ the list, row 6")


def test_answers_that_are_all_alike() -> None:
    rows = [*GOOD[:30], *({"prompt": f"Ask {n}", "response": "I do not know."} for n in range(20))]
    finding = findings(rows)["alike"]
    assert finding.count == 20
    assert "'I do not know.'" in finding.message
    assert finding.rows[0] == "the list, row 31"


def test_rows_that_are_left_out_or_cut_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in GOOD)
        + '{"prompt": "x"}\n'
        + json.dumps({"prompt": "Long?", "response": "word " * 300})
        + "\n"
        + json.dumps({"prompt": "long " * 300, "response": "no"})
        + "\n"
    )
    wanted = Settings(eval_fraction=0.0, shape=Shape(128), duplicates="drop", max_rows=62)
    found = {f.code: f for f in inspect_dataset("a.jsonl", tiny.tokenizer(), wanted).findings}
    assert found["unreadable"].severity == "error"
    assert found["unreadable"].rows == ("a.jsonl, line 61: the column 'response' is missing. Every row needs it.",)
    assert found["cut"].rows == ("a.jsonl, line 62",)
    assert found["dropped"].rows == ("a.jsonl, line 63",)
    assert "--long-rows drop" in found["cut"].change
    found = {f.code: f for f in inspect_dataset([*GOOD, GOOD[3]], None, Settings(duplicates="drop")).findings}
    assert found["left-out"].message == "left out, as --duplicates drop asks: 1 row"
    assert "duplicates" not in found


def test_training_rows_that_are_held_out_are_told(tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text(json.dumps(GOOD[7]) + "\n")
    found = {f.code: f for f in inspect_dataset(GOOD, None, Settings(eval_data="held.jsonl")).findings}
    assert (found["overlap"].count, found["overlap"].rows) == (1, ("the list, row 8",))


def test_checking_can_be_cancelled() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checks.check(load_dataset(GOOD), progress=stop)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("The answer to that is what you have in the box.", "English"),
        ("Das ist nicht die Antwort auf eine Frage.", "German"),
        ("Le chat est dans la maison et il ne sort pas.", "French"),
        ("Это ответ на ваш вопрос.", "Cyrillic"),
        ("これは答えです。", "Japanese"),
        ("这是答案。", "Han"),
        ("답은 이것입니다.", "Korean"),
        ("x = 3", "unclear"),
        ("12 + 30", "none"),
    ],
)
def test_languages_and_scripts(text: str, name: str) -> None:
    assert characters.language(text) == name


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_text_upsets_the_checks(text: str) -> None:
    characters.hidden(text)
    characters.secrets(text)
    characters.emails(text)
    characters.language(text)
    near.groups([near.normalised(text), ""])


@given(st.integers(0, 2**32), st.integers(30, 60))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_word_more_makes_a_near_copy_and_other_words_make_none(seed: int, length: int) -> None:
    words = [f"w{seed + n * n}" for n in range(length)]
    others = [f"v{seed + n * n}" for n in range(length)]
    texts = [" ".join(words), " ".join(others), " ".join([*words, "more"])]
    assert near.groups(texts) == [[0, 2]]


@given(st.lists(st.integers(0, 5000), max_size=300))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    found = statistics.summary(values)["histogram"]
    assert sum(found["counts"]) == max(1, len(values))
    assert len(found["edges"]) == len(found["counts"]) + 1
    assert found["edges"] == sorted(found["edges"])


def test_statistics_in_tokens_tell_what_fits_and_what_padding_costs() -> None:
    rows = [{"prompt": "one", "response": "two " * n} for n in (1, 1, 40, 40)]
    stats = get_dataset_stats(rows, tiny.tokenizer(), max_length=32, batch_size=2)
    assert (stats["rows"], stats["examples"], stats["fits"], stats["steps_per_epoch"]) == (4, 4, 0.5, 2)
    assert stats["row"]["max"] == stats["prompt"]["max"] + stats["supervised"]["max"]
    assert stats["padding"] == 0.0  # rows of one length share their batch
    assert statistics.padding([10, 20], 2) == pytest.approx(0.25)


def test_control_tokens_in_texts_are_told() -> None:
    rows = [*GOOD, {"prompt": "End?", "response": "Write <|im_end|> at the end."}]
    found = {f.code: f for f in inspect_dataset(rows, tiny.tokenizer()).findings}
    assert found["special"].rows == ("the list, row 61",)
    assert "<|im_end|>" in found["special"].message
    assert "special" not in {f.code for f in inspect_dataset(GOOD, tiny.tokenizer()).findings}


def test_an_inspection_shows_what_training_would_refuse() -> None:
    long = [{"prompt": f"{n} " + "word " * 300, "response": "no"} for n in range(3)]
    found = inspect_dataset(long, tiny.tokenizer(), Settings(shape=Shape(64)))
    (dropped,) = [finding for finding in found.findings if finding.code == "dropped"]
    assert (dropped.severity, dropped.action) == ("error", "refuses to train, as nothing is left")
    assert found.statistics["steps_per_epoch"] == 0
    call = {"type": "function", "function": {"name": "lookup", "arguments": {}}}
    turns = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "here"},
        {"role": "assistant", "content": "There."},
    ]
    found = inspect_dataset([{"messages": turns}], tiny.tokenizer(), Settings(eval_fraction=0.0))
    assert found.findings[0].severity == "error"
    assert "the list, row 1" in found.findings[0].message
    assert "leaves out the tool call" in found.findings[0].message


def test_the_steps_are_those_of_what_is_trained_on() -> None:
    rows = [{"text": "one two three four five six seven eight nine ten " * 20}]
    found = inspect_dataset(rows, tiny.tokenizer(), Settings(shape=Shape(16), batch_size=1))
    assert found.statistics["steps_per_epoch"] == len(
        prepare_dataset(rows, tiny.tokenizer(), max_length=16, eval_fraction=0.0).train.examples
    )


def test_a_data_set_that_cannot_be_split_is_shown_all_the_same() -> None:
    for rows in (GOOD[:1], GOOD[:1] * 3):
        found = inspect_dataset(rows).findings[0]
        assert (found.severity, found.action) == ("error", "refuses to train")
        assert "one row" in found.message
        assert "--eval-fraction 0" in found.change
        unmeasured = inspect_dataset(rows, None, Settings(eval_fraction=0.0))
        assert "error" not in {finding.severity for finding in unmeasured.findings}


def _refusing() -> Any:
    """A tokenizer whose template refuses what mentions a tool."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if 'tool' in m['content'] %}{{ raise_exception('no tools here') }}{% endif %}"
        "{% endfor %}" + tiny.CHATML
    )
    return tokenizer


def test_rows_that_the_template_refuses_are_tolerated_as_others_that_cannot_be_read() -> None:
    rows = [*GOOD, {"prompt": "Which tool?", "response": "None."}, {"prompt": "b", "response": None}]
    with pytest.raises(DataError, match=r"row 61.*no tools here"):
        prepare_dataset(rows, _refusing(), skip_bad=1, eval_fraction=0.0)
    data = prepare_dataset(rows, _refusing(), skip_bad=2, eval_fraction=0.0)
    assert (len(data.train.examples), data.train.dropped) == (60, ())
    (message,) = data.train.refused
    assert message.startswith("the list, row 61")
    found = {f.code: f for f in inspect_dataset(rows, _refusing(), Settings(skip_bad=2, eval_fraction=0.0)).findings}
    assert (found["refused"].severity, found["refused"].count) == ("warning", 1)
    assert found["unreadable"].severity == "warning"
    found = {f.code: f for f in inspect_dataset(rows, _refusing(), Settings(skip_bad=1, eval_fraction=0.0)).findings}
    assert found["refused"].severity == "error"


def test_held_out_rows_that_are_cut_are_told() -> None:
    long = {"prompt": "Long?", "response": "word " * 90}
    data = prepare_dataset(GOOD, tiny.tokenizer(), eval_data=[long, GOOD[0]], max_length=64)
    found = {f.code: f for f in checks.losses(data.dataset, data.parts, data.train, held_out=data.held_out)}
    assert (found["held-out"].count, found["held-out"].rows) == (1, ("the list, row 1",))
    assert "cut" not in found
