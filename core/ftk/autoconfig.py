"""From wishes to a plan: every setting that says ``auto`` becomes a value, with its reason in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import dataspec, fitting, hardware
from .config import RunConfig, is_local
from .data.dataset import Dataset, load_dataset
from .data.gather import lasting
from .data.lengths import Lengths, measure
from .data.split import first_rows, split, unique_rows
from .errors import ModelError, UsageError
from .events import Warned
from .fitting import Fit, Open
from .hardware import Hardware, compile_obstacle, gib
from .memory import Settings
from .memory.models import Described, describe
from .memory.sizes import sizes_of
from .models import adapters, sources
from .models.sources import Source

_LARGE = 2_000_000_000
"""Weights from which a model of unknown shape is held in 4 bits on a GPU, and full fine-tuning takes smaller steps."""
_SMALL_STEPS_FROM = 6_000_000_000
"""Weights from which adapters learn at half the rate: 1e-4 is what QLoRA and its successors use for 7B and more."""
_ROWS_A_STEP = ((512, 4), (5_000, 8))
"""Rows of a step for up to so many rows of data; 16 beyond: few rows need many updates, many rows steady ones."""
_LONGEST = 2048
"""Tokens up to which rows are kept whole where nothing was said about it."""

_COMPILE_FROM = {"cpu": 3.3e12, "cuda": 3e15}
"""Weights x tokens of a run from which compiled layers should save more than the half minute that compiling takes.

A rule of thumb. On a CPU for each core, from about half a millisecond saved a token of SmolLM2-135M: 0.4 ms in a noisy
comparison on two AVX2 cores, 0.5 ms in a rough earlier loop on two AMX cores. On a GPU from an assumed saving of
15 %, not measured."""


@dataclass(frozen=True)
class Plan:
    """What will be done: settings without any ``auto``, model and data, and the reason for each choice.

    `rows` are those to train on and those held out, `fit` the memory that it takes where that is known beforehand.
    """

    config: RunConfig
    source: Source
    dataset: Dataset
    hardware: Hardware
    reasons: dict[str, str] = field(default_factory=dict)
    rows: tuple[int, int] = (0, 0)
    fit: Fit | None = None

    @property
    def total_steps(self) -> int:
        """Optimiser updates of the whole run."""
        assert self.config.max_steps is not None
        return self.config.max_steps

    @property
    def remarks(self) -> list[Warned]:
        """What a person should know before anything is loaded."""
        if self.fit is None or self.fit.fits:
            return []
        return [Warned(code="fit", message=self.fit.warning, hint=self.fit.hint)]


class _Choices:
    """Collects values and reasons; a setting that the user has made is kept and gets no reason."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.values: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def given(self, key: str) -> bool:
        """Whether the user has made this setting: it is no ``auto``, or was set although there is a default."""
        default = type(self.config).model_fields[key].default
        return getattr(self.config, key) not in ("auto", None) and (
            default in ("auto", None) or key in self.config.model_fields_set
        )

    def value(self, key: str) -> Any:
        """What was chosen or made so far."""
        return self.values.get(key, getattr(self.config, key))

    def choose(self, key: str, value: Any, reason: str) -> Any:
        """Take a value, unless the user has made the setting; returns the one that holds."""
        current = getattr(self.config, key)
        if self.given(key):
            return current
        if value == current:
            return value
        self.values[key] = value
        self.reasons[key] = reason
        return value


def plan(config: RunConfig, progress: Callable[[int, int], None] | None = None, *, asks_hub: bool = True) -> Plan:
    """Look at model, data and machine, and decide everything; fetches no weights, imports no torch.

    Args:
        config: The settings.
        progress: Called with bytes of the data read and bytes in all; may raise to cancel.
        asks_hub: False: take the catalogue's word for its models instead of asking the Hub whether it has them.

    Raises:
        FtkError: the model or the data cannot be had, or a setting cannot work here.

    """
    config = _absolute(config)
    dataset = load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad, progress=progress)
    if config.eval_data:
        load_dataset(config.eval_data, columns=config.columns, skip_bad=config.skip_bad)
    return resolve(config, hardware.detect(), located(config, asks_hub=asks_hub), dataset)


def located(config: RunConfig, *, asks_hub: bool = True) -> Source:
    """The model of the settings, where it is; see `sources.locate`."""
    return sources.locate(
        config.model, revision=config.revision, trust_remote_code=config.trust_remote_code, asks_hub=asks_hub
    )


