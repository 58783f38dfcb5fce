"""From wishes to a plan: every setting that says ``auto`` becomes a value, with its reason in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import dataspec, footprint, hardware
from .config import RunConfig, is_local
from .data.dataset import Dataset, load_dataset
from .data.gather import lasting
from .data.lengths import tokens_per_row
from .data.split import first_rows, split, unique_rows
from .errors import UsageError
from .hardware import Gpu, Hardware, compile_obstacle, gib
from .models import adapters, sources
from .models.sources import Source

QUANTISE_FROM = 2_000_000_000
"""Weights from which a base model is held in 4 bits on a GPU."""

_COMPILE_FROM = {"cpu": 3.3e12, "cuda": 3e15}
"""Weights x tokens of a run from which compiled layers should save more than the half minute that compiling takes.

A rule of thumb. On a CPU for each core, from about half a millisecond saved a token of SmolLM2-135M: 0.4 ms in a noisy
comparison on two AVX2 cores, 0.5 ms in a rough earlier loop on two AMX cores. On a GPU from an assumed saving of
15 %, not measured."""


@dataclass(frozen=True)
class Plan:
    """What will be done: settings without any ``auto``, model and data, and the reason for each choice."""

    config: RunConfig
    source: Source
    dataset: Dataset
    hardware: Hardware
    reasons: dict[str, str] = field(default_factory=dict)

    @property
    def total_steps(self) -> int:
        """Optimiser updates of the whole run."""
        assert self.config.max_steps is not None
        return self.config.max_steps


class _Choices:
    """Collects values and reasons; a setting that the user has made is kept and gets no reason."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def choose(self, key: str, value: Any, reason: str) -> Any:
        current = getattr(self.config, key)
        if current not in ("auto", None):
            return current
        self.values[key] = value
        self.reasons[key] = reason
        return value


def plan(config: RunConfig, progress: Callable[[int, int], None] | None = None) -> Plan:
    """Look at model, data and machine, and decide everything; fetches no weights, imports no torch.

    Args:
        config: The settings.
        progress: Called with bytes of the data read and bytes in all; may raise to cancel.

    Raises:
        FtkError: the model or the data cannot be had, or a setting cannot work here.

    """
    config = _absolute(config)
    dataset = load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad, progress=progress)
    if config.eval_data:
        load_dataset(config.eval_data, columns=config.columns, skip_bad=config.skip_bad)
    return resolve(config, hardware.detect(), located(config), dataset)


def located(config: RunConfig) -> Source:
    """The model of the settings, where it is; see `sources.locate`."""
    return sources.locate(config.model, revision=config.revision, trust_remote_code=config.trust_remote_code)


def _absolute(config: RunConfig) -> RunConfig:
    """The settings with files that last and absolute paths, so that a run can be gone on with from any folder."""
    found = {}
    for key in ("data", "eval_data"):
        if (value := getattr(config, key)) and (moved := dataspec.absolute(lasting(value), Path.cwd())) != value:
            found[key] = moved
    model = Path(config.model).expanduser()
    if is_local("model", model):
        found["model"] = str(model.absolute())
    return config.merged(found) if found else config


def resolve(config: RunConfig, hardware: Hardware, source: Source, dataset: Dataset) -> Plan:
    """Decide everything that is left open.

    Args:
        config: The settings.
        hardware: The machine.
        source: Where the model is.
        dataset: The rows to train on.

    Raises:
        UsageError: a setting cannot work on this machine; the message says what can.

    """
    choices = _Choices(config)
    device = _device(choices, hardware)
    _number_format(choices, hardware, device, source)
    _trained(choices, source)
    _schedule(choices, dataset)
    _speed(choices, hardware, device, source, dataset)
    if config.template == "auto":
        choices.reasons["template"] = "the model's own, or alpaca if it has none"
    if config.compare == "auto":
        choices.reasons["compare"] = "three held-out prompts show what was learnt"
    resolved = config.merged(choices.values)
    return Plan(resolved, source, dataset, hardware, choices.reasons)


def _device(choices: _Choices, hardware: Hardware) -> str:
    if choices.config.device.startswith("cuda") and not hardware.gpus:
        raise UsageError("--device cuda: no NVIDIA GPU was found.", hint="Use --device cpu, or look at `nvidia-smi`.")
    if hardware.gpus:
        best = max(hardware.gpus, key=lambda gpu: gpu.memory_total - gpu.memory_used)
        name = f"cuda:{best.index}" if len(hardware.gpus) > 1 else "cuda"
        return str(choices.choose("device", name, f"{best.name}, {gib(best.memory_total - best.memory_used)} free"))
    return str(choices.choose("device", "cpu", "no NVIDIA GPU was found"))


