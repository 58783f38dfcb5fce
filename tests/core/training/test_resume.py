"""Going on with a run: from any moment to the same result, and never unnoticed with something else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from ftk import QuickTrainer, autoconfig, files, resume
from ftk.errors import RunError, TrainingError, UsageError
from ftk.events import Event, Finished, Paused, Proceeded, Started, Step, Stopped, Warned
from ftk.runs import RunFolder
from ftk.training import checkpoint
from ftk.training.control import Control
from ftk.training.passes import FastPass
from ftk.training.trainer import RunResult, Trainer
from tests import tiny
from tests.core.training.helpers import DEFAULTS

Folders = Callable[..., Path]
SETTINGS: dict[str, Any] = {
    **DEFAULTS, "max_steps": 9, "batch_size": 2, "gradient_accumulation": 2, "lora_dropout": 0.2, "eval_fraction": 0.25,
    "eval_steps": 3, "log_steps": 2, "save_steps": 4,
}  # fmt: skip


class Case:
    """Rows in a file, a model, and runs on them that can be cut anywhere."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.rows = folder / "rows.jsonl"
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
        self.model = model

    def trainer(self, **settings: Any) -> Trainer:
        config = QuickTrainer(str(self.model), str(self.rows), **{**SETTINGS, **settings}).config
        return Trainer(autoconfig.plan(config))

    def whole(self, **settings: Any) -> tuple[RunResult, list[Event]]:
        events: list[Event] = []
        return self.trainer(**settings).run([events.append]), events

    def cut(self, when: Callable[[Event], bool], **settings: Any) -> RunFolder:
        control = Control()
        result = self.trainer(**settings).run([lambda e: control.stop() if when(e) else None], control)
        assert isinstance(result.ending, Stopped)
        assert result.run
        return result.run


@pytest.fixture
def case(tmp_path: Path, model_folder: Folders) -> Case:
    return Case(tmp_path, model_folder())


def go_on(run: RunFolder, changes: dict[str, Any] | None = None, **options: Any) -> tuple[RunResult, list[Event]]:
    found = resume.prepare(str(run.path), changes, **options)
    events: list[Event] = []
    return Trainer(found.plan, resume=found.run, remarks=found.remarks).run([events.append]), events


def figures(events: Any) -> list[Any]:
    """What must be equal, to the bit."""
    return [
        (e.kind, e.step, e.loss, getattr(e, "grad_norm", None), getattr(e, "best", None))
        for e in events
        if e.kind in ("step", "evaluation")
    ]


def adapter(run: RunFolder | None) -> bytes:
    assert run
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def same(run: RunFolder, events: list[Event], whole: tuple[RunResult, list[Event]]) -> None:
    """The course of a resumed run, its last event and its adapter are those of the uninterrupted one."""
    ending, expected = events[-1], whole[1][-1]
    assert isinstance(ending, Finished)
    assert isinstance(expected, Finished)
    assert figures(run.history()) == figures(whole[1])
    assert adapter(run) == adapter(whole[0].run)
    for key in ("loss_before", "loss_after", "train_loss", "tokens", "step", "reason"):
        assert getattr(ending, key) == getattr(expected, key), key


