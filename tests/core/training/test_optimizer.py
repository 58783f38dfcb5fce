"""The optimiser's memory: what a checkpoint holds of it, and how it comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ftk.config import build
from ftk.training.optim import AdapterOptimizer


def made(seed: int, kind: str, ratio: float = 1.0) -> AdapterOptimizer:
    torch.manual_seed(seed)
    shapes = {"x.lora_B.w": (96, 64), "y.lora_A.w": (96, 64), "y.lora_B.w": (8, 4)}
    named = [(name, torch.nn.Parameter(torch.randn(shape))) for name, shape in shapes.items()]
    return AdapterOptimizer(named, build({"optimizer": kind, "lora_b_ratio": ratio, "learning_rate": 1e-2}))


def train(optimizer: AdapterOptimizer, steps: range) -> None:
    for step in steps:
        torch.manual_seed(step)
        for master in optimizer.masters:
            master.grad = torch.randn_like(master)
        optimizer.step(1e-2)
        optimizer.clear()


@pytest.mark.parametrize("kind", ["adamw", "adamw-8bit"])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_every_optimizer_goes_on_from_what_was_saved(kind: str, ratio: float, tmp_path: Path) -> None:
    one, other = made(0, kind, ratio), made(1, kind, ratio)
    train(one, range(3))
    save_file(one.state(), tmp_path / "state.safetensors")
    other.load_state(load_file(tmp_path / "state.safetensors"))
    for optimizer in (one, other):
        train(optimizer, range(3, 6))
    assert all(torch.equal(mine, its) for mine, its in zip(one.masters, other.masters, strict=True))


def test_moments_stay_with_their_weights_though_another_ratio_groups_these_otherwise() -> None:
    one, other = made(0, "adamw", 1.0), made(1, "adamw", 16.0)
    train(one, range(3))
    state = {key: tensor.clone() for key, tensor in one.state().items()}
    other.load_state(state)
    assert other.state().keys() == state.keys()
    assert all(torch.equal(tensor, state[key]) for key, tensor in other.state().items())
