"""Answers of a model to prompts, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ..data import templates
from ..data.encoding import end_of_turn
from ..data.rows import Message


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: temperature 0 takes the likeliest each time, and then nothing is random.

    `top_p` keeps the likeliest tokens that together reach that probability; `seed` fixes the choice.
    """

    max_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


def conversation(prompt: str, system: str | None = None) -> tuple[Message, ...]:
    """A prompt as the turns of a conversation."""
    turns = ({"role": "system", "content": system},) if system else ()
    return (*turns, {"role": "user", "content": prompt})


@torch.no_grad()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | tuple[Message, ...]],
    sampling: Sampling | None = None,
    *,
    batch_size: int = 8,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Answer prompts; each answer ends at the template's end of turn.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer; gets a chat template if it has none.
        prompts: Texts, or conversations that end with a user's turn.
        sampling: How tokens are chosen; greedy by default.
        batch_size: Prompts computed at once.
        stop: Asked after every token; true ends the generation with what there is.

    Returns:
        One answer a prompt, without special tokens, stripped of surrounding white space.

    """
    sampling = sampling or Sampling()
    templates.choose(tokenizer)
    ends = end_of_turn(tokenizer)
    texts = [templates.render(tokenizer, conversation(p) if isinstance(p, str) else p, prompt=True) for p in prompts]
    answers: list[str] = []
    with _evaluating(model), torch.random.fork_rng(enabled=sampling.temperature > 0):
        torch.manual_seed(sampling.seed) if sampling.temperature > 0 else None
        for start in range(0, len(texts), batch_size):
            answers += _batch(model, tokenizer, texts[start : start + batch_size], sampling, ends, stop)
    return answers


def _batch(
    model: Any,
    tokenizer: Any,
    texts: list[str],
    sampling: Sampling,
    ends: list[int],
    stop: Callable[[], bool],
) -> list[str]:
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    width = max(map(len, rows))
    pad = tokenizer.pad_token_id
    device = model.get_input_embeddings().weight.device
    input_ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    random = sampling.temperature > 0
    chosen = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if random else {}
    from transformers import GenerationConfig, StoppingCriteriaList

    config = GenerationConfig(
        max_new_tokens=sampling.max_tokens,
        do_sample=random,
        eos_token_id=ends,
        pad_token_id=pad,
        use_cache=True,
        **chosen,
    )
    criteria = StoppingCriteriaList([lambda ids, scores, **_: torch.full((len(rows),), stop(), device=device)])
    output = model.generate(
        input_ids=input_ids, attention_mask=mask, generation_config=config, stopping_criteria=criteria
    )
    return [tokenizer.decode(_until(row[width:].tolist(), ends), skip_special_tokens=True).strip() for row in output]


def _until(tokens: list[int], ends: list[int]) -> list[int]:
    return next((tokens[:index] for index, token in enumerate(tokens) if token in ends), tokens)


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode for the block, then whatever it was before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def without_adapter(model: Any) -> Any:
    """A block in which a model answers as its base: the adapter is switched off, no second copy is needed."""
    return model.disable_adapter() if hasattr(model, "disable_adapter") else nullcontext()
