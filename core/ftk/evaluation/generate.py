"""Answers of a model to prompts, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from ..data import templates
from ..data.encoding import end_of_turn
from ..data.rows import shorten
from ..errors import DataError, ModelError
from ..training.recovery import give_back_memory, is_out_of_memory
from .asked import Answer as Answer
from .asked import Asked as Asked
from .asked import Prompt as Prompt
from .asked import Sampling as Sampling
from .asked import as_prompt as as_prompt
from .asked import conversation as conversation
from .batching import Decoder, Row
from .text_stream import TextStream

BATCH = 32
"""Rows that are answered at once by default."""


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Asked],
    sampling: Sampling | None = None,
    *,
    batch_size: int = BATCH,
    on_text: Callable[[int, str], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Answer prompts; each answer ends at the template's end of turn.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: Its tokenizer; gets a chat template if it has none.
        prompts: Texts, conversations that end with a user's turn, or `Prompt`.
        sampling: How tokens are chosen; greedy by default.
        batch_size: Prompts computed at once.
        on_text: Called with the number of a prompt, from 0, and the next part of its answer; the parts of a prompt
            joined are its answer.
        stop: Asked before every token; true ends the generation at once with what there is.

    Returns:
        One answer a prompt, without special tokens, stripped of surrounding white space.

    Raises:
        DataError: a prompt is longer than the model can read.

    """
    work = Generation(model, tokenizer, prompts, sampling, batch_size=batch_size, on_text=on_text)
    work.refuse_long()
    return [answer.text for answer in work.run(stop)]


