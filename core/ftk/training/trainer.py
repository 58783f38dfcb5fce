"""A run from its first event to its last: folder, journal, model, data, training, adapter, answers.

Imports no torch until it runs, so that the first events come before the seconds that the import takes.
"""

from __future__ import annotations

import contextlib
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import durations, hardware, requests, runs
from .._version import __version__
from ..autoconfig import Plan
from ..errors import FtkError, ModelError, TrainingError
from ..events import (
    Answered,
    Event,
    Failed,
    Finished,
    Listener,
    Phase,
    Started,
    Stopped,
    Warned,
)
from ..models.fingerprint import fingerprint
from ..runs import RunFolder
from . import provenance, trained, wording
from .allocator import keep_freed_memory
from .control import Control, StopRequested
from .counted import Counted
from .data_remarks import remarks
from .failures import HalfUpdateError, explain
from .teller import Teller

if TYPE_CHECKING:
    from ..data.prepare import Prepared
    from ..models.loading import LoadedModel
    from .loop import TrainingLoop
    from .saver import Saver


@dataclass(frozen=True)
class RunResult:
    """How a run ended: its folder, its last event, and the model in memory (None if it never got that far)."""

    run: RunFolder | None
    ending: Event
    model: Any
    tokenizer: Any


@dataclass
class _Parts:
    """What a run has made so far."""

    model: Any = None
    tokenizer: Any = None
    loop: TrainingLoop | None = None
    saver: Saver | None = None

    def abandon(self, *, save: bool) -> None:
        """Let go of everything after an error; `save` where the weights are known to be good."""
        if self.loop and self.saver:
            self.saver.save_last(self.loop if save else None)
            self.loop.release()


