"""What a run tells of its updates: the mean loss since the last report, speed, time left, memory."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from .. import hardware
from ..config import RunConfig
from ..events import Event, Step
from .checkpoint import Progress
from .forecast import Forecast


@dataclass(frozen=True)
class Update:
    """One optimiser update: mean loss over `targets` supervised tokens, gradient norm, rate, tokens, seconds.

    `fresh` is the part of its sizes of matrices that were met for the first time.
    """

    loss: float
    norm: float
    rate: float
    targets: int
    tokens: int
    seconds: float
    fresh: float = 0.0


class Reporter:
    """Gathers updates and tells of them every `log_steps`.

    Args:
        config: Settings without any ``auto``.
        steps_per_epoch: Updates of a pass over the data.
        device: Where training happens.
        emit: Takes the events.
        tokens_per_epoch: Tokens of all rows.

    """

    def __init__(
        self,
        config: RunConfig,
        steps_per_epoch: int,
        device: torch.device,
        emit: Callable[[Event], None],
        tokens_per_epoch: int = 0,
    ) -> None:
        self._every, self._total = config.log_steps, config.max_steps or 0
        self._per_epoch, self._device, self._emit = steps_per_epoch, device, emit
        self.loss, self.targets = 0.0, 0
        self.losses: deque[float] = deque(maxlen=max(1, self._total // 10))
        self._recent: deque[tuple[float, int]] = deque(maxlen=20)
        prepares = device.type == "cpu" and config.precision == "bfloat16"
        self._forecast = Forecast(self._total, steps_per_epoch, tokens_per_epoch, prepares=prepares)

    def take(self, update: Update, progress: Progress, seconds_besides: float, fresh_left: float = 0.0) -> None:
        """Add an update, and tell of those since the last report where one is due.

        Args:
            update: The update.
            progress: How far the run is with it.
            seconds_besides: What the run will spend on other things than updates.
            fresh_left: How many of the updates to come will meet sizes of micro-batches for the first time.

        """
        if math.isfinite(update.loss):
            self.loss += update.loss * update.targets
            self.targets += update.targets
        self._recent.append((update.seconds, update.tokens))
        self._forecast.take(update.tokens, update.seconds, update.fresh)
        if progress.step % self._every and progress.step != self._total:
            return
        mean = self.loss / self.targets if self.targets else math.nan
        self.losses.append(mean)
        self.loss, self.targets = 0.0, 0
        seconds = sum(part[0] for part in self._recent)
        tokens = sum(part[1] for part in self._recent)
        left = self._forecast.left(progress.step, progress.tokens, seconds_besides, fresh_left)
        self._emit(
            Step(
                step=progress.step,
                total_steps=self._total,
                epoch=round(progress.step / self._per_epoch, 4),
                loss=mean,
                learning_rate=update.rate,
                grad_norm=update.norm,
                tokens=progress.tokens,
                supervised_tokens=progress.supervised_tokens,
                tokens_per_s=round(tokens / seconds, 1) if seconds else 0.0,
                eta_s=round(left.seconds, 1),
                eta_low_s=None if left.low is None else round(left.low, 1),
                eta_high_s=None if left.high is None else round(left.high, 1),
                elapsed_s=round(progress.seconds, 3),
                memory_bytes=hardware.process_memory(),
                gpu_memory_bytes=hardware.gpu_memory_used() if self._device.type == "cuda" else None,
            )
        )

    def evaluation(self, tokens: int, seconds: float) -> float:
        """What an evaluation of so many tokens will take, where the first one took some seconds.

        The first waits for much that is done once, so it is not believed beyond what the updates say.
        """
        expected = self._forecast.forward(tokens)
        return seconds if expected is None else min(seconds, 2 * expected)

    def restore(self, progress: Progress) -> None:
        """Go on from a checkpoint."""
        self.loss, self.targets = progress.sum_loss, progress.sum_targets
        self.losses.extend(progress.losses)
