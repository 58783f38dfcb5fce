"""What was learnt stays, whatever goes wrong beside it: checkpoints, the result, the end of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ftk import QuickTrainer, autoconfig, resume
from ftk.errors import FtkError, RunError
from ftk.events import CheckpointSaved, Event, Finished, Step, Stopped, Warned
from ftk.models import adapters
from ftk.runs import RunFolder
from ftk.training import checkpoint
from ftk.training.checkpoint import Snapshot
from ftk.training.control import Control
from ftk.training.loop import TrainingLoop
from ftk.training.trainer import RunResult, Trainer
from tests import tiny
from tests.core.training.helpers import DEFAULTS

SETTINGS: dict[str, Any] = {**DEFAULTS, "max_steps": 6, "batch_size": 4, "save_steps": 2}


class Case:
    """Rows in a file, a model, and runs on them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.rows = folder / "rows.jsonl"
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
        self.model = model

    def trainer(self, **settings: Any) -> Trainer:
        config = QuickTrainer(str(self.model), str(self.rows), **{**SETTINGS, **settings}).config
        return Trainer(autoconfig.plan(config))

    def run(self, control: Control | None = None, **settings: Any) -> tuple[RunResult, list[Event]]:
        events: list[Event] = []
        return self.trainer(**settings).run([events.append], control), events

    def cut(self, step: int, **settings: Any) -> RunFolder:
        control = Control()
        halt = lambda event: control.stop() if isinstance(event, Step) and event.step == step else None  # noqa: E731
        result = self.trainer(**settings).run([halt], control)
        assert isinstance(result.ending, Stopped)
        assert result.run
        return result.run


@pytest.fixture
def case(tmp_path: Path, model_folder: Callable[..., Path]) -> Case:
    return Case(tmp_path, model_folder())


def go_on(run: RunFolder, changes: dict[str, Any] | None = None, **options: Any) -> tuple[RunResult, list[Event]]:
    found = resume.prepare(str(run.path), changes, **options)
    events: list[Event] = []
    trainer = Trainer(found.plan, resume=found.run, remarks=found.remarks, override=found.override)
    return trainer.run([events.append]), events


