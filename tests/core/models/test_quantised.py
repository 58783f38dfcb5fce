"""Quantised weights in the cache: used again, never for anything else, and not at any price."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk.models import loading, quantised, sources
from tests import tiny

Folders = Callable[..., Path]
IDS = torch.arange(3, 40)[None]


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "_WORTH_IT", 0)


def load(folder: Path) -> Any:
    return loading.load(sources.locate(str(folder)), quantization="nf4").model


def test_the_second_start_reads_the_packed_weights_and_computes_the_same(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model")
    first = load(folder)
    copy = quantised.place(folder, "nf4", "float32")
    assert copy.is_dir()
    again = load(folder)
    assert torch.equal(first(IDS).logits, again(IDS).logits)
    assert again.name_or_path == first.name_or_path == str(folder)
    stored = {name: value for name, value in again.state_dict().items() if name.endswith("q_proj.weight")}
    assert all(value.dtype == torch.uint8 for value in stored.values())


def test_a_model_that_has_answered_still_learns_and_holds_the_same_weights(tmp_path: Path) -> None:
    model = load(tiny.save(tmp_path / "model"))
    embedded = model.get_input_embeddings()(IDS).detach().requires_grad_()
    layer = model.model.layers[0].mlp.up_proj
    before = torch.autograd.grad(layer(embedded).square().sum(), embedded)[0]
    with torch.no_grad():
        model.eval()(IDS)
    after = torch.autograd.grad(layer(embedded).square().sum(), embedded)[0]
    assert torch.equal(before, after)
    with torch.no_grad():
        answered = layer(embedded.detach())
        plain = model.dequantize()
        whole = plain.model.layers[0].mlp.up_proj(embedded.detach())
    torch.testing.assert_close(answered, whole)


def test_other_weights_get_a_copy_of_their_own(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model", seed=0)
    before = load(folder)(IDS).logits
    place = quantised.place(folder, "nf4", "float32")
    tiny.save(folder, seed=1)
    assert quantised.place(folder, "nf4", "float32") != place
    assert not torch.equal(load(folder)(IDS).logits, before)
    assert quantised.place(folder, "nf4", "bfloat16") != quantised.place(folder, "nf4", "float32")


def test_another_configuration_gets_a_copy_of_its_own(tmp_path: Path) -> None:
    folder = tiny.save(tmp_path / "model")
    place = quantised.place(folder, "nf4", "float32")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.0001'))
    assert quantised.place(folder, "nf4", "float32") != place


def test_a_full_disk_or_a_small_model_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny.save(tmp_path / "model")
    monkeypatch.setattr(quantised, "_WORTH_IT", 2**30)
    load(folder)
    assert not quantised.place(folder, "nf4", "float32").exists()
    monkeypatch.setattr(quantised, "_WORTH_IT", 0)

    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    from transformers import PreTrainedModel

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    load(folder)
    place = quantised.place(folder, "nf4", "float32")
    assert not place.exists()
    assert not list(place.parent.iterdir())
