"""Two models next to each other: the same few texts, and how far their logits are apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..data import templates
from ..evaluation.generate import Sampling, conversation, generate

_PROMPTS = ("What can you tell me about tides?", "Write one line of Python that adds 17 and 25: ", "¿Qué hora es? 漢字")
_TEXT = "The quick brown fox jumps over the lazy dog. In 1969, 2 + 2 = 4;\n\n\tdef add(a, b):  return a + b  # naïve\n"


@dataclass(frozen=True)
class Difference:
    """How far two models are apart on the same texts.

    `largest` is the largest difference of a logit, `relative` the root mean square of all differences as a part of
    the logits' own spread, `agreement` the part of the places at which both think the same token the likeliest.
    """

    largest: float
    relative: float
    agreement: float

    def __str__(self) -> str:
        return (
            f"largest logit difference {self.largest:.3g}, {100 * self.relative:.2g} % of the spread on average, "
            f"same likeliest token at {100 * self.agreement:.1f} % of the places"
        )


def texts() -> tuple[str, ...]:
    """Texts on which tokenizers are compared: words, numbers, white space, code, other scripts.

    All of them in Unicode's composed form, as llama.cpp does not compose and Qwen's tokenizer does.
    """
    return (*_PROMPTS, _TEXT, "ab  cd   ef\n\n\n 1234567 don't WE'LL 'tis…", "äöü ß Ж か ๑ 👍🏽")


def probes(tokenizer: Any) -> list[list[int]]:
    """A few texts as tokens, most of them prompts in the model's own template."""
    templates.choose(tokenizer)
    rendered = [templates.render(tokenizer, conversation(prompt), prompt=True) for prompt in _PROMPTS]
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (*rendered, _TEXT)]
    return [row[:96] for row in rows]


@torch.no_grad()
def logits(model: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """The logits of a model at every place of some rows of tokens, as float32 on the CPU."""
    device = model.get_input_embeddings().weight.device
    found = []
    for row in rows:
        ids = torch.tensor([list(row)], device=device)
        found.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].float().cpu())
    return found


def difference(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> Difference:
    """How far the second is from the first; infinite where a number is not finite.

    Where one model has more rows of tokens than the other, the common ones are compared.
    """
    width = min(one[0].shape[-1], other[0].shape[-1])
    a = torch.cat([part[:, :width] for part in one])
    b = torch.cat([part[:, :width] for part in other])
    if not (a.isfinite().all() and b.isfinite().all()):
        return Difference(math.inf, math.inf, 0.0)
    apart = (a - b).abs()
    relative = apart.square().mean().sqrt() / max(a.std(dim=-1).mean().item(), 1e-9)
    return Difference(apart.max().item(), relative.item(), (a.argmax(-1) == b.argmax(-1)).float().mean().item())


def answer(model: Any, tokenizer: Any, max_tokens: int = 12) -> str:
    """What a model answers to a short prompt, to see that it generates at all."""
    (text,) = generate(model, tokenizer, [conversation(_PROMPTS[0])], Sampling(max_tokens))
    return str(text)
