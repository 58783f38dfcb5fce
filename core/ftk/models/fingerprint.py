"""A short mark of a base model, so that an adapter is not put on another one of the same shape unnoticed."""

from __future__ import annotations

import hashlib
from typing import Any

_NUMBERS = 16


def fingerprint(model: Any) -> str:
    """A mark of the weights that a model was loaded with: number format, names, shapes and some numbers of each.

    It tells models apart, and the same model changed all over (another revision, another merge); it does not see a
    change in a few numbers. Sixteen numbers of each weight are read, which takes some milliseconds.

    Returns:
        The number format and 32 hexadecimal digits, such as ``bfloat16:0f3a…``. Marks of different formats cannot
        be compared.

    """
    import torch

    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        flat = weight.detach().reshape(-1)
        places = torch.tensor(_places(flat.numel()), device=flat.device)
        digest.update(flat[places].cpu().contiguous().view(torch.uint8).numpy().tobytes())
    dtype = str(model.get_input_embeddings().weight.dtype).removeprefix("torch.")
    return f"{dtype}:{digest.hexdigest()[:32]}"


def _places(total: int) -> list[int]:
    """Places spread over ``total`` numbers, first and last among them.

    In whole numbers: ``torch.linspace`` counts in float32, which can round past the end of 2 to the 24 numbers.
    """
    count = min(_NUMBERS, total)
    return [place * (total - 1) // max(count - 1, 1) for place in range(count)]


def differ(one: str, other: str) -> bool:
    """Whether two marks are of different models; those of different number formats may be of one and the same."""
    (format_one, _, _), (format_other, _, _) = one.partition(":"), other.partition(":")
    return bool(one and other) and format_one == format_other and one != other
