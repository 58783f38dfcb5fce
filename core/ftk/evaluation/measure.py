"""Loss, perplexity and scores of a model in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..data import templates
from ..data.dataset import load_dataset
from ..errors import DataError, UsageError
from .chosen import marks
from .generate import without_adapter
from .losses import measurable, need_tokens, plain, row_losses
from .measuring import Progress, Side, Task, long_enough, prompts_of, readable, side
from .metrics.confidence import Confidence
from .metrics.formats import Expectation
from .results import Evaluated, Example
from .sampling import Sampling
from .scoring import answer_samples, loss_samples, measures


def evaluate_model(  # noqa: PLR0913 - what is measured and how, each by name
    model: Any,
    tokenizer: Any,
    dataset: Any,
    *,
    compare: bool = False,
    base: Any = None,
    answers: int = 0,
    sampling: Sampling | None = None,
    expect: Expectation | None = None,
    max_length: int | None = None,
    batch_size: int = 4,
    confidence: Confidence | None = None,
    progress: Progress = lambda *_: None,
) -> Evaluated:
    """Measure a model on a data set: its loss on the responses, and how good its answers are.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer; gets a chat template if it has none.
        dataset: Whatever `load_dataset` takes; the held-out part is used where there is one.
        compare: Measure the base too: the same model with its adapter off, or `base`.
        base: The model to compare with, where the model carries no adapter.
        answers: Rows to answer, the first ones; 0 for none, which is much faster.
        sampling: How answers are chosen; greedy by default, as long as the longest reference and a quarter more.
        expect: The form that answers shall have.
        max_length: Tokens that are read at once; by default as many as the model can, at most 4096. A longer row is
            read in windows, and all of its supervised tokens count.
        batch_size: Rows of the longest kind that are computed at once; of shorter ones as many as take the same room.
        confidence: How intervals are made; 2000 draws, 95 % by default.
        progress: Told how far it is; may raise to cancel.

    Returns:
        ``loss`` (mean over supervised tokens, in nats), ``perplexity``, ``rows``, ``supervised_tokens``; and in
        ``measures`` every metric with its interval.

    Raises:
        DataError: the rows cannot be read, or hold nothing to measure.
        UsageError: the model carries no adapter, and there is no `base` to compare with.

    """
    compare = compare or base is not None
    if compare and base is None and not hasattr(model, "disable_adapter"):
        raise UsageError("This model carries no adapter, so there is nothing to compare it with.", hint="Give base=...")
    loaded = load_dataset(dataset)
    templates.choose(tokenizer)
    rows = tuple(loaded.held_out if len(loaded.held_out) else loaded.rows)
    held_out = measurable(rows, tokenizer)
    need_tokens(held_out, loaded.name)
    asked = readable(prompts_of(rows, None), model, tokenizer)[:answers] if answers else []
    prompts = tuple(prompt for _, prompt in asked)
    chosen = sampling or long_enough(Sampling(), prompts, tokenizer)
    task = Task(held_out, prompts=prompts, sampling=chosen, context=max_length, batch_size=batch_size)
    tuned = side(model, tokenizer, task, "tuned", progress)
    other = _other_side(model, base, tokenizer, task, progress) if compare else None
    found = _evaluated(tuned, other, task, expect or Expectation(), confidence or Confidence())
    hashes = marks(tuple(rows[place] for place, _ in asked))
    examples = tuple(replace(example, row=mark) for example, mark in zip(found.examples, hashes, strict=True))
    return replace(found, examples=examples)


def _other_side(model: Any, base: Any, tokenizer: Any, task: Task, progress: Progress) -> Side:
    if base is not None:
        return side(base, tokenizer, task, "base", progress)
    with without_adapter(model):
        return side(model, tokenizer, task, "base", progress)


def _evaluated(tuned: Side, base: Side | None, task: Task, expect: Expectation, how: Confidence) -> Evaluated:
    references = [prompt.reference or "" for prompt in task.prompts]

    def samples(of: Side) -> dict[str, Any]:
        return loss_samples(of.held_out) | (answer_samples(of.answers, references, expect) if references else {})

    tokens = sum(row.tokens for row in tuned.held_out)
    said = [answer.text for answer in base.answers] if base else [None] * len(task.prompts)
    return Evaluated(
        rows=len(tuned.held_out),
        supervised_tokens=tokens,
        loss=sum(row.total for row in tuned.held_out) / tokens,
        measures=measures(samples(tuned), samples(base) if base else None, how),
        answered=len(task.prompts),
        examples=tuple(
            Example(prompt.asked, prompt.reference or "", theirs, mine.text, "", prompt.origin)
            for prompt, theirs, mine in zip(task.prompts, said, tuned.answers, strict=True)
        ),
    )


def calculate_perplexity(
    model: Any, tokenizer: Any, texts: str | Sequence[str], *, max_length: int = 1024, batch_size: int = 4
) -> float:
    """The perplexity of a model on plain texts: exp of the mean loss over all tokens but each text's first.

    The first one counts too where the model has a token that begins every text, as Llama's and Gemma's do.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        texts: One text or several. In long ones every token is predicted from the tokens before it, as many of them
            as `max_length` allows and at least half of that.
        max_length: Tokens that are read at once.
        batch_size: Windows computed at once.

    Raises:
        DataError: the texts have fewer than two tokens in all.

    """
    rows = plain([texts] if isinstance(texts, str) else texts, tokenizer)
    if not rows.rows:
        raise DataError("Perplexity needs a text of at least two tokens.")
    found = row_losses(model, tokenizer.pad_token_id, rows, context=max_length, batch_size=batch_size)
    return math.exp(min(sum(row.total for row in found) / sum(row.tokens for row in found), 700))
