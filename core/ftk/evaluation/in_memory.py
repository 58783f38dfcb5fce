"""Subjects in memory: one copy of a base model, and the adapters of several runs on it, one of which is on."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ..config import RunConfig
from ..data import templates
from ..errors import FtkError, ModelError, UsageError
from ..models import adapters, fingerprint, loading, sources
from ..models.loading import LoadedModel, ModelInfo
from ..models.sources import Progress, Source
from ..training import checkpoint
from .ensemble import Ensemble
from .subjects import Subject, steps

WEIGHTS = "adapter_model.safetensors"


class InMemory:
    """Some subjects of one group (see `subjects.groups`), loaded.

    Args:
        model: The base model with all adapters, or a model without any.
        info: What was loaded.
        tokenizers: A tokenizer for each label.
        names: What peft calls the adapter of each label; None for the base and for whole models, and of an ensemble
            the ensemble.
        remarks: What a person should know.

    """

    def __init__(
        self,
        model: Any,
        info: ModelInfo,
        tokenizers: dict[str, Any],
        names: dict[str, str | Ensemble | None],
        remarks: Sequence[str] = (),
    ) -> None:
        self.model, self.info, self.remarks = model, info, tuple(remarks)
        self._tokenizers, self._names = tokenizers, names

    @property
    def labels(self) -> list[str]:
        """The subjects, in order."""
        return list(self._names)

    def tokenizer(self, label: str) -> Any:
        """The tokenizer of a subject, with its chat template."""
        return self._tokenizers[label]

    def answering(self, label: str) -> Any:
        """What is to be asked for the answers of a subject, while `using` holds: the model, or an ensemble on it."""
        name = self._names[label]
        return name if isinstance(name, Ensemble) else self.model

    @contextmanager
    def using(self, label: str) -> Iterator[Any]:
        """A block in which the model is the subject of that label; cheap enough to switch every few tokens."""
        name = self._names[label]
        if not adapters.is_adapted(self.model):
            yield self.model
        elif isinstance(name, Ensemble):
            yield name
        elif name is not None:
            self.model.set_adapter(name)
            yield self.model
        else:
            self.model.base_model.disable_adapter_layers()
            try:
                yield self.model
            finally:
                self.model.base_model.enable_adapter_layers()


def load(group: Sequence[Subject], *, device: str | None = None, progress: Progress = loading.silent) -> InMemory:
    """Load the subjects of a group as the settings of their runs say.

    Args:
        group: Subjects with the same `memory`.
        device: Another device than the run had; where the run's is not here, the processor takes its place.
        progress: Told what goes on.

    Raises:
        ModelError: the base is gone or another one, an adapter is damaged or does not fit, or there is no tokenizer.
        UsageError: there is no such device here.

    """
    for subject in group:
        check(subject)
    return _whole(group[0], device, progress) if group[0].whole else _adapted(group, device, progress)


def check(subject: Subject) -> None:
    """See that what a subject needs from its run is there and undamaged, as far as files tell.

    Raises:
        ModelError: something is missing, cut, changed or not a number.

    """
    folder = subject.folder
    if folder is None:
        return
    if folder.parent.parent == subject.run.checkpoints and not checkpoint.intact(folder.parent):
        raise ModelError(f"{folder.parent} is damaged: its files are not those of its manifest.", hint=_other(subject))
    if subject.whole:
        sources.check_folder(folder)
        return
    for name in ("adapter_config.json", WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is incomplete: {name} is missing.", hint=_other(subject))
    _check_weights(subject, folder / WEIGHTS)


def _check_weights(subject: Subject, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        config = json.loads((path.parent / "adapter_config.json").read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("adapter_config.json is no JSON object")
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if not file.get_tensor(name).isfinite().all():
                    raise ValueError(f"{name} holds what is not a number")
    except (SafetensorError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise ModelError(f"The adapter {path.parent} is damaged: {text}.", hint=_other(subject)) from None


def _other(subject: Subject) -> str:
    known = [number for number in steps(subject.run) if f"step-{number:06d}" not in str(subject.folder)]
    if not known:
        return "It has to be trained anew, or brought back from a copy."
    return f"Checkpoints may be whole: {', '.join(f'{subject.run.name}@{number}' for number in known)}."


def _adapted(group: Sequence[Subject], device: str | None, progress: Progress) -> InMemory:
    first, remarks = group[0], list[str]()
    loaded = _base(first, device, remarks, progress)
    for subject in group:
        _check_base(subject, loaded)
    model, names, tokenizers = loaded.model, dict[str, str | Ensemble | None](), dict[str, Any]()
    base_tokenizer = loaded.tokenizer
    for number, subject in enumerate(group):
        names[subject.label] = None
        if subject.members:
            names[subject.label] = _ensemble(subject, model, names)
            tokenizers[subject.label] = _one_tokenizer(subject, tokenizers, remarks)
            continue
        if subject.folder is not None:
            progress("adapter", subject.label, None, None)
            names[subject.label] = name = f"subject{number}"
            model = _with_adapter(model, subject.folder, name)
        tokenizers[subject.label] = _tokenizer(subject, base_tokenizer, remarks)
    model.eval()
    tuned = next((subject.label for subject in group if subject.folder is not None), None)
    for subject in group:
        if subject.folder is None and tuned:  # the base is asked in the words in which its tuned model is
            tokenizers[subject.label] = tokenizers[tuned]
    return InMemory(model, loaded.info, tokenizers, names, remarks)


def _ensemble(subject: Subject, model: Any, names: Mapping[str, Any]) -> Ensemble:
    return Ensemble(model, [names[label] for label, _ in subject.members], [share for _, share in subject.members])


def _one_tokenizer(subject: Subject, tokenizers: Mapping[str, Any], remarks: list[str]) -> Any:
    """The tokenizer in whose tokens an ensemble is asked: that of its first member.

    Raises:
        ModelError: the members have different tokens.

    """
    (first, tokenizer), *others = [(label, tokenizers[label]) for label, _ in subject.members]
    for label, other in others:
        if other.get_vocab() != tokenizer.get_vocab():
            raise ModelError(f"{first} and {label} have different tokens and cannot answer together.")
        if other.chat_template != tokenizer.chat_template:
            remarks.append(f"{label} was trained with another chat template; the ensemble is asked in that of {first}.")
    return tokenizer


def _base(subject: Subject, device: str | None, remarks: list[str], progress: Progress) -> LoadedModel:
    config = subject.config
    chosen = _device(device, config, remarks)
    quantization, precision = _fixed(config.quantization, "none"), _fixed(config.precision, "float32")
    if chosen == "cpu" and quantization == "8bit":
        quantization = "none"
        remarks.append("The base was held in 8 bits, which needs a GPU; here it is held as it is stored.")
    if chosen == "cpu" and precision == "float16":
        precision = "float32"
    return loading.load(
        sources.fetch(_located(subject), progress),
        quantization=quantization,
        precision=precision,
        device=chosen,
        progress=progress,
    )


def _device(asked: str | None, config: RunConfig, remarks: list[str]) -> str:
    """The device that is asked for; else the run's, or in its place the best that is here."""
    wanted = config.merged({"device": asked}).device if asked else config.device
    kind, _, number = wanted.partition(":")
    here = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
        "xpu": torch.xpu.is_available(),
    }
    if here.get(kind, False):
        return wanted
    if asked and kind != "auto":
        raise UsageError(f"--device {asked}: there is none here.", hint="`ftk doctor` lists what is.")
    instead = "cuda" if here["cuda"] else "cpu"
    if kind != "auto":
        remarks.append(f"{wanted} is not here; {instead} takes its place.")
    return instead


