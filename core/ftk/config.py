"""RunConfig: every setting of a run, each with its unit, bounds, default and help text.

A setting has one home, here. The command-line flag, the preset key, the documentation table and the form
field of the app are made from the field. Keys are flat, and no name occurs twice.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from . import dataspec, durations
from .errors import ConfigError, did_you_mean
from .secrets import holds_key
from .strict_yaml import Document, use_core_schema

Auto = Literal["auto"]
Quantization = Literal["auto", "none", "8bit", "nf4"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Optimizer = Literal["auto", "adamw", "adamw-8bit", "paged-adamw", "paged-adamw-8bit"]
Schedule = Literal["linear", "cosine", "constant"]
TrainOn = Literal["all", "last"]
Method = Literal["lora", "full"]
LoraInit = Literal["random", "eva"]
LongRows = Literal["cut", "drop"]
Duplicates = Literal["keep", "drop"]
Template = Literal["auto", "chatml", "alpaca", "plain"]

_RUN_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w./-]{0,127}", re.ASCII)
_DEVICE = re.compile(r"auto|cpu|mps|xpu|cuda(:\d+)?")


def check_run_name(name: str) -> str:
    """Return `name` if it may name a run, which is also a folder's name.

    Raises:
        ValueError: it is empty, too long, or holds anything but ASCII letters, digits, ``_``, ``.`` and ``-``.

    """
    if not _RUN_NAME.fullmatch(name):
        raise ValueError("use 1 to 64 letters, digits, '_', '.' or '-', and begin with a letter or digit")
    return name


def _check_device(device: str) -> str:
    if not _DEVICE.fullmatch(device):
        raise ValueError("use auto, cpu, cuda, cuda:N, mps or xpu")
    return device


def _check_revision(revision: str) -> str:
    if not _REVISION.fullmatch(revision):
        raise ValueError("use the name of a branch or tag, or the 40 digits of a commit")
    return revision


def _check_finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


RunName = Annotated[str, AfterValidator(check_run_name)]
Revision = Annotated[str, AfterValidator(_check_revision)]
Device = Annotated[str, AfterValidator(_check_device)]
Duration = Annotated[str, AfterValidator(durations.check)]
Text = Annotated[str, Field(min_length=1)]
Finite = Annotated[float, AfterValidator(_check_finite)]
PositiveInt = Annotated[int, Field(ge=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)  # --help needs no schema


class ModelSettings(_Settings):
    """Model: which one, and in which precision it is held."""

    model: Text = Field("smollm2", description="Catalogue name, hub id, local folder or GGUF file.")
    revision: Revision | None = Field(
        None, description="Branch, tag or commit (40 digits) of a model of the Hub; if not set, what it has now."
    )
    trust_remote_code: bool = Field(
        False,
        description="Let Python code run that the model brings along, with all your rights; for a model of the Hub "
        "only together with a commit as revision.",
    )
    quantization: Quantization = Field(
        "auto",
        description="How the frozen base is stored: nf4 (4 bits, QLoRA), 8bit, none; auto: none where it fits with "
        "room, else nf4.",
    )
    precision: Precision = Field(
        "auto", description="Number format of the computation; auto: bfloat16 where the hardware has it."
    )
    device: Device = Field("auto", description="auto, cpu, cuda, cuda:N, mps or xpu.")


class DataSettings(_Settings):
    """Data: what is learnt, and how a row becomes tokens."""

    data: Text = Field(
        "sample:chat",
        description="A sample (sample:chat), file, folder, hub id or - for standard input; several with weights: "
        "a.jsonl:2,b.csv.",
    )
    columns: Text | None = Field(
        None, description="Which column is what, where it is not recognised: prompt=Q,response=A."
    )
    skip_bad: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Leave out so many rows that cannot be read, or that the chat template refuses, and count them, "
        "instead of stopping.",
    )
    duplicates: Duplicates = Field("keep", description="Equal rows: keep all, or drop all but one of each.")
    eval_data: Text | None = Field(
        None, description="A file of held-out rows; otherwise a part of the data is set aside."
    )
    eval_fraction: Annotated[Finite, Field(ge=0, le=0.5)] = Field(
        0.1, description="Part of the rows set aside for evaluation where no eval_data is given; 0: none."
    )
    max_rows: PositiveInt | None = Field(None, description="Use only the first N rows of the data.")
    max_length: Annotated[int, Field(ge=8)] = Field(
        512,
        description="Longest row in tokens; longer ones are treated as long_rows says, and counted. If not set, more "
        "where more than one row in a hundred is longer, up to 2048.",
    )
    template: Template = Field(
        "auto",
        description="Chat format for a model without one of its own: chatml, alpaca, plain; auto: the model's "
        "own, else alpaca.",
    )
    train_on: TrainOn = Field(
        "all", description="Assistant turns that are learnt: all, or the last of each conversation."
    )
    long_rows: LongRows = Field("cut", description="Rows longer than max_length: cut at the end, or drop whole.")
    system_prompt: Text | None = Field(None, description="System message put before rows that have none.")


class LoraSettings(_Settings):
    """Adapter: the small matrices that are trained."""

    lora_rank: Annotated[int, Field(ge=1, le=1024)] | Auto = Field(
        "auto", description="Width of the adapter's matrices; auto: the catalogue's for this model."
    )
    lora_alpha: Annotated[Finite, Field(gt=0)] | Auto = Field(
        "auto", description="Scale of the adapter's output (alpha / rank); auto: twice the rank."
    )
    lora_dropout: Annotated[Finite, Field(ge=0, lt=1)] = Field(
        0.0, description="Part of the adapter's input that is dropped at random while training."
    )
    lora_targets: Annotated[list[Text], Field(min_length=1)] | Auto = Field(
        "auto", description="Names of the layers that get an adapter; auto: all linear layers of a block."
    )
    lora_init: LoraInit = Field(
        "random",
        description="How the matrices A begin: random, or eva: along what the base model makes of your data; takes a "
        "few forward passes and learns sooner.",
    )
    lora_rslora: bool = Field(
        False,
        description="Divide alpha by the root of the rank (rsLoRA); for ranks of 64 and more, which else learn less.",
    )
    lora_dora: bool = Field(
        False, description="Train the length of every weight row too (DoRA); for ranks of 8 and less; slower."
    )
    lora_b_ratio: Annotated[Finite, Field(ge=1, le=100)] = Field(
        1.0, description="Learning rate of the matrices B against A (LoRA+); 16 for tasks far from what the base knows."
    )


class TrainingSettings(_Settings):
    """Training: how long, how fast, in which portions."""

    method: Method = Field(
        "lora",
        description="What is trained: lora, an adapter; full, every weight: for models of up to a few hundred million "
        "(16 bytes a weight) or much data.",
    )
    max_steps: PositiveInt | None = Field(None, description="Optimiser updates; takes precedence over epochs.")
    epochs: Annotated[Finite, Field(gt=0)] = Field(3.0, description="Passes over the data if max_steps is not set.")
    batch_size: PositiveInt = Field(
        4,
        description="Rows computed at once (micro-batch). If neither this nor gradient_accumulation is set: 4, 8 or 16 "
        "rows a step by the size of the data, as many at once as fit.",
    )
    gradient_accumulation: PositiveInt = Field(
        1, description="Micro-batches a step; the effective batch is batch_size times this."
    )
    learning_rate: Annotated[Finite, Field(gt=0, le=1)] | Auto = Field(
        "auto",
        description="Highest learning rate, reached after the warm-up; auto: 2e-4, from 6B weights 1e-4; for full "
        "fine-tuning 2e-5, from 2B weights 1e-5.",
    )
    schedule: Schedule = Field("linear", description="How the rate falls after the warm-up: linear, cosine, constant.")
    warmup_ratio: Annotated[Finite, Field(ge=0, le=1)] = Field(
        0.03, description="Part of the steps in which the rate rises from zero."
    )
    weight_decay: Annotated[Finite, Field(ge=0, le=1)] = Field(0.0, description="AdamW's decoupled weight decay.")
    max_grad_norm: Annotated[Finite, Field(gt=0)] = Field(
        1.0, description="Gradients longer than this are scaled down."
    )
    optimizer: Optimizer = Field(
        "auto",
        description="adamw; on CUDA also adamw-8bit, paged-adamw, paged-adamw-8bit; auto: adamw, where full "
        "fine-tuning does not fit paged-adamw-8bit.",
    )
    spike_factor: Annotated[Finite, Field(ge=0)] = Field(
        10.0,
        description="Skip an update whose gradient is so many times as long as is usual in this run, or whose loss is "
        "far worse than the untuned model's; 0: only those that are not finite.",
    )
    neftune_alpha: Annotated[Finite, Field(ge=0, le=100)] = Field(
        0.0, description="Noise on the embeddings while training (NEFTune); 5 for chat with few rows; 0: none."
    )
    gradient_checkpointing: bool | Auto = Field(
        "auto",
        description="Recompute activations to save memory (about 30 % slower); auto: where they do not fit.",
    )
    fast: bool | Auto = Field(
        "auto",
        description="Rows without padding, fused adapters and loss; auto: where proved for the architecture.",
    )
    group_by_length: bool | Auto = Field(
        "auto",
        description="Make steps of rows of like length, which saves padding; auto: only where rows are padded.",
    )
    compile: bool | Auto = Field(
        "auto",
        description="Fuse each layer with torch.compile; the first time takes up to a minute; auto: for runs that "
        "are long enough.",
    )
    liger: bool = Field(
        False,
        description="On CUDA: Liger's kernels instead of compiled layers; needs the extra llm-finetune-kit[liger].",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Seed of everything random.")


class RunSettings(_Settings):
    """Run: evaluation, checkpoints, and where it is kept."""

    eval_steps: PositiveInt | Auto = Field("auto", description="Steps between evaluations; auto: five in a run.")
    early_stopping: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Stop after N evaluations without a better held-out loss and keep the best adapter; 0: never.",
    )
    save_steps: PositiveInt | Auto = Field("auto", description="Steps between checkpoints; auto: four in a run.")
    save_minutes: Annotated[Finite, Field(ge=0)] = Field(
        10.0, description="Save also when so many minutes have passed since the last checkpoint; 0: never."
    )
    keep_checkpoints: PositiveInt = Field(
        2, description="Newest checkpoints kept, besides that of the lowest held-out loss; others are removed."
    )
    max_time: Duration | None = Field(
        None,
        description="Save and stop, resumable, within this time from the start (90s, 25m, 1h30m): for machines rented "
        "by the hour.",
    )
    log_steps: PositiveInt = Field(1, description="Steps between two reports of the loss.")
    compare: list[Text] | Auto = Field(
        "auto", description="Prompts answered by base and tuned model at the end; auto: three held-out ones."
    )
    compare_tokens: PositiveInt = Field(160, description="Longest such answer in tokens.")
    name: RunName | None = Field(None, description="The run's name; otherwise model, date and time.")


class RunConfig(ModelSettings, DataSettings, LoraSettings, TrainingSettings, RunSettings):
    """All settings of a run. Immutable; `merged` makes a changed copy."""

    sections: ClassVar[tuple[type[_Settings], ...]] = (
        ModelSettings,
        DataSettings,
        LoraSettings,
        TrainingSettings,
        RunSettings,
    )

    @field_validator("model", "data", "eval_data")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        """What a run writes down of its settings is read by others: nothing secret may stand in an address."""
        if value and holds_key(value):
            raise ValueError("it holds a password or key, which would be written into the run; give it to HF_TOKEN")
        return value

    def merged(self, changes: dict[str, Any]) -> RunConfig:
        """A copy with some keys changed, validated as a whole.

        Raises:
            ConfigError: a key is unknown or a value is not acceptable.

        """
        return build({**self.model_dump(exclude_unset=True), **changes})

    def to_yaml(self, *, header: str = "") -> str:
        """The settings as a commented preset that `recipes.load` reads back to an equal RunConfig."""
        parts = [f"# {line}".rstrip() for line in header.splitlines()]
        for section in self.sections:
            parts += ["", f"# {(section.__doc__ or '').strip()}"]
            for key, field in section.model_fields.items():
                value = _as_yaml({key: getattr(self, key)})
                comment = f"# {field.description}"
                parts += [f"{value}  {comment}"] if "\n" not in value and len(value) < 36 else [comment, value]
        return "\n".join(parts).lstrip("\n") + "\n"


class _Dumper(yaml.SafeDumper):
    """Writes what the strict loader reads back unchanged: no aliases, floats with a point or exponent."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


