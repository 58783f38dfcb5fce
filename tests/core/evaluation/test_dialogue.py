"""A conversation turn by turn: what the model sees, what is left out where it grows too long, what is saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.errors import DataError, UsageError
from ftk.evaluation import dialogue as module
from ftk.evaluation import subjects
from ftk.evaluation.dialogue import Dialogue, Voices
from ftk.evaluation.generate import Sampling, generate
from ftk.models import loading
from tests import tiny
from tests.core.evaluation.trained_runs import train

Folder = Callable[..., Path]
SHORT = Sampling(6)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.model()


def ask(dialogue: Dialogue, model: Any, text: str, sampling: Sampling = SHORT, **options: Any) -> module.Reply:
    return dialogue.ask(model, tiny.tokenizer(), text, sampling, **options)


def test_every_turn_sees_those_before_it(model: Any) -> None:
    dialogue = Dialogue("Be brief.")
    first = ask(dialogue, model, "one").answer.text
    second = ask(dialogue, model, "two").answer.text
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": second},
    ]
    assert list(dialogue.messages) == turns
    assert generate(model, tiny.tokenizer(), [tuple(turns[:2]), tuple(turns[:4])], SHORT) == [first, second]
    dialogue.reset()
    assert ask(dialogue, model, "one").answer.text == first


def test_parts_come_while_the_model_writes_and_turns_have_draws_of_their_own(model: Any) -> None:
    def talk(seed: int) -> list[str]:
        dialogue, found = Dialogue(), []
        for _ in range(2):
            parts: list[str] = []
            reply = ask(dialogue, model, "one", Sampling(12, temperature=1.5, seed=seed), on_text=parts.append)
            assert "".join(parts) == reply.answer.text
            found.append(reply.answer.text)
        return found

    assert talk(1) == talk(1) != talk(2)
    first, second = Dialogue(), Dialogue()
    drawn = Sampling(12, temperature=1.5, seed=1)
    assert ask(first, model, "one", drawn) == ask(second, model, "one", drawn)


def test_a_conversation_that_is_full_loses_its_oldest_exchanges_and_never_the_system(model: Any) -> None:
    dialogue = Dialogue("Be brief.")
    left_out, seen = [], []
    real = module.token_rows

    def spied(tokenizer: Any, prompts: Any) -> Any:
        seen.append(prompts[0].messages)
        return real(tokenizer, prompts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "token_rows", spied)
        for number in range(8):
            left_out.append(ask(dialogue, model, f"question {number}: " + "seven " * 30).left_out)
            assert seen[-1][0]["content"] == "Be brief."
            assert seen[-1][-1]["content"].startswith(f"question {number}:")
            assert [turn["role"] for turn in seen[-1][1:3]] in (["user"], ["user", "assistant"])
    assert left_out[0] == 0
    assert sum(left_out) > 2
    assert max(left_out) == 1  # told when it happens, and not again
    assert len(dialogue.turns) == 16  # all of it can be saved


def test_what_does_not_fit_at_all_is_said_and_taken_back(model: Any) -> None:
    dialogue = Dialogue()
    ask(dialogue, model, "one")
    before = list(dialogue.turns)
    with pytest.raises(DataError, match="the model reads 256"):
        ask(dialogue, model, "seven " * 400)
    assert dialogue.turns == before
    assert ask(dialogue, model, "two").left_out == 0


def test_a_stopped_answer_stays_and_a_question_without_one_does_not(model: Any) -> None:
    dialogue = Dialogue()
    calls: list[int] = []
    stopped = ask(dialogue, model, "one", Sampling(30), stop=lambda: calls.append(1) or len(calls) > 5)  # type: ignore[func-returns-value]
    assert stopped.answer.reason == "stopped"
    assert dialogue.turns[-1] == {"role": "assistant", "content": stopped.answer.text}
    ask(dialogue, model, "two", stop=lambda: True)
    assert len(dialogue.turns) == 2


def test_a_conversation_is_saved_as_a_row_or_to_read(model: Any, home: Path) -> None:
    from ftk import load_dataset

    dialogue = Dialogue("Be brief.")
    with pytest.raises(UsageError, match="Nothing was said"):
        dialogue.save(home / "talk.jsonl")
    ask(dialogue, model, "Wie geht's, 🙂?")
    path = dialogue.save(home / "talk.jsonl")
    assert json.loads(path.read_text())["messages"] == list(dialogue.messages)
    assert load_dataset(path).rows[0].messages == dialogue.messages
    assert dialogue.save(home / "talk.md").read_text().startswith("**system**\n\nBe brief.\n\n**user**")
    with pytest.raises(UsageError, match="was not changed"):
        dialogue.save(path)
    with pytest.raises(UsageError, match="no format"):
        dialogue.save(home / "talk")
    (home / "file").write_text("")
    with pytest.raises(UsageError, match="could not be written"):
        dialogue.save(home / "file" / "talk.md")


def test_base_and_tuned_are_loaded_once_and_whole_models_one_after_the_other(
    home: Path, model_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(home, model_folder(), "adapter", max_steps=6)
    train(home, model_folder(), "whole", method="full", max_steps=2)
    loads: list[str] = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda source, **options: loads.append(source.name) or load(source, **options))
    for name, count in (("adapter", 1), ("whole", 3)):
        loads.clear()
        base, tuned = subjects.find([str(home / "runs" / name)])
        voices = Voices([base, tuned])
        said = {}
        for label in (tuned.label, base.label, tuned.label):
            with voices.using(label) as (model, tokenizer):
                (said[label],) = generate(model, tokenizer, ["What comes after one?"], Sampling(12))
        assert len(loads) == count
        assert said["base"] != said[tuned.label]
    shutil.rmtree(home / "runs")
