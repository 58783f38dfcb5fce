"""Losses against references: numbers written down, and transformers' own Trainer and schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer as ReferenceTrainer
from transformers import TrainingArguments, get_scheduler

from ftk.config import build
from ftk.data.batches import StepPlan
from ftk.data.dataset import load_dataset
from ftk.data.encoding import encode
from ftk.models import adapters
from ftk.training.optim import learning_rate, warmup_steps
from tests import tiny
from tests.core.training.helpers import Run

GOLDEN = {
    "llama": [6.510171, 6.572811, 6.259899, 6.469665, 6.127112, 6.188730],
    "gpt2": [8.093873, 8.030304, 7.662117, 8.015032, 7.431036, 7.354238],
}


def _even_weights(model: Any) -> Any:
    """Weights that depend on no random generator: a sine over their places."""
    with torch.no_grad():
        for number, (_, parameter) in enumerate(sorted(model.named_parameters())):
            if parameter.dim() > 1:
                places = torch.arange(parameter.numel(), dtype=torch.float64)
                parameter.copy_((torch.sin(places * 0.7 + number) * 0.1).view_as(parameter).float())
    return model


@pytest.mark.parametrize("architecture", GOLDEN)
def test_golden_losses(architecture: str, tmp_path: Path) -> None:
    folder = tmp_path / "even"
    _even_weights(tiny.model(architecture)).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    run = Run(folder, max_steps=6, learning_rate=5e-3, seed=0)
    assert run.losses == pytest.approx(GOLDEN[architecture], abs=1e-5)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_losses_equal_those_of_transformers_trainer(
    architecture: str, accumulation: int, model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    steps, batch = 8, 4 // accumulation
    settings: dict[str, Any] = {"learning_rate": 5e-3, "warmup_ratio": 0.25, "weight_decay": 0.01, "seed": 1}
    ours = Run(
        model_folder(architecture), batch_size=batch, gradient_accumulation=accumulation, max_steps=steps, **settings
    )
    theirs = _reference(architecture, batch, accumulation, steps, tmp_path, settings)
    assert ours.losses == pytest.approx(theirs, abs=2e-4)
    assert ours.losses[0] == pytest.approx(theirs[0], abs=1e-5)


def _reference(
    architecture: str, batch: int, accumulation: int, steps: int, folder: Path, settings: dict[str, Any]
) -> list[float]:
    from transformers import AutoModelForCausalLM

    tokenizer = tiny.tokenizer()
    examples = encode(load_dataset(tiny.ROWS).rows, tokenizer, 128).examples
    plan = StepPlan([len(e) for e in examples], batch * accumulation, settings["seed"])
    ordered = [examples[row] for step in range(steps) for row in plan.rows(step)]
    data = [
        {
            "input_ids": list(e.tokens),
            "labels": [t if s else -100 for t, s in zip(e.tokens, e.supervised, strict=True)],
            "attention_mask": [1] * len(e),
        }
        for e in ordered
    ]

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        fill = {"input_ids": 0, "labels": -100, "attention_mask": 0}
        return {k: torch.tensor([r[k] + [fill[k]] * (width - len(r[k])) for r in rows]) for k in fill}

    class InOrder(ReferenceTrainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return torch.utils.data.SequentialSampler(data)

    tiny.save(folder / "base", architecture)
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    torch.manual_seed(settings["seed"])
    targets = adapters.default_targets(architecture)
    model = adapters.add(model, rank=4, alpha=8.0, dropout=0.0, targets=targets)
    trainer = InOrder(
        model=model,
        train_dataset=data,
        data_collator=collate,
        args=TrainingArguments(
            output_dir=str(folder / "out"),
            use_cpu=True,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            max_steps=steps,
            learning_rate=settings["learning_rate"],
            warmup_steps=math.ceil(settings["warmup_ratio"] * steps),
            weight_decay=settings["weight_decay"],
            lr_scheduler_type="linear",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            seed=settings["seed"],
            disable_tqdm=True,
        ),
    )
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("ratio", [0.0, 0.1, 1.0])
def test_schedules_equal_those_of_transformers(schedule: Any, ratio: float) -> None:
    total = 37
    config = build({"schedule": schedule, "warmup_ratio": ratio, "learning_rate": 3e-4})
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=3e-4)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    reference = get_scheduler(name, optimizer, num_warmup_steps=warmup_steps(total, config), num_training_steps=total)
    for step in range(total):
        assert learning_rate(step, total, config) == pytest.approx(reference.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        reference.step()
