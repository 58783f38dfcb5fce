"""Go on with a run: find it, see what is not as it was, and plan the rest.

What decides the result may not change unnoticed: another setting, other rows or another base model are refused with the
difference shown, or taken with `override` and written into the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import autoconfig, files, hardware, recipes, run_list
from .autoconfig import Plan
from .config import RunConfig, build, field_names
from .data.dataset import Dataset
from .errors import ConfigError, RunError, UsageError
from .events import Warned
from .hardware import Hardware
from .runs import IN_MEMORY, RunFolder

_SHAPE = (
    "method", "quantization", "lora_rank", "lora_alpha", "lora_targets", "lora_rslora", "lora_dora", "optimizer",
)  # fmt: skip
"""Settings that the weights in the checkpoints were made with; with others they would be something else."""

_FREE = (
    "save_steps", "save_minutes", "keep_checkpoints", "max_time", "log_steps", "compare", "compare_tokens", "name",
)  # fmt: skip
"""Settings that the result does not hang on."""

_PLACES = ("model", "data", "eval_data")
"""Settings that say where something lies, which may move; what it is, is told by its hash."""


@dataclass(frozen=True)
class Resumption:
    """A run, the plan of the rest of it, and what is to be told about it."""

    run: RunFolder
    plan: Plan
    remarks: tuple[Warned, ...] = ()
    override: bool = False


def prepare(
    name: str | None = None,
    changes: Mapping[str, Any] | None = None,
    *,
    override: bool = False,
    runs_dir: Path | None = None,
    dataset: Dataset | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Resumption:
    """Find a run and plan the rest of it.

    Args:
        name: The run's name or folder; the newest that was stopped, interrupted or failed by default.
        changes: Settings that are to be different from now on.
        override: Take settings and rows that differ from those the run was started with.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.
        dataset: The rows, for a run whose data was given as Python objects.
        progress: Called with bytes of the data read and bytes in all; may raise to cancel.

    Raises:
        RunError: there is no such run, it is finished, or its rows changed.
        UsageError: settings differ, and `override` is not set or cannot help.

    """
    run = find(name, runs_dir)
    stored = recipes.load(str(run.config_file)).config
    asked = stored.merged(_whole(changes or {}, stored))
    _check_unfinished(run, asked, override=override)
    differences = _differences(run, stored, asked)
    _check_differences(run, differences, override=override)
    machine = hardware.detect()
    config, remarks = _adapted(asked, machine)
    plan = _planned(config, machine, dataset, progress)
    remarks += [
        *_of_host(run),
        *_told(differences),
        *_of_data(run, plan, override=override),
        *_of_machine(run, machine),
    ]
    return Resumption(run, plan, tuple(remarks), override)


def _whole(changes: Mapping[str, Any], stored: RunConfig) -> dict[str, Any]:
    """The changes with what follows from them: another number of epochs makes another number of steps."""
    others = changes.get("epochs", stored.epochs) != stored.epochs
    return {**({"max_steps": None} if others else {}), **changes}


def find(name: str | None = None, runs_dir: Path | None = None) -> RunFolder:
    """The run of a name or folder; without one the newest that was stopped, interrupted or failed.

    Raises:
        RunError: there is none.

    """
    if name:
        return RunFolder.open(name, runs_dir)
    parent = runs_dir or files.runs_dir()
    if found := run_list.newest_interrupted(parent):
        return found
    raise RunError(f"No run in {parent} was stopped or interrupted.", hint="`ftk runs` lists them all.")


def _check_unfinished(run: RunFolder, asked: RunConfig, *, override: bool) -> None:
    if run.state() != "finished":
        return
    before = run.provenance().get("config", {})
    known, early = before.get("max_steps"), run_list.summary(run).reason
    if override and known and asked.max_steps and asked.max_steps > known:
        return
    if override and early and asked.early_stopping != before.get("early_stopping"):
        return
    command = f"ftk resume {run.name} --override"
    hint = f"To train it further: {command} --max-steps N (it made {known})."
    if early:
        hint = f"To train it further: {command} --early-stopping N, with 0 to the end, or --max-steps N over {known}."
    raise RunError(
        f"The run {run.name!r} is finished{f': {early}' if early else ''}. What it trained: {run.trained}", hint=hint
    )


def _differences(run: RunFolder, stored: RunConfig, asked: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Settings and what they were when the run was started (or last overridden), and what they are to be."""
    known = run.provenance().get("config")
    try:
        before = build(known) if known else stored
    except ConfigError:  # settings of another version
        before = stored
    pairs = {key: (getattr(before, key), getattr(asked, key)) for key in field_names()}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _check_differences(run: RunFolder, found: Mapping[str, tuple[Any, Any]], *, override: bool) -> None:
    if wrong := [key for key in found if key in _SHAPE]:
        raise UsageError(
            f"The weights of {run.name!r} were made with other settings: {_said(found, wrong)}.",
            hint="These cannot change within a run. Put them back, or start a new run with them.",
        )
    if (wrong := [key for key in found if key not in (*_FREE, *_PLACES)]) and not override:
        raise UsageError(
            f"The settings of {run.name!r} are not those it was started with: {_said(found, wrong)}.",
            hint=f"Put them back, or take them from here on: ftk resume {run.name} --override ...",
        )


