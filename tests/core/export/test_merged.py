"""The merged model is base and adapter in one, for every architecture, and nothing is left half-written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.errors import ExportError, UsageError
from ftk.export import loading, merged, probe
from ftk.export.source import Trained
from ftk.models import loading as models
from ftk.models.sources import Source
from tests import tiny


def read(folder: Path, precision: str = "float32") -> models.LoadedModel:
    """The exported model, as anybody would load it."""
    return models.load(Source("x", "folder", folder, None, None), precision=precision)  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_merged_model_is_base_plus_adapter(
    architecture: str, run: Callable[..., Trained], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    trained = run(architecture)
    made = merged.export(trained, tmp_path / "out")
    again = read(made.path)
    rows = probe.probes(again.tokenizer)
    tuned = probe.logits(loading.load(trained).model, rows)
    plain = probe.logits(read(bases(architecture)).model, rows)
    assert probe.difference(tuned, probe.logits(again.model, rows)).relative < 1e-5
    assert probe.difference(tuned, plain).relative > 0.05  # the adapter does something
    assert not hasattr(again.model, "peft_config")


@pytest.mark.parametrize(
    "settings", [{"lora_dora": True}, {"lora_rslora": True}, {"lora_dora": True, "quantization": "nf4"}]
)
def test_every_kind_of_adapter_is_merged(run: Callable[..., Trained], tmp_path: Path, settings: dict[str, Any]) -> None:
    trained = run(**settings)
    made = merged.export(trained, tmp_path / "out")
    tuned, again = loading.load(trained), read(made.path)
    rows = probe.probes(again.tokenizer)
    apart = probe.difference(probe.logits(tuned.model, rows), probe.logits(again.model, rows))
    assert apart.relative < 1e-4


def test_the_folder_holds_all_that_is_needed_and_nothing_private(run: Callable[..., Trained], tmp_path: Path) -> None:
    made = merged.export(run(), tmp_path / "out")
    assert {name for name, _ in made.files} == {
        "LICENCE_NOTE.md", "README.md", "chat_template.jinja", "config.json", "ftk_export.json",
        "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    for name, size in made.files:
        content = (made.path / name).read_bytes()
        assert len(content) == size
        for private in (b"somebody", b"in private", str(tmp_path).encode()):
            assert private not in content, name
    card = (made.path / "README.md").read_text()
    for part in ("| 6 | 1.2500 | 3.49 |", "| learning_rate | 0.001 |", "not public, 16 rows", "Read again", "1,234"):
        assert part in card
    told = json.loads((made.path / "ftk_export.json").read_text())
    assert (told["kind"], told["run"], told["step"]) == ("merged", "tuned", None)
    assert told["difference"]["largest"] < 1e-4


def test_an_adapter_of_4_bits_is_merged_into_what_it_was_trained_on_or_into_the_original(
    run: Callable[..., Trained], tmp_path: Path
) -> None:
    trained = run("llama", quantization="nf4")
    same = merged.export(trained, tmp_path / "same")
    other = merged.export(trained, tmp_path / "other", base="original")
    tuned = loading.load(trained)
    assert tuned.info.quantization == "nf4"
    rows = probe.probes(tuned.tokenizer)
    reference = probe.logits(tuned.model, rows)
    near = probe.difference(reference, probe.logits(read(same.path).model, rows))
    far = probe.difference(reference, probe.logits(read(other.path).model, rows))
    assert near.relative < 1e-4
    assert far.relative > 0.01
    assert f"largest logit difference {far.largest:.3g}" in other.checks[0]  # measured, and told
    assert "these very weights, unpacked" in same.notes[0]
    assert "original ones" in other.notes[0]
    assert "quantization_config" not in json.loads((same.path / "config.json").read_text())


def test_a_merge_in_16_bits_tells_what_the_rounding_costs(run: Callable[..., Trained], tmp_path: Path) -> None:
    made = merged.export(run(), tmp_path / "out", precision="bfloat16")
    assert json.loads((made.path / "config.json").read_text())["dtype"] == "bfloat16"
    told = json.loads((made.path / "ftk_export.json").read_text())["difference"]
    assert 1e-4 < told["relative"] < 0.2
    assert (made.path / "model.safetensors").stat().st_size < 200_000


def test_a_model_all_of_whose_weights_were_trained_is_taken_as_it_is(
    run: Callable[..., Trained], tmp_path: Path
) -> None:
    trained = run("gpt2", method="full")
    made = merged.export(trained, tmp_path / "out")
    one, two = read(trained.run.model).model.state_dict(), read(made.path).model.state_dict()
    assert all(bool((one[name] == two[name]).all()) for name in one)
    assert "as it was trained" in made.checks[0]


def test_what_is_there_is_never_replaced_unasked(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained, out = run(), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="was not changed"):
            merged.export(trained, out, force=force)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    made = merged.export(trained, tmp_path / "other")
    (made.path / "old").write_text("of the first export")
    with pytest.raises(UsageError, match="exists and was not changed"):
        merged.export(trained, made.path)
    assert (made.path / "old").exists()
    merged.export(trained, made.path, force=True)
    assert not (made.path / "old").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_merge_that_is_not_what_was_trained_is_not_exported(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft.tuners.lora import LoraModel

    real = LoraModel.merge_and_unload

    def broken(self: LoraModel, **options: bool) -> Any:
        model = real(self, **options)
        model.get_input_embeddings().weight.data.mul_(3)
        return model

    monkeypatch.setattr(LoraModel, "merge_and_unload", broken)
    with pytest.raises(ExportError, match="not what was trained"):
        merged.export(run(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
