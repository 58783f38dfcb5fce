"""Settings: one home, strict values, errors that name file, line, key, value and the nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftk import config, strict_yaml
from ftk.config import RunConfig, build
from ftk.errors import ConfigError, UsageError


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        build(values)
    return str(caught.value)


def test_no_setting_is_needed() -> None:
    assert build({}).model == "smollm2"
    assert build({}) == RunConfig()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0), ("learning_rate", -1e-4), ("learning_rate", 1.5), ("learning_rate", float("nan")),
        ("learning_rate", float("inf")), ("learning_rate", "1e-4"), ("learning_rate", True), ("learning_rate", None),
        ("batch_size", 0), ("batch_size", 2.5), ("batch_size", "4"), ("batch_size", True), ("max_steps", 0),
        ("epochs", 0), ("epochs", float("inf")), ("eval_fraction", 0.6), ("eval_fraction", -0.1), ("max_length", 7),
        ("lora_rank", 0), ("lora_rank", 1025), ("lora_rank", "sixteen"), ("lora_alpha", 0), ("lora_dropout", 1),
        ("lora_targets", []), ("lora_targets", "q_proj"), ("schedule", "step"),
        ("quantization", "fp4"), ("precision", "bf16"), ("optimizer", "sgd"), ("template", "vicuna"),
        ("device", "tpu"), ("device", "cuda:"), ("device", "cuda:-1"), ("seed", -1), ("seed", 2**32), ("seed", 1.0),
        ("name", "../up"), ("name", ""), ("name", "a" * 65), ("name", ".hidden"), ("name", "a/b"), ("name", "ä"),
        ("compare", "one prompt"),  ("model", ""), ("data", ""),
        ("gradient_checkpointing", "yes"), ("gradient_checkpointing", 1), ("early_stopping", -1),
    ],
)  # fmt: skip
def test_a_value_that_makes_no_sense_is_refused_with_key_and_value(key: str, value: object) -> None:
    message = refusal({key: value})
    assert message.startswith(f"{key}: {value!r} is not accepted: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 1), ("learning_rate", 1e-6), ("epochs", 2), ("lora_rank", 8), ("lora_rank", "auto"),
        ("lora_alpha", 32), ("lora_targets", ["q_proj"]), ("gradient_checkpointing", True), ("device", "cuda:3"),
        ("compare", []), ("compare", ["a", "b"]), ("name", "Run_1.a-b"), ("eval_data", None), ("max_steps", None),
        ("early_stopping", 0), ("warmup_ratio", 0), ("warmup_ratio", 1),
    ],
)  # fmt: skip
def test_a_value_at_the_edge_is_taken(key: str, value: object) -> None:
    assert getattr(build({key: value}), key) == value


def test_an_unknown_key_is_answered_with_the_nearest_known_one() -> None:
    assert "unknown setting 'learning_rat'. Did you mean 'learning_rate'?" in refusal({"learning_rat": 1e-4})
    assert "Did you mean" not in refusal({"zzzzzz": 1})


def test_an_unknown_word_is_answered_with_the_nearest_known_one() -> None:
    assert "Did you mean 'cosine'?" in refusal({"schedule": "cosin"})


def test_every_error_of_a_file_is_told_with_its_line() -> None:
    document = strict_yaml.parse("# x\nmodle: gpt2\nbatch_size: 0\nepochs: 2\n", "my.yaml")
    with pytest.raises(ConfigError) as caught:
        build(document.values, document)
    assert "my.yaml, line 2: unknown setting 'modle'. Did you mean 'model'?" in str(caught.value)
    assert "my.yaml, line 3: batch_size: 0 is not accepted" in str(caught.value)
    assert caught.value.exit_code == UsageError.exit_code == 2


def test_settings_cannot_be_changed_but_merged() -> None:
    first = build({"batch_size": 2, "epochs": 1.0})
    second = first.merged({"batch_size": 8})
    assert (first.batch_size, second.batch_size, second.epochs) == (2, 8, 1.0)
    with pytest.raises(Exception, match="frozen"):
        first.batch_size = 3  # type: ignore[misc]
    with pytest.raises(ConfigError):
        first.merged({"batch_size": 0})


def test_every_setting_is_explained_and_named_once() -> None:
    names = config.field_names()
    assert len(names) == len(set(names)) == len(RunConfig.model_fields)
    for name, field in RunConfig.model_fields.items():
        assert field.description
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"learning_rate": 1e-5, "lora_targets": ["q_proj", "v_proj"], "compare": ["a: b", "# c", "- d", "é\n'\""]},
        {"system_prompt": "no", "model": "1e-4", "data": "~", "name": "007", "max_steps": 3, "epochs": 1e-9},
        {"system_prompt": " leading\nand 'quotes' \"both\" \\n \t {x: y} [z] *a &b !c | > % @ ` \U0001f600 \u202e"},
        {"compare": [], "lora_alpha": 1e16, "gradient_checkpointing": False, "seed": 2**32 - 1},
    ],
)
def test_a_written_preset_reads_back_equal(values: dict[str, Any]) -> None:
    settings = build(values)
    document = strict_yaml.parse(settings.to_yaml(header="mine\n\nftk"), "mine.yaml")
    assert build(document.values, document) == settings


def test_paths_beside_a_preset_are_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "smollm2").mkdir()
    settings = config.with_paths_from(build({"data": "rows.jsonl", "model": "smollm2"}), tmp_path)
    assert settings.data == str(tmp_path / "rows.jsonl")
    assert settings.model == "smollm2"  # a folder of that name without a model in it
    (elsewhere / "rows.jsonl").write_text("{}\n")
    assert config.with_paths_from(build({"data": "rows.jsonl"}), tmp_path).data == "rows.jsonl"


def test_a_bad_part_of_a_list_is_named() -> None:
    assert refusal({"lora_targets": ["q_proj", ""]}).startswith("lora_targets: '' is not accepted")
    assert refusal({"compare": ["a", 3]}).startswith("compare: 3 is not accepted")