def _absolute(config: RunConfig) -> RunConfig:
    """The settings with files that last and absolute paths, so that a run can be gone on with from any folder."""
    found = {}
    for key in ("data", "eval_data"):
        if (value := getattr(config, key)) and (moved := dataspec.absolute(lasting(value), Path.cwd())) != value:
            found[key] = moved
    model = dataspec.expanded(config.model)
    if is_local("model", model):
        found["model"] = str(model.absolute())
    return config.merged(found) if found else config


def resolve(
    config: RunConfig, hardware: Hardware, source: Source, dataset: Dataset, *, elsewhere: bool = False
) -> Plan:
    """Decide everything that is left open.

    Args:
        config: The settings.
        hardware: The machine.
        source: Where the model is.
        dataset: The rows to train on.
        elsewhere: Whether it is another machine than this one, where what is installed here does not matter.

    Raises:
        UsageError: a setting cannot work on this machine; the message says what can.

    """
    choices = _Choices(config)
    device = _device(choices, hardware)
    used = unique_rows(first_rows(dataset, config.max_rows), config.duplicates)
    sides = split(used, 0.0 if config.eval_data else config.eval_fraction, seed=config.seed)
    rows = (len(sides.train), len(sides.held_out))
    shape = _shape(source)
    lengths = _length(choices, used, shape)
    _precision(choices, hardware, device)
    _trained(choices, source)
    fit = _memory(choices, hardware, source, shape, lengths, rows[0])
    _schedule(choices, rows[0])
    _speed(choices, hardware, source, lengths, elsewhere=elsewhere)
    _order(choices, hardware, shape)
    if config.template == "auto":
        choices.reasons["template"] = "the model's own, or alpaca if it has none"
    if config.compare == "auto":
        choices.reasons["compare"] = "three held-out prompts show what was learnt"
    resolved = config.merged(choices.values)
    return Plan(resolved, source, dataset, hardware, choices.reasons, rows, fit)


def _shape(source: Source) -> Described | None:
    """The model's sizes, where somebody tells them before it is loaded."""
    if source.kind == "folder" and source.path is None:  # a model in memory: its name may be anybody's
        return None
    try:
        return describe(source)
    except ModelError:
        return None


def _device(choices: _Choices, hardware: Hardware) -> str:
    blind = bool(hardware.gpus) and not hardware.torch_uses_gpus
    if choices.config.device.startswith("cuda") and (blind or not hardware.gpus):
        if blind:
            raise UsageError(
                f"--device cuda: the installed torch is built for the CPU only and cannot use {hardware.gpus[0].name}.",
                hint="`ftk doctor` says how to install the other one; --device cpu trains without.",
            )
        raise UsageError("--device cuda: no NVIDIA GPU was found.", hint="Use --device cpu, or look at `nvidia-smi`.")
    if hardware.gpus and not blind:
        best = max(hardware.gpus, key=lambda gpu: gpu.memory_total - gpu.memory_used)
        name = f"cuda:{best.index}" if len(hardware.gpus) > 1 else "cuda"
        return str(choices.choose("device", name, f"{best.name}, {gib(best.memory_total - best.memory_used)} free"))
    reason = "no NVIDIA GPU was found"
    if blind:
        reason = (
            f"the installed torch is built for the CPU only, so {hardware.gpus[0].name} lies idle: see `ftk doctor`"
        )
    return str(choices.choose("device", "cpu", reason))