class Generation:
    """Answers that are being written, a token of every row of the batch at each step.

    Two of them may take turns on one model, between which an adapter is switched; `evaluating` must hold meanwhile.
    A prompt that is longer than the model can read gets an empty answer; `refuse_long` makes it an error.

    Args:
        model: See `generate`; so are the others.
        tokenizer: Its tokenizer.
        prompts: What is asked.
        sampling: How tokens are chosen.
        batch_size: Prompts computed at once.
        on_text: Told of every part of an answer.
        first: The number of the first prompt where these are a part of more: it decides what is drawn.
        endless: Go on to the longest answer, whatever the model says: for measuring.

    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Sequence[Asked],
        sampling: Sampling | None = None,
        *,
        batch_size: int = BATCH,
        on_text: Callable[[int, str], None] | None = None,
        first: int = 0,
        endless: bool = False,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._sampling = sampling or Sampling()
        self._ends = [] if endless else ends_of(model, tokenizer)
        self._on_text = on_text
        self._first = first
        texts = token_rows(tokenizer, [as_prompt(asked) for asked in prompts])
        room = context_of(model)
        self._rows = [self._row(number, text, room) for number, text in enumerate(texts)]
        self._streams = {row.number: TextStream(tokenizer) for row in self._rows} if on_text else {}
        waiting = [row for row in self._rows if not row.reason]
        self._waiting = sorted(waiting, key=lambda row: -len(row.prompt))  # the longest first: if it fits, all do
        self._decoder = self._new_decoder()
        self._size = 1 if self._decoder.alone else max(1, batch_size)

    def _row(self, number: int, tokens: list[int], room: int | None) -> Row:
        limit = self._sampling.max_tokens
        if room is not None:
            limit = min(limit, room - len(tokens))
        return Row(self._first + number, tokens, limit, reason="" if limit > 0 else "no room")

    def refuse_long(self) -> None:
        """Raise where a prompt leaves no room for an answer.

        Raises:
            DataError: it is longer than the model can read.

        """
        for row in self._rows:
            if row.reason == "no room":
                raise DataError(
                    f"A prompt is {len(row.prompt)} tokens long, and the model reads {context_of(self._model)} with "
                    f"its answer: {shorten(self._tokenizer.decode(row.prompt[-60:], skip_special_tokens=True))}",
                    hint="Shorten it, or leave it out.",
                )

    def _new_decoder(self) -> Decoder:
        return Decoder(self._model, self._tokenizer.pad_token_id, self._ends, self._sampling)

    @property
    def done(self) -> bool:
        """Whether every answer has ended."""
        return not self._waiting and not self._decoder.rows

    @property
    def written(self) -> int:
        """Tokens written so far, of all answers together."""
        return sum(len(row.written) for row in self._rows)

    @property
    def tokens(self) -> list[list[int]]:
        """What is written so far, a list of tokens for every prompt; the token that ends an answer is not in it."""
        return [list(row.written) for row in self._rows]

    def run(self, stop: Callable[[], bool] = lambda: False) -> list[Answer]:
        """Write all answers to their end; `stop` is asked before every token."""
        with evaluating(self._model):
            while not self.done and not stop():
                self.step()
        return self.answers()

    def step(self) -> None:
        """Write a token of each row in the batch, or take rows that wait into it.

        Raises:
            ModelError: the memory does not hold a single row, or the model gives no numbers.

        """
        lengths = {row.number: len(row.written) for row in self._rows} if self._on_text else {}
        if not self._advance():
            self._make_smaller()
            return
        for row in self._rows if self._on_text else ():
            if len(row.written) > lengths[row.number] or row.reason:
                self._tell(row, lengths[row.number])

    def _advance(self) -> bool:
        """Do the next thing; returns whether the memory was enough."""
        decoder, waiting = self._decoder, self._waiting
        free = self._size - len(decoder.rows)
        joining = waiting[:free] if not decoder.rows or free >= max(1, self._size // 4) else []
        try:
            if joining:
                decoder.add(joining)
                self._waiting = waiting[len(joining) :]
            else:
                decoder.step()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True

    def _make_smaller(self) -> None:
        """Go on with half as many rows at once, after the memory was not enough."""
        together = len(self._decoder.rows) or min(self._size, len(self._waiting))
        going = [row for row in self._decoder.rows if row not in self._waiting]
        self._decoder = self._new_decoder()
        give_back_memory()
        if together <= 1 and self._size == 1:
            raise ModelError(
                "The memory does not hold the model with a single answer.",
                hint="Try shorter prompts, fewer tokens (--max-tokens), or a smaller model.",
            )
        self._size = max(1, together // 2)
        self._waiting = [*going, *self._waiting]

    def _tell(self, row: Row, before: int) -> None:
        assert self._on_text is not None
        stream = self._streams[row.number]
        parts = [stream.add(token) for token in row.written[before:]]
        if row.reason and not stream.closed:
            parts.append(stream.close())
        if text := "".join(parts):
            self._on_text(row.number - self._first, text)

    def answers(self) -> list[Answer]:
        """The answers; those that had not ended are ended with what there is."""
        for row in self._rows:
            row.reason = row.reason or "stopped"
            if self._on_text and not self._streams[row.number].closed:
                self._tell(row, len(row.written))
        self._waiting, self._decoder = [], self._new_decoder()
        return [
            Answer(decoded(self._tokenizer, row.written), len(row.written), len(row.prompt), row.reason)
            for row in self._rows
        ]


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """The text of an answer, without special tokens and surrounding white space."""
    return str(tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def token_rows(tokenizer: Any, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Prompts as tokens; the tokenizer gets a chat template if it has none.

    Raises:
        DataError: the chat template refuses a conversation.

    """
    templates.choose(tokenizer)
    texts = [
        prompt.text
        if prompt.text is not None
        else templates.render(tokenizer, prompt.messages, prompt=True, tools=prompt.tools)
        for prompt in prompts
    ]
    if not texts:
        return []
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    begin = templates.beginning(tokenizer)
    return [
        [*(begin if prompt.text is not None else []), *row] or [int(tokenizer.eos_token_id)]
        for prompt, row in zip(prompts, rows, strict=True)
    ]


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    """The tokens at which an answer ends: those of the template, the tokenizer and the model's own configuration."""
    templates.choose(tokenizer)
    found = list(end_of_turn(tokenizer))
    for config in (getattr(model, "generation_config", None), model.config.get_text_config()):
        known = getattr(config, "eos_token_id", None)
        found += [] if known is None else [known] if isinstance(known, int) else list(known)
    return list(dict.fromkeys(found))


def context_of(model: Any) -> int | None:
    """The tokens that a model can read and write together; None where its configuration does not tell."""
    known = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return known if isinstance(known, int) and known > 0 else None


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
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
