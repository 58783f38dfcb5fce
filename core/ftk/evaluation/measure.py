"""Loss, perplexity and speed of a model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from ..data import encoding, templates
from ..data.batches import collate, lengths_of, micro_batches
from ..data.dataset import load_dataset
from ..data.encoding import Example
from ..errors import DataError
from ..training.loss import SupervisedHead, summed_loss
from .generate import Sampling, conversation, generate


@torch.no_grad()
def _mean_loss(model: Any, tokenizer: Any, examples: Sequence[Example], batch_size: int) -> tuple[float, int]:
    training = model.training
    model.eval()
    head = SupervisedHead(model)
    device = model.get_input_embeddings().weight.device
    try:
        total = torch.zeros((), device=device)
        lengths = lengths_of(examples)
        order = sorted(range(len(examples)), key=lambda index: -lengths[index])
        for portion in micro_batches(order, lengths, batch_size * max([*lengths, 1])):
            batch = collate([examples[index] for index in portion], tokenizer.pad_token_id)
            total += summed_loss(model, head, batch, device)
    finally:
        head.remove()
        model.train(training)
    targets = sum(example.targets for example in examples)
    return total.item() / max(1, targets), targets


def evaluate_model(
    model: Any, tokenizer: Any, dataset: Any, *, max_length: int = 512, batch_size: int = 4
) -> dict[str, float]:
    """The loss of a model on the responses of a data set.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer; gets a chat template if it has none.
        dataset: Whatever `load_dataset` takes; the held-out part is used where there is one.
        max_length: Longest row in tokens.
        batch_size: Rows of the longest kind that are computed at once; of shorter ones as many as take the same room.

    Returns:
        ``loss`` (mean over supervised tokens, in nats), ``perplexity``, ``rows``, ``supervised_tokens``.

    """
    loaded = load_dataset(dataset)
    templates.choose(tokenizer)
    encoded = encoding.encode(loaded.held_out or loaded.rows, tokenizer, max_length)
    loss, targets = _mean_loss(model, tokenizer, encoded.examples, batch_size)
    return {
        "loss": loss,
        "perplexity": math.exp(min(loss, 700)),
        "rows": len(encoded.examples),
        "supervised_tokens": targets,
    }


def calculate_perplexity(
    model: Any, tokenizer: Any, texts: str | Sequence[str], *, max_length: int = 1024, batch_size: int = 4
) -> float:
    """The perplexity of a model on plain texts: exp of the mean loss over all tokens but each window's first.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        texts: One text or several; long ones are read in windows of `max_length` tokens.
        max_length: Tokens in a window.
        batch_size: Windows computed at once.

    Raises:
        DataError: the texts have fewer than two tokens in all.

    """
    windows: list[Example] = []
    for number, text in enumerate([texts] if isinstance(texts, str) else texts, 1):
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        for start in range(0, len(tokens), max_length):
            part = tuple(tokens[start : start + max_length])
            if len(part) > 1:
                windows.append(Example(part, (True,) * len(part), f"text {number}"))
    if not windows:
        raise DataError("Perplexity needs a text of at least two tokens.")
    loss, _ = _mean_loss(model, tokenizer, windows, batch_size)
    return math.exp(min(loss, 700))


def benchmark_speed(
    model: Any,
    tokenizer: Any,
    prompt: str = "Explain in a few sentences how tides work.",
    *,
    max_tokens: int = 64,
    batch_sizes: Sequence[int] = (1, 4),
) -> dict[str, Any]:
    """How fast a model answers.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer.
        prompt: What it is asked.
        max_tokens: Longest answer; answers may end earlier, and only written tokens are counted.
        batch_sizes: Numbers of equal prompts answered at once.

    Returns:
        ``first_token_s`` (seconds to the first token, one prompt, warm) and ``tokens_per_s`` by batch size.

    """
    question = conversation(prompt)
    generate(model, tokenizer, [question], Sampling(max_tokens=2))  # the first call pays for set-up
    first = _seconds(lambda: generate(model, tokenizer, [question], Sampling(max_tokens=1)))[0]
    rates: dict[int, float] = {}
    for size in batch_sizes:
        seconds, answers = _seconds(
            lambda size=size: generate(model, tokenizer, [question] * size, Sampling(max_tokens), batch_size=size)
        )
        written = sum(len(tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1 for answer in answers)
        rates[size] = round(written / seconds, 2)
    return {"first_token_s": round(first, 4), "tokens_per_s": rates}


def _seconds(action: Any) -> tuple[float, Any]:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.monotonic()
    result = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic() - begin, result
