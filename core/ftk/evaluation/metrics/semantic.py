"""A semantic score: words of the answer matched with those of the reference by what an embedding model makes of them.

BERTScore (arXiv:1904.09675) without its weights and its rescaling: each token of one side is matched with the token of
the other side that is likest to it, and the cosines are averaged to precision, recall and F1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import ModelError

_BATCH = 32
_LONGEST = 512
"""Tokens that are read at once where the model does not tell; longer texts are read in parts."""


def greedy_match(answer: Tensor, reference: Tensor) -> float:
    """How well the tokens of two texts match, F1, at most 1.

    Args:
        answer: The embeddings of the answer's tokens, (tokens, width).
        reference: Those of the reference's.

    """
    if not len(answer) or not len(reference):
        return float(len(answer) == len(reference))
    likeness = _unit(answer) @ _unit(reference).T
    precision = float(likeness.max(dim=1).values.mean())
    recall = float(likeness.max(dim=0).values.mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.double(), dim=-1)


class Embedder:
    """An embedding model: any that transformers loads from a folder of safetensors, encoder or decoder.

    Args:
        folder: The model's folder.
        device: Where to compute.

    Raises:
        ModelError: the folder holds no model that can be read.

    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
            model = AutoModel.from_pretrained(str(folder), use_safetensors=True, dtype=torch.float32, **safe)
        except Exception as error:
            raise ModelError(
                f"The embedding model in {folder} could not be loaded: {' '.join(str(error).split())[:200]}",
                hint="It takes a folder with config.json, .safetensors and a tokenizer.",
            ) from error
        self._model = model.to(device).eval()
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        known = getattr(model.config, "max_position_embeddings", None)
        self._longest = min(known or _LONGEST, _LONGEST)

    def similarities(
        self, answers: Sequence[str], references: Sequence[str], tell: Callable[[int, int], None] = lambda *_: None
    ) -> list[float]:
        """The semantic score of every answer against its reference, at most 1; of an empty answer 0."""
        texts = list(dict.fromkeys((*answers, *references)))
        found = dict(zip(texts, self.embed(texts, tell), strict=True))
        return [greedy_match(found[one], found[other]) for one, other in zip(answers, references, strict=True)]

    @torch.no_grad()
    def embed(self, texts: Sequence[str], tell: Callable[[int, int], None] = lambda *_: None) -> list[Tensor]:
        """The embeddings of the tokens of every text, (tokens, width), without those of special tokens."""
        made: list[list[Tensor]] = [[] for _ in texts]
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            for place, rows in self._rows([texts[number] for number in batch]):
                made[batch[place]].append(rows)
            tell(min(start + _BATCH, len(order)), len(order))
        width = self._model.config.hidden_size
        return [torch.cat(rows) if rows else torch.zeros(0, width) for rows in made]

    def _rows(self, texts: list[str]) -> Iterator[tuple[int, Tensor]]:
        """The embeddings of some texts, a text that is longer than the model can read in several parts, in order."""
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._longest,
            return_overflowing_tokens=True,
            return_special_tokens_mask=True,
            padding=True,
            return_tensors="pt",
        )
        of = encoded.pop("overflow_to_sample_mapping").tolist()
        special = encoded["special_tokens_mask"].bool() | ~encoded["attention_mask"].bool()
        inputs = {key: encoded[key].to(self._model.device) for key in ("input_ids", "attention_mask")}
        hidden = self._model(**inputs).last_hidden_state.float().cpu()
        for place, rows, left_out in zip(of, hidden, special, strict=True):
            yield place, rows[~left_out]
