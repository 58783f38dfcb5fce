"""Many answers at once: rows of different lengths in one batch, which they join and leave while it runs.

Keys and values of all tokens are kept in room that is allocated ahead, so that a step writes one column instead of
copying everything. Rows stand flush right: a shorter row has empty columns before its first token, which are masked.
A row that ends gives its place to the last one, and rows that wait take the places that are free.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from ..errors import ModelError
from ..models.adapters import is_adapted
from .ensemble import Ensemble
from .sampling import Draws, Sampling, choose, penalise

_AHEAD = 64
"""Columns that are allocated ahead at least."""

Reason = Literal["", "end", "length", "stopped", "no room"]
"""Why an answer ended: the model said so, it became too long, somebody stopped it, or its prompt is longer than the
model can read; empty while it goes on."""


@dataclass(eq=False)
class Row:
    """An answer that is being written: its number, its prompt in tokens, how many tokens it may write and did."""

    number: int
    prompt: list[int]
    limit: int
    written: list[int] = field(default_factory=list)
    reason: Reason = ""

    def take(self, token: int, ends: Sequence[int]) -> None:
        """Add a token; one that ends the answer is not part of it."""
        if token in ends:
            self.reason = "end"
            return
        self.written.append(token)
        if len(self.written) >= self.limit:
            self.reason = "length"


class _Layer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer of the model: (rows, heads, columns, width), `begin` to `end` of them in use."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: Any
        self.values: Any
        self.rows = self.begin = self.end = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the tokens of a step; returns all that are kept."""
        if self.keys is None:
            self.rows = len(key_states)
            self.keys, self.values = (part.new_zeros(_empty(part)) for part in (key_states, value_states))
            self.is_initialized = True
        self._reserve(self.rows, after=key_states.shape[-2])
        new = slice(self.end, self.end + key_states.shape[-2])
        self.keys[: self.rows, :, new], self.values[: self.rows, :, new] = key_states, value_states
        self.end = new.stop
        return self._used(self.keys), self._used(self.values)

    def get_seq_length(self) -> int:
        """The columns in use."""
        return self.end - self.begin

    def _used(self, part: Tensor) -> Tensor:
        return part[: self.rows, :, self.begin : self.end]

    def _reserve(self, rows: int, *, before: int = 0, after: int = 0) -> None:
        """See that there is room for so many rows, and for so many more columns on either side."""
        length, (known, _, columns, _) = self.get_seq_length(), self.keys.shape
        if rows <= known and before <= self.begin and self.end + after <= columns:
            return
        space = before + length + after
        shape = (max(rows, known), self.keys.shape[1], space + max(_AHEAD, space // 4))
        moved = []
        for part in (self.keys, self.values):  # zeros and not just anything: what is masked must still be a number
            larger = part.new_zeros((*shape, part.shape[-1]))
            larger[: self.rows, :, before : before + length] = self._used(part)
            moved.append(larger)
        (self.keys, self.values), self.begin, self.end = moved, before, before + length

    def leave(self, row: int) -> None:
        """Take a row out; the last one gets its place."""
        self.rows -= 1
        for part in (self.keys, self.values):
            part[row, :, self.begin : self.end] = part[self.rows, :, self.begin : self.end]

    def trim(self, columns: int) -> None:
        """Forget the first columns, which no row needs any more."""
        self.begin += columns

    def join(self, other: _Layer) -> None:
        """Take up the rows of another layer, behind those that are here."""
        wider = max(0, other.get_seq_length() - self.get_seq_length())
        self._reserve(self.rows + other.rows, before=wider)
        self.begin -= wider
        new = slice(self.rows, self.rows + other.rows)
        for mine, its in ((self.keys, other.keys), (self.values, other.values)):
            mine[new, :, : self.end] = 0
            mine[new, :, self.end - other.get_seq_length() : self.end] = other._used(its)
        self.rows += other.rows


def _empty(part: Tensor) -> tuple[int, int, int, int]:
    rows, heads, _, width = part.shape
    return rows, heads, 0, width


class _Kept(Cache):  # type: ignore[misc]
    """What a model keeps of all tokens of a batch."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Layer)


class _KeptOfAll:
    """What the members of an ensemble keep, each for itself."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    @property
    def layers(self) -> list[Any]:
        return [layer for part in self.parts for layer in part.layers]

    def get_seq_length(self) -> int:
        return int(self.parts[0].get_seq_length())


class Decoder:
    """Writes the answers of a batch of rows, a token of each at every step.

    Args:
        model: A causal language model, with or without an adapter, or an `Ensemble`, in evaluation mode.
        pad: A token to fill rows with; it is masked.
        ends: The tokens that end an answer.
        sampling: How tokens are chosen.

    """

    def __init__(self, model: Any, pad: int, ends: Sequence[int], sampling: Sampling) -> None:
        self.rows: list[Row] = []
        """The rows that are not ended, in their places in the batch."""
        self._ensemble = model if isinstance(model, Ensemble) else None
        self._forward = model.get_base_model() if is_adapted(model) else model  # the adapter sits in its layers
        self._device = model.get_input_embeddings().weight.device
        self._pad, self._ends, self._sampling = pad, ends, sampling
        self._draws: dict[int, Draws] = {}
        self._kept: Any = None

    @cached_property
    def alone(self) -> bool:
        """Whether the model keeps more than keys and values (a recurrent state), so that rows cannot share a batch."""
        kinds = {type(layer) for layer in DynamicCache(config=self._forward.config).layers}
        types = set(getattr(self._forward.config.get_text_config(decoder=True), "layer_types", None) or ())
        return not kinds <= {DynamicLayer, DynamicSlidingWindowLayer} or "chunked_attention" in types

    @torch.no_grad()
    def add(self, rows: Sequence[Row]) -> None:
        """Read the prompts of some rows, write their first tokens, and take them into the batch.

        Rows that have written something already are gone on with.

        Raises:
            ModelError: the model gives no numbers.

        """
        kept = self._new_kept()
        texts = [row.prompt + row.written for row in rows]
        width = max(map(len, texts))
        ids = [[self._pad] * (width - len(text)) + text for text in texts]
        logits = self._logits(ids, [len(text) for text in texts], kept)
        if bool(logits.isnan().any()):
            raise ModelError(
                "The model's answer is not a number (NaN): its weights or its adapter are damaged, or do not fit.",
                hint="Try --precision float32 where it is float16; else load the model or train the adapter anew.",
            )
        before = len(self.rows)
        if self._kept is None or not before:
            self._kept = kept
        else:
            for mine, its in zip(self._kept.layers, kept.layers, strict=True):
                mine.join(its)
        self.rows = [*self.rows, *rows]
        self._take(logits, before)

    def _new_kept(self) -> Any:
        def one() -> Any:
            return DynamicCache(config=self._forward.config) if self.alone else _Kept()

        return _KeptOfAll([one() for _ in self._ensemble.names]) if self._ensemble else one()

    @torch.no_grad()
    def step(self) -> None:
        """Write a token of every row."""
        last = [[row.written[-1]] for row in self.rows]
        self._take(self._logits(last, [len(row.prompt) + len(row.written) for row in self.rows], self._kept), 0)

    def drop(self, row: Row) -> None:
        """Take a row out of the batch."""
        place = self.rows.index(row)
        self._draws.pop(row.number, None)
        last = self.rows.pop()
        if last is not row:
            self.rows[place] = last
        if self.rows:
            for layer in self._kept.layers:
                layer.leave(place)
        else:
            self._kept = None

    def _logits(self, ids: list[list[int]], lengths: list[int], kept: Any) -> Tensor:
        """The scores of the token behind each row.

        Args:
            ids: The tokens that are not kept yet, of equally many columns.
            lengths: How long each row is with them.
            kept: What is kept of those before.

        """
        if self._ensemble:
            return self._ensemble.scores(lambda member: self._scores(ids, lengths, kept.parts[member]))
        return self._scores(ids, lengths, kept)

    def _scores(self, ids: list[list[int]], lengths: list[int], kept: Any) -> Tensor:
        columns = kept.get_seq_length() + len(ids[0])
        device = self._device
        ends = torch.tensor(lengths, device=device)[:, None]
        mask = None
        if min(lengths) < columns:
            mask = torch.arange(columns, device=device) >= columns - ends
        places = torch.arange(-len(ids[0]), 0, device=device) + ends
        out = self._forward(
            input_ids=torch.tensor(ids, device=device),
            attention_mask=mask,
            position_ids=places.clamp(min=0),
            use_cache=True,
            **{self._names["cache"]: kept},
            **({"logits_to_keep": 1} if self._names["last"] else {}),
        )
        return out.logits[:, -1].to(torch.float32, copy=True)

    @cached_property
    def _names(self) -> dict[str, Any]:
        """What the model calls its arguments; `cache` has that name from transformers 5.24 on."""
        known = inspect.signature(self._forward.forward).parameters
        return {"cache": "cache" if "cache" in known else "past_key_values", "last": "logits_to_keep" in known}

    def _take(self, logits: Tensor, start: int) -> None:
        """Choose a token for the rows from place `start` on; those that end leave."""
        rows = self.rows[start:]
        if (penalty := self._sampling.repetition_penalty) != 1:
            penalise(logits, [row.prompt + row.written for row in rows], penalty)
        for row, token in zip(rows, choose(logits, self._sampling, self._numbers(rows)), strict=True):
            row.take(token, self._ends)
        for row in rows:
            if row.reason:
                self.drop(row)
        if self.rows and not self.alone:
            self._trim()

    def _trim(self) -> None:
        used = max(len(row.prompt) + len(row.written) - 1 for row in self.rows)
        if spare := self._kept.get_seq_length() - used:
            for layer in self._kept.layers:
                layer.trim(spare)

    def _numbers(self, rows: Sequence[Row]) -> list[float]:
        if self._sampling.temperature == 0:
            return []
        for row in rows:
            self._draws.setdefault(row.number, Draws(self._sampling.seed, row.number))
        return [self._draws[row.number].at(len(row.written)) for row in rows]
