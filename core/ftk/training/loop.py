"""The training loop: from examples to updates, with evaluation, checkpoints and reports on the way."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from .. import hardware
from ..config import RunConfig
from ..data.batches import StepPlan, lengths_of, micro_batches, targets_of
from ..data.encoding import Example
from ..errors import TrainingError
from ..events import Evaluation, Event, Step, Warned
from . import checkpoint
from .ahead import Ahead
from .checkpoint import Progress
from .control import Control, StopRequested
from .noise import EmbeddingNoise
from .optim import AdapterOptimizer, learning_rate
from .passes import choose
from .workers import Workers

MAX_BAD_STEPS = 3
"""Updates in a row that may be skipped for numbers that are not finite before training stops with advice."""
_FIRST_SCALE = 2.0**13


@dataclass
class _Sums:
    """What came together since the last report."""

    loss: float = 0.0
    targets: int = 0
    tokens: int = 0
    recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=20))

    def rate(self) -> float:
        """Tokens a second over the last steps."""
        seconds = sum(part[0] for part in self.recent)
        return sum(part[1] for part in self.recent) / seconds if seconds else 0.0

    def seconds_per_step(self) -> float:
        """Mean over the last steps."""
        return sum(part[0] for part in self.recent) / max(1, len(self.recent))


class TrainingLoop:
    """Updates the adapter of a model step by step.

    Args:
        model: The model with its adapter on the right device.
        train: Examples to learn from.
        held_out: Examples to measure with; may be empty.
        config: Settings without any ``auto``.
        pad: Id of the padding token.
        emit: Takes the events.
        control: Looked at before every micro-batch.
        workers: The processes that train together.

    """

    def __init__(
        self,
        model: Any,
        train: Sequence[Example],
        held_out: Sequence[Example],
        config: RunConfig,
        *,
        pad: int,
        emit: Callable[[Event], None],
        control: Control,
        workers: Workers,
    ) -> None:
        self.model, self.train, self.held_out, self.config = model, train, held_out, config
        self.emit, self.control, self.workers = emit, control, workers
        self.optimizer = AdapterOptimizer(((n, p) for n, p in model.named_parameters() if p.requires_grad), config)
        self.passes = choose(model, pad, workers.device, config, emit)
        self._ahead = Ahead(lambda rows: self.passes.batch([train[row] for row in rows]))
        self._noise = EmbeddingNoise(model, config.neftune_alpha) if config.neftune_alpha else None
        self.progress = Progress()
        self.total = config.max_steps or 0
        self._lengths = lengths_of(train)
        self._budget = config.batch_size * max([*self._lengths, 1])
        self.plan = StepPlan(
            self._lengths, config.batch_size * config.gradient_accumulation * workers.size, config.seed
        )
        self.best: list[torch.Tensor] | None = None
        self.last_evaluation: float | None = None
        self.losses: deque[float] = deque(maxlen=max(1, self.total // 10))
        self.stopped_early = False
        self._scale = _FIRST_SCALE if config.precision == "float16" else 1.0
        self._sums = _Sums()
        self._bad = 0
        self._evaluation_s = 0.0

    def run(self, save: Callable[[], object]) -> None:
        """Train to the end.

        Args:
            save: Called when a checkpoint is due.

        Raises:
            StopRequested: `control` asked for it; `progress` tells how far training got.
            TrainingError: the numbers stay infinite or undefined.

        """
        if self.held_out and self.progress.step == 0:
            self._evaluate()
        self.model.train()
        while self.progress.step < self.total and not self.stopped_early:
            self._step()
            done = self.progress.step
            last = done == self.total
            if self.held_out and (last or done % self._int("eval_steps") == 0):
                self._evaluate()
            if last or self.stopped_early or done % self._int("save_steps") == 0:
                save()
        if self.config.early_stopping and self.best is not None:
            self.use_best()

    def close(self) -> None:
        """Give the model back as it came, with its adapter, and let go of the other processes."""
        self.release()
        self.workers.close()

    def release(self) -> None:
        """The same without waiting for the other processes, for a run that failed."""
        self._ahead.close()
        self.passes.close()
        if self._noise:
            self._noise.remove()

    def _int(self, key: str) -> int:
        return int(getattr(self.config, key))

    def _step(self) -> None:
        begin = time.monotonic()
        rows = self.plan.rows(self.progress.step)
        targets = sum(self.train[row].targets for row in rows)
        tokens = sum(self._lengths[row] for row in rows)
        loss = self._gradients(rows, targets)
        rate = learning_rate(self.progress.step, self.total, self.config)
        norm = self.optimizer.clip(self.config.max_grad_norm)
        loss_value, norm_value = torch.stack([loss, norm.float()]).tolist()  # the one wait for the device
        if math.isfinite(loss_value) and math.isfinite(norm_value):
            self.optimizer.step(rate)
            self._bad = 0
        else:
            self._skip(loss_value, norm_value, rows)
        self.optimizer.clear()
        seconds = time.monotonic() - begin
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            tokens=self.progress.tokens + tokens,
            supervised_tokens=self.progress.supervised_tokens + targets,
            seconds=self.progress.seconds + seconds,
        )
        self._report(loss_value, norm_value, rate, targets, tokens, seconds)

    def _gradients(self, rows: Sequence[int], targets: int) -> torch.Tensor:
        """Sum the gradients of a step's rows into the masters; returns the mean loss over its tokens."""
        total = torch.zeros((), device=self.workers.device)
        for batch in self._ahead.batches(self._portions(rows), self._following()):
            self._hold()
            with self._noise.over(batch) if self._noise else nullcontext():
                total += self.passes.backward(batch, self._scale / targets)
            self.optimizer.collect()
        masters = self.optimizer.masters
        for master in masters:
            if master.grad is None:
                master.grad = torch.zeros_like(master)
        stop = torch.tensor(float(self.control.stopping), device=total.device)
        self.workers.sum_([total, stop, *(m.grad for m in masters if m.grad is not None)])
        if self.workers.size > 1 and stop.item():
            self.control.stop("another process was stopped")
            self._hold()
        if self._scale != 1.0:
            for master in masters:
                master.grad = None if master.grad is None else master.grad.div_(self._scale)
        return total / targets

    def _portions(self, rows: Sequence[int]) -> list[list[int]]:
        """What this process computes of a step, micro-batch by micro-batch."""
        return micro_batches(self.workers.share(rows), self._lengths, self._budget)

    def _following(self) -> list[int] | None:
        """The first micro-batch of the next step, if that belongs to the same epoch."""
        step = self.progress.step + 1
        if step >= self.total or step % self.plan.steps_per_epoch == 0:
            return None
        return next(iter(self._portions(self.plan.rows(step))), None)

    def _hold(self) -> None:
        """Wait while paused, leave when stopping; processes that train together leave between steps."""
        self.control.wait_if_paused()
        if self.control.stopping and (self.workers.size == 1 or self.control.reason.startswith("another")):
            self.optimizer.clear()
            raise StopRequested(self.control.reason)

    def _skip(self, loss: float, norm: float, rows: Sequence[int]) -> None:
        """Leave out an update whose numbers are not finite; never let them reach the weights."""
        origins = ", ".join(self.train[row].origin for row in rows[:3])
        if self.config.precision == "float16" and self._scale > 1 and math.isfinite(loss):
            self._scale /= 2  # the usual overflow of float16 gradients: try the next step with a smaller scale
            return
        self._bad += 1
        advice = "Lower --learning-rate, use --precision bfloat16 or float32, and look at the rows named."
        message = f"Step {self.progress.step + 1}: loss {loss:g}, gradient norm {norm:g}; rows: {origins}"
        if self._bad >= MAX_BAD_STEPS:
            raise TrainingError(
                f"{message}. {self._bad} updates in a row were not finite; training stopped.", hint=advice
            )
        self.emit(Warned(code="not-finite", message=f"{message}. The update was skipped.", hint=advice))

    def _report(self, loss: float, norm: float, rate: float, targets: int, tokens: int, seconds: float) -> None:
        sums = self._sums
        if math.isfinite(loss):
            sums.loss += loss * targets
            sums.targets += targets
        sums.recent.append((seconds, tokens))
        done = self.progress.step
        if done % self.config.log_steps and done != self.total:
            return
        mean = sums.loss / sums.targets if sums.targets else math.nan
        self.losses.append(mean)
        sums.loss, sums.targets = 0.0, 0
        self.emit(
            Step(
                step=done,
                total_steps=self.total,
                epoch=round(done / self.plan.steps_per_epoch, 4),
                loss=mean,
                learning_rate=rate,
                grad_norm=norm,
                tokens=self.progress.tokens,
                supervised_tokens=self.progress.supervised_tokens,
                tokens_per_s=round(sums.rate(), 1),
                eta_s=round(self._eta(), 1),
                elapsed_s=round(self.progress.seconds, 3),
                memory_bytes=hardware.process_memory(),
                gpu_memory_bytes=hardware.gpu_memory_used() if self.workers.device.type == "cuda" else None,
            )
        )

    def _eta(self) -> float:
        """Seconds left: the steps at their recent pace, and the evaluations still to come."""
        left = self.total - self.progress.step
        evaluations = math.ceil(left / self._int("eval_steps")) if self.held_out else 0
        return left * self._sums.seconds_per_step() + evaluations * self._evaluation_s

    def _evaluate(self) -> None:
        begin = time.monotonic()
        loss, targets = self.measure(self.held_out)
        self._evaluation_s = time.monotonic() - begin
        best = self.progress.best_loss is None or loss < self.progress.best_loss
        first = self.progress.step == 0
        self.progress = replace(
            self.progress,
            loss_before=loss if first else self.progress.loss_before,
            best_loss=loss if best else self.progress.best_loss,
            bad_evaluations=0 if best else self.progress.bad_evaluations + 1,
        )
        self.last_evaluation = loss
        if self.config.early_stopping and best:
            self.best = [master.detach().clone() for master in self.optimizer.masters]
        self.stopped_early = 0 < self.config.early_stopping <= self.progress.bad_evaluations
        self.emit(
            Evaluation(
                step=self.progress.step,
                loss=loss,
                perplexity=math.exp(min(loss, 700)),
                rows=len(self.held_out),
                supervised_tokens=targets,
                best=best,
                seconds=round(self._evaluation_s, 3),
            )
        )

    def measure(self, examples: Sequence[Example]) -> tuple[float, int]:
        """The mean loss over all supervised tokens of some examples, and their number."""
        total = torch.zeros((), device=self.workers.device)
        lengths = lengths_of(examples)
        order = sorted(range(len(examples)), key=lambda index: -lengths[index])
        with self.passes.measuring():
            for portion in micro_batches(self.workers.share(order), lengths, self._budget):
                self._hold()
                total += self.passes.summed_loss(self.passes.batch([examples[row] for row in portion])).detach()
        self.workers.sum_([total])
        targets = targets_of(examples)
        return total.item() / max(1, targets), targets

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors of a checkpoint: the optimiser's, and the best adapter so far."""
        best = {f"best.{index}": tensor for index, tensor in enumerate(self.best or [])}
        return self.optimizer.state() | best

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint."""
        self.progress, best = checkpoint.restore(path, self.model, self.optimizer)
        self.best = best or None

    @torch.no_grad()
    def use_best(self) -> None:
        """Put the adapter of the best evaluation into the model."""
        for master, value in zip(self.optimizer.masters, self.best or [], strict=True):
            master.copy_(value)
        self.optimizer.copy_to_model()
        self.last_evaluation = self.progress.best_loss
