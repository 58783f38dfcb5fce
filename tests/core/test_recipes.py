"""Presets: the packaged ones are good, one's own are found, nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftk import catalog, config, recipes
from ftk.errors import ConfigError

PACKAGED = ("gemma2-2b", "gpt2", "gpt2-medium", "llama3-8b", "mistral-7b", "phi3-mini", "qwen2.5-1.5b", "smollm2")


def test_the_packaged_presets_are_these() -> None:
    assert tuple(recipes.available()) == PACKAGED


@pytest.mark.parametrize("name", PACKAGED)
def test_a_packaged_preset_has_a_header_and_a_comment_for_every_knob(name: str) -> None:
    preset = recipes.load(name)
    assert catalog.find(preset.config.model)
    assert preset.summary
    lines = preset.text.splitlines()
    assert any(f"ftk --preset {name}" in line for line in lines if line.startswith("#"))
    for key in preset.values:
        (number,) = [index for index, line in enumerate(lines) if line.startswith(f"{key}:")]
        assert "#" in lines[number] or lines[number - 1].startswith("#"), key


def user_preset(home: Path, name: str, text: str) -> Path:
    path = home / "ftk_config" / "presets" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_ones_own_preset_is_found_by_name_and_comes_before_the_packaged_one(home: Path) -> None:
    user_preset(home, "mine", "model: gpt2\nlearning_rate: 1e-4\n")
    user_preset(home, "smollm2", "max_steps: 7\n")
    assert recipes.load("mine").config.learning_rate == 1e-4
    assert recipes.load("smollm2").config.max_steps == 7
    assert set(recipes.available()) == {*PACKAGED, "mine"}


def test_a_path_is_a_preset(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml"):
        (tmp_path / name).write_text("epochs: 2\n")
        assert recipes.load(str(tmp_path / name)).config.epochs == 2
    assert recipes.load("./a.yaml").name == "a"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("batch_sise: 4\n", ["line 1", "batch_sise", "Did you mean 'batch_size'?"]),
        ("epochs: 1\nepochs: 2\n", ["line 2", "given twice"]),
        ("\nlearning_rate: fast\n", ["line 2", "learning_rate", "'fast'"]),
        ("lora_rank: 4096\n", ["line 1", "lora_rank", "4096"]),
    ],
)
def test_a_preset_with_a_fault_is_refused_with_its_place(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        recipes.load(str(path))
    for part in [str(path), *told]:
        assert part in str(caught.value)


def test_an_unknown_name_is_answered_with_the_nearest_and_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        recipes.load("smolm2")
    assert "Did you mean 'smollm2'?" in str(caught.value)
    assert "gpt2-medium" in str(caught.value)
    with pytest.raises(ConfigError, match=r"no preset file './none\.yaml'"):
        recipes.load("./none.yaml")
    with pytest.raises(ConfigError):
        recipes.load("models")  # the catalogue stands in the same folder and is no preset


def test_a_saved_preset_reads_back_and_is_not_overwritten(tmp_path: Path) -> None:
    settings = config.build({"model": "gpt2", "learning_rate": 3e-5, "compare": ["Hello?"]})
    path = recipes.save(settings, tmp_path / "deep" / "mine")
    assert path.name == "mine.yaml"
    assert recipes.load(str(path)).config == settings
    before = path.read_text()
    with pytest.raises(ConfigError, match="exists and was not changed"):
        recipes.save(config.build({}), path)
    assert path.read_text() == before
    recipes.save(config.build({}), path, overwrite=True)
    assert recipes.load(str(path)).config == config.build({})


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="could not be written"):
        recipes.save(config.build({}), tmp_path / "file" / "x.yaml")
