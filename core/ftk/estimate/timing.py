"""How long a run takes from its start to its end, before anything is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from .. import autoconfig
from ..autoconfig import Plan
from ..config import RunConfig, build
from ..data.lengths import Lengths, measure
from ..data.split import first_rows
from ..errors import ModelError
from ..memory import Settings, formula
from ..memory.models import Described, describe
from ..memory.sizes import sizes_of
from ..training import compile_times
from . import rates as rates_of
from .rates import Rates
from .work import Cost, Load, cost

_IMPORTS = 6.0
"""Seconds until torch, transformers and peft are imported and the model's code is there."""
_READ = 8e8
"""Bytes a second in which weights are read and brought into place."""
_QUANTISED = {"cpu": 6e7, "cuda": 1.5e9}
"""Weights a second that are quantised to 4 bits while they are loaded."""
_COMPILED = 20.0
"""Seconds that compiling a model's layers takes the first time, with what it holds up after it: 12 to 17 were measured
on two AVX-512 cores, more on slower ones. Kept for the runs that follow."""
_SAVED, _WRITTEN = 0.3, 2e8
"""Seconds of a checkpoint, and the bytes a second that it is written with where training waits for it."""
_COPIED_UP_TO = 512 << 20
"""Bytes up to which a checkpoint is written beside the training (`training.saver`)."""
_ANSWERED, _TOGETHER = 0.8, 8
"""Part of `compare_tokens` that the longest answer of some usually has, and how many prompts are answered together."""
_TOKEN_OPERATIONS = {"cpu": 1900, "cuda": 180}
"""Small operations of a layer for each token of an answer: measured on a processor, a guess on a card."""
_PADDED = 1.1
"""Tokens that are computed for each that is there where rows are padded."""


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds of a run, with the range to expect, and what they were worked out from.

    `parts` are the seconds by what they go into: ``start``, ``compile``, ``train``, ``evaluate``, ``save``,
    ``answer``; `step_s` are those of an update, `tokens` those that are trained on.
    """

    seconds: float
    low: float
    high: float
    steps: int
    tokens: int
    tokens_per_s: float
    basis: str
    step_s: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)


def estimate_training_time(model: str = "smollm2", data: Any = "sample:chat", **settings: Any) -> TimeEstimate:
    """How long training will take on this machine, from the start of the run to its end; loads no model.

    The first time it measures for three seconds how fast the machine is; the figures are kept in ftk's cache.

    Args:
        model: Whatever the setting ``model`` takes.
        data: Whatever the setting ``data`` takes.
        settings: Any other key of `RunConfig`.

    Raises:
        FtkError: model or data cannot be had, or a setting is not acceptable.

    """
    return for_plan(autoconfig.plan(build({"model": model, "data": data, **settings})))


def for_plan(plan: Plan, *, measure_rates: bool = True, rates: Rates | None = None) -> TimeEstimate:
    """The time of a plan; see `estimate_training_time`.

    Args:
        plan: What will be done.
        measure_rates: False: import no torch and measure nothing; rates that were never measured are guessed.
        rates: Those of another device than this machine's.

    Raises:
        ModelError: nobody tells of what shape the model is before it is downloaded.

    """
    model = shape_of(plan)
    config = plan.config
    device, precision = config.device, str(config.precision)
    known = rates or rates_of.of_machine(plan.hardware, device, precision, measure=measure_rates)
    lengths = measure(first_rows(plan.dataset, config.max_rows).rows, config.max_length)
    return of_settings(model, config, lengths, plan.rows, known)


def shape_of(plan: Plan) -> Described:
    """The shape of a plan's model.

    Raises:
        ModelError: nobody tells before it is downloaded.

    """
    try:
        return describe(plan.source)
    except ModelError as error:
        raise ModelError(
            f"How large {plan.source.name} is cannot be known before it is downloaded.", hint=error.hint
        ) from None


def of_settings(
    model: Described, config: RunConfig, lengths: Lengths, rows: tuple[int, int], rates: Rates
) -> TimeEstimate:
    """The time of a run of any model on any device.

    Args:
        model: Which model.
        config: The settings, without any ``auto`` that matters to time.
        lengths: How long the rows are.
        rows: How many are trained on, and how many held out.
        rates: The device's.

    """
    on_gpu = config.device.startswith("cuda")
    settings = Settings.of(config)
    steps = int(config.max_steps or 1)
    padded = 1.0 if settings.fast and not (on_gpu and config.precision == "float16") else _PADDED
    at_once = config.batch_size * config.gradient_accumulation
    per_step = (min(at_once, rows[0]) if rows[0] else at_once) * lengths.mean
    micro = 1
    if config.gradient_accumulation > 1:  # portions are filled up to what the longest rows take
        micro = max(1, math.ceil(per_step * padded / (config.batch_size * lengths.longest)))
    load = Load(padded * per_step / micro, lengths.mean, lengths.supervised, micro)
    found = cost(model, settings, load, rates, on_gpu=on_gpu)
    parts = {
        "start": _start(model, settings, on_gpu=on_gpu),
        "compile": _compiling(model, config) if settings.compile else 0.0,
        "train": steps * found.step,
        "evaluate": _evaluations(config, steps) * rows[1] * lengths.mean * found.evaluated_token if rows[1] else 0.0,
        "save": _saving(model, settings, config, steps),
        "answer": _answering(model, config, rates),
    }
    seconds = sum(parts.values())
    below, above = rates.spread
    tokens = int(steps * per_step)
    return TimeEstimate(
        seconds=seconds,
        low=seconds * below,
        high=seconds * above,
        steps=steps,
        tokens=tokens,
        tokens_per_s=per_step / found.step,
        basis=_basis(found, rates, per_step),
        step_s=found.step,
        parts={name: part for name, part in parts.items() if part},
    )


def _compiling(model: Described, config: RunConfig) -> float:
    """Seconds that compiling takes, or what it took here before."""
    known = compile_times.expected(compile_times.key(model, config))
    return _COMPILED if known is None else known


def _basis(found: Cost, rates: Rates, per_step: float) -> str:
    return f"{rates.words}; {found.operations / 1e12:.2g} TFLOP and {per_step:.0f} tokens a step"


def _start(model: Described, settings: Settings, *, on_gpu: bool) -> float:
    """Seconds until the first step: imports, reading and quantising the weights."""
    weights = _weights(model)
    quantising = weights / _QUANTISED["cuda" if on_gpu else "cpu"] if settings.quantization == "nf4" else 0.0
    return _IMPORTS + weights * (2 if settings.quantization != "none" else settings.item) / _READ + quantising


def _weights(model: Described) -> int:
    return formula.census(model, Settings()).parameters


def _evaluations(config: RunConfig, steps: int) -> int:
    """How often the held-out rows are measured: before the first step, every so many, and after the last."""
    every = config.eval_steps if isinstance(config.eval_steps, int) else max(1, steps // 5)
    return 2 + (steps - 1) // every


def _saving(model: Described, settings: Settings, config: RunConfig, steps: int) -> float:
    """Seconds that training waits for checkpoints."""
    every = config.save_steps if isinstance(config.save_steps, int) else max(1, steps // 4)
    size = (settings.item + 12) * sum(formula.census(model, settings).trained)
    waiting = size / _WRITTEN if size > _COPIED_UP_TO else 0.0
    return (1 + (steps - 1) // every) * (_SAVED + waiting)


def _answering(model: Described, config: RunConfig, rates: Rates) -> float:
    """Seconds in which base and tuned model answer the prompts at the end."""
    settings = Settings.of(config)
    prompts = 3 if config.compare == "auto" else len(config.compare)
    held = formula.census(model, settings).weights
    operations = sizes_of(model).layers * _TOKEN_OPERATIONS["cuda" if config.device.startswith("cuda") else "cpu"]
    token = held / rates.bandwidth + operations * rates.operation
    return 2 * math.ceil(prompts / _TOGETHER) * _ANSWERED * config.compare_tokens * token
