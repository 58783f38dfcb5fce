"""What lies still is counted to the byte: against bitsandbytes and torch as they store it here."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ftk.memory import stored


def _bytes_of_state(state: Any) -> int:
    """The bytes of the tensors that a quantised weight keeps beside itself."""
    outer = state.state2
    return sum(part.nbytes for part in (state.absmax, state.code, state.offset, outer.absmax, outer.code))


@pytest.mark.parametrize(("inner", "out"), [(64, 64), (48, 96), (576, 192), (1536, 576), (65, 33)])
def test_nf4_takes_what_bitsandbytes_allocates(inner: int, out: int) -> None:
    from bitsandbytes.nn import Params4bit

    weight = torch.randn(out, inner)
    packed = Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True).to("cpu")
    assert stored.nf4_bytes(inner * out) == packed.nbytes + _bytes_of_state(packed.quant_state)


@pytest.mark.parametrize("sizes", [[10], [4096], [4095, 5000, 123_457]])
def test_adamw_keeps_two_float32_moments_and_the_step(sizes: list[int]) -> None:
    weights = [torch.randn(size, requires_grad=True) for size in sizes]
    optimizer = torch.optim.AdamW(weights, fused=True)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = sum(value.nbytes for state in optimizer.state.values() for value in state.values())
    assert stored.moments_bytes("adamw", sizes) == (kept, 0)


@pytest.mark.parametrize("sizes", [[4095], [4096], [300, 4097, 123_457]])
def test_8_bit_adamw_keeps_blocks_with_their_constants_and_small_tensors_whole(sizes: list[int]) -> None:
    from bitsandbytes.optim import AdamW8bit

    weights = [torch.randn(size, requires_grad=True) for size in sizes]
    optimizer = AdamW8bit(weights)
    group = optimizer.param_groups[0]
    for number, weight in enumerate(weights):
        optimizer.init_state(group, weight, 0, number)
    tables = {"qmap1", "qmap2"}  # one pair for all weights
    kept = sum(
        value.nbytes
        for state in optimizer.state.values()
        for key, value in state.items()
        if isinstance(value, torch.Tensor) and key not in tables
    )
    assert stored.moments_bytes("adamw-8bit", sizes) == (kept, 0)


def test_paged_moments_of_large_tensors_are_not_the_cards() -> None:
    assert stored.moments_bytes("paged-adamw", [99_999, 100_000]) == (8 * 99_999, 8 * 100_000)
    small, large = stored.moments_bytes("paged-adamw-8bit", [4096, 1_000_000])
    assert (small, large) == (2 * 4096 + 8 * 16 + 8 * 3907, 2_000_000)  # the constants of blocks stay on the card
