"""One worker that writes all answers: rows of all requests in common batches, which they join and leave.

Rows share a batch where the same model answers them in the same way (base or tuned, temperature, top-p). Several such
batches take turns, a token each; between them the adapter is switched on and off.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import secrets
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import FtkError
from ...evaluation.batching import Decoder, Row
from ...evaluation.generate import ends_of, evaluating, without_adapter
from ...evaluation.sampling import Sampling
from ...training.failures import explain
from ...training.recovery import give_back_memory, is_out_of_memory
from .protocol import ApiError, Written
from .texts import Stream


@dataclass(frozen=True)
class Part:
    """The next part of an answer; `reason` is set in the last one, and `tokens` counts what was written so far."""

    text: str
    reason: str = ""
    tokens: int = 0


@dataclass(frozen=True)
class Broken:
    """No more of an answer will come."""

    error: ApiError


@dataclass(eq=False)
class Job:
    """One answer that is asked for.

    Args:
        prompt: Tokens.
        limit: Tokens to write at most.
        tuned: Whether the tuned model answers, not its base.
        sampling: How tokens are chosen; its `max_tokens` counts for nothing.
        seeded: Whether the client gave a seed: then what is drawn depends on nothing else.
        stop: Texts at which the answer ends.
        chat: Whether white space around the answer is left out.

    """

    prompt: list[int]
    limit: int
    tuned: bool
    sampling: Sampling
    seeded: bool = False
    stop: tuple[str, ...] = ()
    chat: bool = True
    parts: queue.SimpleQueue[Part | Broken] = field(default_factory=queue.SimpleQueue)
    cancelled: bool = False

    def whole(self) -> Written:
        """Wait for the end of the answer.

        Raises:
            ApiError: it could not be written.

        """
        texts = []
        while True:
            part = self.parts.get()
            if isinstance(part, Broken):
                raise part.error
            texts.append(part.text)
            if part.reason:
                return Written("".join(texts), part.reason, part.tokens)


@dataclass(eq=False)
class _Going:
    """An answer that is being written."""

    job: Job
    row: Row
    stream: Stream
    seen: int = 0


class _Batch:
    """Rows that are answered by one model in one way."""

    def __init__(self, tuned: bool, sampling: Sampling) -> None:
        self.tuned, self.sampling = tuned, sampling
        self.waiting: deque[_Going] = deque()
        self.going: list[_Going] = []
        self.decoder: Decoder | None = None


class Engine:
    """Answers jobs in a thread of its own.

    Args:
        model: With or without an adapter.
        tokenizer: Its tokenizer.
        batch: Rows that are computed at once.

    """

    def __init__(self, model: Any, tokenizer: Any, *, batch: int = 8) -> None:
        self._model, self._tokenizer, self._size = model, tokenizer, max(1, batch)
        self._ends = ends_of(model, tokenizer)
        self._new: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._batches: dict[Any, _Batch] = {}
        self._numbers = itertools.count()
        self._seed = secrets.randbelow(2**32)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="ftk-serve", daemon=True)

    def start(self) -> Engine:
        """Begin to work."""
        self._thread.start()
        return self

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs up; their parts come into their queues.

        Raises:
            ApiError: the engine is being stopped.

        """
        if self._stopping.is_set() or not self._thread.is_alive():
            raise ApiError(503, "The server is being stopped.")
        for job in jobs:
            self._new.put(job)

    @property
    def counts(self) -> tuple[int, int]:
        """Rows that are being written, and rows that wait."""
        batches = list(self._batches.values())
        return sum(len(batch.going) for batch in batches), sum(len(batch.waiting) for batch in batches)

    def stop(self, wait_s: float = 10.0) -> None:
        """Break off what is being written, and end the thread."""
        self._stopping.set()
        self._new.put(None)
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _work(self) -> None:
        with evaluating(self._model):
            while not self._stopping.is_set():
                self._take_up()
                for tuned in (True, False):
                    self._turn(tuned)
        for batch in self._batches.values():
            self._fail([*batch.waiting, *batch.going], ApiError(503, "The server is being stopped."))
        self._batches.clear()
        with contextlib.suppress(queue.Empty):
            while True:
                if job := self._new.get_nowait():
                    job.parts.put(Broken(ApiError(503, "The server is being stopped.")))

    def _take_up(self) -> None:
        """Sort new jobs into batches; waits for one where there is nothing else to do."""
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._new.get(block=not self._batches, timeout=None if not self._batches else 0)
                if job is None:
                    return
                self._sort(job)

    def _sort(self, job: Job) -> None:
        drawn = job.sampling.temperature > 0
        sampling = job.sampling if job.seeded or not drawn else _with_seed(job.sampling, self._seed)
        alone = job.seeded and drawn  # in a batch of its own it always draws the same
        key = (job.tuned, sampling, job if alone else None)
        batch = self._batches.setdefault(key, _Batch(job.tuned, sampling))
        row = Row(0 if alone else next(self._numbers), list(job.prompt), job.limit)
        batch.waiting.append(_Going(job, row, Stream(self._tokenizer, job.stop, trim=job.chat)))

    def _turn(self, tuned: bool) -> None:
        """A token for every row of the batches of one model."""
        mine = [key for key, batch in self._batches.items() if batch.tuned is tuned]
        if not mine:
            return
        with contextlib.nullcontext() if tuned else without_adapter(self._model):
            for key in mine:
                batch = self._batches[key]
                try:
                    self._advance(batch)
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not end the server
                    self._recover(batch, error)
                if not batch.waiting and not batch.going:
                    del self._batches[key]

    def _advance(self, batch: _Batch) -> None:
        self._forget_cancelled(batch)
        decoder = batch.decoder
        if decoder is None:
            pad = self._tokenizer.pad_token_id
            decoder = batch.decoder = Decoder(self._model, pad, self._ends, batch.sampling)
        size = 1 if decoder.alone else self._size
        free = max(0, size - sum(len(other.going) for other in self._batches.values()))
        if not batch.going and batch.waiting:
            free = max(1, free)  # every batch gets its turn
        joining = [batch.waiting[place] for place in range(min(free, len(batch.waiting)))]
        if joining:
            decoder.add([going.row for going in joining])
            for _ in joining:
                batch.going.append(batch.waiting.popleft())
        elif batch.going:
            decoder.step()
        for going in list(batch.going):
            self._tell(batch, going)

    def _tell(self, batch: _Batch, going: _Going) -> None:
        """Hand out what a row got, and let it go where it has ended."""
        text = "".join(going.stream.add(token) for token in going.row.written[going.seen :])
        going.seen = len(going.row.written)
        if going.row.reason or going.stream.stopped:
            text += going.stream.close()
            reason = "length" if going.row.reason == "length" and not going.stream.stopped else "stop"
            self._leave(batch, going)
            going.job.parts.put(Part(text, reason, going.seen))
        elif text:
            going.job.parts.put(Part(text, tokens=going.seen))

    @staticmethod
    def _leave(batch: _Batch, going: _Going) -> None:
        batch.going.remove(going)
        if batch.decoder and going.row in batch.decoder.rows:
            batch.decoder.drop(going.row)

    def _forget_cancelled(self, batch: _Batch) -> None:
        batch.waiting = deque(going for going in batch.waiting if not going.job.cancelled)
        for going in [going for going in batch.going if going.job.cancelled]:
            self._leave(batch, going)

    def _recover(self, batch: _Batch, error: Exception) -> None:
        """Go on after an error: with smaller batches where the memory was not enough, else without these rows."""
        rows = [*batch.going, *batch.waiting]
        batch.decoder = None
        if is_out_of_memory(error) and self._size > 1:
            give_back_memory()
            self._size = max(1, self._size // 2)
            batch.waiting, batch.going = deque(rows), []  # rows that have written something are gone on with
            return
        batch.waiting.clear()
        batch.going.clear()
        known = error if isinstance(error, FtkError) else explain(error)
        self._fail(rows, ApiError(500, known.message))

    @staticmethod
    def _fail(rows: Sequence[_Going], error: ApiError) -> None:
        for going in rows:
            going.job.parts.put(Broken(error))


def _with_seed(sampling: Sampling, seed: int) -> Sampling:
    from dataclasses import replace

    return replace(sampling, seed=seed)
