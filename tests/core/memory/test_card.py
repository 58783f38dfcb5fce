"""The list of cards: complete, found by any name, and matched to what a driver says."""

from __future__ import annotations

import pytest

from ftk.errors import UsageError
from ftk.hardware import Gpu
from ftk.memory import card, cards

PROMISED = ("t4", "l4", "a10", "3090", "4090", "a100-40", "a100-80", "h100", "h200", "l40s", "rtx6000", "mi300x")


def _gpu(name: str, gib: float, capability: tuple[int, int]) -> Gpu:
    memory = int(gib * 2**30)
    return Gpu(index=0, name=name, memory_total=memory, memory_used=0, capability=capability, driver="1")


@pytest.mark.parametrize("name", PROMISED)
def test_the_cards_that_were_promised_are_there(name: str) -> None:
    assert card.find(name) is card.find(name.upper())


def test_names_are_unique_and_figures_plausible() -> None:
    names = [name.lower() for entry in cards() for name in (entry.id, *entry.aliases)]
    assert len(names) == len(set(names))
    for entry in cards():
        assert entry.bfloat16 == (entry.bf16_tflops > 0), entry.id
        assert entry.fp16_tflops >= entry.fp32_tflops, entry.id
        assert 2**30 < entry.context + entry.workspace + 2**30 < entry.memory, entry.id
        assert entry.source


def test_an_unknown_card_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"'h10'.*Did you mean 'h100'"):
        card.find("h10")


@pytest.mark.parametrize(
    ("name", "gib", "capability", "expected"),
    [
        ("Tesla T4", 15.0, (7, 5), "t4"),
        ("NVIDIA L4", 22.5, (8, 9), "l4"),
        ("NVIDIA L40S", 45.0, (8, 9), "l40s"),
        ("NVIDIA A10G", 22.5, (8, 6), "a10"),
        ("NVIDIA A100-SXM4-40GB", 40.0, (8, 0), "a100-40"),
        ("NVIDIA A100-SXM4-80GB", 80.0, (8, 0), "a100-80"),
        ("NVIDIA H100 80GB HBM3", 79.6, (9, 0), "h100"),
        ("NVIDIA GeForce RTX 4090", 24.0, (8, 9), "rtx4090"),
        ("NVIDIA RTX 6000 Ada Generation", 48.0, (8, 9), "rtx6000-ada"),
    ],
)
def test_a_card_here_is_recognised(name: str, gib: float, capability: tuple[int, int], expected: str) -> None:
    found = card.of_gpu(_gpu(name, gib, capability))
    assert (found.id, found.name) == (expected, name)
    assert found.memory == int(gib * 2**30)


def test_a_card_off_the_list_takes_after_its_kin() -> None:
    found = card.of_gpu(_gpu("NVIDIA RTX A4000", 16.0, (8, 6)))
    assert (found.capability, found.bfloat16, found.memory_gib) == ([8, 6], True, 16.0)
    old = card.of_gpu(_gpu("Tesla V100-SXM2-16GB", 16.0, (7, 0)))
    assert (old.id, old.bfloat16, old.packs_rows) == ("t4", False, False)


def test_rates_are_those_of_the_number_format() -> None:
    t4 = card.find("t4")
    assert t4.rate("float16") == 65e12
    assert t4.rate("bfloat16") == t4.rate("float32") == 8.1e12
