"""A conversation with a model, turn by turn, that never grows longer than the model can read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import files
from ..data.rows import Message
from ..errors import DataError, UsageError
from ..models import loading
from ..models.sources import Progress
from ..training.recovery import give_back_memory
from .generate import Answer, Generation, Prompt, Sampling, context_of, token_rows
from .in_memory import InMemory, load
from .subjects import Subject, groups


class Voices:
    """The models that can be talked to, of which those that fit together are in memory: loaded when they are needed.

    Args:
        subjects: The models, from `subjects.find`.
        device: Another device than the run had.
        progress: Told what is being loaded.
        remark: Told what a person should know.

    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        *,
        device: str | None = None,
        progress: Progress = loading.silent,
        remark: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._groups = groups(subjects)
        self._device, self._progress, self._remark = device, progress, remark
        self._loaded: InMemory | None = None
        self.labels = [subject.label for subject in subjects]
        """What the models are called."""

    def ready(self, label: str) -> InMemory:
        """See that a model is in memory; another one that it shares nothing with leaves it.

        Raises:
            ModelError: it cannot be loaded.

        """
        if self._loaded is None or label not in self._loaded.labels:
            self._loaded = None
            give_back_memory()
            group = next(group for group in self._groups if label in [subject.label for subject in group])
            self._loaded = load(group, device=self._device, progress=self._progress)
            for text in self._loaded.remarks:
                self._remark(text)
        return self._loaded

    @contextmanager
    def using(self, label: str) -> Iterator[tuple[Any, Any]]:
        """A block with the model of that label, and its tokenizer."""
        loaded = self.ready(label)
        with loaded.using(label) as model:
            yield model, loaded.tokenizer(label)


@dataclass(frozen=True)
class Reply:
    """An answer, and how many earlier exchanges the model did not see any more because there was no room."""

    answer: Answer
    left_out: int


class Dialogue:
    """The turns of a conversation.

    Args:
        system: The system message, which is never left out; None for none.

    """

    def __init__(self, system: str | None = None) -> None:
        self.system = system
        self.turns: list[Message] = []
        """All turns but the system's, also those that the model does not see any more."""
        self._begin = 0

    def reset(self) -> None:
        """Forget all turns."""
        self.turns, self._begin = [], 0

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation."""
        return (*self._head(), *self.turns)

    def _head(self) -> tuple[Message, ...]:
        return ({"role": "system", "content": self.system},) if self.system else ()

    def ask(
        self,
        model: Any,
        tokenizer: Any,
        text: str,
        sampling: Sampling,
        *,
        on_text: Callable[[str], None] = lambda text: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Reply:
        """Say something, and take the model's answer into the conversation.

        Every turn has draws of its own. What was answered before a stop stays; where that is nothing, the question
        is taken back.

        Args:
            model: The model.
            tokenizer: Its tokenizer, with a chat template.
            text: What the user says.
            sampling: How tokens are chosen.
            on_text: Called with each part of the answer.
            stop: Asked before every token; true ends the answer.

        Raises:
            DataError: what was said is longer than the model can read, or the chat template refuses it.

        """
        begin = self._begin
        self.turns.append({"role": "user", "content": text})
        try:
            prompt = self._fitted(tokenizer, context_of(model), sampling.max_tokens)
            own = replace(sampling, seed=(sampling.seed + len(self.turns) // 2) % 2**32)
            work = Generation(model, tokenizer, [prompt], own, on_text=lambda _, part: on_text(part))
            (answer,) = work.run(stop)
        except BaseException:
            self.turns.pop()
            self._begin = begin
            raise
        if answer.text or answer.reason != "stopped":
            self.turns.append({"role": "assistant", "content": answer.text})
        else:
            self.turns.pop()
        return Reply(answer, (self._begin - begin) // 2)

    def _fitted(self, tokenizer: Any, room: int | None, longest: int) -> Prompt:
        """The conversation without its oldest exchanges, as far as that is needed to leave room for the answer."""
        while True:
            prompt = Prompt((*self._head(), *self.turns[self._begin :]))
            (tokens,) = token_rows(tokenizer, [prompt])
            if room is None or len(tokens) + max(1, min(longest, room // 4)) <= room:
                return prompt
            if self._begin >= len(self.turns) - 1:
                if len(tokens) < room:
                    return prompt
                raise DataError(
                    f"That is {len(tokens)} tokens long, and the model reads {room} with its answer.",
                    hint="Say it in fewer words.",
                )
            self._begin += 2

    def save(self, target: Path) -> Path:
        """Write the conversation: ``.jsonl`` or ``.json`` as a row to train on, ``.md`` to read.

        Raises:
            UsageError: there is nothing to write, the ending says no format, or the file exists or cannot be written.

        """
        if not self.turns:
            raise UsageError("Nothing was said yet.")
        if target.suffix.lower() not in (".jsonl", ".json", ".md"):
            raise UsageError(f"{target} says no format.", hint="Name a file that ends with .jsonl, .json or .md.")
        if target.exists():
            raise UsageError(f"{target} exists and was not changed.", hint="Choose another name.")
        if target.suffix.lower() == ".md":
            text = "\n\n".join(f"**{turn['role']}**\n\n{turn['content']}" for turn in self.messages)
        else:
            text = json.dumps({"messages": list(self.messages)}, ensure_ascii=False)
        try:
            files.write_atomic(target, text + "\n")
        except OSError as error:
            raise UsageError(f"{target} could not be written: {error.strerror or error}.") from None
        return target