use_core_schema(_Dumper)
_Dumper.add_representer(float, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:float", f"{value!r}"))


def _as_yaml(value: dict[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, width=100_000, sort_keys=False).rstrip("\n")


def field_names() -> tuple[str, ...]:
    """All keys of RunConfig, in the order of the sections."""
    return tuple(key for section in RunConfig.sections for key in section.model_fields)


def allowed_values(key: str) -> tuple[str, ...]:
    """The words a setting accepts (``("linear", "cosine", "constant")``), empty where it takes no words."""

    def words(annotation: Any) -> tuple[str, ...]:
        arguments = get_args(annotation)
        if str(annotation).startswith("typing.Literal"):
            return tuple(arguments)
        return tuple(word for argument in arguments for word in words(argument))

    return words(RunConfig.model_fields[key].annotation)


def build(values: dict[str, Any], document: Document | None = None) -> RunConfig:
    """Validate settings.

    Args:
        values: Keys of RunConfig and their values.
        document: The YAML file they were read from, so that errors name file and line.

    Raises:
        ConfigError: a key is unknown (the nearest known one is named) or a value is not acceptable.

    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(*_explain(error.errors(), document)) from None


def _explain(errors: list[ErrorDetails], document: Document | None) -> tuple[str]:
    lines = []
    for key in dict.fromkeys(str(error["loc"][0]) for error in errors):
        mine = [error for error in errors if str(error["loc"][0]) == key]
        place = f"{document.where(key)}: " if document else ""
        if mine[0]["type"] == "extra_forbidden":
            lines.append(f"{place}unknown setting {key!r}.{did_you_mean(key, field_names())}")
        else:
            reasons = " or ".join(dict.fromkeys(_reason(error) for error in mine))
            value = mine[0]["input"]
            hint = did_you_mean(value, allowed_values(key)) if isinstance(value, str) else ""
            lines.append(f"{place}{key}: {value!r} is not accepted: {reasons}.{hint}")
    return ("\n".join(lines),)


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return error["msg"].removeprefix("Input ").rstrip(".").replace("should be", "must be")


def is_local(key: str, path: Path) -> bool:
    """Whether a path is what the setting `key` could mean by it: a model folder, a GGUF file, a file with rows."""
    if key == "model":
        return (path / "config.json").is_file() or (path.suffix == ".gguf" and path.is_file())
    return path.exists()


def with_paths_from(config: RunConfig, folder: Path) -> RunConfig:
    """The settings with file names that are relative to `folder` made absolute, if such files exist there.

    A preset that stands beside its data set may name it alone and be used from anywhere.
    """
    changes = {}
    for key in ("data", "eval_data", "model"):
        value = getattr(config, key)
        if not value or is_local(key, Path(value)):
            continue
        moved = dataspec.absolute(value, folder) if key != "model" else str((folder / value).absolute())
        if moved != value and (key != "model" or is_local(key, Path(moved))):
            changes[key] = moved
    return config.merged(changes) if changes else config
