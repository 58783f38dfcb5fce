"""Ways to train an adapter besides plain LoRA: each does what its paper says, and is saved so that peft reads it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from ftk import QuickTrainer
from ftk.data.batches import collate, pack
from ftk.data.encoding import Example
from ftk.errors import UsageError
from ftk.training.noise import EmbeddingNoise
from tests import tiny
from tests.core.training.helpers import DEFAULTS, Run

Folders = Callable[..., Path]
METHODS: dict[str, dict[str, Any]] = {
    "rslora": {"lora_rslora": True},
    "dora": {"lora_dora": True},
    "lora+": {"lora_b_ratio": 8.0},
    "neftune": {"neftune_alpha": 0.5},  # the tiny models' embeddings are small
}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_and_is_saved_as_peft_reads_it(
    method: str, architecture: str, model_folder: Folders
) -> None:
    folder = model_folder(architecture)
    run = Run(folder, max_steps=10, **METHODS[method])
    assert run.losses[-1] < run.losses[0] - 0.1
    assert run.result.run is not None
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), run.result.run.adapter)
    ids = torch.tensor([tiny.tokenizer()("What comes after one?")["input_ids"]])
    torch.testing.assert_close(loaded(ids).logits, run.result.model(ids).logits)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("tied", [True, False])
def test_full_fine_tuning_moves_every_weight_and_is_saved_as_a_model(
    architecture: str, tied: bool, tmp_path: Path
) -> None:
    config = tiny.config(architecture)
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "base")
    tiny.tokenizer().save_pretrained(tmp_path / "base")
    run = Run(tmp_path / "base", max_steps=10, method="full", learning_rate=1e-3, eval_fraction=0.25, compare="auto")
    assert run.losses[-1] < run.losses[0] - 0.1
    assert run.result.run is not None
    assert run.events[-1].adapter == str(run.result.run.trained) == str(run.result.run.path / "model")  # type: ignore[attr-defined]
    saved = AutoModelForCausalLM.from_pretrained(run.result.run.trained)
    base = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "base").named_parameters())
    still = [name for name, value in saved.named_parameters() if torch.equal(value, base[name])]
    assert all("wpe" in name for name in still)  # places beyond the longest row
    ids = torch.tensor([tiny.tokenizer()("What comes after one?")["input_ids"]])
    torch.testing.assert_close(saved(ids).logits, run.result.model(ids).logits)
    assert any(answer.base != answer.tuned for answer in run.of("answer"))


def test_the_base_of_a_wholly_trained_model_is_not_made_up(model_folder: Folders) -> None:
    trainer = QuickTrainer(str(model_folder()), tiny.ROWS, **{**DEFAULTS, "max_steps": 1, "method": "full"})
    trainer.train()
    assert isinstance(trainer.ask("What comes after one?", max_tokens=2), str)
    with pytest.raises(UsageError, match="base"):
        trainer.ask("What comes after one?", base=True)


@pytest.mark.parametrize("fast", [True, False])
def test_full_fine_tuning_in_bfloat16_keeps_small_updates(fast: bool, model_folder: Folders) -> None:
    """An update of a thousandth of a weight is lost in bfloat16, but not in the float32 masters."""
    settings: dict[str, Any] = {"method": "full", "learning_rate": 1e-4, "schedule": "constant", "max_steps": 30}
    exact = Run(model_folder(), fast=fast, **settings)
    rounded = Run(model_folder(), fast=fast, precision="bfloat16", **settings)
    fallen = exact.losses[0] - exact.losses[-1]
    assert fallen > 0.05
    assert rounded.losses[0] - rounded.losses[-1] == pytest.approx(fallen, rel=0.2)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_eva_begins_along_the_inputs_and_changes_nothing_yet(quantization: str, model_folder: Folders) -> None:
    eva, plain = (
        Run(model_folder(), lora_init=init, quantization=quantization, max_steps=8) for init in ("eva", "random")
    )
    assert eva.losses[0] == pytest.approx(plain.losses[0], abs=1e-5)
    assert eva.losses != plain.losses
    directions = next(value for name, value in eva.weights().items() if name.endswith("q_proj.lora_A.weight"))
    assert directions.shape == (4, 48)
    fallen = [run.losses[0] - run.losses[-1] for run in (eva, plain)]
    assert fallen[0] > fallen[1]  # the inputs of a layer have few main directions: a random A misses most of them


@pytest.mark.parametrize("method", ["dora", "rslora", "neftune"])
def test_methods_train_on_a_quantised_base(method: str, model_folder: Folders) -> None:
    run = Run(model_folder(), max_steps=10, quantization="nf4", **METHODS[method])
    assert run.losses[-1] < run.losses[0] - 0.1


def test_rslora_divides_by_the_root_of_the_rank(model_folder: Folders) -> None:
    scales = []
    for method in ({}, METHODS["rslora"]):
        model = Run(model_folder(), max_steps=1, lora_rank=16, lora_alpha=8.0, **method).result.model
        scales.append(
            next(m.scaling["default"] for m in model.modules() if isinstance(getattr(m, "scaling", None), dict))
        )
    assert scales == [8 / 16, 8 / math.sqrt(16)]


def test_dora_trains_magnitudes(model_folder: Folders) -> None:
    one, ten = (Run(model_folder(), max_steps=steps, **METHODS["dora"]).weights() for steps in (1, 10))
    magnitudes = [name for name in ten if "magnitude" in name]
    assert len(magnitudes) == len([name for name in ten if "lora_B" in name])
    assert all(not torch.equal(one[name], ten[name]) for name in magnitudes)


def test_lora_plus_gives_the_matrices_b_a_rate_of_their_own(model_folder: Folders) -> None:
    plain, faster = (
        Run(model_folder(), max_steps=1, warmup_ratio=0.0, learning_rate=1e-3, lora_b_ratio=ratio).weights()
        for ratio in (1.0, 8.0)
    )
    for name, value in plain.items():
        factor = 8 if "lora_B" in name else 1  # A stays where it is in the first step, for B is still zero
        torch.testing.assert_close(faster[name], value * factor, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("packed", [False, True])
def test_noise_is_bounded_by_the_length_of_the_row_and_only_there_while_training(packed: bool) -> None:
    examples = [Example(tuple(range(3, 3 + size)), (True,) * size, "row") for size in (32, 8)]
    model = tiny.model()
    batch = pack(examples, 0) if packed else collate(examples, 0)
    embed = model.get_input_embeddings()
    plain = embed(batch.input_ids)
    noise = EmbeddingNoise(model, 5.0)
    assert torch.equal(embed(batch.input_ids), plain)
    with noise.over(batch):
        added = embed(batch.input_ids) - plain
    rows = (added[0, :32], added[0, 32:40]) if packed else added
    for row, length in zip(rows, (32, 8 if packed else 32), strict=True):
        reach = 5 / math.sqrt(length * plain.size(2))
        assert 0.9 * reach < row.abs().max() <= reach * (1 + 1e-5)
        assert abs(row.mean()) < 0.1 * reach
    noise.remove()
    with noise.over(batch):
        assert torch.equal(embed(batch.input_ids), plain)


def test_noise_depends_on_the_seed_alone_and_not_on_the_evaluation(model_folder: Folders) -> None:
    settings: dict[str, Any] = {"eval_fraction": 0.25, "lora_b_ratio": 2.0, **METHODS["neftune"]}
    first, again = (Run(model_folder(), **settings) for _ in range(2))
    plain = Run(model_folder(), **{**settings, "neftune_alpha": 0.0})
    assert first.losses == again.losses
    assert first.losses != plain.losses
    assert first.of("evaluation")[0].loss == plain.of("evaluation")[0].loss
