"""Full memory and numbers out of bounds: the run goes on where that is right, and ends in words where it is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk import QuickTrainer
from ftk.errors import TrainingError
from ftk.events import Event, Failed, Finished, Step, Stopped, Warned
from ftk.runs import RunFolder
from ftk.training import checkpoint
from ftk.training.numbers import NumberWatch
from ftk.training.optim import AdapterOptimizer
from ftk.training.passes import FastPass
from tests import tiny
from tests.core.training.helpers import DEFAULTS, Run

Folders = Callable[..., Path]

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried 7 bytes"),
    MemoryError(),
]


def _small_memory(monkeypatch: pytest.MonkeyPatch, tokens: int, error: BaseException, method: str = "backward") -> None:
    """Let batches of more than some tokens find no memory, after a part of the work was done."""
    real = getattr(FastPass, method)

    def limited(self: Any, batch: Any, *rest: Any) -> Any:
        if batch.tokens > tokens:
            if method == "backward":
                real(self, batch, *rest)
            torch.rand(3)
            raise error
        return real(self, batch, *rest)

    monkeypatch.setattr(FastPass, method, limited)


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_full_memory_makes_smaller_portions_of_the_same_step(
    error: BaseException, model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"batch_size": 8, "max_steps": 5, "eval_fraction": 0.25}
    plain = Run(model_folder(), **settings)
    _small_memory(monkeypatch, 90, error)
    small = Run(model_folder(), **settings)
    assert small.losses == pytest.approx(plain.losses, abs=1e-5)
    for name, weight in small.weights().items():
        torch.testing.assert_close(weight, plain.weights()[name], atol=1e-4, rtol=1e-3)
    warnings = [event for event in small.of("warning") if event.code == "memory"]
    assert 1 <= len(warnings) <= 3
    assert "same rows" in warnings[0].hint
    assert [event.tokens for event in small.of("step")] == [event.tokens for event in plain.of("step")]


def test_full_memory_leaves_no_trace_in_what_is_random(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs that meet the full memory at different moments draw the same: so does a resumed one."""
    settings = {"batch_size": 2, "max_steps": 4, "lora_dropout": 0.2}
    _small_memory(monkeypatch, 40, MemoryError())
    one, other = Run(model_folder(), **settings), Run(model_folder(), **settings)
    assert one.losses == other.losses
    assert [event.code for event in one.of("warning")] == ["memory"] * len(one.of("warning"))
    assert one.of("warning")


