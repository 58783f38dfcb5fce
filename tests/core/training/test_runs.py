"""A run as a whole: its events, its folder, stopping and going on, and what it does when something is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel

from ftk import QuickTrainer, autoconfig, recipes
from ftk.errors import FtkError, TrainingError
from ftk.events import Event, Failed, Finished, Started, Step, Stopped
from ftk.runner import Runner
from ftk.runs import RunFolder
from ftk.training import checkpoint, counted
from ftk.training.control import Control
from ftk.training.passes import FastPass
from ftk.training.trainer import Trainer
from tests import tiny
from tests.core.training.helpers import DEFAULTS, Run

Folders = Callable[..., Path]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    return path


def test_a_run_begins_with_started_and_ends_with_exactly_one_ending(model_folder: Folders) -> None:
    run = Run(model_folder(), eval_fraction=0.25, compare=["What comes after one?"], max_steps=4)
    assert isinstance(run.events[0], Started)
    assert isinstance(run.events[-1], Finished)
    assert sum(isinstance(event, Finished | Stopped | Failed) for event in run.events) == 1
    assert [event.step for event in run.of("step")] == [1, 2, 3, 4]
    assert [event.step for event in run.of("evaluation")] == [0, 1, 2, 3, 4]
    assert run.of("answer")[0].prompt == "What comes after one?"
    ending = run.events[-1]
    assert ending.loss_after == run.of("evaluation")[-1].loss < ending.loss_before


def test_answers_are_counted_while_they_are_written(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted, "_EVERY_S", 0.0)
    run = Run(model_folder(), compare=["One?", "Two?"], compare_tokens=5, max_steps=1)
    told = [event for event in run.of("phase") if event.name == "compare"]
    assert told[0].done is None
    assert [event.done for event in told[1:]] == list(range(1, len(told)))
    assert 2 <= len(told) - 1 <= 10
    assert {(event.total, event.unit, event.detail) for event in told[1:]} == {(10, "tokens", "2 prompts")}


def test_the_journal_holds_the_same_events(model_folder: Folders) -> None:
    run = Run(model_folder(), max_steps=3)
    assert run.result.run is not None
    assert list(run.result.run.events()) == run.events


def test_the_run_folder_tells_how_it_came_about(model_folder: Folders, data: Path) -> None:
    trainer = QuickTrainer(str(model_folder()), str(data), **{**DEFAULTS, "max_steps": 2, "seed": 7})
    run = trainer.train().run
    assert run is not None
    known = run.provenance()
    assert known["seed"] == 7
    assert known["packages"]["torch"] == torch.__version__
    assert len(known["data"]["sha256"]) == 64
    settings = recipes.load(str(run.config_file)).config
    assert settings.max_steps == 2
    assert settings.data == str(data)
    assert "auto" not in {settings.quantization, settings.precision, settings.device, settings.optimizer}
    assert run.owner() is None


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_the_adapter_loads_with_plain_peft_and_answers_the_same(architecture: str, model_folder: Folders) -> None:
    run = Run(model_folder(architecture), max_steps=4)
    assert run.result.run is not None
    ids = torch.tensor([run.result.tokenizer("What comes after one?")["input_ids"]])
    with torch.no_grad():
        ours = run.result.model(input_ids=ids).logits
        plain = PeftModel.from_pretrained(tiny.model(architecture), str(run.result.run.adapter))
        auto = AutoPeftModelForCausalLM.from_pretrained(str(run.result.run.adapter))
        torch.testing.assert_close(plain(input_ids=ids).logits, ours)
        torch.testing.assert_close(auto(input_ids=ids).logits, ours)
    from transformers import AutoTokenizer

    saved = AutoTokenizer.from_pretrained(run.result.run.adapter)
    assert saved.chat_template == run.result.tokenizer.chat_template


def test_a_model_without_a_template_gets_one_and_the_adapter_keeps_it(model_folder: Folders) -> None:
    run = Run(model_folder("gpt2", chat=False), max_steps=1)
    assert run.result.run is not None
    assert "### Response:" in (run.result.run.adapter / "chat_template.jinja").read_text()


def _plan(model: Path, data: Path, **settings: Any) -> Trainer:
    config = QuickTrainer(str(model), str(data), **{**DEFAULTS, **settings}).config
    return Trainer(autoconfig.plan(config))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("cut", "method"),
    [
        (1, {}),
        (5, {"lora_dropout": 0.0}),
        (6, {}),
        (5, {"lora_dora": True, "lora_b_ratio": 4.0, "neftune_alpha": 0.5}),
        (4, {"lora_init": "eva", "lora_dropout": 0.0, "quantization": "nf4"}),
        (5, {"method": "full", "learning_rate": 1e-3}),
        pytest.param(5, {"lora_dropout": 0.0, "compile": True}, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_to_the_same_result(
    cut: int, method: dict[str, Any], precision: str, model_folder: Folders, data: Path
) -> None:
    settings: dict[str, Any] = {
        "max_steps": 9, "batch_size": 2, "gradient_accumulation": 2, "lora_dropout": 0.1, "precision": precision,
        "eval_fraction": 0.25, "eval_steps": 3, "early_stopping": 5, **method,
    }  # fmt: skip
    whole: list[Event] = []
    finished = _plan(model_folder(), data, **settings).run([whole.append])
    first: list[Event] = []
    control = Control()

    def stop_at(event: Event) -> None:
        first.append(event)
        if isinstance(event, Step) and event.step == cut:
            control.stop("test")

    trainer = _plan(model_folder(), data, **settings)
    stopped = trainer.run([stop_at], control)
    assert isinstance(stopped.ending, Stopped)
    assert stopped.ending.step == cut
    assert stopped.run is not None
    assert finished.run is not None
    rest: list[Event] = []
    resumed = Trainer(trainer.plan, resume=RunFolder.open(str(stopped.run.path))).run([rest.append])
    assert isinstance(resumed.ending, Finished)

    def figures(events: list[Event]) -> list[tuple[int, float, float]]:
        return [(e.step, e.loss, e.grad_norm) for e in events if isinstance(e, Step)]

    assert figures(first) + figures(rest) == figures(whole)
    assert resumed.ending.loss_before == finished.ending.loss_before  # type: ignore[attr-defined]
    assert resumed.ending.loss_after == finished.ending.loss_after  # type: ignore[attr-defined]
    files = [next(r.trained.glob("*model.safetensors")) for r in (resumed.run, finished.run) if r]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_resume_passes_over_a_damaged_checkpoint(model_folder: Folders, data: Path) -> None:
    control = Control()
    trainer = _plan(model_folder(), data, max_steps=6, save_steps=2)
    stopper = lambda e: control.stop() if isinstance(e, Step) and e.step == 5 else None  # noqa: E731
    run = trainer.run([stopper], control).run
    assert run is not None
    newest, _ = checkpoint.newest(run.checkpoints)
    assert newest is not None
    with (newest / "optimizer.safetensors").open("r+b") as file:
        file.seek(-3, 2)
        file.write(b"\xff")
    events: list[Event] = []
    ending = Trainer(trainer.plan, resume=run).run([events.append]).ending
    assert isinstance(ending, Finished)
    assert any("damaged" in event.message for event in events if event.kind == "warning")  # type: ignore[attr-defined]
    assert [event.step for event in events if isinstance(event, Step)] == [5, 6]


def test_only_the_newest_checkpoints_are_kept(model_folder: Folders) -> None:
    run = Run(model_folder(), max_steps=9, save_steps=2, keep_checkpoints=2)
    assert run.result.run is not None
    assert sorted(path.name for path in run.result.run.checkpoints.iterdir()) == ["step-000008", "step-000009"]


def test_early_stopping_keeps_the_best_adapter(model_folder: Folders) -> None:
    run = Run(model_folder(), max_steps=60, eval_fraction=0.25, eval_steps=2, early_stopping=2, learning_rate=0.2)
    losses = [event.loss for event in run.of("evaluation")]
    ending = run.events[-1]
    assert isinstance(ending, Finished)
    assert ending.step < 60
    assert ending.loss_after == min(losses) < losses[-1]
    assert "best adapter" in ending.reason


def _poison(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Multiply the loss of some updates (from 1) by NaN."""
    real, calls = FastPass.summed_loss, [0]

    def poisoned(*args: Any) -> Any:
        calls[0] += 1
        return real(*args) * (float("nan") if calls[0] in steps else 1.0)

    monkeypatch.setattr(FastPass, "summed_loss", poisoned)


