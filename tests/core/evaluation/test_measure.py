"""Loss, perplexity, answers and speed, against the same worked out another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk import (
    ProgressCallback,
    QuickTrainer,
    SimpleTrainer,
    benchmark_speed,
    calculate_perplexity,
    compare_models,
    evaluate_model,
    events,
    get_dataset_stats,
    load_model,
    prepare_dataset,
)
from ftk.errors import DataError, UsageError
from ftk.evaluation.generate import Sampling, generate
from ftk.models import adapters
from tests import tiny
from tests.core.training.helpers import DEFAULTS

Folder = Callable[..., Path]
TEXTS = ["one two three four five six seven eight nine ten", "spring summer autumn winter"]


@pytest.fixture
def loaded(model_folder: Folder) -> Any:
    return load_model(str(model_folder()), precision="float32", device="cpu")


def reference_nll(model: Any, tokens: list[int]) -> list[float]:
    """Negative log-likelihoods of all tokens but the first, in float64."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0, :-1].double()
    return torch.nn.functional.cross_entropy(logits, torch.tensor(tokens[1:]), reduction="none").tolist()


def test_perplexity_is_the_exponential_of_the_mean_over_all_tokens(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    losses = [loss for text in TEXTS for loss in reference_nll(model, tokenizer(text)["input_ids"])]
    expected = math.exp(sum(losses) / len(losses))
    for batch in (1, 4):
        assert calculate_perplexity(model, tokenizer, TEXTS, batch_size=batch) == pytest.approx(expected, rel=1e-5)
    assert calculate_perplexity(model, tokenizer, TEXTS[0]) != calculate_perplexity(model, tokenizer, TEXTS[1])


def test_of_a_long_text_every_token_but_the_first_counts_once(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    model.double()
    text = " ".join(TEXTS * 2)
    tokens = tokenizer(text)["input_ids"]
    room, losses = 8, []
    assert len(tokens) > 2 * room
    for place in range(1, len(tokens)):  # windows begin 4 tokens apart, and each counts what the one before did not
        last = room - 1 if place < room else min(len(tokens), place - place % 4 + 4) - 1
        losses.append(reference_nll(model, tokens[max(0, last + 1 - room) : place + 1])[-1])
    expected = math.exp(sum(losses) / len(losses))
    assert calculate_perplexity(model, tokenizer, text, max_length=room) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(DataError, match="two tokens"):
        calculate_perplexity(model, tokenizer, "")


def test_the_loss_counts_the_responses_alone(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    model.double()
    result = evaluate_model(model, tokenizer, tiny.ROWS)
    losses = []
    for row in tiny.ROWS:
        prompt = f"<|im_start|>user\n{row['prompt']}<|im_end|>\n<|im_start|>assistant\n"
        answer = tokenizer(f"{row['response']}<|im_end|>")["input_ids"]
        losses += reference_nll(model, tokenizer(prompt)["input_ids"] + answer)[-len(answer) :]
    assert result.loss == pytest.approx(sum(losses) / len(losses), rel=1e-12)
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    assert (result.rows, result.supervised_tokens) == (len(tiny.ROWS), len(losses))
    assert not model.training
    assert [result[key] for key in ("loss", "rows")] == [result.loss, len(tiny.ROWS)]  # as a mapping, as it was before
    with pytest.raises(KeyError):
        _ = result["bleu"]
    loss = result.measure("loss")
    assert loss is not None
    assert loss.tuned.value == result.loss
    assert loss.tuned.low is not None
    assert loss.tuned.high is not None
    assert loss.tuned.low < result.loss < loss.tuned.high
    assert (loss.base, loss.difference, result.answered) == (None, None, 0)


def test_answers_in_a_batch_are_those_of_one_at_a_time(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    prompts = ["one", "What comes after the twelfth month of the year?", "two three"]
    together = generate(model, tokenizer, prompts, Sampling(12))
    assert together == [generate(model, tokenizer, [prompt], Sampling(12))[0] for prompt in prompts]
    assert generate(model, tokenizer, prompts, Sampling(12), batch_size=1) == together
    assert all("<|im" not in answer for answer in together)


def test_sampling_is_fixed_by_its_seed(loaded: Any) -> None:
    model, tokenizer, _ = loaded

    def answer(seed: int) -> list[str]:
        return generate(model, tokenizer, ["one"], Sampling(12, temperature=1.5, seed=seed))

    state = torch.random.get_rng_state()
    assert answer(1) == answer(1) != answer(2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_generation_can_be_stopped(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    calls: list[int] = []
    generate(model, tokenizer, ["one"], Sampling(200), stop=lambda: calls.append(1) or len(calls) >= 3)  # type: ignore[func-returns-value]
    assert len(calls) == 3


def test_base_and_tuned_differ_only_by_the_adapter(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    with pytest.raises(UsageError, match="no adapter"):
        compare_models(model, tokenizer, ["one"])
    plain = generate(model, tokenizer, ["one", "two"], Sampling(8))
    tuned = adapters.add(model, rank=4, alpha=8.0, dropout=0.0, targets=adapters.default_targets("llama"))
    (first, second) = compare_models(tuned, tokenizer, ["one", "two"], sampling=Sampling(8))
    assert [first.base, second.base] == [first.tuned, second.tuned] == plain
    torch.manual_seed(0)
    for parameter in adapters.trainable(tuned):
        torch.nn.init.normal_(parameter, std=0.5)
    (first, second) = compare_models(tuned, tokenizer, ["one", "two"], sampling=Sampling(8))
    assert [first.base, second.base] == plain
    assert first.tuned != first.base
    (other,) = compare_models(tuned, tokenizer, ["one"], base=tiny.model(), sampling=Sampling(8))
    assert other == first


def test_speed_is_measured_for_every_batch(loaded: Any) -> None:
    model, tokenizer, _ = loaded
    result = benchmark_speed(model, tokenizer, max_tokens=4, batch_sizes=(1, 3))
    assert set(result["tokens_per_s"]) == {1, 3}
    assert all(rate > 0 for rate in result["tokens_per_s"].values())
    assert result["first_token_s"] > 0


def test_a_prepared_set_and_its_statistics_agree(loaded: Any) -> None:
    tokenizer = loaded.tokenizer
    stats = get_dataset_stats(tiny.ROWS, tokenizer)
    prepared = prepare_dataset(tiny.ROWS, tokenizer, eval_fraction=0.0)
    assert (stats["rows"], stats["unit"]) == (16, "tokens")
    assert stats["row"]["sum"] == prepared.train.tokens
    assert stats["supervised"]["sum"] == prepared.train.supervised
    plain = get_dataset_stats(tiny.ROWS)
    lengths = sorted(len(row["response"]) for row in tiny.ROWS)
    assert plain["response"]["max"] == lengths[-1]
    assert plain["response"]["sum"] == sum(lengths)


class Heard(ProgressCallback):
    """Notes the names of the methods that were called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[events.Event] = []

    def on_start(self, event: events.Started) -> None:
        self.calls.append("start")

    def on_step(self, event: events.Step) -> None:
        self.calls.append("step")

    def on_evaluation(self, event: events.Evaluation) -> None:
        self.calls.append("evaluation")

    def on_end(self, event: events.Event) -> None:
        self.calls.append("end")

    def on_event(self, event: events.Event) -> None:
        self.events.append(event)


def test_the_simple_trainer_trains_a_model_in_memory_and_saves_it(loaded: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = loaded
    settings = {key: value for key, value in DEFAULTS.items() if key not in ("precision", "device")}
    trainer = SimpleTrainer(model, tokenizer, tiny.ROWS, **{**settings, "max_steps": 4, "eval_fraction": 0.2})
    with pytest.raises(UsageError, match="Nothing was trained yet"):
        trainer.save(tmp_path / "mine")
    heard = Heard()
    trainer.train([heard])
    assert heard.calls[0] == "start"
    assert heard.calls[-1] == "end"
    assert heard.calls.count("step") == 4
    assert "evaluation" in heard.calls
    assert len(heard.events) >= len(heard.calls)
    folder = trainer.save(tmp_path / "mine")
    from peft import PeftModel

    assert PeftModel.from_pretrained(tiny.model(), folder)
    with pytest.raises(UsageError, match="was not changed"):
        trainer.save(tmp_path / "mine")
    with pytest.raises(UsageError, match="carries an adapter already"):
        SimpleTrainer(trainer.result.model, tokenizer, tiny.ROWS)  # type: ignore[union-attr]


def test_the_quick_trainer_answers_as_base_and_as_tuned(model_folder: Folder) -> None:
    trainer = QuickTrainer(str(model_folder()), tiny.ROWS, **{**DEFAULTS, "max_steps": 30, "learning_rate": 3e-2})
    with pytest.raises(UsageError, match="Nothing was trained yet"):
        trainer.ask("one")
    with pytest.raises(UsageError, match="Nothing was trained yet"):
        _ = trainer.adapter
    trainer.train()
    assert (trainer.adapter / "adapter_model.safetensors").is_file()
    assert trainer.ask("What comes after one?", max_tokens=8) != trainer.ask(
        "What comes after one?", base=True, max_tokens=8
    )
