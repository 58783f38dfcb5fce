"""Make batches in a thread while others are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ..data.batches import Batch

Rows = Sequence[int]


class Ahead:
    """Has the next batch ready when it is asked for; never more than one, so memory does not grow.

    Args:
        make: The tensors of some rows.

    """

    def __init__(self, make: Callable[[Rows], Batch]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ftk-batches")
        self._ready: tuple[tuple[int, ...], Future[Batch]] | None = None

    def batches(self, portions: Sequence[Rows], following: Rows | None = None) -> Iterator[Batch]:
        """The batch of each portion; while the last one is used, that of `following` is made.

        Raises:
            Exception: what `make` raised for the batch that is due.

        """
        for portion, after in zip(portions, [*portions[1:], following], strict=True):
            batch = self._take(portion)
            if after is not None:
                self._ready = (tuple(after), self._pool.submit(self._make, after))
            yield batch

    def _take(self, portion: Rows) -> Batch:
        ready, self._ready = self._ready, None
        if ready and ready[0] == tuple(portion):
            return ready[1].result()
        return self._make(portion)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
