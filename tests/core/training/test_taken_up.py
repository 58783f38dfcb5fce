"""A run that is taken up: from a host that is gone, with what changed meanwhile, with what was still to be saved."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from ftk import resume, run_lock, run_signs
from ftk.errors import RunError
from ftk.events import CheckpointSaved, Event, Finished, Proceeded, Step, Stopped, Warned
from ftk.runs import RunFolder
from ftk.training import checkpoint
from ftk.training.control import Control
from tests.core.training.test_keeping import Case, go_on, of


@pytest.fixture
def case(tmp_path: Path, model_folder: Callable[..., Path]) -> Case:
    return Case(tmp_path, model_folder())


def owned_elsewhere(path: Path, silent_s: float) -> None:
    """Write into a run that a process of another host has it, which gave its last sign of life so long ago."""
    owner = run_lock.Owner(42, "spot-1", 0.0, signs_s=20)
    staged = path / "new"
    staged.write_text(json.dumps(dataclasses.asdict(owner)))
    os.utime(staged, (time.time() - silent_s,) * 2)
    staged.rename(path / run_lock.OWNER)


def test_a_run_whose_host_is_gone_is_found_told_of_and_finished(case: Case) -> None:
    run = case.cut(2)
    lines = run.journal_file.read_bytes().splitlines(keepends=True)
    run.journal_file.write_bytes(b"".join(line for line in lines if b'"event": "stopped"' not in line))
    owned_elsewhere(run.path, 600)
    assert run.state() == "interrupted"
    assert resume.find(None, run.path.parent).name == run.name
    result, events = go_on(run)
    assert isinstance(result.ending, Finished)
    assert "spot-1, which wrote this run, was not heard of since" in of(events, Warned)[0].message
    assert run.owner() is None


def test_a_run_that_another_host_took_writes_nothing_more(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_signs, "EVERY_S", 0.01)
    control, events, sizes = Control(), list[Event](), list[int]()

    def lose(event: Event) -> None:
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            run = Path(events[0].folder)  # type: ignore[attr-defined]
            owned_elsewhere(run, 0)
            while not control.stopping:
                time.sleep(0.005)
            sizes.append((run / "events.jsonl").stat().st_size)

    result = case.trainer(save_steps=50).run([lose], control)
    assert isinstance(result.ending, Stopped)
    assert "process 42 on spot-1 has taken the run over" in result.ending.reason
    assert result.run
    assert result.run.journal_file.stat().st_size == sizes[0]
    assert not list(result.run.checkpoints.glob("step-*"))
    owner = result.run.owner()
    assert owner
    assert owner.host == "spot-1"


def reworded(case: Case, folder: Path, change: Callable[[Any], None]) -> None:
    """Put the same model with another tokenizer in its place."""
    shutil.copytree(case.model, folder / "other")
    tokenizer = AutoTokenizer.from_pretrained(folder / "other")
    change(tokenizer)
    tokenizer.save_pretrained(folder / "other")


@pytest.mark.parametrize("what", ["tokenizer", "template"])
def test_another_tokenizer_or_template_is_refused_with_what_changed_or_taken(
    case: Case, tmp_path: Path, what: str
) -> None:
    def change(tokenizer: Any) -> None:
        if what == "tokenizer":
            rules = json.loads(tokenizer.backend_tokenizer.to_str())
            rules["model"]["merges"] = rules["model"]["merges"][:-1]  # the same number of tokens, other rules
            tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(rules))
        else:
            tokenizer.chat_template = "{% if false %}USER{% endif %}" + (tokenizer.chat_template or "{{ messages }}")

    run = case.cut(2)
    reworded(case, tmp_path, change)
    known = run.provenance()["wording"]
    changes = {"model": str(tmp_path / "other")}
    with pytest.raises(RunError, match="would become other tokens than before") as refused:
        go_on(run, changes)
    if what == "template":
        assert "USER" in refused.value.message
    assert "--override" in (refused.value.hint or "")
    assert run.provenance()["wording"] == known
    assert run.resumable
    result, events = go_on(run, changes, override=True)
    assert isinstance(result.ending, Finished)
    assert "would become other tokens" in [event.message for event in of(events, Warned)][-1]
    assert run.provenance()["wording"] != known


def test_a_run_of_an_earlier_version_gets_its_mark_when_it_goes_on(case: Case) -> None:
    run = case.cut(2)
    values = run.provenance()
    mark = values.pop("wording")
    run.write_provenance({key: value for key, value in values.items() if key != "format"})
    result, events = go_on(run)
    assert isinstance(result.ending, Finished)
    assert not of(events, Warned)
    assert run.provenance()["wording"] == mark


@pytest.mark.parametrize("change", [{"max_steps": 64}, {"early_stopping": 3}, {"early_stopping": 0, "max_steps": 30}])
def test_a_run_that_stopped_early_is_trained_further_with_patience_anew(case: Case, change: dict[str, Any]) -> None:
    settings = {"max_steps": 60, "eval_fraction": 0.25, "eval_steps": 2, "early_stopping": 2, "learning_rate": 0.2}
    result, _ = case.run(**settings)
    assert isinstance(result.ending, Finished)
    assert result.run
    stopped = result.ending.step
    assert stopped < 30
    with pytest.raises(RunError, match="is finished: the held-out loss stopped falling") as refused:
        go_on(result.run, override=True)
    assert "--override --early-stopping N" in (refused.value.hint or "")
    further, events = go_on(result.run, change, override=True)
    assert isinstance(further.ending, Finished)
    assert further.ending.step > stopped
    if change.get("early_stopping") == 0:
        assert further.ending.step == 30
    else:
        anew = any("counted anew" in event.message for event in of(events, Warned))
        assert anew == ("max_steps" in change)  # with more patience it goes on counting
        assert further.ending.loss_after == result.ending.loss_after  # no better one was found: the best stays


def test_nobody_can_take_a_new_run_before_it_begins(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refused = RunFolder.write_provenance, list[str]()

    def meddle(run: RunFolder, values: dict[str, Any], **options: Any) -> None:
        real(run, values, **options)
        with pytest.raises(RunError, match="is being written by process") as caught, RunFolder(run.path).locked():
            pass
        refused.append(caught.value.message)

    monkeypatch.setattr(RunFolder, "write_provenance", meddle)
    result, _ = case.run(max_steps=1)
    assert refused
    assert result.run
    assert result.run.owner() is None


def test_a_checkpoint_that_failed_can_be_asked_for_again_in_a_pause(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls, control, told = checkpoint._check_room, [0], Control(), list[str]()

    def full(folder: Path, size: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError("no room")
        real(folder, size)

    def watch(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            control.pause()
        if isinstance(event, Warned) and event.code == "checkpoint":
            told.append("failed")
            control.save()
        if isinstance(event, CheckpointSaved) and event.step == 2:
            told.append("saved")
            control.proceed()
        if isinstance(event, Proceeded):
            told.append("goes on")

    monkeypatch.setattr(checkpoint, "_check_room", full)
    result = case.trainer(save_steps=2).run([watch], control)
    assert isinstance(result.ending, Finished)
    assert told[:3] == ["failed", "saved", "goes on"]
