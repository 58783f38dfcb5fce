"""Answers in batches: those of transformers one at a time, the same draws in any company, whole characters, faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk import load_model
from ftk.errors import DataError, ModelError, UsageError
from ftk.evaluation import generate as module
from ftk.evaluation.batching import Decoder
from ftk.evaluation.generate import Generation, Prompt, Sampling, ends_of, generate, token_rows
from ftk.evaluation.sampling import choose
from ftk.evaluation.text_stream import TextStream
from ftk.models import adapters
from tests import tiny, tokenizers_for_tests

Folder = Callable[..., Path]
PROMPTS = [
    "one",
    "What comes after the twelfth month of the year?",
    "two three",
    "a",
    "Hello there my friend " * 3,
    "4",
]
LENGTH = 14


def made(architecture: str) -> Any:
    """A tiny model whose sliding window, if it has one, is shorter than the prompts."""
    from transformers import AutoModelForCausalLM

    config = tiny.config(architecture)
    if getattr(config, "sliding_window", None):
        config.sliding_window = 8
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def one_at_a_time(model: Any, tokenizer: Any, prompts: Sequence[Any] = PROMPTS, **options: Any) -> list[list[int]]:
    """What `model.generate` writes, prompt by prompt."""
    from transformers import GenerationConfig

    ends = ends_of(model, tokenizer)
    config = GenerationConfig(max_new_tokens=LENGTH, do_sample=False, eos_token_id=ends, pad_token_id=0, **options)
    found = []
    for row in token_rows(tokenizer, [module.as_prompt(prompt) for prompt in prompts]):
        ids = torch.tensor([row])
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        new = out[0, len(row) :].tolist()
        found.append(next((new[:place] for place, token in enumerate(new) if token in ends), new))
    return found


def written(model: Any, tokenizer: Any, sampling: Sampling | None = None, **options: Any) -> list[list[int]]:
    """What ftk writes, in tokens."""
    work = Generation(model, tokenizer, options.pop("prompts", PROMPTS), sampling or Sampling(LENGTH), **options)
    work.run()
    return work.tokens


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_greedy_answers_are_those_of_transformers_token_for_token(architecture: str) -> None:
    model, tokenizer = made(architecture), tiny.tokenizer()
    expected = one_at_a_time(model, tokenizer)
    for batch in (1, 4, 16):  # alone; with rows that join while others are written; all together
        assert written(model, tokenizer, batch_size=batch) == expected


def test_rows_that_end_early_leave_and_others_take_their_place() -> None:
    model, tokenizer = made("qwen2"), tiny.tokenizer()
    expected = one_at_a_time(model, tokenizer)
    ((common, _),) = Counter(chain.from_iterable(expected)).most_common(1)
    model.generation_config.eos_token_id = [2, common]  # which ends rows at different places
    lengths = [len(row) for row in one_at_a_time(model, tokenizer)]
    assert len(set(lengths)) > 2
    for batch in (2, 3, 16):
        assert written(model, tokenizer, batch_size=batch) == one_at_a_time(model, tokenizer)


def test_an_adapter_and_its_base_are_those_of_transformers() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    plain = one_at_a_time(model, tokenizer)
    tuned = adapters.add(model, rank=4, alpha=8.0, dropout=0.0, targets=adapters.default_targets("llama"))
    torch.manual_seed(1)
    for parameter in adapters.trainable(tuned):
        torch.nn.init.normal_(parameter, std=0.3)
    expected = one_at_a_time(tuned, tokenizer)
    assert written(tuned, tokenizer, batch_size=4) == expected != plain
    with module.without_adapter(tuned):
        assert written(tuned, tokenizer, batch_size=4) == plain


@pytest.mark.parametrize("settings", [{"quantization": "nf4"}, {"precision": "bfloat16", "quantization": "none"}])
def test_quantised_and_short_number_formats_answer_like_transformers(
    model_folder: Folder, settings: dict[str, str]
) -> None:
    model, tokenizer, _ = load_model(str(model_folder()), device="cpu", **{"precision": "float32", **settings})
    assert written(model, tokenizer, batch_size=1) == one_at_a_time(model, tokenizer)
    together = written(model, tokenizer, batch_size=8)
    assert [len(row) > 0 for row in together] == [True] * len(PROMPTS)


def test_models_with_a_state_of_their_own_are_answered_one_at_a_time() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "lfm2", vocab_size=512, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, layer_types=["conv", "full_attention"], pad_token_id=0,
        bos_token_id=None, eos_token_id=2,
    )  # fmt: skip
    model, tokenizer = AutoModelForCausalLM.from_config(config).eval(), tiny.tokenizer()
    assert written(model, tokenizer, batch_size=8) == one_at_a_time(model, tokenizer)


def test_the_repetition_penalty_is_that_of_transformers() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    expected = one_at_a_time(model, tokenizer, repetition_penalty=1.3)
    assert written(model, tokenizer, Sampling(LENGTH, repetition_penalty=1.3), batch_size=4) == expected
    assert expected != one_at_a_time(model, tokenizer)


def test_what_is_drawn_depends_on_seed_and_row_alone() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()

    def drawn(seed: int, **options: Any) -> list[list[int]]:
        return written(model, tokenizer, Sampling(LENGTH, temperature=1.5, seed=seed), **options)

    state = torch.random.get_rng_state()
    whole = drawn(1)
    assert drawn(1, batch_size=1) == drawn(1, batch_size=4) == whole
    assert drawn(1, prompts=PROMPTS[2:4], first=2) == whole[2:4]
    assert drawn(2) != whole
    assert drawn(1, prompts=["one"] * 3, batch_size=2)[0] == whole[0]
    assert len({tuple(row) for row in drawn(1, prompts=["one"] * 3)}) == 3
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7),
        Sampling(temperature=1.0, top_p=0.8),
        Sampling(temperature=1.3, top_k=7),
        Sampling(temperature=1.0, top_k=20, top_p=0.5),
        Sampling(temperature=1.0, top_k=9000),
        Sampling(temperature=1e-4),
    ],
)
@pytest.mark.parametrize("flatness", [0.2, 3.0])
def test_tokens_are_drawn_as_often_as_their_probability_says(sampling: Sampling, flatness: float) -> None:
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(1, 3000, generator=torch.Generator().manual_seed(0)) * flatness
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature)])
    warpers += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    warpers += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    expected = warpers(torch.tensor([[0]]), logits).softmax(-1)[0]
    count = 4000
    numbers = [(number + 0.5) / count for number in range(count)]
    drawn = torch.tensor(choose(logits.expand(count, -1), sampling, numbers))
    share = torch.bincount(drawn, minlength=3000) / count
    assert (share - expected).abs().max() <= 2 / count
    assert (expected[drawn] > 0).all()
    edges = choose(logits.expand(2, -1), sampling, [0.0, 1.0 - 1e-16])
    assert all(expected[token] > 0 for token in edges)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -0.1}, {"temperature": float("nan")}, {"temperature": float("inf")}, {"top_p": 0.0},
     {"top_p": 1.5}, {"max_tokens": 0}, {"seed": -1}, {"top_k": -1}, {"repetition_penalty": 0.0}],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_the_parts_of_an_answer_joined_are_the_answer() -> None:
    model, tokenizer = made("gpt2"), tiny.tokenizer()
    heard: dict[int, list[str]] = {}
    answers = generate(
        model, tokenizer, PROMPTS, Sampling(60, temperature=1.5), batch_size=4,
        on_text=lambda number, part: heard.setdefault(number, []).append(part),
    )  # fmt: skip
    assert ["".join(heard.get(number, [])) for number in range(len(PROMPTS))] == answers
    assert max(map(len, heard.values())) > 10  # it did come in parts
    assert answers == generate(model, tokenizer, PROMPTS, Sampling(60, temperature=1.5))


@pytest.mark.parametrize("kind", tokenizers_for_tests.KINDS)
@settings(max_examples=30, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab é€🙂👨‍👩‍👧\n .,\u0301漢<"), max_size=30))
def test_only_whole_characters_are_given_out(kind: str, text: str) -> None:
    tokenizer = tokenizers_for_tests.tokenizer(kind, "alpaca")
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    stream = TextStream(tokenizer)
    parts = [*map(stream.add, tokens), stream.close()]
    whole = module.decoded(tokenizer, tokens)
    assert "".join(parts) == whole
    assert "�" in whole or not any("�" in part for part in parts)


def test_a_stop_ends_at_once_with_what_there_is() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    assert generate(model, tokenizer, PROMPTS, Sampling(40), stop=lambda: True) == [""] * len(PROMPTS)
    calls: list[int] = []

    def stop() -> bool:
        calls.append(1)
        return len(calls) > 4

    work = Generation(model, tokenizer, PROMPTS, Sampling(40))
    answers = work.run(stop)
    assert [answer.tokens for answer in answers] == [4] * len(PROMPTS)
    assert {answer.reason for answer in answers} == {"stopped"}


def test_why_an_answer_ended_is_told() -> None:
    model, tokenizer = made("qwen2"), tiny.tokenizer()
    (row,) = written(model, tokenizer, prompts=["one"])
    model.generation_config.eos_token_id = [2, row[3]]
    short, long = (
        Generation(model, tokenizer, ["one"], Sampling(LENGTH)),
        Generation(model, tokenizer, ["one"], Sampling(2)),
    )
    (ended,), (cut,) = short.run(), long.run()
    assert (ended.reason, ended.tokens) == ("end", row.index(row[3]))
    assert (cut.reason, cut.tokens) == ("length", 2)
    assert ended.prompt_tokens == len(token_rows(tokenizer, [module.as_prompt("one")])[0])
    (endless,) = Generation(model, tokenizer, ["one"], Sampling(LENGTH), endless=True).run()
    assert endless.tokens == LENGTH


def test_every_token_that_ends_a_turn_is_known() -> None:
    model, tokenizer = tiny.model(), tiny.tokenizer(chat=False)
    assert ends_of(model, tokenizer) == [0, 2]  # the tokenizer's, and the one of the model's configuration
    model.generation_config.eos_token_id = [1, 2]
    assert ends_of(model, tokenizer) == [0, 1, 2]


def test_answers_stay_within_what_the_model_can_read() -> None:
    model, tokenizer = made("gpt2"), tiny.tokenizer()  # 256 positions, and no more
    (tokens,) = token_rows(tokenizer, [Prompt(text="seven " * 300)])
    text = tokenizer.decode(tokens[:250])
    (row,) = token_rows(tokenizer, [Prompt(text=text)])
    (answer,) = Generation(model, tokenizer, [Prompt(text=text)], Sampling(LENGTH), endless=True).run()
    assert (answer.tokens, answer.reason) == (256 - len(row), "length")
    too_long = Prompt(text="seven " * 300)
    with pytest.raises(DataError, match="the model reads 256"):
        generate(model, tokenizer, ["one", too_long], Sampling(LENGTH))
    first, second = Generation(model, tokenizer, ["one", too_long], Sampling(LENGTH)).run()
    assert (first.tokens, second.tokens, second.reason) == (LENGTH, 0, "no room")


def test_a_raw_text_is_gone_on_with_and_nothing_gives_nothing() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    raw, asked = token_rows(tokenizer, [Prompt(text="one two"), module.as_prompt("one two")])
    assert raw == tokenizer("one two")["input_ids"] != asked
    assert generate(model, tokenizer, []) == []
    assert len(generate(model, tokenizer, [Prompt(text="")], Sampling(3))) == 1


def test_where_the_memory_is_full_fewer_rows_are_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    expected = one_at_a_time(model, tokenizer)
    real = {name: getattr(Decoder, name) for name in ("add", "step")}
    steps: list[int] = []
    room = 4

    def add(self: Decoder, rows: Any) -> None:
        if len(rows) + len(self.rows) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real["add"](self, rows)

    def step(self: Decoder) -> None:
        steps.append(len(self.rows))
        if len(self.rows) > 2 and len(steps) > 5:  # in the middle of answers
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        real["step"](self)

    monkeypatch.setattr(Decoder, "add", add)
    monkeypatch.setattr(Decoder, "step", step)
    heard: list[str] = [""] * len(PROMPTS)

    def on_text(number: int, part: str) -> None:
        heard[number] += part

    assert written(model, tokenizer, batch_size=16, on_text=on_text) == expected
    assert heard == [module.decoded(tokenizer, row) for row in expected]
    assert steps[0] > 2 >= steps[-1]
    room = 0
    with pytest.raises(ModelError, match="does not hold the model with a single answer"):
        written(model, tokenizer, batch_size=16)


def test_a_model_that_gives_no_numbers_is_told() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    model.model.norm.weight.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not a number"):
        generate(model, tokenizer, ["one"])


def test_the_model_is_left_as_it_was() -> None:
    model, tokenizer = made("llama"), tiny.tokenizer()
    model.train()
    generate(model, tokenizer, ["one"], Sampling(2))
    assert model.training
    with pytest.raises(DataError):
        generate(model, tokenizer, ["seven " * 400])
    assert model.training