def _said(found: Mapping[str, tuple[Any, Any]], keys: list[str]) -> str:
    return ", ".join(f"{key} was {found[key][0]!r} and is now {found[key][1]!r}" for key in keys)


def _told(found: Mapping[str, tuple[Any, Any]]) -> list[Warned]:
    keys = [key for key in found if key not in _PLACES]
    return [Warned(code="override", message=f"Settings changed: {_said(found, keys)}.")] if keys else []


def _adapted(config: RunConfig, machine: Hardware) -> tuple[RunConfig, list[Warned]]:
    """The settings for the machine at hand: a device that is not here is replaced by what is."""
    kind = config.device.partition(":")[0]
    here = len(machine.gpus) if kind == "cuda" else 1
    number = int(config.device.partition(":")[2] or 0)
    if kind != "cuda" or number < here:
        return config, []
    changed = config.merged({"device": "auto", "precision": "auto"})
    message = f"The run was trained on {config.device}, which is not here; it goes on on what is."
    return changed, [Warned(code="hardware", message=message, hint="The results may differ in their last digits.")]


def _planned(
    config: RunConfig, machine: Hardware, dataset: Dataset | None, progress: Callable[[int, int], None] | None
) -> Plan:
    if dataset is not None:
        return autoconfig.resolve(config, machine, autoconfig.located(config), dataset)
    if config.data == IN_MEMORY:
        raise RunError(
            "The rows of this run were given as Python objects, which are gone.",
            hint="Resume it from Python: QuickTrainer.resume(RUN, data=rows).train()",
        )
    return autoconfig.plan(config, progress)


def _of_host(run: RunFolder) -> list[Warned]:
    """That the run is taken from another host, which is gone."""
    owner = run.owner()
    if owner is None or not owner.gone:
        return []
    message = f"{owner.host}, which wrote this run, was not heard of since {owner.heard_of}; it goes on here."
    return [Warned(code="host", message=message)]


def _of_data(run: RunFolder, plan: Plan, *, override: bool) -> list[Warned]:
    from .training import provenance

    known, now = run.provenance().get("data", {}), provenance.data(plan)
    remarks = []
    for part, what in (("", "rows"), ("eval_", "held-out rows")):
        then, here = known.get(f"{part}sha256"), now.get(f"{part}sha256")
        if then == here or (part and not (then and here)):
            continue  # whether there is a file of held-out rows is a setting, compared with the others
        message = (
            f"The {what} of {run.name!r} ({plan.dataset.name}) changed since it was started: "
            f"{known.get(f'{part}rows')} then, {now[f'{part}rows']} now, or other ones."
        )
        if not override:
            raise RunError(message, hint=f"Put the old rows back, or take these: ftk resume {run.name} --override")
        remarks.append(Warned(code="override", message=message))
    return remarks


def _of_machine(run: RunFolder, machine: Hardware) -> list[Warned]:
    """What is another than when the run began, and decides the last bits of a number."""
    known = run.provenance()
    then, now = known.get("hardware", {}), machine.to_dict()
    parts = []
    for key, of in (("gpus", _names), ("cpu", str)):
        if key in then and of(then[key]) != of(now.get(key)):
            parts.append(f"{key}: {of(then[key]) or 'none'} then, {of(now.get(key)) or 'none'} now")
    from .training.provenance import versions

    packages = versions()
    for name, version in known.get("packages", {}).items():
        if packages.get(name) != version:
            parts.append(f"{name}: {version} then, {packages.get(name)} now")
    if not parts:
        return []
    return [
        Warned(
            code="hardware",
            message=f"Not all is as it was when the run began ({'; '.join(parts)}).",
            hint="It goes on; results may differ in their last digits from those of an uninterrupted run.",
        )
    ]


def _names(gpus: Any) -> str:
    return ", ".join(str(gpu.get("name")) for gpu in gpus or [])
