"""The model that a run trains: loaded, given its adapter, written, and what it is asked at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files
from ..autoconfig import Plan, targets_for
from ..config import RunConfig

if TYPE_CHECKING:
    from ..data.encoding import Example
    from ..data.prepare import Prepared
    from ..models.loading import LoadedModel
    from ..models.sources import Progress


def load(plan: Plan, progress: Progress, check: Callable[[], None] = lambda: None) -> LoadedModel:
    """Fetch and load the model of a plan.

    Args:
        plan: What to load, and how.
        progress: Told what goes on.
        check: Called between fetching and loading; may raise to cancel.

    Raises:
        ModelError: see `models.loading.load`.

    """
    from ..models import loading, sources

    config, source = plan.config, sources.fetch(plan.source, progress)
    check()
    return loading.load(
        source,
        quantization=_fixed(config.quantization),
        precision=_fixed(config.precision),
        device=config.device,
        progress=progress,
    )


def make_trainable(loaded: LoadedModel, examples: Sequence[Example], config: RunConfig, *, fresh: bool) -> Any:
    """The model with what is to be trained: an adapter, or all of its weights.

    Args:
        loaded: The model; it is changed.
        examples: What it will be trained on.
        config: Settings without any ``auto``.
        fresh: Whether the run begins now; else a checkpoint will overwrite how the adapter begins.

    """
    import torch

    from ..models import adapters, liger

    torch.manual_seed(config.seed)
    if config.gradient_checkpointing is True:
        loaded.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        loaded.model.enable_input_require_grads()
    if config.liger:
        liger.apply(loaded.model)
    if config.method == "full":
        adapters.without_dropout(loaded.model)
        return loaded.model.requires_grad_(True)
    model = adapters.add(
        loaded.model,
        rank=int(config.lora_rank),
        alpha=float(config.lora_alpha),
        dropout=config.lora_dropout,
        targets=targets_for(config, loaded.info.architecture),
        rslora=config.lora_rslora,
        dora=config.lora_dora,
        eva=config.lora_init == "eva",
    )
    if fresh and config.lora_init == "eva":
        from . import eva

        eva.initialise(model, examples, loaded.tokenizer.pad_token_id, config)
    return model


def write(model: Any, tokenizer: Any, target: Path) -> None:
    """Write what was trained, whole or not at all; what an earlier part of the run wrote stays until then."""
    from ..models import adapters

    with files.staged_dir(target, replace=True) as staging:
        adapters.save(model, tokenizer, staging)


def prompts(wanted: list[str] | str, data: Prepared, system: str | None) -> list[Any]:
    """The conversations to answer at the end: those that are wanted, or three of the held-out rows."""
    from ..evaluation.generate import conversation

    if isinstance(wanted, list):
        return [conversation(prompt, system) for prompt in wanted]
    return [row.messages[:-1] for row in data.parts.held_out[:3]]


def _fixed(value: Any) -> Any:
    assert value != "auto", "the plan leaves nothing open"
    return value
