"""The mark of a base model: the same for the same weights, another for others, of any size."""

from __future__ import annotations

import pytest
import torch

from ftk.models.fingerprint import differ, fingerprint


class Weights(torch.nn.Module):
    """A module of one weight, which is its input embedding too."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)

    def get_input_embeddings(self) -> torch.nn.Module:
        return self


@pytest.mark.parametrize("numbers", [1, 2, 15, 16, 17, 2**24 + 1, 28_311_552])
def test_first_and_last_number_of_a_weight_of_any_size_are_read(numbers: int) -> None:
    weight = torch.zeros(numbers, dtype=torch.float16)
    plain = fingerprint(Weights(weight))
    assert plain == fingerprint(Weights(weight))
    for place in (0, -1):
        changed = weight.clone()
        changed[place] = 1
        assert differ(plain, fingerprint(Weights(changed)))


def test_marks_of_other_number_formats_are_not_compared() -> None:
    one, other = (fingerprint(Weights(torch.ones(8, dtype=dtype))) for dtype in (torch.float16, torch.float32))
    assert one.startswith("float16:") and other.startswith("float32:")
    assert not differ(one, other)
    assert not differ("", one)
