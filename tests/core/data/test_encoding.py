"""The mask of supervised tokens: by construction right, for every family's template and the fallbacks."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk.data import encoding, templates
from ftk.data.encoding import Example
from ftk.data.rows import Row
from ftk.errors import DataError
from tests import chat_templates, tiny

FALLBACKS = tuple(templates.TEMPLATES)
ALL = (*chat_templates.TEMPLATES, *FALLBACKS)


@cache
def tokenizer(name: str) -> Any:
    """The tests' tokenizer with the template of a family, or with a fallback."""
    made = tiny.tokenizer(chat=False)
    if name in FALLBACKS:
        templates.choose(made, name)  # type: ignore[arg-type]
        return made
    made.add_special_tokens({"additional_special_tokens": list(chat_templates.SPECIAL)})
    made.chat_template = chat_templates.TEMPLATES[name]
    return made


def row(*turns: str, system: str | None = None) -> Row:
    messages = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant")
    messages += [{"role": roles[index % 2], "content": turn} for index, turn in enumerate(turns)]
    return Row(tuple(messages), "row 1")


def encode(name: str, given_row: Row, max_length: int = 100_000) -> tuple[Example, ...]:
    return encoding.encode([given_row], tokenizer(name), max_length).examples


def learnt(name: str, example: Example) -> list[str]:
    """The texts of the supervised stretches."""
    pieces: list[list[int]] = []
    before = False
    for token, supervised in zip(example.tokens, example.supervised, strict=True):
        if supervised and not before:
            pieces.append([])
        if supervised:
            pieces[-1].append(token)
        before = supervised
    return [tokenizer(name).decode(piece) for piece in pieces]


def end(name: str) -> str:
    return chat_templates.END_OF_TURN.get(name, "<|endoftext|>")


def expected(name: str, answer: str) -> str:
    """What the model must write: the answer and its end of turn."""
    family = chat_templates.FAMILIES.get(name, chat_templates.Family("", end(name)))
    stop = "<|im_end|><|endoftext|>" if name == "chatml" else end(name)
    return f"{family.lead}{answer.strip() if family.trims else answer}{family.gap}{stop}"


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("system", [None, "Be kind."])
def test_the_answer_and_its_end_are_learnt_and_nothing_else(name: str, system: str | None) -> None:
    (example,) = encode(name, row("What comes after one?", "Two comes after one.", system=system))
    assert learnt(name, example) == [expected(name, "Two comes after one.")]
    assert example.supervised[-1]
    whole = tokenizer(name).decode(example.tokens)
    assert "What comes after one?" in whole
    if system:
        assert system in whole


@pytest.mark.parametrize("name", ALL)
def test_every_turn_of_a_conversation_is_learnt_once(name: str) -> None:
    answers = ["First answer.", "Second answer.", "Third answer."]
    examples = encode(name, row("One?", answers[0], "Two?", answers[1], "Three?", answers[2]))
    pieces = [piece for example in examples for piece in learnt(name, example)]
    assert len(pieces) == 3
    for piece, answer in zip(pieces, answers, strict=True):
        assert answer in piece
        assert end(name) in piece
        assert "?" not in piece


def test_reasoning_of_earlier_turns_is_learnt_where_the_model_will_write_it() -> None:
    first, second = "<think>\nhm\n</think>\n\nA", "<think>\nwell\n</think>\n\nB"
    examples = encode("qwen3", row("One?", first, "Two?", second))
    assert [learnt("qwen3", example) for example in examples] == [[f"{first}<|im_end|>"], [f"{second}<|im_end|>"]]
    assert "hm" not in tokenizer("qwen3").decode(examples[1].tokens)  # as it will be when it is asked


TEXT = st.text(
    st.one_of(
        st.sampled_from("abc xyz \n\t.,!?<>|[]#*`{}%'\"\\"),
        st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]),
    ),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(prompt=TEXT, answer=TEXT.filter(str.strip))
