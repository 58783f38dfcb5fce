"""Rows become tokens once: the cache, what is too long, raw texts, and the template that goes with the adapter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk import files, load_dataset, prepare_dataset
from ftk.data import encoding, templates, tokens
from ftk.data.encoding import Encoded, Example, Shape, encode
from ftk.data.masking import Masker
from ftk.data.rows import Row
from ftk.errors import DataError
from tests import tiny
from tests import tokenizers_for_tests as built

SHAPE = Shape(64)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were tokenised, call by call, those of templates left out."""
    calls: list[int] = []
    tokenise = Masker.tokenise

    def counting(self: Masker, texts: Any) -> Any:
        calls.append(len(texts))
        return tokenise(self, texts)

    monkeypatch.setattr(Masker, "tokenise", counting)
    return calls


def folders() -> list[str]:
    return sorted(path.name for path in (files.cache_dir() / "data").glob("tokens-*"))


def leftovers() -> list[Path]:
    return list((files.cache_dir() / "data").glob(".tokens-*"))


def made(source: Any = tiny.ROWS, tokenizer: Any = None, shape: Shape = SHAPE, **options: Any) -> Encoded:
    rows = load_dataset(source).rows
    (encoded,) = tokens.tokenised([rows], tokenizer or tiny.tokenizer(), shape, **options)
    return encoded


def test_the_same_is_found_again_whatever_it_is_called(counted: list[int]) -> None:
    first = made()
    assert counted
    counted.clear()
    Path("a.jsonl").write_text("\n".join(map(json.dumps, tiny.ROWS)), encoding="utf-8")
    Path("b.csv").write_text(
        "Q,A\n" + "\n".join(f'"{row["prompt"]}","{row["response"]}"' for row in tiny.ROWS), encoding="utf-8"
    )
    again = [made(), made("a.jsonl"), *tokens.tokenised([load_dataset("b.csv", columns="prompt=Q,response=A").rows],
                                                        tiny.tokenizer(), SHAPE)]  # fmt: skip
    assert counted == []
    assert len(folders()) == 1
    for encoded in again:
        assert [(e.tokens, e.supervised) for e in encoded.examples] == [
            (e.tokens, e.supervised) for e in first.examples
        ]
    assert [encoded.examples[2].origin for encoded in again] == ["the list, row 3", "a.jsonl, line 3", "b.csv, line 4"]


def test_a_tokenizer_that_pads_and_truncates_for_its_owner_is_the_same(counted: list[int]) -> None:
    plain = made()
    counted.clear()
    other = tiny.tokenizer()
    other.backend_tokenizer.enable_truncation(4)
    other.backend_tokenizer.enable_padding(length=200)
    assert list(made(tokenizer=other).examples) == list(plain.examples)
    assert counted == []


def _template() -> Any:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = tiny.CHATML.replace("user", "human") + "\n"
    return tokenizer


def _vocabulary() -> Any:
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["everybody"])
    return tokenizer


@pytest.mark.parametrize(
    "options",
    [
        {"tokenizer": _template},
        {"tokenizer": _vocabulary},
        {"shape": Shape(63)},
        {"shape": Shape(64, "last")},
        {"shape": Shape(64, "all", "drop")},
        {"shape": Shape(64, system="Be kind.")},
        {"source": tiny.ROWS[::-1]},
        {"source": [*tiny.ROWS, tiny.ROWS[0]]},
        {"source": [{**row, "response": row["response"] + " "} for row in tiny.ROWS]},
    ],
    ids=["template", "vocabulary", "length", "turns", "long", "system", "order", "rows", "text"],
)
def test_something_else_is_made_anew(options: dict[str, Any], counted: list[int]) -> None:
    made()
    counted.clear()
    made(**{key: value() if isinstance(value, Callable) else value for key, value in options.items()})  # type: ignore[arg-type]
    assert counted
    assert len(folders()) == 2


def test_a_cancel_leaves_nothing_and_the_next_call_makes_all() -> None:
    rows = [{"prompt": f"What is {n}?", "response": f"It is {n}."} for n in range(700)]

    def cancel(done: int, total: int) -> None:
        assert total == 700
        if done >= 400:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(rows, progress=cancel)
    assert folders() == leftovers() == []
    seen: list[tuple[int, int]] = []
    assert len(made(rows, progress=lambda done, total: seen.append((done, total))).examples) == 700
    assert seen == [(200, 700), (400, 700), (600, 700), (700, 700)]