def adapter(run: RunFolder | None) -> bytes:
    assert run
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def of(events: list[Event], kind: type[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def test_damaged_checkpoints_do_not_push_out_the_sound_ones(case: Case) -> None:
    """They are newer by step: a rotation that counts them removes what the run has just gone on from, and written."""
    whole, _ = case.run()
    run = case.cut(5, save_steps=1, keep_checkpoints=3)
    for step in (4, 5):
        (run.checkpoints / f"step-{step:06d}" / "state.json").write_text("{")
    control = Control()
    found = resume.prepare(str(run.path), {"save_steps": 1, "keep_checkpoints": 2})
    halt = lambda event: control.stop() if isinstance(event, Step) and event.step == 4 else None  # noqa: E731
    Trainer(found.plan, resume=found.run).run([halt], control)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000003", "step-000004"]
    assert checkpoint.newest(run.checkpoints) == (run.checkpoints / "step-000004", [])
    go_on(run)
    assert adapter(run) == adapter(whole.run)


def test_a_run_all_of_whose_checkpoints_are_damaged_begins_again_and_keeps_new_ones(case: Case) -> None:
    run = case.cut(5)
    for path in run.checkpoints.iterdir():
        (path / "state.json").write_text("{")
    control = Control()
    found = resume.prepare(str(run.path))
    halt = lambda event: control.stop() if isinstance(event, Step) and event.step == 2 else None  # noqa: E731
    Trainer(found.plan, resume=found.run).run([halt], control)
    assert checkpoint.newest(run.checkpoints) == (run.checkpoints / "step-000002", [])


def test_the_result_of_a_finished_run_stays_until_the_next_one_is_whole(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, _ = case.run()
    assert result.run
    before = adapter(result.run)
    real = adapters.save

    def full(model: Any, tokenizer: Any, folder: Path, *rest: Any) -> None:
        if ".adapter.staging-" in str(folder):
            raise OSError(28, "No space left on device", str(folder))
        real(model, tokenizer, folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(adapters, "save", full)
        with pytest.raises(FtkError, match="No space left"):
            go_on(result.run, {"max_steps": 8}, override=True)
    assert adapter(result.run) == before
    go_on(result.run)
    assert adapter(result.run) != before
    assert not [path for path in result.run.path.iterdir() if ".staging-" in path.name]


def test_half_a_checkpoint_that_fills_the_disk_makes_room(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    run = case.cut(2)
    left = run.checkpoints / f".step-000004.staging-1-{'1' * 8}-{'0' * 8}-{'2' * 8}"  # of a machine that was taken away
    left.mkdir()
    (left / "optimizer.safetensors").write_bytes(b"half")
    usage = shutil.disk_usage(run.path)
    full = lambda folder: usage._replace(free=0 if left.exists() else usage.free)  # noqa: E731
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", full)
    _, events = go_on(run)
    assert [event.step for event in of(events, CheckpointSaved)] == [4, 6]
    assert not left.exists()


@pytest.mark.parametrize("error", [RuntimeError("the library fell over"), MemoryError()])
def test_whatever_a_checkpoint_fails_of_the_run_goes_on(
    case: Case, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(checkpoint, "write", broken)
    result, events = case.run()
    assert isinstance(result.ending, Finished)
    warnings = [event.message for event in of(events, Warned) if event.code == "checkpoint"]
    assert len(warnings) == 3
    assert (str(error) or "MemoryError") in warnings[0]


def test_where_there_is_no_memory_for_a_copy_the_training_waits(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Snapshot) -> Snapshot:
        raise MemoryError

    monkeypatch.setattr(Snapshot, "copied", full)
    result, events = case.run()
    assert isinstance(result.ending, Finished)
    assert [event.step for event in of(events, CheckpointSaved)] == [2, 4, 6]


def test_prompts_that_cannot_be_answered_fail_no_run(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from jinja2 import TemplateError

    from ftk.evaluation import compare

    def refused(*_: Any, **__: Any) -> Any:
        raise TemplateError("System role not supported")

    monkeypatch.setattr(compare, "compare_models", refused)
    result, events = case.run(compare=["What comes after one?"])
    assert isinstance(result.ending, Finished)
    assert "System role not supported" in of(events, Warned)[-1].message


def test_a_held_out_loss_that_is_none_is_never_the_best(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([float("nan"), 3.0, float("nan"), 2.0, 4.0, 5.0])
    monkeypatch.setattr(TrainingLoop, "measure", lambda loop, examples: (next(losses), 1))
    settings = {"eval_fraction": 0.25, "eval_steps": 1, "save_steps": 1, "max_steps": 5, "keep_checkpoints": 1}
    result, events = case.run(**settings, early_stopping=4)
    assert [event.best for event in events if event.kind == "evaluation"] == [  # type: ignore[attr-defined]
        False, True, False, True, False, False,
    ]  # fmt: skip
    assert result.ending.loss_after == 2.0  # type: ignore[attr-defined]
    assert result.run
    assert sorted(path.name for path in result.run.checkpoints.iterdir()) == ["step-000003", "step-000005"]


def test_a_checkpoint_that_is_asked_for_before_the_first_update_comes_after_it(case: Case) -> None:
    control = Control()
    control.save()
    _, events = case.run(control, save_steps=6)
    assert [event.step for event in of(events, CheckpointSaved)] == [1, 6]


def test_other_portions_may_be_asked_for(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits the memory is remembered; a micro-batch that never was too large is not held on to."""
    from ftk.training.passes import FastPass

    run = case.cut(2, batch_size=4)
    real, rows = FastPass.batch, []

    def noted(self: Any, examples: Any) -> Any:
        rows.append(len(examples))
        return real(self, examples)

    monkeypatch.setattr(FastPass, "batch", noted)
    go_on(run, {"batch_size": 1, "gradient_accumulation": 4}, override=True)
    assert max(rows) <= 2  # short rows are computed more at once than `batch_size` says, but not four long ones
    rows.clear()
    other = case.cut(2, batch_size=1, gradient_accumulation=4)
    rows.clear()
    go_on(other, {"batch_size": 4, "gradient_accumulation": 1}, override=True)
    assert max(rows) == 4


def test_other_held_out_rows_are_refused_or_taken(case: Case, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.jsonl"
    held_out.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS[:3]))
    run = case.cut(2, eval_data=str(held_out), eval_steps=2)
    moved = held_out.rename(tmp_path / "moved.jsonl")
    assert not resume.prepare(str(run.path), {"eval_data": str(moved)}).remarks
    with moved.open("a") as file:
        file.write('{"prompt": "one more", "response": "row"}\n')
    with pytest.raises(RunError, match="held-out rows"):
        resume.prepare(str(run.path), {"eval_data": str(moved)})
    _, events = go_on(run, {"eval_data": str(moved)}, override=True)
    assert isinstance(events[-1], Finished)
    assert "held-out rows" in of(events, Warned)[0].message


def test_other_epochs_make_another_number_of_steps(case: Case) -> None:
    run = case.cut(2, max_steps=None, epochs=1.0)  # four steps
    _, events = go_on(run, {"epochs": 2.0}, override=True)
    assert of(events, Step)[-1].total_steps == 8
    assert isinstance(events[-1], Finished)
    assert events[-1].step == 8


def test_time_that_is_up_leaves_room_for_saving(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint says that it took longer than all the time there is: what is left is for the last one."""
    real = checkpoint.write

    def slow(*arguments: Any) -> checkpoint.Saved:
        return replace(real(*arguments), seconds=4000.0)

    monkeypatch.setattr(checkpoint, "write", slow)
    result, events = case.run(max_time="1h", max_steps=200, save_steps=1)
    assert isinstance(result.ending, Stopped)
    assert result.ending.reason == "--max-time 1h"
    assert result.ending.step <= 3
    assert result.ending.checkpoint == of(events, CheckpointSaved)[-1].path


@pytest.mark.parametrize("rank", ["0", "1"])
def test_each_of_several_processes_takes_up_the_checkpoint(
    case: Case, rank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone in this process, so that it computes all rows."""
    run = case.cut(4)
    before = sorted(run.path.rglob("*"))
    found = resume.prepare(str(run.path))
    real, steps = TrainingLoop._step, []

    def counted(loop: TrainingLoop) -> None:
        real(loop)
        steps.append(loop.progress.step)

    monkeypatch.setattr(TrainingLoop, "_step", counted)
    monkeypatch.setenv("RANK", rank)
    Trainer(found.plan, resume=found.run).run()
    assert steps == [5, 6]
    assert (sorted(run.path.rglob("*")) == before) == (rank == "1")  # writing is for the first
