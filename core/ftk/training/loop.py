"""The training loop: from examples to updates, with evaluation, checkpoints and reports on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..config import RunConfig
from ..data.batches import StepPlan, lengths_of, micro_batches, targets_of
from ..data.encoding import Example
from ..errors import TrainingError
from ..events import Evaluation, Paused, Proceeded, Warned
from . import checkpoint, randomness, recovery
from .ahead import Ahead
from .checkpoint import Progress, Snapshot
from .control import StopRequested
from .link import Link
from .noise import EmbeddingNoise
from .numbers import NumberWatch
from .optim import AdapterOptimizer, learning_rate
from .passes import choose
from .reporter import Reporter, Update
from .sizes import Sizes
from .workers import Workers

MAX_BAD_STEPS = 3
"""Updates in a row that may be left out for their numbers before training stops with advice."""
_FIRST_SCALE = 2.0**13


class TrainingLoop:
    """Updates the adapter of a model step by step.

    Args:
        model: The model with its adapter on the right device.
        train: Examples to learn from.
        held_out: Examples to measure with; may be empty.
        config: Settings without any ``auto``.
        pad: Id of the padding token.
        link: To whoever runs it.
        workers: The processes that train together.
        base: The fingerprint of the base model; kept in checkpoints.

    """

    def __init__(
        self,
        model: Any,
        train: Sequence[Example],
        held_out: Sequence[Example],
        config: RunConfig,
        *,
        pad: int,
        link: Link,
        workers: Workers,
        base: str = "",
    ) -> None:
        self.model, self.train, self.held_out, self.config = model, train, held_out, config
        self.emit, self.control, self.workers, self._link = link.emit, link.control, workers, link
        self.optimizer = AdapterOptimizer(((n, p) for n, p in model.named_parameters() if p.requires_grad), config)
        self.passes = choose(model, pad, workers.device, config, link.emit)
        self._ahead = Ahead(lambda rows: self.passes.batch([train[row] for row in rows]))
        self._noise = EmbeddingNoise(model, config.neftune_alpha) if config.neftune_alpha else None
        self.progress = Progress()
        self.total = config.max_steps or 0
        self._lengths = lengths_of(train)
        self._held_out_tokens = sum(lengths_of(held_out))
        self._budget = self._whole_budget = config.batch_size * max([*self._lengths, 1])
        self.plan = self._plan()
        self.best: list[torch.Tensor] | None = None
        self.reporter = Reporter(config, self.plan.steps_per_epoch, workers.device, link.emit, sum(self._lengths))
        self._base = base
        self._scale = _FIRST_SCALE if config.precision == "float16" else 1.0
        self._numbers = NumberWatch(config.spike_factor)
        self._skipped = 0
        self._random = randomness.states(workers.device)
        self._evaluation_s = self._save_s = 0.0
        self._saved_step = -1
        self._saved_at = time.monotonic()
        self._paused_s = 0.0

    @property
    def stopped_early(self) -> bool:
        """Whether the held-out loss has stopped falling."""
        return 0 < self.config.early_stopping <= self.progress.bad_evaluations

    def begin_patience_anew(self) -> None:
        """Train on though the held-out loss had stopped falling; the best adapter so far stays known."""
        self.progress = replace(self.progress, bad_evaluations=0)
        message = "The held-out loss had stopped falling; the evaluations to wait are counted anew from here."
        self.emit(Warned(code="override", message=message))

    @property
    def last_evaluation(self) -> float | None:
        """The held-out loss at the last evaluation."""
        return self.progress.last_loss

    def run(self) -> None:
        """Train to the end.

        Raises:
            StopRequested: `control` asked for it; `progress` tells how far training got.
            TrainingError: the numbers stay out of bounds, or the memory holds no single row.

        """
        self.model.train()
        self._sizes = self._looked_ahead()
        while True:
            if self._evaluation_due():
                self._evaluate()
            if self._save_due():
                self.save()
            self._link.poll()
            if self.progress.step >= self.total or self.stopped_early:
                break
            self._step()
        if self.config.early_stopping and self.best is not None:
            self.use_best()

    def _plan(self) -> StepPlan:
        config = self.config
        rows = config.batch_size * config.gradient_accumulation * self.workers.size
        return StepPlan(self._lengths, rows, config.seed, grouped=config.group_by_length is True)

    def _looked_ahead(self) -> Sizes:
        """What sizes the updates to come will have."""
        plan = self._plan()

        def sizes(step: int) -> list[tuple[int, ...]]:
            parts = [[self._lengths[row] for row in part] for part in self._portions(plan.rows(step))]
            return [size for lengths in parts for size in self.passes.sizes(lengths)]

        return Sizes(sizes, plan.rows_per_step, self.progress.step, self.total)

    def _evaluation_due(self) -> bool:
        done = self.progress.step
        due = done in (0, self.total) or done % self._int("eval_steps") == 0
        return bool(self.held_out) and due and self.progress.evaluated != done

    def _save_due(self) -> bool:
        done, minutes = self.progress.step, self.config.save_minutes
        if done == 0:  # nothing was learnt yet; who asks for a checkpoint gets it after the first update
            return False
        asked = self.control.take_save()
        if done == self._saved_step:
            return asked  # it may have failed; one that is there stays as it is
        planned = done == self.total or self.stopped_early or done % self._int("save_steps") == 0
        return asked or planned or bool(minutes and time.monotonic() - self._saved_at >= 60 * minutes)

    def save(self) -> None:
        """Hand the present moment to whoever saves."""
        begin = time.monotonic()
        self._link.save(self.snapshot())
        self._saved_step, self._saved_at = self.progress.step, time.monotonic()
        self._save_s = self._saved_at - begin

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
        begin, paused = time.monotonic(), self._paused_s
        self._random = randomness.states(self.workers.device)
        rows = self.plan.rows(self.progress.step)
        targets = sum(self.train[row].targets for row in rows)
        tokens = sum(self._lengths[row] for row in rows)
        loss = self._with_room(lambda: self._gradients(rows, targets), [self._lengths[row] for row in rows])
        rate = learning_rate(self.progress.step, self.total, self.config)
        norm = self.optimizer.clip(self.config.max_grad_norm)
        loss_value, norm_value = torch.stack([loss, norm.float()]).tolist()  # the one wait for the device
        if objection := self._numbers.objection(loss_value, norm_value):
            self._skip(loss_value, norm_value, rows, objection)
        else:
            self._update(rate)
            self._numbers.accept(loss_value, norm_value)
            self._skipped = 0
        self.optimizer.clear()
        self._random = randomness.states(self.workers.device)
        seconds = time.monotonic() - begin - (self._paused_s - paused)
        self.control.margin_s = max(1.5 * seconds, self.control.margin_s)
        self.progress = replace(
            self.progress,
            step=self.progress.step + 1,
            tokens=self.progress.tokens + tokens,
            supervised_tokens=self.progress.supervised_tokens + targets,
            seconds=self.progress.seconds + seconds,
        )
        done = self.progress.step
        update = Update(loss_value, norm_value, rate, targets, tokens, seconds, self._sizes.fresh(done - 1))
        self.reporter.take(update, self.progress, self._other_seconds(), self._sizes.left(done))

    def _with_room(self, compute: Callable[[], torch.Tensor], lengths: Sequence[int]) -> torch.Tensor:
        """Compute over rows of these lengths; where the memory is full, the same again in smaller micro-batches.

        Processes that train together cannot do that: the others wait for this one's sum.
        """
        while True:
            try:
                return compute()
            except Exception as error:
                if self.workers.size > 1 or not recovery.is_out_of_memory(error):
                    raise
                message = " ".join(str(error).split())[:200]
            self.optimizer.clear()
            recovery.give_back_memory()
            randomness.restore(self._random, self.workers.device)
            self._budget = recovery.smaller(lengths, self._budget, self.config, padded=self.passes.pads)
            self.emit(
                Warned(
                    code="memory",
                    message=f"Step {self.progress.step + 1} did not fit the memory: {message}",
                    hint=f"It is computed again in smaller portions, of up to {self._budget} tokens, and so are those "
                    "that follow. A step still learns from the same rows.",
                )
            )

    def _update(self, rate: float) -> None:
        """Update the weights; where the memory is full, once more, or end with what is sound."""
        for again in (False, True):
            marks = self.optimizer.marks()
            try:
                self.optimizer.step(rate)
                return
            except Exception as error:
                if not recovery.is_out_of_memory(error):
                    raise
                message = " ".join(str(error).split())[:200] or type(error).__name__
            recovery.give_back_memory()
            half = self.optimizer.marks() != marks
            if again or half:
                raise recovery.no_room_to_update(self.progress.step + 1, message, self.config, half=half)

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
        return micro_batches(self.workers.share(rows), self._lengths, self._budget, padded=self.passes.pads)

    def _following(self) -> list[int] | None:
        """The first micro-batch of the next step, if that belongs to the same epoch."""
        step = self.progress.step + 1
        if step >= self.total or step % self.plan.steps_per_epoch == 0:
            return None
        return next(iter(self._portions(self.plan.rows(step))), None)

    def _hold(self) -> None:
        """Wait while paused, leave when stopping; processes that train together leave between steps."""
        if self.control.paused and not self.control.stopping:
            self._pause()
        if self.control.stopping and (self.workers.size == 1 or self.control.reason.startswith("another")):
            self.optimizer.clear()
            raise StopRequested(self.control.reason)

    def _pause(self) -> None:
        """Hold until told to go on; a checkpoint that is asked for meanwhile is written."""
        begin = time.monotonic()
        self.emit(Paused(step=self.progress.step))
        while not self.control.wait(0.5) and not self.control.stopping:
            if self._save_due():
                self.save()
            self._link.poll()
        self.emit(Proceeded(step=self.progress.step))
        self._paused_s += time.monotonic() - begin

    def _skip(self, loss: float, norm: float, rows: Sequence[int], objection: str) -> None:
        """Leave out an update that would do harm; its numbers never reach the weights."""
        if self.config.precision == "float16" and self._scale > 1 and math.isfinite(loss) and not math.isfinite(norm):
            self._scale /= 2  # the usual overflow of float16 gradients: try the next step with a smaller scale
            return
        self._skipped += 1
        origins = ", ".join(self.train[row].origin for row in rows[:3])
        advice = "Lower --learning-rate, use --precision bfloat16 or float32, and look at the rows named."
        message = f"Step {self.progress.step + 1}: loss {loss:g}, gradient norm {norm:g}: {objection}; rows: {origins}"
        if self._skipped >= MAX_BAD_STEPS:
            self._skipped = 0  # who goes on from here, with other settings, has all chances again
            raise TrainingError(
                f"{message}. {MAX_BAD_STEPS} updates in a row were out of bounds; training stopped.",
                hint=advice if not math.isfinite(loss + norm) else f"{advice} --spike-factor 0 looks away.",
            )
        code = "spike" if math.isfinite(loss + norm) else "not-finite"
        self.emit(Warned(code=code, message=f"{message}. The update was left out.", hint=advice))

    def _other_seconds(self) -> float:
        """What is left of the run besides updates: the evaluations and checkpoints still to come."""
        left = self.total - self.progress.step
        seconds = math.ceil(left / self._int("save_steps")) * self._save_s
        if not self.held_out:
            return seconds
        evaluation = self._evaluation_s
        if self.progress.evaluated == 0:
            evaluation = self.reporter.evaluation(self._held_out_tokens, evaluation)
        return seconds + math.ceil(left / self._int("eval_steps")) * evaluation

    def _evaluate(self) -> None:
        begin = time.monotonic()
        loss, targets = self.measure(self.held_out)
        self._evaluation_s = time.monotonic() - begin
        best = math.isfinite(loss) and (self.progress.best_loss is None or loss < self.progress.best_loss)
        first = self.progress.step == 0
        self.progress = replace(
            self.progress,
            loss_before=loss if first else self.progress.loss_before,
            best_loss=loss if best else self.progress.best_loss,
            last_loss=loss,
            evaluated=self.progress.step,
            bad_evaluations=0 if best else self.progress.bad_evaluations + 1,
        )
        if self.config.early_stopping and best:
            self.best = [master.detach().clone() for master in self.optimizer.masters]
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
        lengths = lengths_of(examples)
        order = sorted(range(len(examples)), key=lambda index: -lengths[index])

        def summed() -> torch.Tensor:
            total = torch.zeros((), device=self.workers.device)
            for portion in micro_batches(self.workers.share(order), lengths, self._budget, padded=self.passes.pads):
                self._hold()
                total += self.passes.summed_loss(self.passes.batch([examples[row] for row in portion])).detach()
            return total

        with self.passes.measuring():
            total = self._with_room(summed, [lengths[index] for index in order])
        self.workers.sum_([total])
        targets = targets_of(examples)
        return total.item() / max(1, targets), targets

    def snapshot(self) -> Snapshot:
        """The moment after the last update, also in the middle of the next one."""
        best = {f"best.{index}": tensor for index, tensor in enumerate(self.best or [])}
        progress = replace(
            self.progress,
            losses=list(self.reporter.losses),
            sum_loss=self.reporter.loss,
            sum_targets=self.reporter.targets,
            skipped=self._skipped,
            scale=self._scale,
            budget=self._budget if self._budget < self._whole_budget else 0,
            numbers=self._numbers.state(),
            base=self._base,
        )
        return checkpoint.capture(self.model, self.optimizer.state() | best | self._random, progress)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            TrainingError: see `checkpoint.restore`.

        """
        found = checkpoint.restore(path, self.model, self.optimizer, self._base)
        self.progress, self.best = found.progress, found.best or None
        self.reporter.restore(found.progress)
        self._skipped, self._scale = found.progress.skipped, found.progress.scale
        self._budget = min(self._budget, found.progress.budget or self._budget)
        self._numbers.restore(found.progress.numbers)
        self._random, self._saved_step = found.random, found.progress.step
        randomness.restore(found.random, self.workers.device)

    @torch.no_grad()
    def use_best(self) -> None:
        """Put the adapter of the best evaluation into the model."""
        for master, value in zip(self.optimizer.masters, self.best or [], strict=True):
            master.copy_(value)
        self.optimizer.copy_to_model()
        self.progress = replace(self.progress, last_loss=self.progress.best_loss)
