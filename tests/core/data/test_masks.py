"""What is learnt, over all templates and builds of tokenizers: the answer and its end, after just the prompt."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk.data import encoding, templates
from ftk.data.encoding import Example, Shape
from ftk.data.rows import Row
from tests import tokenizers_for_tests as built
from tests.chat_templates import FAMILIES, SPECIAL, Family

FALLBACKS = {
    "alpaca": Family("", "<|endoftext|>"),
    "chatml": Family("", "<|im_end|><|endoftext|>"),
    "plain": Family("", "<|endoftext|>"),
}
ALL = {**FAMILIES, **FALLBACKS}
EVERY = pytest.mark.parametrize("kind", built.KINDS)
NAMES = pytest.mark.parametrize("name", ALL)

SYSTEM = {"role": "system", "content": "Be kind."}
TOOLS = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}},)
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}


def spoken(*turns: str, system: bool = False) -> list[dict[str, Any]]:
    turn = [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(turns)]
    return [SYSTEM, *turn] if system else turn


def stretches(example: Example) -> list[tuple[int, int]]:
    """Where the mask turns on and off."""
    edges = [i for i, (a, b) in enumerate(zip((False, *example.supervised), (*example.supervised, False), strict=True))
             if a != b]  # fmt: skip
    return list(zip(edges[::2], edges[1::2], strict=True))


def spelled(tokenizer: Any, tokens: tuple[int, ...], start: int, end: int) -> str:
    """The text of some tokens, at their place in the whole."""
    before, whole = (str(tokenizer.decode(tokens[:place], skip_special_tokens=False)) for place in (start, end))
    assert whole.startswith(before)
    return whole[len(before) :]


def prompt_of(tokenizer: Any, messages: list[dict[str, Any]], tools: tuple[Any, ...] = ()) -> list[int]:
    """The tokens that the model is given to answer."""
    text = templates.render(tokenizer, tuple(messages), prompt=True, tools=tools)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def loosely(kind: str, name: str, text: str) -> str:
    """A text as far as a tokenizer keeps it: some put spaces after added tokens, some take them away."""
    return "".join(text.split()) if kind == "legacy" or name == "phi3" else text


def expected(name: str, answer: str) -> str:
    """What the template makes of an answer as the last turn."""
    family = ALL[name]
    return f"{family.lead}{answer.strip() if family.trims else answer}{family.gap}{family.end}"


def check(kind: str, name: str, messages: list[dict[str, Any]], shape: Shape, turns: list[int],
          answers: list[str] | None = None, tools: tuple[Any, ...] = ()) -> list[Example]:  # fmt: skip
    """Encode, and hold every learnt stretch against its turn: the tokens before it, and what it spells."""
    tokenizer = built.tokenizer(kind, name)
    (made,) = encoding.stream([Row(tuple(messages), "row 1", None, tools)], tokenizer, shape)
    found = [(example, *edges) for example in made.examples for edges in stretches(example)]
    assert len(found) == len(turns)
    for (example, start, end), index, answer in zip(
        found, turns, answers or [expected(name, messages[index]["content"]) for index in turns], strict=True
    ):
        assert list(example.tokens[:start]) == prompt_of(tokenizer, messages[:index], tools)
        text = spelled(tokenizer, example.tokens, start, end)
        assert loosely(kind, name, text) == loosely(kind, name, answer)
        assert text.endswith(ALL[name].end)
    assert all(example.supervised[-1] for example in made.examples)
    return made.examples


@EVERY
@NAMES
@pytest.mark.parametrize("system", [False, True])
def test_a_single_answer(kind: str, name: str, system: bool) -> None:
    messages = spoken("What comes after one?", "Two comes after one.", system=system)
    (example,) = check(kind, name, messages, Shape(1000), [len(messages) - 1])
    text = str(built.tokenizer(kind, name).decode(example.tokens))
    assert "What comes after one?" in text
    assert ("Be kind." in text) is system


@EVERY
@NAMES
@pytest.mark.parametrize("system", [False, True])
def test_every_turn_is_learnt_once_and_after_the_prompt_that_it_will_have(kind: str, name: str, system: bool) -> None:
    messages = spoken("One?", "Two.", "Three?", "Four.", "Five?", "Six.", system=system)
    turns = [index for index, turn in enumerate(messages) if turn["role"] == "assistant"]
    examples = check(kind, name, messages, Shape(1000), turns)
    apart = ALL[name].rewrites or (name == "mistral" and system)
    assert len(examples) == (3 if apart else 1)
    last = check(kind, name, messages, Shape(1000, "last"), turns[-1:])
    assert len(last) == 1
    messages[turns[1]] = {**messages[turns[1]], "weight": 0}
    check(kind, name, messages, Shape(1000), [turns[0], turns[2]])


@EVERY
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.tools])
@pytest.mark.parametrize("system", [False, True])
def test_calls_and_the_answer_after_a_result_are_learnt_and_results_are_not(kind: str, name: str, system: bool) -> None:
    messages = [
        *spoken("Add 1 and 2.", system=system),
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "3", "tool_call_id": "abcdefghi", "name": "add"},
        *spoken("", "It is 3.", "And 1 more?", "It is 4.")[1:],
    ]
    turns = [index for index, turn in enumerate(messages) if turn["role"] == "assistant"]
    written = {
        "qwen2.5": '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>',
        "qwen3": '<think>\n\n</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'
        "<|im_end|>",
        "llama3": '{"name": "add", "parameters": {"a": 1, "b": 2}}<|eot_id|>',
        "mistral": '[TOOL_CALLS] [{"name": "add", "arguments": {"a": 1, "b": 2}, "id": "abcdefghi"}]</s>',
    }[name]
    answers = [written, expected(name, "It is 3."), expected(name, "It is 4.")]
    check(kind, name, messages, Shape(1000), turns, answers, TOOLS)


@EVERY
@pytest.mark.parametrize("field", [False, True])
@pytest.mark.parametrize(("name", "lead"), [("qwen3", "<think>\n"), ("deepseek", "")])
def test_reasoning_is_learnt_where_it_will_be_written_and_left_out_where_it_will_be(
    kind: str, name: str, lead: str, field: bool
) -> None:
    thoughts, answers = ("First I think.", "Then I\nthink."), ("A", "B")
    messages = spoken("One?", answers[0], "Two?", answers[1])
    for turn, thought in zip(messages[1::2], thoughts, strict=True):
        turn |= (
            {"reasoning_content": thought}
            if field
            else {"content": f"<think>\n{thought}\n</think>\n\n{turn['content']}"}
        )
    end = ALL[name].end
    written = [f"{lead}{t}\n</think>\n\n{a}{end}" for t, a in zip(thoughts, answers, strict=True)]
    first, second = check(kind, name, messages, Shape(1000), [1, 3], written)
    assert thoughts[0] in str(built.tokenizer(kind, name).decode(first.tokens))
    assert thoughts[0] not in str(built.tokenizer(kind, name).decode(second.tokens))


MARKERS = [
    *SPECIAL,
    "<|endoftext|>",
    "### Response:\n",
    "### Instruction:\n",
    " [/INST] ",
    "<<SYS>>\n",
    "<|im_end",
    "<unk>",
]
PLAIN = st.lists(
    st.one_of(
        st.sampled_from(built.ALPHABET), st.sampled_from(["\n\n", "  ", "\n ", " \n", "one", "two", "漢字", "\r\n"])
    ),
    min_size=1,
    max_size=12,
).map("".join)
TEXT = PLAIN.filter(str.strip)
WILD = st.lists(st.one_of(PLAIN, st.sampled_from(MARKERS)), min_size=1, max_size=5).map("".join).filter(str.strip)


@NAMES
@settings(max_examples=15, deadline=None, derandomize=True)
@given(texts=st.lists(TEXT, min_size=4, max_size=4), kind=st.sampled_from(built.KINDS), system=st.booleans())
def test_any_text_at_any_edge(name: str, texts: list[str], kind: str, system: bool) -> None:
    messages = spoken(*texts, system=system)
    turns = [index for index, turn in enumerate(messages) if turn["role"] == "assistant"]
    stripped = name in ("qwen3", "deepseek")  # their templates take line breaks off the head of an answer
    answers = [
        expected(name, messages[i]["content"].lstrip("\n") if stripped else messages[i]["content"]) for i in turns
    ]
    check(kind, name, messages, Shape(1000), turns, answers)


@NAMES
@settings(max_examples=15, deadline=None, derandomize=True)
@given(texts=st.lists(WILD, min_size=2, max_size=2), kind=st.sampled_from(["bytes", "unigram", "characters"]))
def test_texts_that_spell_the_templates_own_markers_do_not_move_the_mask(
    name: str, texts: list[str], kind: str
) -> None:
    if "think>" in texts[1] and ALL[name].rewrites:
        return
    messages = spoken(*texts)
    stripped = name in ("qwen3", "deepseek")
    check(kind, name, messages, Shape(1000), [1], [expected(name, texts[1].lstrip("\n") if stripped else texts[1])])


@EVERY
@NAMES
def test_a_generation_stops_where_training_ended_a_turn(kind: str, name: str) -> None:
    tokenizer = built.tokenizer(kind, name)
    (made,) = encoding.stream([Row(tuple(spoken("a", "b")), "row 1")], tokenizer, Shape(1000))
    ends = encoding.end_of_turn(tokenizer)
    learnt = [t for t, s in zip(made.examples[0].tokens, made.examples[0].supervised, strict=True) if s]
    first = next(place for place, token in enumerate(learnt) if token in ends)
    assert ALL[name].end.endswith(str(tokenizer.decode(learnt[first:])).strip())
    assert ALL[name].end not in str(tokenizer.decode(learnt[:first]))


class Slow:
    """A tokenizer without a backend in Rust."""

    is_fast = False

    def __init__(self, fast: Any) -> None:
        self._fast = fast

    def __getattr__(self, name: str) -> Any:
        if name == "backend_tokenizer":
            raise AttributeError(name)
        return getattr(self._fast, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._fast(*args, **options)


@EVERY
@NAMES
def test_a_tokenizer_that_is_not_fast_gives_the_same(kind: str, name: str) -> None:
    fast = built.tokenizer(kind, name)
    rows = [Row(tuple(spoken("One?", " two ", "Three?", "four")), "row 1"), Row((), "row 2", "some text")]
    one, other = ([row.examples for row in encoding.stream(rows, made, Shape(50))] for made in (fast, Slow(fast)))
    assert one == other


@pytest.mark.parametrize("name", ["qwen2.5", "gemma", "mistral"])
@pytest.mark.parametrize("inside", ["another", "gone"])
def test_texts_are_those_of_the_front_door_whatever_becomes_of_the_inside_of_transformers(
    name: str, inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jinja2 import Template
    from transformers.utils import chat_template_utils

    tokenizer = built.tokenizer("bytes", name)
    wanted = [
        (
            tuple(spoken(*(f"{word} {number}" for word in ("one", "two", "three")[:turns]), system=number == 3)),
            prompt,
            (),
        )
        for number in range(4)
        for turns, prompt in ((1, True), (2, False), (3, True))
    ]
    texts = templates.render_many(tokenizer, wanted)
    assert texts == [templates.render(tokenizer, turns, prompt=prompt) for turns, prompt, _ in wanted]
    if inside == "gone":
        monkeypatch.delattr(chat_template_utils, "_compile_jinja_template")
        monkeypatch.setattr(templates, "_apply", lambda *_: texts)
        assert templates._apply_to_all(tokenizer, [], prompt=False) == texts
    else:
        compiled = chat_template_utils._compile_jinja_template
        inner = iter([Template("something else")])  # only the first look inside; the front door uses the same
        monkeypatch.setattr(
            chat_template_utils, "_compile_jinja_template", lambda text: next(inner, None) or compiled(text)
        )
        assert templates.render_many(tokenizer, wanted) == texts
