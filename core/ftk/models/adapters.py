"""LoRA adapters: where they go, how they are put on and saved (LoRA: arXiv:2106.09685, through peft)."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, ModelError
from . import soundness

_LLAMA_LIKE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
_TARGETS: dict[str, list[str]] = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3"), _LLAMA_LIKE),
}

FAST_ARCHITECTURES = frozenset({"gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"})
"""Model types whose fast path (`training.passes`) is proved against the plain one, each of them, in the tests."""


def default_targets(architecture: str) -> list[str] | Literal["all-linear"]:
    """The layers that get an adapter by default: all linear ones of a block.

    QLoRA (arXiv:2305.14314, section 4) found that adapters on all linear layers are what it takes to match
    full fine-tuning. For an architecture that is not listed, peft looks for them itself.
    """
    return _TARGETS.get(architecture, "all-linear")


def add(
    model: Any,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: list[str] | str,
    rslora: bool = False,
    dora: bool = False,
    eva: bool = False,
) -> Any:
    """Freeze the model and put a fresh adapter on it; its weights get the number format of the base.

    The adapter begins as the identity (B is zero). peft would keep it in float32 and cast every input; the
    optimiser holds the float32 masters instead (`training.optim`), which halves the traffic.

    Args:
        model: A transformers causal language model, quantised or not.
        rank: Width of the two matrices.
        alpha: Scale; the output is multiplied by alpha / rank.
        dropout: Part of the adapter's input dropped while training.
        targets: Names of the layers, or ``all-linear``.
        rslora: Scale by alpha / sqrt(rank) instead (arXiv:2312.03732).
        dora: Train the magnitude of every output besides (arXiv:2402.09353).
        eva: Make it ready for `training.eva.initialise`.

    Raises:
        ConfigError: no layer of the model has one of these names.

    """
    from peft import EvaConfig, LoraConfig

    if not isinstance(targets, str):
        _check_targets(model, targets)
    without_dropout(model)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=targets,
        use_rslora=rslora,
        use_dora=dora,
        init_lora_weights="eva" if eva else True,
        eva_config=EvaConfig(rho=1.0) if eva else None,
        task_type="CAUSAL_LM",
        fan_in_fan_out=_has_conv1d(model),
    )
    return _put_on(model, config)


def _put_on(model: Any, config: Any) -> Any:
    """The model with an adapter in the number format of the base."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's remarks on Conv1D and on tied weights do not concern the user
        adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
    dtype = model.get_input_embeddings().weight.dtype
    for parameter in trainable(adapted):
        parameter.data = parameter.data.to(dtype)
    return adapted


def without_dropout(model: Any) -> None:
    """Switch off the dropout that a base model was pretrained with (GPT-2: a tenth of everything).

    In a frozen base it only blurs what the adapter sees; `lora_dropout` is the setting against overfitting.
    """
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def _check_targets(model: Any, targets: list[str]) -> None:
    known = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if _is_linear(module)}
    if missing := [target for target in targets if target.rsplit(".", 1)[-1] not in known]:
        raise ConfigError(
            f"lora_targets: this model has no linear layer named {', '.join(map(repr, missing))}.",
            hint=f"It has: {', '.join(sorted(known))}",
        )


def _is_linear(module: Any) -> bool:
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, torch.nn.Linear | Conv1D)


def _has_conv1d(model: Any) -> bool:
    from transformers.pytorch_utils import Conv1D

    return any(isinstance(module, Conv1D) for module in model.modules())


def is_adapted(model: Any) -> bool:
    """Whether a model carries an adapter."""
    return hasattr(model, "peft_config")


def trainable(model: Any) -> list[Any]:
    """The parameters that training moves, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def save(model: Any, tokenizer: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write what was trained, tokenizer and chat template, as `from_pretrained` and servers read them.

    That is the adapter, or the whole model where it carries none.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where to.
        weights: What to write instead of the model's present weights: an earlier moment of them, by the same names.

    """
    if not is_adapted(model):
        model.save_pretrained(str(folder), safe_serialization=True, state_dict=weights)
        tokenizer.save_pretrained(str(folder))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft looks for the base model's vocabulary on the Hub and says so
        model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False, state_dict=weights)
    tokenizer.save_pretrained(str(folder))


def load(model: Any, folder: Path, *, trainable: bool = False) -> Any:
    """Put a saved adapter on its base model.

    Raises:
        ModelError: the folder holds no adapter, one of another model, or one that is damaged.

    """
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{folder} holds no adapter (adapter_model.safetensors is missing).")
    try:
        adapted = PeftModel.from_pretrained(
            model, str(folder), is_trainable=trainable, autocast_adapter_dtype=False, local_files_only=True
        )
    except Exception as error:
        raise ModelError(
            f"{folder} does not fit this model: {' '.join(str(error).split())[:200]}",
            hint="The adapter belongs to the model named in its adapter_config.json.",
        ) from error
    _check_loaded(adapted, folder)
    return adapted


def _check_loaded(model: Any, folder: Path) -> None:
    """See that all of an adapter came out of its file, and is finite; peft only warns of what is missing."""
    from peft import get_peft_model_state_dict
    from safetensors import safe_open

    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    with safe_open(folder / "adapter_model.safetensors", framework="numpy") as file:
        missing = sorted(set(weights) - set(file.keys()))
    broken = soundness.not_finite(weights.items())
    for what, names in (("lacks weights", missing), ("holds weights that are not finite numbers", broken)):
        if names:
            raise ModelError(
                f"{folder} {what}: {', '.join(names[:3])}.",
                hint="Take the adapter of another checkpoint, or train it again.",
            )
