"""One process or several: who am I, and what is the sum over all of us (through accelerate)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class Workers:
    """The processes that train one adapter together.

    Every process holds the whole model, computes some rows of each step, and the adapter's gradients are
    summed once a step. An adapter is small, so one flat sum costs less than hooking every layer; and it works
    with quantised bases, recomputed activations and uneven numbers of rows alike.
    """

    def __init__(self, device: str) -> None:
        from accelerate import Accelerator

        self._accelerator: Any = Accelerator(cpu=device == "cpu", mixed_precision="no")
        self.rank: int = self._accelerator.process_index
        self.size: int = self._accelerator.num_processes
        self.device = torch.device(device) if self.size == 1 else self._accelerator.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files and tells the events."""
        return self.rank == 0

    def share(self, rows: Sequence[int]) -> list[int]:
        """The rows of a step that this process computes."""
        return list(rows[self.rank :: self.size])

    @torch.no_grad()
    def sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace float32 tensors by their sums over all processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        flat = self._accelerator.reduce(flat, reduction="sum")
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def close(self) -> None:
        """Wait for the others, then end the connection.

        A process that ends with the connection open tears its threads down while they still wait for messages,
        and now and then aborts after its work is done.
        """
        if self.size > 1:
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()
