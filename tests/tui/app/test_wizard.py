"""The settings of the wizard: chosen, forgotten, taken from presets, shown as a command, kept for the next start."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftk import files, recipes
from ftk.config import build, field_names
from ftk.errors import ConfigError
from ftk_tui import cli
from ftk_tui.wizard import Wizard


def meant_by(command: str) -> dict[str, Any]:
    """All settings that a command line makes, read as the command reads them."""
    words = shlex.split(command)
    assert words[0] == "ftk"
    return cli.settings_of(cli._parser().parse_args(words[1:])).model_dump()


def test_choosing_tells_what_changed_and_refuses_nonsense_without_a_trace() -> None:
    told: list[frozenset[str]] = []
    wizard = Wizard()
    wizard.watch(told.append)
    wizard.choose(model="gpt2", lora_rank=8)
    wizard.choose(model="gpt2")
    with pytest.raises(ConfigError, match="lora_rank"):
        wizard.choose(lora_rank=0, model="qwen3-0.6b")
    with pytest.raises(ConfigError, match="learning_rate"):
        wizard.choose(learning_rat=1e-3)
    assert wizard.chosen == {"model": "gpt2", "lora_rank": 8}
    wizard.forget("lora_rank")
    assert wizard.settings.lora_rank == "auto"
    assert wizard.chosen == {"model": "gpt2"}
    assert told == [{"model", "lora_rank"}, {"lora_rank"}]


def test_the_command_says_only_what_differs() -> None:
    assert Wizard().command() == "ftk --model smollm2"
    assert Wizard(build({"lora_rank": 8, "model": "gpt2"})).command() == "ftk --model gpt2 --lora-rank 8"
    wizard = Wizard()
    wizard.load_preset("gpt2")
    assert wizard.command() == "ftk --preset gpt2"
    wizard.choose(data="my rows.jsonl")
    assert wizard.command() == "ftk --preset gpt2 --data 'my rows.jsonl'"


@pytest.mark.parametrize("preset", recipes.available())
def test_the_command_of_a_preset_means_the_preset(preset: str) -> None:
    wizard = Wizard()
    wizard.load_preset(preset)
    assert wizard.command() == f"ftk --preset {preset}"
    assert meant_by(wizard.command()) == wizard.settings.model_dump()
    for key in wizard.chosen:  # each of its settings taken back
        wizard.load_preset(preset)
        wizard.forget(key)
        assert meant_by(wizard.command()) == wizard.settings.model_dump(), key


def test_other_data_are_not_asked_what_a_sample_answers() -> None:
    wizard = Wizard()
    wizard.load_preset("smollm2")
    asked = wizard.settings.compare
    wizard.choose(max_steps=7)
    assert wizard.settings.compare == asked != "auto"
    wizard.choose(data="mine.jsonl")
    assert wizard.settings.compare == "auto"
    assert "--compare" not in wizard.command()
    wizard.choose(compare=["Why?"])
    wizard.choose(data="others.jsonl")
    assert wizard.settings.compare == ["Why?"]
    assert meant_by(wizard.command()) == wizard.settings.model_dump()


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda text: text.strip() == text and text.casefold() not in ("auto", "none", "null", "~")
)
VALUES = {
    "model": WORDS,
    "data": WORDS,
    "system_prompt": st.none() | WORDS,
    "trust_remote_code": st.booleans(),
    "quantization": st.sampled_from(["auto", "none", "nf4"]),
    "lora_rank": st.just("auto") | st.integers(1, 1024),
    "lora_alpha": st.just("auto") | st.floats(1e-3, 1e6),
    "lora_targets": st.just("auto")
    | st.lists(WORDS.filter(lambda word: "," not in word and not word.isspace()), min_size=1, max_size=3),
    "max_steps": st.none() | st.integers(1, 10**9),
    "epochs": st.floats(1e-3, 1e3),
    "learning_rate": st.just("auto") | st.floats(1e-12, 1.0),
    "compile": st.just("auto") | st.booleans(),
    "compare": st.just("auto") | st.lists(WORDS, max_size=3),
    "max_time": st.none() | st.sampled_from(["25m", "1h30m", "90s"]),
    "name": st.none() | st.sampled_from(["a", "my-run_1.2"]),
}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([None, "smollm2", "gpt2"]),
    st.fixed_dictionaries({}, optional=VALUES),
    st.sets(st.sampled_from(sorted(VALUES))),
)
def test_the_command_means_what_the_wizard_holds(
    preset: str | None, chosen: dict[str, Any], forgotten: set[str]
) -> None:
    wizard = Wizard()
    if preset:
        wizard.load_preset(preset)
    wizard.choose(**chosen)
    wizard.forget(*forgotten)
    assert meant_by(wizard.command()) == wizard.settings.model_dump()


def test_a_preset_file_is_found_from_any_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Wizard(build({"model": "gpt2"})).save_preset(home / "my.yaml")
    wizard = Wizard()
    wizard.load_preset("./my.yaml")
    (home / "other").mkdir()
    monkeypatch.chdir(home / "other")
    assert wizard.command() == f"ftk --preset {home / 'my.yaml'}"
    assert Wizard(build({}), "my.yaml").preset == str(home / "other" / "my.yaml")
    (home / "my.yaml").unlink()  # the command goes without it then
    assert wizard.command() == "ftk --model gpt2"


def test_a_preset_that_was_saved_is_the_same_settings() -> None:
    wizard = Wizard(build({"model": "gpt2", "compare": ["Why [b]not[/b]?"], "lora_targets": ["q_proj"]}))
    path = wizard.save_preset(recipes.user_dir() / "mine")
    assert recipes.load("mine").path == path
    other = Wizard()
    other.load_preset("mine")
    assert other.settings.model_dump() == wizard.settings.model_dump()
    assert other.command() == "ftk --preset mine"


def test_everything_is_kept_for_the_next_start() -> None:
    wizard = Wizard()
    wizard.load_preset("gpt2")
    wizard.choose(max_steps=7, compare=["Why?"])
    wizard.forget("learning_rate")
    wizard.step, wizard.run = "train", "mine"
    wizard.store()
    kept = Wizard.restored()
    assert kept.settings == wizard.settings
    assert kept.chosen == wizard.chosen
    assert (kept.preset, kept.step, kept.run) == ("gpt2", "train", "mine")


def test_what_did_not_change_is_not_written_again() -> None:
    path = files.config_dir() / "wizard.json"
    wizard = Wizard()
    wizard.store()
    path.write_text("somebody else's")
    wizard.store()
    assert path.read_text() == "somebody else's"
    wizard.choose(model="gpt2")
    wizard.store()
    assert json.loads(path.read_text())["settings"] == {"model": "gpt2"}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", "null", "{}", '{"settings": [], "preset": null, "step": "train", "run": null}',
        '{"settings": {"no_such": 1}, "preset": null, "step": "train", "run": null}',
        '{"settings": {"lora_rank": -1}, "preset": 7, "step": [], "run": {}}', "[" * 100_000, "\x00\xff",
    ],
)  # fmt: skip
def test_a_state_that_is_damaged_is_none(text: str) -> None:
    files.config_dir().mkdir()
    (files.config_dir() / "wizard.json").write_text(text, encoding="latin-1")
    assert Wizard.restored().chosen == {}


def test_odd_values_beside_good_settings_do_no_harm() -> None:
    files.config_dir().mkdir()
    text = '{"settings": {"model": "gpt2"}, "preset": 7, "step": "elsewhere", "run": ["x"]}'
    (files.config_dir() / "wizard.json").write_text(text)
    wizard = Wizard.restored()
    assert (wizard.settings.model, wizard.preset, wizard.step, wizard.run) == ("gpt2", None, "model", None)


def test_a_disk_that_cannot_be_written_is_no_reason_to_complain(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("FTK_CONFIG", str(home / "file" / "below"))
    wizard = Wizard()
    wizard.store()
    monkeypatch.setenv("FTK_CONFIG", str(home / "better"))
    wizard.store()
    assert (home / "better" / "wizard.json").exists()


def test_all_settings_can_be_said() -> None:
    assert set(VALUES) <= set(field_names())
