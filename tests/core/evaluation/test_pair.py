"""Base and tuned model asked again and again: as loaded from the run, and as they are in memory after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk import QuickTrainer
from ftk.evaluation import prompts, subjects
from ftk.evaluation.asked import Sampling
from ftk.evaluation.chosen import rows_of_run
from ftk.evaluation.compare import Compared, Watcher, compare_subjects
from ftk.evaluation.pair import Pair, is_of
from tests.core.evaluation.trained_runs import SETTINGS, rows_file

DRAWN = Sampling(max_tokens=12, temperature=0.9, seed=5)


class Listening(Watcher):
    """Keeps what it hears."""

    side_by_side = True

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.texts: dict[str, str] = {}

    def phase(self, phase: str, detail: str, done: float | None, total: float | None) -> None:
        self.phases.append(phase)

    def text(self, label: str, number: int, text: str) -> None:
        self.texts[label] = self.texts.get(label, "") + text


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[..., Path]) -> Any:
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTK_CACHE", str(folder / "cache"))
        values = {**SETTINGS, "name": "mine", "max_steps": 30}
        return QuickTrainer(str(model_folder()), str(rows_file(folder)), runs_dir=folder / "runs", **values).train()


def pair_of(result: Any, *, in_memory: bool) -> tuple[Pair, list[prompts.Prompt]]:
    models = subjects.find([str(result.run.path)])
    asked = prompts.held_out(result.run, models[-1].config).prompts
    return Pair(models, result=result if in_memory else None), list(asked)


def answers(pair: Pair, asked: list[prompts.Prompt], watcher: Watcher) -> list[Compared]:
    found = [pair.ask(prompt, number, DRAWN, watcher, lambda: False) for number, prompt in enumerate(asked)]
    return [one for one in found if one]


def test_the_model_in_memory_answers_as_the_one_that_was_saved_and_nothing_is_loaded(result: Any) -> None:
    here, asked = pair_of(result, in_memory=True)
    there, _ = pair_of(result, in_memory=False)
    assert (here.given, there.given) == (True, False)
    near, far = Listening(), Listening()
    found = answers(here, asked, near)
    assert found == answers(there, asked, far)
    assert found == compare_subjects(there.subjects, asked, DRAWN)  # one at a time or together: the same draws
    assert not near.phases
    assert far.phases.count("adapter") == 1  # and not for every prompt
    assert near.texts == {label: "".join(one.answers[label].text for one in found) for label in here.labels}
    assert any(one.answers["base"].text != one.answers["mine"].text for one in found)


def test_both_are_measured_on_the_same_rows_as_the_run_did(result: Any) -> None:
    rows = rows_of_run(result.run and subjects.find([str(result.run.path)])[-1].config, result.run.provenance())
    here, _ = pair_of(result, in_memory=True)
    there, _ = pair_of(result, in_memory=False)
    told: list[tuple[str, str]] = []
    mine = here.losses(rows, lambda phase, detail, done, total: told.append((phase, detail)))
    assert list(mine) == ["base", "mine"]
    assert {("measure", "base"), ("measure", "mine")} == set(told)
    theirs = there.losses(rows, lambda phase, detail, done, total: None)
    for label, loss in mine.items():
        assert loss.loss == pytest.approx(theirs[label].loss, rel=1e-5)
        assert loss.rows == len(rows.held_out)
    assert mine["base"].loss == pytest.approx(result.ending.loss_before, rel=1e-4)
    assert mine["mine"].loss == pytest.approx(result.ending.loss_after, rel=1e-4)
    assert mine["mine"].perplexity < mine["base"].perplexity


def test_a_checkpoint_is_not_the_model_in_memory_and_what_was_let_go_is_loaded_again(result: Any) -> None:
    models = subjects.find([str(result.run.path), "24"], base=False)
    assert [is_of(result, subject) for subject in models] == [True, False]
    assert not is_of(None, models[0])
    pair, asked = pair_of(result, in_memory=True)
    before = answers(pair, asked[:1], Listening())
    pair.release()
    watcher = Listening()
    assert answers(pair, asked[:1], watcher) == before
    assert "adapter" in watcher.phases


def test_a_stop_before_the_first_token_is_no_answer_and_a_cancelled_loading_leaves_nothing(result: Any) -> None:
    pair, asked = pair_of(result, in_memory=False)

    class Cancelling(Watcher):
        def phase(self, phase: str, detail: str, done: float | None, total: float | None) -> None:
            raise KeyError("cancelled")

    with pytest.raises(KeyError, match="cancelled"):
        pair.ask(asked[0], 0, DRAWN, Cancelling(), lambda: False)
    assert pair.ask(asked[0], 0, DRAWN, Listening(), lambda: True) is None
    assert len(answers(pair, asked[:1], Listening())) == 1
