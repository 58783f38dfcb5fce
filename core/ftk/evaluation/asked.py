"""What is asked and how, and what comes back: plain values, for which nothing heavy has to be imported."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..data.rows import Message
from ..errors import UsageError

if TYPE_CHECKING:
    from .batching import Reason


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen: temperature 0 takes the likeliest each time, and then nothing is random.

    Args:
        max_tokens: The longest answer, in tokens.
        temperature: Flattens (above 1) or sharpens (below 1) the probabilities; 0 takes the likeliest token.
        top_p: Keep the likeliest tokens that together reach that probability; 1 keeps all.
        seed: Fixes what is drawn: the same for base and tuned model, row by row, however rows are grouped.
        top_k: Keep so many of the likeliest tokens; 0 keeps all.
        repetition_penalty: Divides the scores of tokens that were there before (arXiv:1909.05858); 1 does nothing.

    Raises:
        UsageError: a value is out of range.

    """

    max_tokens: int = 160
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        wrong = {
            "max_tokens": self.max_tokens < 1 and "must be 1 or more",
            "temperature": not 0 <= self.temperature < math.inf and "must be 0 or more",
            "top_p": not 0 < self.top_p <= 1 and "must be above 0 and at most 1",
            "seed": not 0 <= self.seed < 2**32 and "must be between 0 and 4294967295",
            "top_k": self.top_k < 0 and "must be 0 or more",
            "repetition_penalty": not 0 < self.repetition_penalty < math.inf and "must be above 0",
        }
        for name, reason in wrong.items():
            if reason:
                raise UsageError(f"{name}: {getattr(self, name)!r} is not accepted: {reason}.")


@dataclass(frozen=True)
class Prompt:
    """What is asked: a conversation that ends with a user's turn, or a raw text to go on with.

    `tools` are the functions that the model may call; `reference` is the answer that is known to be good, if one is;
    `origin` says where it comes from, as ``file, line N``.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    tools: tuple[Any, ...] = ()
    reference: str | None = None
    origin: str = ""

    @property
    def asked(self) -> str:
        """The last turn, or the raw text."""
        return self.text if self.text is not None else str(self.messages[-1]["content"] if self.messages else "")


Asked = str | tuple[Message, ...] | Prompt
"""What `generate` takes as a prompt: a text that a user says, a conversation, or a `Prompt`."""


@dataclass(frozen=True)
class Answer:
    """An answer: its text, its length and that of its prompt in tokens, and why it ended."""

    text: str
    tokens: int
    prompt_tokens: int
    reason: Reason


def conversation(prompt: str, system: str | None = None) -> tuple[Message, ...]:
    """A prompt as the turns of a conversation."""
    turns = ({"role": "system", "content": system},) if system else ()
    return (*turns, {"role": "user", "content": prompt})


def as_prompt(asked: Asked) -> Prompt:
    """A prompt in whatever form."""
    if isinstance(asked, Prompt):
        return asked
    return Prompt(conversation(asked) if isinstance(asked, str) else tuple(asked))


@dataclass(frozen=True)
class Compared:
    """A prompt, its number from 0, and the answers of all models by their labels."""

    number: int
    prompt: Prompt
    answers: Mapping[str, Answer]