def _length(choices: _Choices, dataset: Dataset, shape: Described | None) -> Lengths:
    """The longest row: as it is by default, unless the data has more than a few rows that are longer."""
    longest = choices.config.max_length
    found = measure(dataset.rows, longest)
    if choices.given("max_length") or found.uncut <= longest:
        return found
    text = shape.text if shape else {}
    context = int(text.get("max_position_embeddings") or text.get("n_positions") or _LONGEST)
    wanted = min(context, _LONGEST, -(-found.uncut // 64) * 64)
    if wanted <= longest:
        return found
    choices.choose("max_length", wanted, f"99 of 100 rows have at most about {found.uncut} tokens")
    return measure(dataset.rows, wanted)


def _precision(choices: _Choices, hardware: Hardware, device: str) -> None:
    config = choices.config
    on_gpu = device.startswith("cuda")
    if on_gpu:
        gpu = hardware.gpus[int(device.partition(":")[2] or 0)]
        precision = "bfloat16" if gpu.bfloat16 else "float16"
        choices.choose("precision", precision, f"{gpu.name} {'has' if gpu.bfloat16 else 'lacks'} bfloat16")
    else:
        has = hardware.bfloat16 and device == "cpu"
        reason = "the processor multiplies bfloat16 natively" if has else "bfloat16 would be emulated here, and slower"
        choices.choose("precision", "bfloat16" if has else "float32", reason)
    if config.precision == "float16" and not on_gpu:
        raise UsageError("--precision float16 needs a GPU.", hint="Use bfloat16 or float32 on a CPU.")
    if config.method == "full" and config.quantization not in ("auto", "none"):
        raise UsageError(
            f"--method full cannot train weights that are stored as {config.quantization}.",
            hint="Use --quantization none, or --method lora.",
        )
    if config.quantization == "8bit" and not on_gpu:
        raise UsageError("--quantization 8bit needs an NVIDIA GPU.", hint="Use nf4 or none on a CPU.")
    if config.optimizer not in ("auto", "adamw") and not on_gpu:
        raise UsageError(f"--optimizer {config.optimizer} needs an NVIDIA GPU.", hint="Use adamw on a CPU.")


def _trained(choices: _Choices, source: Source) -> None:
    full, weights = choices.config.method == "full", source.size or 0
    if full:
        rate, reason = (1e-5 if weights >= _LARGE else 2e-5), "all weights move: small steps"
    elif weights >= _SMALL_STEPS_FROM:
        rate, reason = 1e-4, "a usual rate for adapters of 7 billion weights and more"
    else:
        rate, reason = 2e-4, "a usual rate for adapters"
    choices.choose("learning_rate", rate, reason)
    entry = source.entry
    rank = choices.choose(
        "lora_rank", entry.lora.rank if entry else 16, "the catalogue's" if entry else "a good default"
    )
    choices.choose("lora_alpha", 2.0 * rank, "twice the rank")
    if entry:
        choices.choose("lora_targets", list(entry.lora.targets), "all linear layers of a block")
    elif choices.config.lora_targets == "auto":
        choices.reasons["lora_targets"] = "all linear layers of a block, found when the model is loaded"


def _memory(
    choices: _Choices, hardware: Hardware, source: Source, shape: Described | None, lengths: Lengths, rows: int
) -> Fit | None:
    """Quantisation, recomputation, optimizer and portions: the fastest and most exact that fit."""
    config, device = choices.config, str(choices.value("device"))
    space = fitting.space_of(hardware, device)
    if shape is None or space is None:
        _unmeasured(choices, source, on_gpu=device.startswith("cuda"))
        return None
    step, micro = _portions(choices, rows)
    full = config.method == "full"
    base = Settings.of(
        config.merged({**choices.values, "gradient_accumulation": choices.value("gradient_accumulation")}),
        max_length=min(int(choices.value("max_length")), math.ceil(1.25 * lengths.longest)),
        quantization="none" if config.quantization == "auto" else config.quantization,
    )
    may = Open(
        quantization=("none",) if full else ("none", "nf4"),
        gradient_checkpointing=(False, True),
        optimizer=("adamw", "paged-adamw-8bit") if full and space.card else ("adamw",),
        micro=micro,
    )
    given = {key: (getattr(config, key),) for key in ("quantization", "gradient_checkpointing", "optimizer")
             if choices.given(key)}  # fmt: skip
    found = fitting.choose(shape, base, replace(may, **given), step, space)
    _told(choices, found, shape, step, rows)
    return found


def _portions(choices: _Choices, rows: int) -> tuple[int, list[int]]:
    """Rows of a step, and those that may be computed at once, the most first."""
    config = choices.config
    if choices.given("batch_size"):
        return config.batch_size * config.gradient_accumulation, [config.batch_size]
    if choices.given("gradient_accumulation"):
        return config.batch_size * config.gradient_accumulation, fitting.halves(config.batch_size)
    step = next((size for most, size in _ROWS_A_STEP if rows <= most), 16)
    return step, fitting.halves(step)


def _told(choices: _Choices, found: Fit, shape: Described, step: int, rows: int) -> None:
    """Take the settings that fit, each with its reason."""
    made, free = found.settings, gib(found.space.free)

    def without(**changes: Any) -> str:
        size = fitting.taken(found.space.needed(shape, replace(made, **changes)))
        return f"about {gib(size)} would be needed, {free} are free"

    fits = f"it fits: {found.words}" if found.fits else f"nothing smaller can be chosen: {found.words}"
    packed = made.quantization != "none"
    choices.choose("quantization", made.quantization, f"in 16 bits {without(quantization='none')}" if packed else fits)
    again = made.gradient_checkpointing
    reason = f"without it {without(gradient_checkpointing=False)}" if again else "there is room"
    choices.choose("gradient_checkpointing", again, reason if found.fits or again else fits)
    reason = "the exact one" if made.method == "full" else "the state of an adapter is small"
    paged = made.optimizer != "adamw"
    choices.choose("optimizer", made.optimizer, f"with adamw {without(optimizer='adamw')}" if paged else reason)
    at_once = f"{made.batch_size} at once fit the memory" if made.batch_size < step else "all at once"
    reason = f"{step} rows a step for {rows} rows of data, {at_once}"
    choices.choose("batch_size", made.batch_size, reason)
    if not choices.given("batch_size"):
        choices.choose("gradient_accumulation", made.gradient_accumulation, reason)


def _unmeasured(choices: _Choices, source: Source, *, on_gpu: bool) -> None:
    """The same by the number of weights alone, where nobody tells the model's shape before it is loaded."""
    weights, full = source.size or 0, choices.config.method == "full"
    large = on_gpu and weights >= _LARGE
    size = f"{weights / 1e9:.1f} billion weights" if weights else "size not known before loading"
    reason = f"{size} on {'a GPU' if on_gpu else 'a CPU'}"
    choices.choose("quantization", "nf4" if large and not full else "none", reason)
    reason = "saves memory that a large model needs" if large else "there is room"
    choices.choose("gradient_checkpointing", large, reason)
    choices.choose("optimizer", "adamw", "the exact one" if full else "the state of an adapter is small")


def _order(choices: _Choices, hardware: Hardware, shape: Described | None) -> None:
    if choices.config.group_by_length == "auto":
        padded = _padded(choices, hardware, shape)
        reason = f"saves padding: {padded}" if padded else "rows need no padding, so steps are drawn from all of them"
        choices.choose("group_by_length", bool(padded), reason)


def _padded(choices: _Choices, hardware: Hardware, shape: Described | None) -> str:
    """Why rows will be padded, in words; empty where they most probably will not, as `training.passes` decides."""
    architecture = shape.architecture if shape else ""
    if choices.value("fast") is False:
        return "the plain path pads"
    if architecture and architecture not in adapters.FAST_ARCHITECTURES:
        return f"the fast path does not know {architecture} models"
    if not str(choices.value("device")).startswith("cuda"):
        return ""
    if shape and sizes_of(shape).capped:
        return "no kernel on a card both caps scores and tells rows apart"
    if choices.value("precision") == "float32":
        return "flash attention has no float32"
    if any(not gpu.bfloat16 for gpu in hardware.gpus):
        return "flash attention needs a newer card"
    return ""


def targets_for(config: RunConfig, architecture: str) -> list[str] | str:
    """The layers that get an adapter, also for a model whose architecture became known only by loading it."""
    return adapters.default_targets(architecture) if config.lora_targets == "auto" else config.lora_targets


def _schedule(choices: _Choices, rows: int) -> None:
    config = choices.config
    effective = int(choices.value("batch_size")) * int(choices.value("gradient_accumulation"))
    per_epoch = math.ceil(rows / effective)
    steps = choices.choose(
        "max_steps",
        max(1, math.ceil(per_epoch * config.epochs)),
        f"{config.epochs:g} epochs of {rows} rows, {effective} rows a step",
    )
    choices.choose("eval_steps", max(1, math.ceil(steps / 5)), "five evaluations in a run")
    choices.choose("save_steps", max(1, math.ceil(steps / 4)), "four checkpoints in a run")


def _speed(choices: _Choices, hardware: Hardware, source: Source, lengths: Lengths, *, elsewhere: bool) -> None:
    device = str(choices.value("device"))
    choices.choose("fast", True, "the same numbers up to rounding, sooner and in less memory")
    config = choices.config
    if config.liger and not device.startswith("cuda"):
        raise UsageError("--liger true needs an NVIDIA GPU.", hint="Leave --liger out: --compile fuses layers here.")
    if config.liger:
        choices.choose("compile", False, "Liger's kernels do the same")
    elif obstacle := "" if elsewhere else compile_obstacle(device):
        choices.choose("compile", False, obstacle)
    elif config.fast is False:
        choices.choose("compile", False, "the plain path is not compiled")
    elif config.compile == "auto":
        steps = int(choices.value("max_steps") or 1)
        rows = steps * int(choices.value("batch_size")) * int(choices.value("gradient_accumulation"))
        on_gpu = device.startswith("cuda")
        worth = (source.size or 0) * rows * lengths.mean >= _COMPILE_FROM["cuda" if on_gpu else "cpu"] * (
            1 if on_gpu else hardware.cores
        )
        reason = "saves more than it takes" if worth else "the run is too short to win back the time"
        choices.choose("compile", worth, reason)
