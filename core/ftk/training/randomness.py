"""The random states that training draws from, taken and put back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def states(device: torch.device) -> dict[str, Tensor]:
    """The random states of the CPU and of the device that trains, by name."""
    found = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["random.cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore(found: Mapping[str, Tensor], device: torch.device) -> None:
    """Put them back; the device's is left as it is where none was taken (the run began on another kind)."""
    torch.set_rng_state(found["random.cpu"])
    if device.type == "cuda" and "random.cuda" in found:
        torch.cuda.set_rng_state(found["random.cuda"], device)
