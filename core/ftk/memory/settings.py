"""What of a run's settings its memory depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..config import RunConfig
from ..errors import UsageError

Quantization = Literal["none", "8bit", "nf4"]
Precision = Literal["float32", "bfloat16", "float16"]
Optimizer = Literal["adamw", "adamw-8bit", "paged-adamw", "paged-adamw-8bit"]

BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Settings:
    """The settings that decide about memory; the names are those of `RunConfig`, and none is ``auto``.

    `lora_targets` None means all linear layers of a block. `max_length` is the longest row that will come; where the
    data's longest is known and shorter, give that. `supervised` is the part of the tokens that the loss counts: 1 where
    nobody knows, which is never too low. `keeps_best` says whether the best adapter so far is kept (early stopping).
    """

    quantization: Quantization = "none"
    precision: Precision = "float32"
    method: Literal["lora", "full"] = "lora"
    lora_rank: int = 16
    lora_targets: tuple[str, ...] | None = None
    lora_dropout: float = 0.0
    lora_dora: bool = False
    optimizer: Optimizer = "adamw"
    batch_size: int = 4
    gradient_accumulation: int = 1
    max_length: int = 512
    gradient_checkpointing: bool = False
    fast: bool = True
    compile: bool = False
    supervised: float = 1.0
    keeps_best: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.max_length < 1 or self.lora_rank < 1 or self.gradient_accumulation < 1:
            raise UsageError("batch_size, max_length, lora_rank and gradient_accumulation must be at least 1.")
        if not 0 < self.supervised <= 1:
            raise UsageError("supervised is a part of the tokens: above 0 and at most 1.")
        if self.method == "full" and self.quantization != "none":
            raise UsageError(
                f"--method full cannot train weights that are stored as {self.quantization}.",
                hint="Use --quantization none, or --method lora.",
            )

    @classmethod
    def of(cls, config: RunConfig, **changes: Any) -> Settings:
        """The settings of a run; what still says ``auto`` is what the run would most probably choose.

        Args:
            config: The settings of the run, best without any ``auto``.
            changes: Fields to set otherwise.

        """
        targets = config.lora_targets
        values: dict[str, Any] = {
            "quantization": _made(config.quantization, "none"),
            "precision": _made(config.precision, "float32"),
            "method": config.method,
            "lora_rank": _made(config.lora_rank, 16),
            "lora_targets": None if isinstance(targets, str) else tuple(targets),
            "lora_dropout": config.lora_dropout,
            "lora_dora": config.lora_dora,
            "optimizer": _made(config.optimizer, "adamw"),
            "batch_size": config.batch_size,
            "gradient_accumulation": config.gradient_accumulation,
            "max_length": config.max_length,
            "gradient_checkpointing": config.gradient_checkpointing is True,
            "fast": config.fast is not False,
            "compile": config.compile is True,
            "keeps_best": config.early_stopping > 0,
        }
        return cls(**{**values, **changes})

    @property
    def item(self) -> int:
        """Bytes of a number in the format of the computation."""
        return BYTES[self.precision]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def _made(value: Any, otherwise: Any) -> Any:
    return otherwise if value == "auto" else value