def _number_format(choices: _Choices, hardware: Hardware, device: str, source: Source) -> None:
    config, weights, gpu = choices.config, source.size or 0, None
    on_gpu = device.startswith("cuda")
    big = weights >= QUANTISE_FROM
    if on_gpu:
        gpu = hardware.gpus[int(device.partition(":")[2] or 0) if ":" in device else 0]
        precision = "bfloat16" if gpu.bfloat16 else "float16"
        choices.choose("precision", precision, f"{gpu.name} {'has' if gpu.bfloat16 else 'lacks'} bfloat16")
    else:
        has = hardware.bfloat16 and device == "cpu"
        reason = "the processor multiplies bfloat16 natively" if has else "bfloat16 would be emulated here, and slower"
        choices.choose("precision", "bfloat16" if has else "float32", reason)
    if config.precision == "float16" and not on_gpu:
        raise UsageError("--precision float16 needs a GPU.", hint="Use bfloat16 or float32 on a CPU.")
    size = f"{weights / 1e9:.1f} billion weights" if weights else "size not known before loading"
    full = config.method == "full"
    if full and config.quantization not in ("auto", "none"):
        raise UsageError(
            f"--method full cannot train weights that are stored as {config.quantization}.",
            hint="Use --quantization none, or --method lora.",
        )
    quantise = on_gpu and big and not full
    choices.choose("quantization", "nf4" if quantise else "none", f"{size} on {'a GPU' if on_gpu else 'a CPU'}")
    if config.quantization == "8bit" and not on_gpu:
        raise UsageError("--quantization 8bit needs an NVIDIA GPU.", hint="Use nf4 or none on a CPU.")
    _recomputation(choices, source, quantised=choices.values.get("quantization", config.quantization) == "nf4", gpu=gpu)
    if config.optimizer not in ("auto", "adamw") and not on_gpu:
        raise UsageError(f"--optimizer {config.optimizer} needs an NVIDIA GPU.", hint="Use adamw on a CPU.")
    choices.choose("optimizer", "adamw", "the state of an adapter is small" if not full else "the exact one")


def _recomputation(choices: _Choices, source: Source, *, quantised: bool, gpu: Gpu | None) -> None:
    """Recompute activations only where they would not fit: it costs a quarter of the speed."""
    config = choices.config
    if gpu is None:
        needed, reason = False, "there is room"
    elif source.entry is None:
        needed = (source.size or 0) >= QUANTISE_FROM
        reason = "saves memory that a large model needs" if needed else "there is room"
    else:
        size = footprint.memory(
            source.entry,
            quantized=quantised,
            batch=config.batch_size,
            length=config.max_length,
            checkpointing=False,
            full=config.method == "full",
        )
        free = gpu.memory_total - gpu.memory_used
        needed = size > free
        reason = f"without it about {gib(size)} would be needed, {gib(free)} are free"
    choices.choose("gradient_checkpointing", needed, reason)


def _trained(choices: _Choices, source: Source) -> None:
    full = choices.config.method == "full"
    reason = "all weights move: small steps" if full else "a usual rate for adapters"
    choices.choose("learning_rate", 2e-5 if full else 2e-4, reason)
    entry = source.entry
    rank = choices.choose(
        "lora_rank", entry.lora.rank if entry else 16, "the catalogue's" if entry else "a good default"
    )
    choices.choose("lora_alpha", 2.0 * rank, "twice the rank")
    if entry:
        choices.choose("lora_targets", list(entry.lora.targets), "all linear layers of a block")
    elif choices.config.lora_targets == "auto":
        choices.reasons["lora_targets"] = "all linear layers of a block, found when the model is loaded"


def targets_for(config: RunConfig, architecture: str) -> list[str] | str:
    """The layers that get an adapter, also for a model whose architecture became known only by loading it."""
    return adapters.default_targets(architecture) if config.lora_targets == "auto" else config.lora_targets


def _schedule(choices: _Choices, dataset: Dataset) -> None:
    config = choices.config
    fraction = 0.0 if config.eval_data else config.eval_fraction
    used = unique_rows(first_rows(dataset, config.max_rows), config.duplicates)
    rows = len(split(used, fraction, seed=config.seed).train)
    effective = config.batch_size * config.gradient_accumulation
    per_epoch = math.ceil(rows / effective)
    steps = choices.choose(
        "max_steps",
        max(1, math.ceil(per_epoch * config.epochs)),
        f"{config.epochs:g} epochs of {rows} rows, {effective} rows a step",
    )
    choices.choose("eval_steps", max(1, math.ceil(steps / 5)), "five evaluations in a run")
    choices.choose("save_steps", max(1, math.ceil(steps / 4)), "four checkpoints in a run")


def _speed(choices: _Choices, hardware: Hardware, device: str, source: Source, dataset: Dataset) -> None:
    choices.choose("fast", True, "the same numbers up to rounding, sooner and in less memory")
    config = choices.config
    if config.liger and not device.startswith("cuda"):
        raise UsageError("--liger true needs an NVIDIA GPU.", hint="Leave --liger out: --compile fuses layers here.")
    if config.liger:
        choices.choose("compile", False, "Liger's kernels do the same")
    elif obstacle := compile_obstacle(device):
        choices.choose("compile", False, obstacle)
    elif config.fast is False:
        choices.choose("compile", False, "the plain path is not compiled")
    elif config.compile == "auto":
        steps = int(choices.values.get("max_steps") or config.max_steps or 1)
        rows = steps * config.batch_size * config.gradient_accumulation
        tokens = rows * tokens_per_row(first_rows(dataset, config.max_rows).rows, config.max_length)
        on_gpu = device.startswith("cuda")
        worth = (source.size or 0) * tokens >= _COMPILE_FROM["cuda" if on_gpu else "cpu"] * (
            1 if on_gpu else hardware.cores
        )
        reason = "saves more than it takes" if worth else "the run is too short to win back the time"
        choices.choose("compile", worth, reason)