def test_cut_at_every_step(case: Case) -> None:
    whole = case.whole(log_steps=1)
    for cut in range(1, 9):
        run = case.cut(lambda e, cut=cut: isinstance(e, Step) and e.step == cut, log_steps=1)  # type: ignore[misc]
        same(run, go_on(run)[1], whole)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cut_between_the_portions_of_a_step(case: Case, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout has been drawn for a part of the step by then, and a report is half gathered."""
    whole = case.whole(precision=precision)
    real, calls = FastPass.backward, [0]
    control = Control()

    def stopping(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == 10:
            control.stop("in the middle")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FastPass, "backward", stopping)
        stopped = case.trainer(precision=precision).run([], control)
    assert isinstance(stopped.ending, Stopped)
    assert stopped.ending.step % 2 == 1  # with log_steps=2
    assert stopped.run
    same(stopped.run, go_on(stopped.run)[1], whole)


@pytest.mark.parametrize("measurement", [1, 2, 4])
def test_cut_inside_an_evaluation(case: Case, measurement: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk.training.loop import TrainingLoop

    settings = {"early_stopping": 3, "learning_rate": 0.05}
    whole = case.whole(**settings)
    real, calls = TrainingLoop.measure, [0]
    control = Control()

    def stopping(self: Any, examples: Any) -> Any:
        calls[0] += 1
        if calls[0] == measurement:
            control.stop("while measuring")
        return real(self, examples)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "measure", stopping)
        stopped = case.trainer(**settings).run([], control)
    assert isinstance(stopped.ending, Stopped)
    assert stopped.run
    assert (stopped.ending.checkpoint is None) == (measurement == 1)
    same(stopped.run, go_on(stopped.run)[1], whole)


def test_a_run_without_a_checkpoint_begins_again(case: Case) -> None:
    whole = case.whole()
    run = case.cut(lambda e: isinstance(e, Started))
    assert not run.checkpoints.exists()
    same(run, go_on(run)[1], whole)


def test_stopping_without_saving_leaves_what_was_saved(case: Case) -> None:
    whole = case.whole()
    control = Control()
    stop = lambda e: control.stop("abort", save=False) if isinstance(e, Step) and e.step >= 6 else None  # noqa: E731
    stopped = case.trainer().run([stop], control)
    assert isinstance(stopped.ending, Stopped)
    assert str(stopped.ending.checkpoint).endswith("step-000004")
    assert stopped.run
    _, events = go_on(stopped.run)
    assert events[0].resumed_from == 4  # type: ignore[attr-defined]
    same(stopped.run, events, whole)


def test_a_pause_changes_nothing_and_can_be_saved_in(case: Case) -> None:
    whole = case.whole()
    control = Control()
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 2:
            control.pause()
            control.save()
        if event.kind == "checkpoint" and control.paused:
            control.proceed()

    result = case.trainer().run([listen], control)
    kinds = [event.kind for event in events]
    begin, end = kinds.index("paused"), kinds.index("proceeded")
    assert isinstance(events[begin], Paused)
    assert isinstance(events[end], Proceeded)
    assert "checkpoint" in kinds[begin:end]
    assert figures(events) == figures(whole[1])
    assert adapter(result.run) == adapter(whole[0].run)


def test_a_save_that_is_asked_for_comes_after_the_step(case: Case) -> None:
    control = Control()
    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 2:
            control.save()

    case.trainer().run([listen], control)
    assert [event.step for event in events if event.kind == "checkpoint"] == [2, 4, 8, 9]  # type: ignore[attr-defined]


def test_saves_come_by_time_too(case: Case) -> None:
    _, events = case.whole(save_steps=9, save_minutes=1e-9)
    assert [event.step for event in events if event.kind == "checkpoint"] == list(range(1, 10))  # type: ignore[attr-defined]


def test_the_checkpoint_of_the_lowest_held_out_loss_is_kept(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk.training.loop import TrainingLoop

    falls_and_rises = lambda loop, examples: (1.0 + abs(loop.progress.step - 3), len(examples))  # noqa: E731
    monkeypatch.setattr(TrainingLoop, "measure", falls_and_rises)
    result, _ = case.whole(eval_steps=1, save_steps=1, keep_checkpoints=2)
    assert result.run
    assert {checkpoint.read_progress(path).step for path in result.run.checkpoints.iterdir()} == {3, 8, 9}


def test_checkpoints_go_by_step_and_not_by_the_clock(case: Case) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 6)
    for number, path in enumerate(sorted(run.checkpoints.iterdir(), reverse=True)):
        os.utime(path, (number * 1000, number * 1000))
    found, _ = checkpoint.newest(run.checkpoints)
    assert found
    assert found.name == "step-000006"


def test_a_flipped_bit_anywhere_is_found_and_the_one_before_taken(case: Case) -> None:
    whole = case.whole()
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 6)
    newest = run.checkpoints / "step-000006"
    files_ = [path for path in sorted(newest.rglob("*")) if path.is_file()]
    for path in files_:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
        found, damaged = checkpoint.newest(run.checkpoints)
        assert (found and found.name, damaged) == ("step-000004", [newest]), path
        path.write_bytes(content)
    files_[-1].write_bytes(b"")
    _, events = go_on(run)
    assert any("damaged" in event.message for event in events if isinstance(event, Warned))
    same(run, events, whole)


def test_another_base_of_the_same_shape_is_refused(case: Case, tmp_path: Path) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    case.model = tiny.save(tmp_path / "other", seed=1)
    with pytest.raises(TrainingError, match="base model"):
        go_on(run, {"model": str(case.model)})


def test_a_checkpoint_with_numbers_that_are_none_is_refused(case: Case) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    path = run.checkpoints / "step-000004"
    tensors = load_file(path / "optimizer.safetensors")
    tensors["master.0"].view(-1)[3] = float("nan")
    save_file(tensors, path / "optimizer.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    file = path / "optimizer.safetensors"
    manifest[file.name] = [file.stat().st_size, files.sha256(file)]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrainingError, match="not finite"):
        go_on(run)


def test_changed_settings_are_refused_with_the_difference_or_taken_and_journalled(case: Case) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    with pytest.raises(UsageError, match=r"learning_rate was 0\.01 and is now 0\.001") as caught:
        go_on(run, {"learning_rate": 1e-3})
    assert "--override" in str(caught.value)
    _, events = go_on(run, {"learning_rate": 1e-3}, override=True)
    (warning,) = (event for event in events if isinstance(event, Warned))
    assert warning.code == "override"
    assert warning in list(run.events())
    assert run.provenance()["config"]["learning_rate"] == 1e-3
    assert "learning_rate" in run.provenance()["changes"][0]["what"][0]
    assert "learning_rate: 0.001" in run.config_file.read_text()
    assert max(e.learning_rate for e in events if isinstance(e, Step)) <= 1e-3


def test_settings_that_were_edited_in_the_run_are_noticed(case: Case) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    text = run.config_file.read_text()
    run.config_file.write_text(text.replace("schedule: linear", "schedule: cosine"))
    with pytest.raises(UsageError, match="schedule was 'linear' and is now 'cosine'"):
        go_on(run)


@pytest.mark.parametrize("change", [{"lora_rank": 8}, {"optimizer": "paged-adamw"}, {"quantization": "nf4"}])
def test_settings_that_the_weights_were_made_with_never_change(case: Case, change: dict[str, Any]) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    with pytest.raises(UsageError, match="new run"):
        go_on(run, change, override=True)


def test_settings_that_the_result_does_not_hang_on_change_freely(case: Case) -> None:
    whole = case.whole()
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    _, events = go_on(run, {"save_steps": 1, "max_time": "2h", "keep_checkpoints": 9})
    same(run, events, whole)
    assert [event.step for event in events if event.kind == "checkpoint"] == [5, 6, 7, 8, 9]  # type: ignore[attr-defined]


def test_other_rows_are_refused_or_taken(case: Case) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    with case.rows.open("a") as file:
        file.write('{"prompt": "one more", "response": "row"}\n')
    with pytest.raises(RunError, match="16 then, 17 now"):
        go_on(run)
    _, events = go_on(run, override=True)
    assert isinstance(events[-1], Finished)
    assert "17 now" in next(event.message for event in events if isinstance(event, Warned))


def test_rows_that_only_moved_are_the_same(case: Case, tmp_path: Path) -> None:
    whole = case.whole()
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    moved = case.rows.rename(tmp_path / "moved.jsonl")
    _, events = go_on(run, {"data": str(moved)})
    assert adapter(run) == adapter(whole[0].run)
    assert isinstance(events[-1], Finished)


def test_a_device_that_is_gone_is_replaced_and_told(case: Case) -> None:
    run = case.cut(lambda e: isinstance(e, Step) and e.step == 4)
    text = run.config_file.read_text().replace("device: cpu", "device: cuda")
    run.config_file.write_text(text)
    values = run.provenance()
    values["config"]["device"] = "cuda"
    values["hardware"]["gpus"] = [{"name": "NVIDIA L4"}]
    run.write_provenance({key: value for key, value in values.items() if key != "format"})
    _, events = go_on(run)
    hints = [event for event in events if isinstance(event, Warned) and event.code == "hardware"]
    assert any("cuda" in event.message for event in hints)
    assert any("NVIDIA L4 then, none now" in event.message for event in hints)
    assert isinstance(events[-1], Finished)


def test_a_finished_run_is_left_alone_or_trained_further(case: Case) -> None:
    result, _ = case.whole()
    assert result.run
    with pytest.raises(RunError, match="is finished"):
        go_on(result.run)
    with pytest.raises(RunError, match="is finished"):
        go_on(result.run, override=True)
    before = adapter(result.run)
    _, events = go_on(result.run, {"max_steps": 12}, override=True)
    assert [event.step for event in events if isinstance(event, Step)] == [10, 12]
    assert adapter(result.run) != before


def test_the_library_resumes_by_name_and_rows_in_memory(model_folder: Folders, home: Path) -> None:
    settings = {**SETTINGS, "name": "mine"}

    trainer = QuickTrainer(str(model_folder()), tiny.ROWS, **{**settings, "name": "whole"})
    whole = trainer.train().run
    control = Control()
    plan = autoconfig.resolve(
        QuickTrainer(str(model_folder()), tiny.ROWS, **settings).config, *_rest(model_folder(), tiny.ROWS)
    )
    halt = lambda e: control.stop() if isinstance(e, Step) and e.step == 4 else None  # noqa: E731
    assert isinstance(Trainer(plan).run([halt], control).ending, Stopped)
    with pytest.raises(RunError, match="data=rows"):
        QuickTrainer.resume("mine")
    resumed = QuickTrainer.resume("mine", data=tiny.ROWS).train()
    assert adapter(resumed.run) == adapter(whole)


def _rest(model: Path, rows: Any) -> tuple[Any, Any, Any]:
    from ftk import hardware, load_dataset
    from ftk.models import sources

    return hardware.detect(), sources.locate(str(model)), load_dataset(rows)


def test_nothing_to_resume_is_told(home: Path) -> None:
    with pytest.raises(RunError, match="No run in"):
        QuickTrainer.resume()


def test_a_full_disk_keeps_the_older_checkpoint_and_the_journal_catches_up(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftk.runs import Journal

    real, calls = Journal._write, [0]

    def full(self: Any, data: bytes) -> None:
        calls[0] += 1
        if 12 <= calls[0] < 18:
            raise OSError(28, "No space left on device")
        real(self, data)

    monkeypatch.setattr(Journal, "_write", full)
    result, events = case.whole(log_steps=1)
    assert isinstance(result.ending, Finished)
    assert any(event.code == "journal" for event in events if isinstance(event, Warned))
    assert result.run
    journalled = list(result.run.events())
    assert figures(journalled) == figures(events)
    assert journalled[-1] == result.ending