class Trainer:
    """Carries out a plan.

    Args:
        plan: What `autoconfig.plan` decided.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.
        loaded: A model in memory to use instead of loading the plan's.
        resume: A run to go on with from its newest checkpoint, or from its beginning if it has none.
        remarks: What is to be told when the run begins, such as how a resumed run differs.
        override: Take another tokenizer or chat template than the run was begun with.

    """

    def __init__(
        self,
        plan: Plan,
        *,
        runs_dir: Path | None = None,
        loaded: LoadedModel | None = None,
        resume: RunFolder | None = None,
        remarks: Sequence[Warned] = (),
        override: bool = False,
    ) -> None:
        self.plan = plan
        self.config = plan.config
        self._runs_dir = runs_dir
        self._loaded = loaded
        self._resume = resume
        self._override = override
        self._remarks = [*plan.remarks, *remarks]
        self._teller = Teller()
        self._step = 0
        self._damaged: list[Path] = []

    def run(self, listeners: Sequence[Listener] = (), control: Control | None = None) -> RunResult:
        """Run to the end.

        Args:
            listeners: Called with every event, in the thread that trains. An error in one of them is
                reported as a warning and does not touch the run.
            control: A switch to stop or pause it.

        Raises:
            FtkError: the run failed; the same is in its last event.

        """
        control = control or Control()
        keep_freed_memory()
        if int(os.environ.get("RANK", "0")) > 0:  # the first process writes and tells; the others only compute
            self._teller = Teller()
            return self._guarded(None, control)
        self._teller = Teller(listeners)
        run = self._resume or provenance.begin(self.plan, self._runs_dir, hold=True)
        with run.locked() as lock, requests.listening(run, control):
            lock.on_loss = lambda reason: self._lose(control, reason)
            if self._resume:
                provenance.renew(run, self.plan, self._remarks)
            journal = self._teller.journal = runs.Journal(run)
            try:
                return self._guarded(run, control)
            finally:
                self._teller.journal = None
                journal.close()

    def _lose(self, control: Control, reason: str) -> None:
        """End, and write nothing more: another host has taken the run over."""
        self._teller.journal = None
        control.stop(reason, save=False)

    def _guarded(self, run: RunFolder | None, control: Control) -> RunResult:
        """Everything that must end with exactly one ending event."""
        try:
            return self._run(run, control)
        except FtkError as error:
            self._emit(
                Failed(step=self._step, error=type(error).__name__, message=error.message, hint=error.hint or "")
            )
            raise
        except Exception as error:
            explained = explain(error)
            self._emit(
                Failed(
                    step=self._step,
                    error=type(error).__name__,
                    message=explained.message,
                    hint=explained.hint or "",
                )
            )
            raise explained from error

    def _emit(self, event: Event) -> None:
        self._teller(event)

    def _phase(self, name: str, detail: str = "", done: float | None = None, total: float | None = None) -> None:
        unit = "bytes" if name in ("download", "convert") else "rows" if total is not None else ""
        self._emit(Phase(name=name, detail=detail, done=done, total=total, unit=unit))

    def _run(self, run: RunFolder | None, control: Control) -> RunResult:
        begin = time.monotonic()
        if self.config.max_time:
            control.limit(durations.seconds(self.config.max_time), f"--max-time {self.config.max_time}")
        start = self._starting_point()
        self._emit(
            Started(
                run=run.name if run else "",
                folder=str(run.path) if run else "",
                model=self.config.model,
                data=self.plan.dataset.name,
                version=__version__,
                resumed_from=int(start.name.rsplit("-", 1)[1]) if start else 0,
            )
        )
        for remark in self._remarks:
            self._emit(remark)
        parts = _Parts()
        ending: Event
        try:
            ending = self._train(run, control, start, parts, begin)
        except StopRequested as stop:
            ending = self._stopped(parts, control, start, str(stop))
        except BaseException as error:
            sound = isinstance(error, TrainingError) and not isinstance(error, HalfUpdateError)
            parts.abandon(save=sound)
            raise
        return RunResult(run, ending, parts.model, parts.tokenizer)

    def _train(
        self, run: RunFolder | None, control: Control, start: Path | None, parts: _Parts, begin: float
    ) -> Finished:
        """From loading to answers; what comes to be on the way is kept in `parts`."""
        loaded = self._load(control)
        parts.tokenizer = loaded.tokenizer
        data = self._prepare(loaded, control)
        self._check(control)
        if run and (remark := wording.check(run, loaded.tokenizer, override=self._override)):
            self._emit(remark)
        self._phase("adapter")
        base = fingerprint(loaded.model)
        parts.model = trained.make_trainable(loaded, data.train.examples, self.config, fresh=start is None)
        parts.saver = self._saver(run, loaded.tokenizer, control)
        parts.loop = loop = self._loop(parts.model, data, control, parts, base)
        self._begin(loop, start)
        self._phase("train", f"{len(data.train.examples)} rows, {loop.total} steps")
        loop.run()
        parts.saver.close()
        loop.close()
        return self._finish(run, loop, loaded.tokenizer, data, control, begin)

    def _stopped(self, parts: _Parts, control: Control, start: Path | None, reason: str) -> Stopped:
        if parts.loop and parts.saver:
            parts.saver.save_last(parts.loop if control.saves else None)
            parts.loop.close()
        kept = (parts.saver.last if parts.saver else None) or start
        step = parts.loop.progress.step if parts.loop else 0
        stopped = Stopped(step=step, reason=reason, checkpoint=str(kept) if kept else None)
        self._emit(stopped)
        return stopped

    def _begin(self, loop: TrainingLoop, start: Path | None) -> None:
        """Compile, and take up a checkpoint if there is one; what compiling draws at random leaves no trace."""
        from . import randomness

        random = randomness.states(loop.workers.device)
        if loop.passes.compiles:
            self._phase("compile", "layers; kept for the next run")
            self._compile(loop)
        randomness.restore(random, loop.workers.device)
        if start:
            loop.restore(start)
            if self._override and loop.stopped_early:
                loop.begin_patience_anew()

    def _compile(self, loop: TrainingLoop) -> None:
        """Compile, and keep how long it took for the next run's estimate."""
        from ..memory.models import describe
        from . import compile_times

        begin = time.monotonic()
        loop.passes.warm_up()
        with contextlib.suppress(ModelError):  # of a model in memory nobody knows the files
            if loop.passes.compiles:
                compile_times.note(compile_times.key(describe(self.plan.source), self.config), time.monotonic() - begin)

    def _starting_point(self) -> Path | None:
        """The checkpoint to go on from; None for a new run, and for one that was interrupted before its first.

        Every process of several looks for it: each has a model and an optimiser of its own.
        """
        if not self._resume:
            return None
        from . import checkpoint

        found, self._damaged = checkpoint.newest(self._resume.checkpoints)
        for path in self._damaged:
            self._remarks.append(Warned(code="checkpoint", message=f"{path.name} is damaged and was passed over."))
        return found

    @staticmethod
    def _check(control: Control) -> None:
        if control.stopping:
            raise StopRequested(control.reason)

    def _load(self, control: Control) -> LoadedModel:
        if self._loaded:
            return self._loaded
        self._phase("import", "torch, transformers, peft")
        return trained.load(self.plan, self._phase, lambda: self._check(control))

    def _prepare(self, loaded: LoadedModel, control: Control) -> Prepared:
        from ..data.prepare import prepare_dataset

        def telling(phase: str) -> Callable[[int, int], None]:
            def progress(done: int, total: int) -> None:
                self._check(control)
                self._phase(phase, self.plan.dataset.name, done, total)

            return progress

        config = self.config
        length = min(config.max_length, loaded.info.context)
        data = prepare_dataset(
            self.plan.dataset,
            loaded.tokenizer,
            max_length=length,
            eval_fraction=config.eval_fraction,
            eval_data=config.eval_data,
            max_rows=config.max_rows,
            template=config.template,
            system_prompt=config.system_prompt,
            train_on=config.train_on,
            long_rows=config.long_rows,
            columns=config.columns,
            skip_bad=config.skip_bad,
            duplicates=config.duplicates,
            seed=config.seed,
            progress=telling("prepare"),
        )
        for warning in remarks(data, loaded.tokenizer, length, config.skip_bad, telling("check")):
            self._emit(warning)
        return data

    def _saver(self, run: RunFolder | None, tokenizer: Any, control: Control) -> Saver:
        from .saver import Saver

        folder = run.checkpoints if run else None
        return Saver(folder, tokenizer, self.config.keep_checkpoints, self._emit, control, self._damaged)

    def _loop(self, model: Any, data: Prepared, control: Control, parts: _Parts, base: str) -> TrainingLoop:
        from .link import Link
        from .loop import TrainingLoop
        from .workers import Workers

        assert parts.saver is not None
        return TrainingLoop(
            model,
            data.train.examples,
            data.held_out.examples,
            self.config,
            pad=parts.tokenizer.pad_token_id,
            link=Link(self._counted, control, parts.saver.save, parts.saver.poll),
            workers=Workers(self.config.device),
            base=base,
        )

    def _counted(self, event: Event) -> None:
        self._step = getattr(event, "step", self._step)
        self._emit(event)

    def _finish(
        self,
        run: RunFolder | None,
        loop: TrainingLoop,
        tokenizer: Any,
        data: Prepared,
        control: Control,
        begin: float,
    ) -> Finished:
        if run:
            target = run.model if self.config.method == "full" else run.adapter
            self._phase("save", target.name)
            trained.write(loop.model, tokenizer, target)
            try:
                self._answers(loop.model, tokenizer, data, control)
            except Exception as error:  # noqa: BLE001 - what was learnt is safe; showing it is an extra
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                message = f"The prompts could not be answered: {reason}"
                self._emit(Warned(code="compare", message=message))
        finished = Finished(
            step=loop.progress.step,
            adapter=str(run.trained) if run else "",
            loss_before=loop.progress.loss_before,
            loss_after=loop.last_evaluation,
            train_loss=statistics.fmean(loop.reporter.losses) if loop.reporter.losses else None,
            seconds=round(time.monotonic() - begin, 3),
            training_s=round(loop.progress.seconds, 3),
            tokens=loop.progress.tokens,
            peak_memory_bytes=hardware.peak_process_memory(),
            reason="the held-out loss stopped falling; the best adapter was kept" if loop.stopped_early else "",
        )
        self._emit(finished)
        return finished

    def _answers(self, model: Any, tokenizer: Any, data: Prepared, control: Control) -> None:
        """Show what was learnt; a stop asked for now only ends the showing, the adapter is safe."""
        prompts = trained.prompts(self.config.compare, data, self.config.system_prompt)
        full = self.config.method == "full"
        if not prompts or control.stopping or (full and self._loaded):  # a given model is changed: no base is left
            return
        from ..evaluation.compare import compare_models
        from ..evaluation.generate import BATCH, Sampling

        self._phase("compare", f"{len(prompts)} prompts")
        sampling = Sampling(max_tokens=self.config.compare_tokens, seed=self.config.seed)
        base = trained.load(self.plan, self._phase).model if full else None
        most = 2 * sampling.max_tokens * math.ceil(len(prompts) / BATCH)
        told = partial(Phase, name="compare", detail=f"{len(prompts)} prompts", total=most, unit="tokens")
        counted = Counted(most, lambda done: self._emit(told(done=done)), lambda: control.stopping)
        found_answers = compare_models(model, tokenizer, prompts, base=base, sampling=sampling, stop=counted)
        for found in found_answers:
            self._emit(Answered(prompt=found.prompt, base=found.base, tuned=found.tuned))
