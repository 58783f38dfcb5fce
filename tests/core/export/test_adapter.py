"""The exported adapter: complete, pointing to a base that others have, loaded once before it is called done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk import files
from ftk.errors import ExportError
from ftk.evaluation import record
from ftk.export import adapter, card, source
from ftk.export.source import Trained
from tests.core.evaluation.reported_runs import evaluated

from . import runs_for_tests

CATALOGUED = {"model": {"name": "smollm2", "source": "cache", "revision": "0123456789abcdef"}}


def test_everything_that_is_needed_is_there(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run()
    made = adapter.export(trained, tmp_path / "out")
    assert [name for name, _ in made.files] == [
        "LICENCE_NOTE.md", "README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja",
        "ftk_export.json", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    assert files.sha256(made.path / source.WEIGHTS) == files.sha256(trained.folder / source.WEIGHTS)
    assert "only on this machine" in made.notes[0]
    assert "finite logits" in made.checks[0]


def test_the_base_is_named_so_that_others_find_it(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run(provenance=CATALOGUED)
    made = adapter.export(trained, tmp_path / "out")
    config = json.loads((made.path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config["revision"] == "0123456789abcdef"
    assert made.notes == []
    card_text = (made.path / "README.md").read_text()
    for part in (
        "base_model: HuggingFaceTB/SmolLM2-135M-Instruct", "license: apache-2.0", "library_name: peft",
        "revision `0123456789abcdef`", "AutoPeftModelForCausalLM", "| data | a data set that is not public, 16 rows",
        "under the licence Apache-2.0",
    ):  # fmt: skip
        assert part in card_text
    assert str(trained.config.model) not in card_text
    for path in made.path.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("llama3.2-1b", ["license: llama3.2", "read them there before you share this"]),
        ("gemma2-2b", ["license: gemma", "read them there"]),
        ("qwen2.5-3b", ["license: other", "license_name: qwen-research", "read them there"]),
        ("gpt2", ["license: mit", "is under the licence MIT"]),
    ],
)
def test_the_card_tells_the_licence_of_the_base(run: Callable[..., Trained], model: str, told: list[str]) -> None:
    trained = run(provenance={"model": {"name": model, "source": "hub", "revision": None}})
    text = card.write(trained, "adapter", [])
    for part in told:
        assert part in text


def test_public_data_is_named_and_private_data_is_not(run: Callable[..., Trained]) -> None:
    for number, (name, told) in enumerate(
        [
            ("sample:chat", "| data | sample:chat, 3 rows"),
            ("databricks/dolly", "| data | databricks/dolly, 3 rows"),
            ("./rows.jsonl", "| data | a data set that is not public, 3 rows"),
            ("/data/x", "| data | a data set that is not public, 3 rows"),
        ]
    ):
        trained = run(name=f"r{number}", provenance={"data": {"name": name, "rows": 3}})
        assert told in card.write(trained, "adapter", [])


def test_a_token_in_the_settings_does_not_get_into_the_card(run: Callable[..., Trained]) -> None:
    token = "hf_" + "a1B2" * 10
    trained = run(provenance={"packages": {"torch": token}})
    assert token not in card.write(trained, "adapter", [])


def test_a_checkpoint_can_be_exported(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run()
    runs_for_tests.checkpoint(trained.run, 4)
    found = source.find("tuned", 4)
    made = adapter.export(found, tmp_path / "out")
    assert found.name == "tuned-step4"
    text = (made.path / "README.md").read_text()
    assert "checkpoint of step 4" in text
    assert "| 6 | 1.2500" not in text  # which it had not seen yet
    assert json.loads((made.path / "ftk_export.json").read_text())["step"] == 4


def test_a_wholly_trained_model_is_no_adapter(run: Callable[..., Trained], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="trained every weight"):
        adapter.export(run(method="full"), tmp_path / "out")


def test_scores_of_this_very_model_stand_in_the_card_without_its_rows(run: Callable[..., Trained]) -> None:
    trained = run()
    record.write(trained.run, evaluated(about={"run": {"name": "tuned", "model": "tuned@4"}, "created": "1"}))
    assert "ftk evaluate" not in card.write(trained, "adapter", [])
    record.write(trained.run, evaluated("second", about={"run": {"name": "tuned", "model": "tuned"}, "created": "2"}))
    text = card.write(trained, "adapter", [])
    assert "Measured by `ftk evaluate` on 24 held-out rows" in text
    assert "| held-out loss ↓ | 3." in text
    assert "▲ better" in text
    for private in ("parcel", "rows.jsonl", "script"):
        assert private not in text
