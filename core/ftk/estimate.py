"""How long a run will take and how much memory it needs, before anything is loaded.

Time: a LoRA step needs about four floating-point operations a base weight and token (forward, and backward to
the activations; frozen weights need no gradient). They are divided by the rate of this machine's matrix
multiplication, measured for half a second, times the part of it that a training loop reaches.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from . import autoconfig, footprint
from .autoconfig import Plan
from .catalog import CatalogModel
from .config import build
from .data.lengths import tokens_per_row
from .data.split import first_rows
from .errors import ModelError

_CPU_EFFICIENCY = 0.15
"""Part of the matmul rate that the loop reaches on a CPU; SmolLM2-135M on two cores reached 0.13 to 0.17."""
_GPU_EFFICIENCY = 0.35
"""The same on a GPU: a usual value for fine-tuning with short rows; not measured on ftk's own loop yet."""


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of training, with the range to expect, and what they were worked out from."""

    seconds: float
    low: float
    high: float
    steps: int
    tokens: int
    tokens_per_s: float
    basis: str


def estimate_training_time(model: str = "smollm2", data: Any = "sample:chat", **settings: Any) -> TimeEstimate:
    """How long training will take on this machine; loads no model.

    Args:
        model: Whatever the setting ``model`` takes.
        data: Whatever the setting ``data`` takes.
        settings: Any other key of `RunConfig`.

    Raises:
        FtkError: model or data cannot be had, or a setting is not acceptable.

    """
    return for_plan(autoconfig.plan(build({"model": model, "data": data, **settings})))


def for_plan(plan: Plan) -> TimeEstimate:
    """The time of a plan; see `estimate_training_time`.

    Raises:
        ModelError: nobody tells the size of the model before it is downloaded.

    """
    config = plan.config
    rows = first_rows(plan.dataset, config.max_rows).rows
    row = tokens_per_row(rows, config.max_length)
    steps = plan.total_steps
    tokens = int(steps * config.batch_size * config.gradient_accumulation * row)
    weights = plan.source.size
    if weights is None:
        raise ModelError(f"How large {plan.source.name} is cannot be known before it is downloaded.")
    rate = matmul_rate(config.device, str(config.precision))
    on_cpu = config.device == "cpu"
    recomputed = 4 / 3 if config.gradient_checkpointing is True else 1.0
    per_second = rate * (_CPU_EFFICIENCY if on_cpu else _GPU_EFFICIENCY) / (4 * weights * recomputed)
    seconds = tokens / per_second
    return TimeEstimate(
        seconds=seconds,
        low=seconds / 1.6,
        high=seconds * 1.6,
        steps=steps,
        tokens=tokens,
        tokens_per_s=per_second,
        basis=f"{rate / 1e12:.2f} TFLOP/s measured here in {config.precision}, {weights / 1e9:.2f}B weights",
    )


def matmul_rate(device: str = "cpu", precision: str = "float32", seconds: float = 0.5) -> float:
    """Floating-point operations a second of a matrix product of the size that models have, measured now."""
    import torch

    size = 1024 if device == "cpu" else 4096
    dtype = getattr(torch, precision)
    a = torch.randn(size, size, dtype=torch.float32, device=device).to(dtype)
    a @ a
    runs, begin = 0, time.monotonic()
    while time.monotonic() - begin < seconds:
        for _ in range(4):
            a @ a
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        runs += 4
    return 2 * size**3 * runs / (time.monotonic() - begin)


def vram(model: CatalogModel) -> tuple[float, float]:
    """Minimum and recommended GPU memory in GiB, rounded up to a tenth: what the catalogue states.

    Minimum: NF4, one row of 512 tokens, activations recomputed. Recommended: 16-bit weights, four rows of 512
    tokens, activations recomputed from 2 billion weights.
    """
    least = footprint.memory(model, quantized=True, batch=1, length=512, checkpointing=True)
    big = model.weights >= autoconfig.QUANTISE_FROM
    best = footprint.memory(model, quantized=False, batch=4, length=512, checkpointing=big)
    return tuple(math.ceil(size / 2**30 * 10) / 10 for size in (least, best))  # type: ignore[return-value]