def test_what_a_killed_process_left_does_no_harm_and_is_removed() -> None:
    made()
    (name,) = folders()
    target = files.cache_dir() / "data" / name
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    staging = target.with_name(f".{name}.staging-{int(done.stdout)}-x")
    target.rename(staging)
    (staging / "info.json").unlink()
    (staging / "tokens.arrow").write_bytes(b"half")
    assert len(made().examples) == len(tiny.ROWS)
    assert folders() == [name]
    assert leftovers() == []


def test_a_refused_row_is_named_and_nothing_is_kept() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no') if 'autumn' in messages[0].content else 'x' }}" + tiny.CHATML
    with pytest.raises(DataError, match=r"^the list, row 13: .*no"):
        made(tokenizer=tokenizer)
    assert folders() == leftovers() == []


LONG = [
    {"prompt": "Short?", "response": "Yes."},
    {"prompt": "Long answer?", "response": "word " * 60},
    {"prompt": "Long question? " * 30, "response": "No."},
    {"prompt": "Longer answer?", "response": "more " * 60},
]


@pytest.mark.parametrize("long_rows", ["cut", "drop"])
def test_rows_of_a_mixture_are_counted_once_as_cut_or_as_dropped(long_rows: Any) -> None:
    Path("a.jsonl").write_text("\n".join(map(json.dumps, LONG)), encoding="utf-8")
    Path("b.jsonl").write_text(json.dumps(LONG[1]), encoding="utf-8")
    encoded = made("a.jsonl:3,b.jsonl", shape=Shape(64, "all", long_rows))
    assert (encoded.cut, encoded.cut_rows, encoded.dropped, len(encoded.examples)) == {
        "cut": (3, ("a.jsonl, line 2", "a.jsonl, line 4", "b.jsonl, line 1"), ("a.jsonl, line 3",), 10),
        "drop": (0, (), tuple(f"{name}, line {n}" for name, n in (("a.jsonl", 2), ("a.jsonl", 3), ("a.jsonl", 4),
                                                                  ("b.jsonl", 1))), 3),
    }[long_rows]  # fmt: skip
    assert all(example.targets and len(example) <= 64 for example in encoded.examples)


def test_what_is_kept_on_disk_is_what_is_made_in_memory() -> None:
    rows = [*LONG, *tiny.ROWS] * 90  # more than one batch of every kind
    stored, direct = made(rows), encoding.encode(load_dataset(rows).rows, tiny.tokenizer(), 64)
    assert list(stored.examples) == list(direct.examples)
    assert (stored.cut, stored.cut_rows, stored.dropped) == (direct.cut, direct.cut_rows, direct.dropped)
    assert stored.tokens == direct.tokens
    assert stored.supervised == direct.supervised


def test_nothing_left_is_an_error_that_names_the_mend() -> None:
    with pytest.raises(DataError, match="within the first 3 tokens"):
        prepare_dataset(tiny.ROWS, tiny.tokenizer(), max_length=3)


def test_rows_of_which_every_answer_has_the_weight_0_are_left_out_and_named() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    learnt = [[{**turn, "content": f"{turn['content']} {number}"} for turn in turns] for number in range(5)]
    for row in learnt:
        del row[1]["weight"]
    rows = [{"messages": row} for row in (turns, *learnt, turns)]
    prepared = prepare_dataset(rows, tiny.tokenizer(), eval_fraction=0.0)
    assert prepared.train.unlearnt == ("the list, row 1", "the list, row 7")
    assert (prepared.train.dropped, len(prepared.train.examples)) == ((), 5)
    stored = encode(prepared.parts.train, tiny.tokenizer(), 512)
    assert (stored.unlearnt, len(stored.examples)) == (prepared.train.unlearnt, 5)
    with pytest.raises(DataError, match="weight is not 0"):
        prepare_dataset([{"messages": turns}], tiny.tokenizer(), eval_fraction=0.0)