def test_an_update_that_is_not_finite_is_skipped_and_told(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, {3})
    run = Run(model_folder(), max_steps=6)
    (warning,) = run.of("warning")
    assert "Step 3" in warning.message
    assert "row" in warning.message
    assert all(torch.isfinite(value).all() for value in run.weights().values())
    assert run.losses[-1] < run.losses[0]


def test_training_stops_with_advice_when_the_numbers_stay_infinite(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    _poison(monkeypatch, {3, 4, 5})
    events: list[Event] = []
    trainer = QuickTrainer(str(model_folder()), tiny.ROWS, **DEFAULTS)
    with pytest.raises(TrainingError, match="learning-rate"):
        trainer.train([events.append])
    assert isinstance(events[-1], Failed)
    assert events[-1].step == 4


def test_float16_gradients_that_overflow_lower_the_scale_and_training_goes_on(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Run(model_folder(), max_steps=5)
    resolve = autoconfig.resolve

    def as_on_a_t4(*args: Any) -> Any:
        made = resolve(*args)
        object.__setattr__(made, "config", made.config.merged({"precision": "float16"}))
        return made

    monkeypatch.setattr(autoconfig, "resolve", as_on_a_t4)
    from ftk.models import loading

    load = loading.load
    monkeypatch.setattr(loading, "load", lambda *a, **k: load(*a, **{**k, "precision": "float32"}))
    scaled = Run(model_folder(), max_steps=5)
    assert scaled.losses == pytest.approx(plain.losses, abs=1e-4)


def test_a_broken_listener_does_not_end_a_run(model_folder: Folders) -> None:
    heard: list[Event] = []

    def broken(event: Event) -> None:
        raise RuntimeError("the screen fell over")

    result = QuickTrainer(str(model_folder()), tiny.ROWS, **DEFAULTS).train([broken, heard.append])
    assert isinstance(result.ending, Finished)
    assert [event.message for event in heard if event.kind == "warning"] == [  # type: ignore[attr-defined]
        "A listener failed and hears nothing more: RuntimeError: the screen fell over"
    ]


def test_a_full_disk_at_a_checkpoint_is_a_warning(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write", full)
    run = Run(model_folder(), max_steps=4)
    assert isinstance(run.events[-1], Finished)
    assert "No space left" in run.of("warning")[0].message


def test_an_unexpected_error_ends_the_run_as_failed_with_words(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise RuntimeError("the kernel fell over")

    monkeypatch.setattr(FastPass, "summed_loss", broken)
    events: list[Event] = []
    with pytest.raises(FtkError, match="the kernel fell over"):
        QuickTrainer(str(model_folder()), tiny.ROWS, **DEFAULTS).train([events.append])
    assert isinstance(events[-1], Failed)


def test_a_runner_pauses_proceeds_and_stops(model_folder: Folders, data: Path) -> None:
    steps: list[int] = []
    trainer = _plan(model_folder(), data, max_steps=5000, save_steps=5000)
    runner = Runner(trainer)

    def listen(event: Event) -> None:
        if isinstance(event, Step):
            steps.append(event.step)
            if event.step == 3:
                runner.pause()

    runner._listeners = [listen]
    assert runner.state == "ready"
    runner.start()
    while not steps or steps[-1] < 3:
        runner.join(0.05)
    assert not runner.join(0.3)
    assert steps[-1] == 3
    assert runner.state == "paused"
    runner.proceed()
    while steps[-1] < 5:
        runner.join(0.05)
    runner.stop("enough")
    result = runner.result()
    assert isinstance(result.ending, Stopped)
    assert result.ending.reason == "enough"
    assert result.ending.checkpoint is not None
    assert runner.state == "done"