def _located(subject: Subject) -> Source:
    """Where the base model is now: where the run found it, or where the adapter says that it was."""
    try:
        return sources.locate(subject.config.model)
    except ModelError as error:
        noted = None if subject.moved else _noted_base(subject)
        if noted and noted.is_dir():
            return sources.locate(str(noted))
        raise ModelError(
            f"The base model of {subject.run.name!r} is gone: {error.message}",
            hint="Put it back, or say where it is now: --model PATH.",
        ) from error


def _noted_base(subject: Subject) -> Path | None:
    try:
        values = json.loads((subject.run.adapter / "adapter_config.json").read_text(encoding="utf-8"))
        return Path(str(values["base_model_name_or_path"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_base(subject: Subject, loaded: LoadedModel) -> None:
    """Compare the base with the mark that the run's checkpoints hold of the one it was trained on."""
    config = subject.config
    if not loaded.info.quantization == config.quantization == "none":
        return  # packed weights are not the same everywhere
    if fingerprint.differ(_mark(subject), fingerprint.fingerprint(loaded.model)):
        raise ModelError(
            f"{config.model} is not the model that {subject.run.name!r} was trained on: its weights differ.",
            hint="Put the old model back, or say where it is: --model PATH. An adapter fits only its own base.",
        )


def _mark(subject: Subject) -> str:
    """The mark of the base model that the run was trained on; empty where no checkpoint tells it."""
    for step in reversed(steps(subject.run)):
        try:
            return checkpoint.read_progress(subject.run.checkpoints / f"step-{step:06d}").base
        except (OSError, ValueError, TypeError):
            continue
    return ""


def _with_adapter(model: Any, folder: Path, name: str) -> Any:
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of is looked at below
            options = {"adapter_name": name, "autocast_adapter_dtype": False, "local_files_only": True}
            if adapters.is_adapted(model):
                model.load_adapter(str(folder), **options)
            else:
                model = PeftModel.from_pretrained(model, str(folder), **options)
            wanted = set(get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False))
    except Exception as error:
        raise ModelError(
            f"The adapter {folder} does not fit its base: {' '.join(str(error).split())[:200]}",
            hint="It belongs to the model named in its adapter_config.json; --model PATH says where that is now.",
        ) from error
    with safe_open(str(folder / WEIGHTS), framework="pt") as file:
        odd = sorted(wanted.symmetric_difference(file.keys()))
    if odd:
        what = "lacks" if odd[0] in wanted else "holds, and its base has no place for,"
        raise ModelError(
            f"The adapter {folder} {what} {odd[0]} ({len(odd)} such in all): it is damaged or not its own."
        )
    return model


def _tokenizer(subject: Subject, base: Any, remarks: list[str]) -> Any:
    """The tokenizer that was saved with the adapter; where it is missing, the base's with the run's template."""
    if subject.folder is not None:
        try:
            return loading.load_tokenizer(Source(subject.label, "folder", subject.folder, None, None))
        except FtkError:
            remarks.append(f"{subject.folder} holds no tokenizer that can be read; the base's takes its place.")
    templates.choose(base, subject.config.template)
    return base


def _whole(subject: Subject, device: str | None, progress: Progress) -> InMemory:
    """A model all of whose weights were trained."""
    remarks: list[str] = []
    config, folder = subject.config, subject.folder
    assert folder is not None
    chosen = _device(device, config, remarks)
    precision = _fixed(config.precision, "float32")
    loaded = loading.load(
        Source(subject.label, "folder", folder, None, None),
        precision="float32" if chosen == "cpu" and precision == "float16" else precision,
        device=chosen,
        progress=progress,
    )
    return InMemory(loaded.model, loaded.info, {subject.label: loaded.tokenizer}, {subject.label: None}, remarks)


def _fixed(value: Any, otherwise: str) -> Any:
    """A setting, or what takes its place in a recipe that leaves it open."""
    return otherwise if value == "auto" else value
