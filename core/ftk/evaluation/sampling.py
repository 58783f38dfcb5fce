"""How the next token is chosen: greedily, or at random in a way that depends on seed and row alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .asked import Sampling as Sampling

_NUCLEUS = 1024
"""Likeliest tokens among which the nucleus of top-p is looked for first: sorting a whole vocabulary is slow."""


class Draws:
    """Random numbers between 0 and 1, one for every token of a row.

    They follow from the seed and the number of the row, so that two models that are asked the same get the same,
    and a row gets the same in whatever company it is answered.

    Args:
        seed: The seed of the sampling.
        row: The number of the row.

    """

    def __init__(self, seed: int, row: int) -> None:
        self._generator = torch.Generator().manual_seed(seed * 0x9E3779B9 + row)
        self._drawn: list[float] = []

    def at(self, token: int) -> float:
        """The number that decides token `token` of the row."""
        while len(self._drawn) <= token:
            self._drawn += torch.rand(64, generator=self._generator, dtype=torch.float64).tolist()
        return self._drawn[token]


def choose(logits: Tensor, sampling: Sampling, numbers: Sequence[float]) -> list[int]:
    """The next token of every row.

    Args:
        logits: Scores of the vocabulary, (rows, vocabulary), in float32.
        sampling: How to choose.
        numbers: A random number between 0 and 1 for every row; unused at temperature 0.

    """
    if sampling.temperature == 0:
        return [int(token) for token in logits.argmax(dim=-1).tolist()]
    scores = logits / sampling.temperature
    at = torch.tensor(numbers, dtype=scores.dtype, device=scores.device)[:, None]
    if sampling.top_k == 0 and sampling.top_p == 1:
        return _drawn(scores.softmax(dim=-1), at)
    places, kept = _kept(scores, sampling)
    return [int(token) for token in places.gather(1, torch.tensor(_drawn(kept, at), device=places.device)[:, None])]


def _kept(scores: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """The tokens that may be drawn, likeliest first, and their probabilities (0 for those that may not)."""
    vocabulary = scores.shape[-1]
    limit = min(sampling.top_k or vocabulary, vocabulary)
    size = min(limit, _NUCLEUS) if sampling.top_p < 1 else limit
    while True:
        top, places = scores.topk(size, dim=-1)
        among = top if size == sampling.top_k else scores
        share = (top - among.logsumexp(dim=-1, keepdim=True)).exp()
        before = share.cumsum(dim=-1) - share
        if size == limit or bool((before[:, -1] >= sampling.top_p).all()):
            return places, share * (before < sampling.top_p) if sampling.top_p < 1 else share
        size = limit


def _drawn(weights: Tensor, at: Tensor) -> list[int]:
    """The place in every row at which the sum of the weights passes a part of their total."""
    sums = weights.double().cumsum(dim=-1)
    found = torch.searchsorted(sums, at.double() * sums[:, -1:], right=True).squeeze(-1)
    last = (weights > 0).long().cumsum(dim=-1).argmax(dim=-1)  # rounding must not lead behind the last possible one
    return [int(place) for place in found.minimum(last).tolist()]


def penalise(logits: Tensor, seen: Sequence[Sequence[int]], penalty: float) -> None:
    """Lower the scores of the tokens that each row has seen already.

    Args:
        logits: Scores, (rows, vocabulary); they are changed.
        seen: The tokens of every row, prompt and answer.
        penalty: Positive scores are divided by it, negative ones multiplied.

    """
    for row, tokens in enumerate(seen):
        places = torch.tensor(sorted(set(tokens)), device=logits.device)
        scores = logits[row, places]
        logits[row, places] = torch.where(scores < 0, scores * penalty, scores / penalty)
