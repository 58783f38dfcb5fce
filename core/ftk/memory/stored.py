"""Bytes of what lies still while training: weights, quantised or not, and what the optimiser keeps of each."""

from __future__ import annotations

from collections.abc import Iterable

from .settings import Optimizer

NF4_BLOCK, NF4_OUTER_BLOCK = 64, 256
_NF4_TABLES = 16 * 4 + 256 * 4 + 4
"""The 16 values of NF4, the 256 of the outer quantisation and its offset: a copy for every layer."""
_SMALLEST_8BIT, _BLOCK_8BIT = 4096, 256
"""bitsandbytes' 8-bit optimisers keep tensors of fewer weights in 32 bits; the others in blocks with two constants."""
_SMALLEST_PAGED = 100_000


def nf4_bytes(weights: int) -> int:
    """Bytes of a layer's weights in NF4 with double quantisation, as bitsandbytes lays them (QLoRA, arXiv:2305.14314).

    4 bits a weight, 8 bits a block of 64, 32 bits a block of 256 such blocks, and the tables of the layer.
    """
    blocks = -(-weights // NF4_BLOCK)
    return -(-weights // 2) + blocks + 4 * -(-blocks // NF4_OUTER_BLOCK) + _NF4_TABLES


def int8_bytes(out: int, weights: int) -> int:
    """Bytes of a layer's weights in LLM.int8(): 8 bits a weight and a float32 scale for each output."""
    return weights + 4 * out


def moments_bytes(optimizer: Optimizer, trained: Iterable[int]) -> tuple[int, int]:
    """Bytes of AdamW's two moments: those that torch allocates, and those that are paged (managed memory).

    Args:
        optimizer: Its kind.
        trained: The number of weights of every trained tensor.

    """
    fixed = paged = 0
    for weights in trained:
        size, constants = 8 * weights, 0
        if optimizer.endswith("8bit") and weights >= _SMALLEST_8BIT:
            size, constants = 2 * weights, 8 * -(-weights // _BLOCK_8BIT)
        if optimizer == "adamw":
            constants = 4  # the number of the step, a tensor of its own
        fixed += constants
        if optimizer.startswith("paged") and weights >= _SMALLEST_PAGED:
            paged += size
        else:
            fixed += size
    return fixed, paged
