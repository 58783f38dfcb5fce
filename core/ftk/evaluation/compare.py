"""Base and tuned model on the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.rows import Message
from ..errors import UsageError
from .generate import Sampling, generate, without_adapter


@dataclass(frozen=True)
class Comparison:
    """A prompt with the answers of both models."""

    prompt: str
    base: str
    tuned: str


def compare_models(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | tuple[Message, ...]],
    *,
    base: Any = None,
    sampling: Sampling | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[Comparison]:
    """Answer prompts with the base and with the tuned model, under the same seed.

    Args:
        model: The tuned model. If it carries an adapter, the base is the same model with the adapter off,
            and no second copy is loaded.
        tokenizer: Used for both.
        prompts: Texts, or conversations that end with a user's turn.
        base: Another model to compare with instead.
        sampling: How tokens are chosen; greedy by default.
        stop: Asked after every token; true ends early.

    Raises:
        UsageError: the model carries no adapter, and no `base` is given.

    """
    if base is None and not hasattr(model, "disable_adapter"):
        raise UsageError("This model carries no adapter, so there is nothing to compare it with.", hint="Give base=...")
    tuned = generate(model, tokenizer, prompts, sampling, stop=stop)
    if base is not None:
        plain = generate(base, tokenizer, prompts, sampling, stop=stop)
    else:
        with without_adapter(model):
            plain = generate(model, tokenizer, prompts, sampling, stop=stop)
    texts = [p if isinstance(p, str) else p[-1]["content"] for p in prompts]
    return [Comparison(*parts) for parts in zip(texts, plain, tuned, strict=True)]
