"""What must hold for every training: what moves, what does not, and what the loss depends on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from ftk.config import build
from ftk.data.batches import collate
from ftk.data.dataset import load_dataset
from ftk.data.encoding import Example, encode
from ftk.training.loss import SupervisedHead, summed_loss
from ftk.training.optim import AdapterOptimizer
from tests import tiny
from tests.core.training.helpers import Run

Folders = Callable[..., Path]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_adapter_moves_and_the_base_does_not(architecture: str, model_folder: Folders) -> None:
    folder = model_folder(architecture, chat=architecture != "gpt2")
    before = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    run = Run(folder, max_steps=6)
    plain = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): value
        for name, value in run.result.model.state_dict().items()
        if "lora_" not in name
    }
    assert plain.keys() == before.keys()
    assert all(torch.equal(plain[name], before[name]) for name in before)
    moved = [value for name, value in run.weights().items() if "lora_B" in name]
    assert moved
    assert all(value.abs().sum() > 0 for value in moved)  # B begins at zero, so all of them learnt
    assert run.losses[-1] < run.losses[0]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_a_batch_of_four_equals_four_accumulated_batches_of_one(architecture: str, model_folder: Folders) -> None:
    folder = model_folder(architecture)
    whole = Run(folder, batch_size=4, gradient_accumulation=1)
    parts = Run(folder, batch_size=1, gradient_accumulation=4)
    assert parts.losses == pytest.approx(whole.losses, abs=2e-5)
    for name, value in whole.weights().items():
        torch.testing.assert_close(parts.weights()[name], value, atol=2e-4, rtol=0)


def test_rows_of_unequal_length_weigh_by_their_tokens_not_by_their_portion(model_folder: Folders) -> None:
    rows = [{"prompt": "count", "response": "one " * (1 + 5 * number)} for number in range(4)]
    whole = Run(model_folder(), rows, batch_size=4, max_steps=1)
    parts = Run(model_folder(), rows, batch_size=3, gradient_accumulation=2, max_steps=1)
    single = Run(model_folder(), rows, batch_size=1, gradient_accumulation=4, max_steps=1)
    assert parts.losses == pytest.approx(whole.losses, abs=1e-5)
    assert single.losses == pytest.approx(whole.losses, abs=1e-5)
    norms = [run.of("step")[0].grad_norm for run in (whole, parts, single)]
    assert norms[1:] == pytest.approx([norms[0]] * 2, rel=1e-4)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_loss_is_the_cross_entropy_of_the_full_logits_at_supervised_places(architecture: str) -> None:
    model, examples = tiny.model(architecture), _examples()
    batch = collate(examples, pad=0)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    expected, count = 0.0, 0
    for row, example in enumerate(examples):
        for place in range(1, len(example)):
            if example.supervised[place]:
                scores = torch.log_softmax(logits[row, place - 1].double(), -1)
                expected, count = expected - scores[example.tokens[place]].item(), count + 1
    head = SupervisedHead(model)
    assert summed_loss(model, head, batch, torch.device("cpu")).item() == pytest.approx(expected, rel=1e-5)
    assert count == batch.targets
    head.remove()
    assert model(input_ids=batch.input_ids).logits.shape[:2] == batch.input_ids.shape


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3_text"])
def test_masked_positions_do_not_influence_the_loss(architecture: str) -> None:
    model = tiny.model(architecture)
    head = SupervisedHead(model)
    examples = _examples()

    def loss(chosen: list[Example], pad: int) -> float:
        return summed_loss(model, head, collate(chosen, pad), torch.device("cpu")).item()

    alone = sum(loss([example], 0) for example in examples)
    assert loss(examples, 0) == pytest.approx(alone, rel=1e-5)  # padding does not count
    assert loss(examples, 77) == pytest.approx(alone, rel=1e-5)  # whatever it is
    longest = max(examples, key=len)
    tail = Example((*longest.tokens, 5, 6, 7), (*longest.supervised, False, False, False), "with a tail")
    assert loss([tail], 0) == pytest.approx(loss([longest], 0), rel=1e-5)  # nor does what comes after


def test_recomputed_activations_give_the_same_training(model_folder: Folders) -> None:
    plain = Run(model_folder(), gradient_checkpointing=False)
    recomputed = Run(model_folder(), gradient_checkpointing=True)
    assert recomputed.losses == pytest.approx(plain.losses, abs=1e-6)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(model_folder: Folders) -> None:
    first, again, other = (Run(model_folder(), seed=seed, lora_dropout=0.1) for seed in (3, 3, 4))
    assert first.losses == again.losses
    assert all(torch.equal(value, again.weights()[name]) for name, value in first.weights().items())
    assert first.losses != other.losses


def test_bfloat16_follows_float32(model_folder: Folders) -> None:
    full, half = Run(model_folder(), max_steps=12), Run(model_folder(), max_steps=12, precision="bfloat16")
    assert half.losses == pytest.approx(full.losses, abs=0.1)
    assert {value.dtype for value in half.weights().values()} == {torch.bfloat16}


def test_small_updates_are_summed_up_in_float32_and_not_rounded_away() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    optimizer = AdapterOptimizer(
        [("weight", parameter)], build({"optimizer": "adamw", "learning_rate": 2e-4, "weight_decay": 0.0})
    )
    for _ in range(600):
        parameter.grad = torch.ones_like(parameter)
        optimizer.collect()
        optimizer.step(1e-5)
        optimizer.clear()
    assert optimizer.masters[0].tolist() == pytest.approx([1 - 600e-5] * 4, abs=1e-4)
    assert parameter.tolist() == pytest.approx([1 - 600e-5] * 4, abs=4e-3)  # each step alone is below its precision
    assert parameter.max() < 1


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
def test_nf4_training_lowers_the_loss_like_unquantised_training(architecture: str, model_folder: Folders) -> None:
    plain = Run(model_folder(architecture), max_steps=20)
    quantised = Run(model_folder(architecture), max_steps=20, quantization="nf4")
    kinds = {type(module).__name__ for module in quantised.result.model.modules()}
    assert "Linear4bit" in kinds
    fall = plain.losses[0] - plain.losses[-1]
    assert fall > 0.3
    assert quantised.losses[0] - quantised.losses[-1] > 0.8 * fall


def _examples() -> list[Example]:
    rows = load_dataset(tiny.ROWS[:3] + [{"prompt": "a", "response": "b " * 30}]).rows
    return list(encode(rows, tiny.tokenizer(), 128).examples)