def conversation(*turns: str) -> Row:
    return Row(tuple({"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(turns)), "row 1")


def examples(row: Row, tokenizer: Any, shape: Shape) -> list[Example]:
    (found,) = encoding.stream([row], tokenizer, shape)
    return found.examples


@pytest.mark.parametrize("name", ["smollm2", "qwen3", "alpaca"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(turns=st.lists(st.integers(1, 12), min_size=1, max_size=3), length=st.integers(1, 120))
def test_a_cut_keeps_a_beginning_with_something_to_learn_at_its_end(name: str, turns: list[int], length: int) -> None:
    tokenizer = built.tokenizer("bytes", name)
    row = conversation(*(text for size in turns for text in ("q " * size, "a " * size)))
    whole, (cut,) = examples(row, tokenizer, Shape(1 << 30)), encoding.stream([row], tokenizer, Shape(length))
    assert cut.cut == sum(len(example) > length for example in whole)
    learnable = [example for example in whole if any(example.supervised[1:length])]
    assert len(cut.examples) == len(learnable)
    for kept, example in zip(cut.examples, learnable, strict=True):
        size = len(kept)
        assert (kept.tokens, kept.supervised) == (example.tokens[:size], example.supervised[:size])
        assert kept.supervised[-1]
        assert kept.targets == sum(example.supervised[1:length])
    (dropped,) = encoding.stream([row], tokenizer, Shape(length, long_rows="drop"))
    assert dropped.examples == ([] if cut.cut else whole)
    assert dropped.cut == 0


@pytest.mark.parametrize("short", [1, 2])
def test_an_end_of_turn_that_does_not_fit_is_cut_and_counted(short: int) -> None:
    tokenizer = built.tokenizer("bytes", "smollm2")
    row = conversation("a", "b c d")
    (whole,) = examples(row, tokenizer, Shape(1000))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    (cut,) = encoding.stream([row], tokenizer, Shape(len(whole) - short))
    assert cut.cut == 1
    assert cut.examples[0].tokens == whole.tokens[:-short]
    assert whole.tokens[-1] == end != cut.examples[0].tokens[-1]
    (fits,) = encoding.stream([row], tokenizer, Shape(len(whole)))
    assert fits.cut == 0


@pytest.mark.parametrize("kind", built.KINDS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(text=st.text(st.sampled_from(built.ALPHABET), max_size=60), length=st.integers(2, 30))
def test_a_raw_text_is_read_in_windows_that_lose_nothing(kind: str, text: str, length: int) -> None:
    tokenizer = built.tokenizer(kind, "smollm2")
    whole = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    found = examples(Row((), "row 1", text), tokenizer, Shape(length))
    assert all(len(window) <= length for window in found)
    learnt = [token for window in found
              for token, counted in zip(window.tokens, window.supervised, strict=True) if counted]  # fmt: skip
    assert learnt == whole[1:]  # each once, and the last one ends the text
    for before, window in zip([None, *found], found, strict=False):
        assert window.tokens[0] == (before.tokens[-1] if before else whole[0])
        assert not window.supervised[0]


@pytest.mark.parametrize(
    ("template", "chat"), [("auto", True), ("chatml", True), ("auto", False), ("plain", False), ("chatml", False)]
)
def test_an_adapter_is_saved_with_the_template_that_it_was_trained_with(
    template: Any, chat: bool, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    from ftk.models import adapters

    tokenizer = tiny.tokenizer(chat=chat)
    templates.choose(tokenizer, template)
    model = adapters.add(tiny.model(), rank=2, alpha=4, dropout=0.0, targets=["q_proj"])
    adapters.save(model, tokenizer, tmp_path / "adapter")
    saved = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    row = conversation("One?", "Two.", "Three?", "Four.")
    assert saved.chat_template == tokenizer.chat_template
    assert templates.choose(saved) == "model"
    assert examples(row, saved, SHAPE) == examples(row, tokenizer, SHAPE)
    assert encoding.end_of_turn(saved) == encoding.end_of_turn(tokenizer)
    prompt = [{"role": "user", "content": "One?"}]
    asked = saved.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False)
    assert list(examples(row, tokenizer, SHAPE)[0].tokens[: len(asked)]) == list(asked)
    assert (tmp_path / "adapter" / "chat_template.jinja").read_text(encoding="utf-8") == tokenizer.chat_template
