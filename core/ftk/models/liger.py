"""Liger kernels: Triton kernels for norms, rotary positions and SwiGLU on a GPU (arXiv:2410.10989), an extra."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import UsageError

_KNOWN = ("llama", "mistral", "phi3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3")


def apply(model: Any) -> None:
    """Put Liger's kernels into a model; the loss stays ftk's own, which is chunked already.

    Raises:
        UsageError: liger-kernel is not installed, or has no kernels for this architecture.

    """
    kind = model.config.get_text_config().model_type
    if kind not in _KNOWN:
        raise UsageError(f"--liger true: Liger has no kernels for {kind!r} models.", hint="Leave --liger out.")
    try:
        kernels = importlib.import_module("liger_kernel.transformers")
    except ImportError as error:
        raise UsageError(
            "--liger true needs the package liger-kernel.", hint="pip install 'llm-finetune-kit[liger]'"
        ) from error
    put_in = getattr(kernels, f"apply_liger_kernel_to_{kind}")
    put_in(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
