"""Several adapters on one base that answer together: their probabilities for each next token are averaged.

A merge adds up what adapters change in the weights; an ensemble adds up what they say. It takes as long as all of its
members together, needs no equal ranks, and works where a merge spoils both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .subjects import shares


class Ensemble:
    """Adapters of one model, to be asked like a model.

    Args:
        model: A peft model.
        names: What peft calls the adapters.
        weights: How much each counts; equally much by default.

    Raises:
        UsageError: the weights do not fit.

    """

    def __init__(self, model: Any, names: Sequence[str], weights: Sequence[float] = ()) -> None:
        self.model, self.names = model, tuple(names)
        self.shares = shares(weights, len(self.names))

    def __getattr__(self, name: str) -> Any:
        """Everything else is that of the model: configuration, mode, embeddings."""
        return getattr(self.model, name)

    def scores(self, ask: Callable[[int], Tensor]) -> Tensor:
        """The logarithms of the averaged probabilities.

        Args:
            ask: Gives the scores of the member of that number, whose adapter is on then.

        """
        parts = []
        for number, (name, share) in enumerate(zip(self.names, self.shares, strict=True)):
            self.model.set_adapter(name)
            parts.append(ask(number).log_softmax(dim=-1) + math.log(share))
        return torch.stack(parts).logsumexp(dim=0)
