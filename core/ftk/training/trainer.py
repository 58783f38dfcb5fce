"""A run from its first event to its last: folder, journal, model, data, training, adapter, answers.

Imports no torch until it runs, so that the first events come before the seconds that the import takes.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import hardware, runs
from .._version import __version__
from ..autoconfig import Plan
from ..errors import FtkError, RunError
from ..events import (
    Answered,
    CheckpointSaved,
    Event,
    Failed,
    Finished,
    Listener,
    Phase,
    Started,
    Stopped,
    Warned,
)
from ..runs import RunFolder
from . import provenance, trained
from .allocator import keep_freed_memory
from .control import Control, StopRequested
from .data_remarks import remarks
from .failures import explain

if TYPE_CHECKING:
    from ..data.prepare import Prepared
    from ..models.loading import LoadedModel
    from .loop import TrainingLoop


@dataclass(frozen=True)
class RunResult:
    """How a run ended: its folder, its last event, and the model in memory (None if it never got that far)."""

    run: RunFolder | None
    ending: Event
    model: Any
    tokenizer: Any


class Trainer:
    """Carries out a plan.

    Args:
        plan: What `autoconfig.plan` decided.
        runs_dir: The folder of the runs; `files.runs_dir()` by default.
        loaded: A model in memory to use instead of loading the plan's.
        resume: A run to go on with from its newest checkpoint.

    """

    def __init__(
        self,
        plan: Plan,
        *,
        runs_dir: Path | None = None,
        loaded: LoadedModel | None = None,
        resume: RunFolder | None = None,
    ) -> None:
        self.plan = plan
        self.config = plan.config
        self._runs_dir = runs_dir
        self._loaded = loaded
        self._resume = resume
        self._listeners: list[Listener] = []
        self._step = 0

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
        self._listeners = list(listeners)
        keep_freed_memory()
        if int(os.environ.get("RANK", "0")) > 0:  # the first process writes and tells; the others only compute
            self._listeners = []
            return self._guarded(None, control)
        run = self._resume or provenance.begin(self.plan, self._runs_dir)
        with run.locked():
            journal = runs.Journal(run)
            self._listeners.insert(0, journal)
            try:
                return self._guarded(run, control)
            finally:
                journal.close()

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
        for listener in list(self._listeners):
            try:
                listener(event)
            except OSError as error:
                if isinstance(listener, runs.Journal):
                    raise RunError(f"The journal cannot be written: {error.strerror or error}.") from error
                self._drop(listener, error)
            except Exception as error:  # noqa: BLE001 - a broken screen must not end hours of training
                self._drop(listener, error)

    def _drop(self, listener: Listener, error: Exception) -> None:
        self._listeners.remove(listener)
        message = f"A listener failed and hears nothing more: {type(error).__name__}: {error}"
        self._emit(Warned(code="listener", message=message))

    def _phase(self, name: str, detail: str = "", done: float | None = None, total: float | None = None) -> None:
        unit = "bytes" if name in ("download", "convert") else "rows" if total is not None else ""
        self._emit(Phase(name=name, detail=detail, done=done, total=total, unit=unit))

    def _run(self, run: RunFolder | None, control: Control) -> RunResult:
        begin = time.monotonic()
        start = self._starting_point(run)
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
        model = tokenizer = None
        ending: Event
        loop: TrainingLoop | None = None
        try:
            loaded = self._load(control)
            tokenizer = loaded.tokenizer
            data = self._prepare(loaded, control)
            self._check(control)
            self._phase("adapter")
            model = trained.make_trainable(loaded, data.train.examples, self.config, fresh=start is None)
            loop = self._loop(model, tokenizer, data, control)
            if loop.passes.compiles:
                self._phase("compile", "layers; kept for the next run")
                loop.passes.warm_up()
            if start:
                loop.restore(start)
            self._phase("train", f"{len(data.train.examples)} rows, {loop.total} steps")
            loop.run(lambda: self._save(run, loop, tokenizer))
            loop.close()
            ending = self._finish(run, loop, tokenizer, data, control, begin)
        except StopRequested as stop:
            saved = self._save(run, loop, tokenizer) if loop and loop.progress.step else None
            if loop:
                loop.close()
            ending = Stopped(
                step=loop.progress.step if loop else 0,
                reason=str(stop),
                checkpoint=str(saved) if saved else None,
            )
            self._emit(ending)
        except BaseException:
            if loop:
                loop.release()
            raise
        return RunResult(run, ending, model, tokenizer)

    def _starting_point(self, run: RunFolder | None) -> Path | None:
        if not self._resume or not run:
            return None
        from . import checkpoint

        found, damaged = checkpoint.newest(run.checkpoints)
        for path in damaged:
            self._emit(Warned(code="checkpoint", message=f"{path.name} is damaged and was passed over."))
        if found is None:
            raise RunError(f"The run {run.name!r} has no complete checkpoint to go on from.")
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

    def _loop(self, model: Any, tokenizer: Any, data: Prepared, control: Control) -> TrainingLoop:
        from .loop import TrainingLoop
        from .workers import Workers

        return TrainingLoop(
            model,
            data.train.examples,
            data.held_out.examples,
            self.config,
            pad=tokenizer.pad_token_id,
            emit=self._counted,
            control=control,
            workers=Workers(self.config.device),
        )

    def _counted(self, event: Event) -> None:
        self._step = getattr(event, "step", self._step)
        self._emit(event)

    def _save(self, run: RunFolder | None, loop: TrainingLoop, tokenizer: Any) -> Path | None:
        """A checkpoint; a full disk is a warning, because training on is worth more than stopping."""
        if run is None:
            return None
        from . import checkpoint

        try:
            saved = checkpoint.save(run.checkpoints, loop.model, tokenizer, loop.state(), loop.progress)
        except OSError as error:
            message = f"The checkpoint of step {loop.progress.step} could not be written: {error.strerror or error}."
            self._emit(Warned(code="checkpoint", message=message, hint="Training goes on; free some room on the disk."))
            return None
        self._emit(
            CheckpointSaved(
                step=loop.progress.step,
                path=str(saved.path),
                bytes=saved.bytes,
                seconds=round(saved.seconds, 3),
            )
        )
        checkpoint.rotate(run.checkpoints, self.config.keep_checkpoints)
        return saved.path

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
            self._answers(loop.model, tokenizer, data, control)
        finished = Finished(
            step=loop.progress.step,
            adapter=str(run.trained) if run else "",
            loss_before=loop.progress.loss_before,
            loss_after=loop.last_evaluation,
            train_loss=statistics.fmean(loop.losses) if loop.losses else None,
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
        prompts = _prompts(self.config.compare, data, self.config.system_prompt)
        full = self.config.method == "full"
        if not prompts or control.stopping or (full and self._loaded):  # a given model is changed: no base is left
            return
        from ..evaluation.compare import compare_models
        from ..evaluation.generate import Sampling

        self._phase("compare", f"{len(prompts)} prompts")
        sampling = Sampling(max_tokens=self.config.compare_tokens, seed=self.config.seed)
        base = trained.load(self.plan, self._phase).model if full else None
        found_answers = compare_models(
            model, tokenizer, prompts, base=base, sampling=sampling, stop=lambda: control.stopping
        )
        for found in found_answers:
            self._emit(Answered(prompt=found.prompt, base=found.base, tuned=found.tuned))


def _prompts(wanted: list[str] | str, data: Prepared, system: str | None) -> list[Any]:
    """The conversations to answer at the end."""
    from ..evaluation.generate import conversation

    if isinstance(wanted, list):
        return [conversation(prompt, system) for prompt in wanted]
    return [row.messages[:-1] for row in data.parts.held_out[:3]]