def test_supervised_tokens_decode_to_the_answer_exactly(name: str, prompt: str, answer: str) -> None:
    if "</think>" in answer:
        return
    (example,) = encode(name, row(prompt, answer))
    (piece,) = learnt(name, example)
    written = answer.lstrip("\n") if name in ("qwen3", "deepseek") else answer
    assert piece == expected(name, written)
    before = templates.render(tokenizer(name), row(prompt, answer).messages[:-1], prompt=True)
    start = example.supervised.index(True)
    assert tokenizer(name).decode(example.tokens[:start]) == before


@pytest.mark.parametrize("name", ALL)
def test_generation_stops_where_training_ended_a_turn(name: str) -> None:
    ids = encoding.end_of_turn(tokenizer(name))
    assert tokenizer(name).convert_tokens_to_ids(end(name)) in ids
    assert tokenizer(name).eos_token_id in ids


def test_what_is_too_long_is_cut_and_counted() -> None:
    rows = [row("One?", "word " * 50), row("Q " * 60, "A"), row("Two?", "B")]
    rows = [Row(found.messages, f"row {number}") for number, found in enumerate(rows, 1)]
    encoded = encoding.encode(rows, tokenizer("smollm2"), 64)
    assert (encoded.cut, encoded.cut_rows) == (1, ("row 1",))
    assert encoded.dropped == ("row 2",)
    assert [len(example) <= 64 for example in encoded.examples] == [True, True]
    with pytest.raises(DataError, match="--max-length"):
        encoding.encode(rows, tokenizer("smollm2"), 4)


def test_a_conversation_that_a_template_refuses_is_told_with_its_row() -> None:
    made = tiny.tokenizer()
    made.chat_template = "{{ raise_exception('only cats may speak') }}"
    with pytest.raises(DataError, match=r"row 1: .*only cats may speak"):
        encoding.encode([row("a", "b")], made, 64)


def test_texts_with_template_code_stay_texts() -> None:
    code = "{{ raise_exception('x') }}{% for a in b %}"
    (example,) = encode("smollm2", row(code, code))
    assert learnt("smollm2", example) == [f"{code}<|im_end|>"]


def test_no_template_is_put_over_a_models_own() -> None:
    own, none = tiny.tokenizer(), tiny.tokenizer(chat=False)
    assert templates.choose(own) == "model"
    assert templates.choose(none) == "alpaca"
    assert own.chat_template == tiny.CHATML
    assert none.chat_template == templates.TEMPLATES["alpaca"]
    assert templates.choose(own, "plain") == "plain"


@pytest.mark.parametrize("template", ["alpaca", "chatml", "plain"])
def test_a_token_that_begins_every_text_begins_fallbacks_and_raw_texts(template: Any) -> None:
    from tokenizers.processors import TemplateProcessing

    made = tiny.tokenizer(chat=False)
    made.bos_token = "<|im_start|>"
    bos = made.bos_token_id
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)]
    )
    templates.choose(made, template)
    asked, text = row("Q", "A"), Row((), "row 2", "one two")
    (of_row, of_text) = encoding.encode([asked, text], made, 64).examples
    assert of_row.tokens.count(bos) == (3 if template == "chatml" else 1)  # ChatML writes it before every turn
    assert of_text.tokens.count(bos) == 1
    assert (of_row.tokens[0], of_text.tokens[0]) == (bos, bos)
    assert not of_row.supervised[0]
    assert of_text.supervised == (False, *(True for _ in of_text.tokens[1:]))
    assert not templates.beginning(tiny.tokenizer())


def test_chatml_ends_a_turn_once_where_the_model_ends_its_texts_so() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = "<|im_end|>"
    templates.choose(tokenizer, "chatml")
    assert templates.render(tokenizer, ({"role": "assistant", "content": "a"},)).count("<|im_end|>") == 1