def test_a_resumed_run_remembers_what_fits(model_folder: Folders, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    data = home / "rows.jsonl"
    data.write_text("".join(f'{{"prompt": "{row["prompt"]}", "response": "{row["response"]}"}}\n' for row in tiny.ROWS))
    _small_memory(monkeypatch, 90, MemoryError())
    trainer = QuickTrainer(str(model_folder()), data, **{**DEFAULTS, "batch_size": 8, "max_steps": 6})
    from ftk import autoconfig
    from ftk.training.control import Control
    from ftk.training.trainer import Trainer

    control = Control()
    plan = autoconfig.plan(trainer.config)
    stop = lambda event: control.stop() if isinstance(event, Step) and event.step == 3 else None  # noqa: E731
    stopped = Trainer(plan).run([stop], control)
    assert isinstance(stopped.ending, Stopped)
    assert stopped.run
    events: list[Event] = []
    Trainer(plan, resume=stopped.run).run([events.append])
    assert isinstance(events[-1], Finished)
    assert not [event for event in events if isinstance(event, Warned)]


def test_full_memory_while_measuring_is_met_the_same_way(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"batch_size": 8, "max_steps": 2, "eval_fraction": 0.5}
    plain = Run(model_folder(), **settings)
    _small_memory(monkeypatch, 90, MemoryError(), "summed_loss")
    small = Run(model_folder(), **settings)
    before, now = ([event.loss for event in run.of("evaluation")] for run in (plain, small))
    assert now == pytest.approx(before, abs=1e-5)


def test_a_single_row_that_does_not_fit_ends_with_everything_saved(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    calls = [0]
    real = FastPass.backward

    def later(self: Any, batch: Any, factor: float) -> Any:
        calls[0] += 1
        if calls[0] > 6:
            raise MemoryError
        return real(self, batch, factor)

    monkeypatch.setattr(FastPass, "backward", later)
    events: list[Event] = []
    trainer = QuickTrainer(str(model_folder()), tiny.ROWS, **{**DEFAULTS, "batch_size": 2})
    with pytest.raises(TrainingError, match="single row") as caught:
        trainer.train([events.append])
    assert "--gradient-checkpointing true" in str(caught.value)
    assert "--max-length" in str(caught.value)
    assert isinstance(events[-1], Failed)
    (folder,) = (home / "ftk_runs").iterdir()
    newest, damaged = checkpoint.newest(RunFolder(folder).checkpoints)
    assert newest
    assert newest.name == f"step-{events[-1].step:06d}"
    assert not damaged


def _spike(monkeypatch: pytest.MonkeyPatch, calls: set[int], factor: float) -> None:
    real, count = FastPass.summed_loss, [0]

    def spiked(*arguments: Any) -> Any:
        count[0] += 1
        return real(*arguments) * (factor if count[0] in calls else 1.0)

    monkeypatch.setattr(FastPass, "summed_loss", spiked)


SPIKES: dict[str, Any] = {"max_steps": 30, "batch_size": 16, "learning_rate": 1e-3}


def test_a_spike_is_left_out_and_told_with_its_rows(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    _spike(monkeypatch, {26}, 1e4)
    run = Run(model_folder(), **SPIKES)
    (warning,) = run.of("warning")
    assert warning.code == "spike"
    assert "Step 26" in warning.message
    assert "row" in warning.message
    assert isinstance(run.events[-1], Finished)
    assert run.losses[-1] < run.losses[0]


def test_spikes_in_a_row_stop_with_advice_and_the_good_weights_saved(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    _spike(monkeypatch, {25, 26, 27}, 1e4)
    with pytest.raises(TrainingError, match="--learning-rate") as caught:
        QuickTrainer(str(model_folder()), tiny.ROWS, **{**DEFAULTS, **SPIKES}).train()
    assert "--spike-factor 0" in str(caught.value)
    (folder,) = (home / "ftk_runs").iterdir()
    newest, _ = checkpoint.newest(RunFolder(folder).checkpoints)
    assert newest
    assert checkpoint.read_progress(newest).step == 26


def test_spike_factor_zero_looks_away(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    _spike(monkeypatch, {26}, 1e4)
    assert not Run(model_folder(), **SPIKES, spike_factor=0.0).of("warning")


def test_an_exploding_gradient_is_found_though_the_loss_looks_well() -> None:
    watch = NumberWatch(10.0)
    for _ in range(25):
        assert not watch.objection(2.0, 1.0)
        watch.accept(2.0, 1.0)
    assert "gradient norm" in watch.objection(2.0, 11.0)
    assert not watch.objection(2.0, 9.0)
    assert watch.objection(float("nan"), 1.0)
    assert watch.objection(2.0, float("inf"))


def test_a_row_that_was_never_seen_is_no_spike() -> None:
    """Learnt by heart, then a new row: many times the usual loss, but not worse than at the beginning."""
    watch = NumberWatch(10.0)
    for step in range(100):
        watch.accept(3.0 if step < 20 else 0.01, 1.0 if step < 20 else 0.005)
    assert not watch.objection(2.5, 1.5)
    restored = NumberWatch(10.0)
    restored.restore(watch.state())
    for loss, norm in ((2.5, 1.5), (9.0, 1.0), (0.01, 4.0)):
        assert restored.objection(loss, norm) == watch.objection(loss, norm)


def _no_room(monkeypatch: pytest.MonkeyPatch, calls: set[int], *, half: bool) -> None:
    """Let some updates find no memory: before they did anything, or after they did a part."""
    real, count = AdapterOptimizer.step, [0]

    def step(self: AdapterOptimizer, rate: float) -> None:
        count[0] += 1
        if count[0] not in calls:
            return real(self, rate)
        if half:
            self.optimizer.step()
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(AdapterOptimizer, "step", step)


ROOM: dict[str, Any] = {"max_steps": 6, "batch_size": 4, "save_steps": 2, "lora_dropout": 0.2}


def test_an_update_without_room_is_tried_once_more(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Run(model_folder(), **ROOM)
    _no_room(monkeypatch, {1, 5}, half=False)
    tried = Run(model_folder(), **ROOM)
    assert tried.losses == plain.losses
    assert not tried.of("warning")


@pytest.mark.parametrize(("half", "saved"), [(False, 3), (True, 2)])
def test_an_update_without_room_ends_with_what_is_sound(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch, home: Path, half: bool, saved: int
) -> None:
    plain = Run(model_folder(), **ROOM)
    assert plain.result.run
    plain.result.run.path.rename(home / "plain")
    with monkeypatch.context() as full:
        _no_room(full, {4, 5}, half=half)
        with pytest.raises(TrainingError, match="The update of step 4 did not fit the memory: CUDA out of") as caught:
            QuickTrainer(str(model_folder()), tiny.ROWS, **{**DEFAULTS, **ROOM}).train()
    assert ("the last checkpoint is what is kept" if half else "up to step 3 is saved") in str(caught.value)
    (folder,) = (home / "ftk_runs").iterdir()
    newest, damaged = checkpoint.newest(RunFolder(folder).checkpoints)
    assert newest
    assert not damaged
    assert checkpoint.read_progress(newest).step == saved
    events: list[Event] = []
    QuickTrainer.resume(folder.name, data=tiny.ROWS).train([events.append])
    assert [event.loss for event in events if isinstance(event, Step)] == plain.losses[saved:]
