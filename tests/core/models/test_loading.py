"""Loading and adapting: every architecture, every number format, adapters that any peft can read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk import load_model
from ftk.errors import ConfigError, FtkError, ModelError
from ftk.models import adapters, sources
from ftk.models.loading import load
from tests import tiny

Folder = Callable[..., Path]
IDS = torch.arange(3, 40).reshape(1, -1)


def opened(folder: Path, **options: Any) -> Any:
    return load(sources.locate(str(folder)), **options)


def adapted(model: Any, architecture: str, **options: Any) -> Any:
    settings = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": adapters.default_targets(architecture), **options}
    return adapters.add(model, **settings)


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_every_architecture_is_loaded_as_it_was_saved(model_folder: Folder, architecture: str) -> None:
    expected = tiny.model(architecture)
    model, tokenizer, info = opened(model_folder(architecture))
    torch.testing.assert_close(model(IDS).logits, expected(IDS).logits, atol=1e-5, rtol=1e-5)
    assert (info.architecture, info.weights) == (architecture, expected.num_parameters())
    assert (info.context, info.vocabulary, info.device, info.source) == (256, 512, "cpu", "folder")
    assert not model.training
    assert tokenizer.pad_token_id is not None
    half = opened(model_folder(architecture), precision="bfloat16")
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_an_adapter_covers_all_linear_layers_of_a_block_and_begins_as_identity(
    model_folder: Folder, architecture: str
) -> None:
    model = opened(model_folder(architecture)).model
    before = model(IDS).logits
    linear = {name for name, module in model.named_modules() if adapters._is_linear(module) and "lm_head" not in name}
    tuned = adapted(model, architecture)
    torch.testing.assert_close(tuned(IDS).logits, before)
    covered = {name.removeprefix("base_model.model.").split(".lora_A")[0] for name, _ in tuned.named_modules()
               if name.endswith(".lora_A")}  # fmt: skip
    assert covered == linear
    assert all("lora_" in name for name, parameter in tuned.named_parameters() if parameter.requires_grad)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "phi3", "gemma2"])
def test_a_saved_adapter_loads_with_plain_peft(model_folder: Folder, architecture: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer, _ = opened(model_folder(architecture))
    tuned = adapted(model, architecture)
    for parameter in adapters.trainable(tuned):
        torch.nn.init.normal_(parameter, std=0.05)
    adapters.save(tuned, tokenizer, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(model_folder(architecture))
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(plain(IDS).logits, tuned(IDS).logits)
    ours = adapters.load(opened(model_folder(architecture)).model, tmp_path / "adapter")
    torch.testing.assert_close(ours(IDS).logits, tuned(IDS).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "adapter").chat_template == tokenizer.chat_template


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_four_bits_quantise_the_blocks_and_stay_near(model_folder: Folder, architecture: str) -> None:
    plain = opened(model_folder(architecture)).model
    loaded = opened(model_folder(architecture), quantization="nf4")
    linear = [module for name, module in loaded.model.named_modules() if type(module).__name__ == "Linear4bit"]
    assert len(linear) >= 4 * 2
    assert all(module.weight.quant_state.nested for module in linear)  # double quantisation
    assert loaded.info.quantization == "nf4"
    difference = (loaded.model(IDS).logits - plain(IDS).logits).float()
    assert difference.norm() < 0.5 * plain(IDS).logits.norm()
    assert difference.abs().max() > 0
    adapted(loaded.model, architecture)


def test_targets_that_do_not_exist_are_answered_with_those_that_do(model_folder: Folder) -> None:
    model = opened(model_folder("gpt2")).model
    with pytest.raises(ConfigError) as caught:
        adapted(model, "gpt2", targets=["q_proj", "c_attn"])
    assert "'q_proj'" in str(caught.value)
    assert "'c_attn'" not in str(caught.value)
    assert "c_attn, c_fc, c_proj" in str(caught.value)


def test_an_adapter_of_another_model_is_refused(model_folder: Folder, tmp_path: Path) -> None:
    model, tokenizer, _ = opened(model_folder("llama"))
    adapters.save(adapted(model, "llama"), tokenizer, tmp_path / "adapter")
    with pytest.raises(ModelError, match="does not fit this model"):
        adapters.load(opened(model_folder("gpt2")).model, tmp_path / "adapter")
    with pytest.raises(ModelError, match="holds no adapter"):
        adapters.load(opened(model_folder("llama")).model, tmp_path)


def test_damaged_weights_are_told_with_their_folder(model_folder: Folder, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(model_folder(), tmp_path / "model"))
    whole = (copy / "model.safetensors").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"x" * 1000):
        (copy / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelError, match="could not be loaded") as caught:
            opened(copy)
        assert str(copy) in str(caught.value)


def test_code_that_a_model_brings_along_is_never_run(model_folder: Folder, tmp_path: Path) -> None:
    import json

    copy = Path(shutil.copytree(model_folder(), tmp_path / "model"))
    mark = tmp_path / "ran"
    config = json.loads((copy / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n")
    with pytest.raises(ModelError, match="no remote code"):
        opened(copy)
    assert not mark.exists()


def test_the_library_loads_a_model_in_one_call(model_folder: Folder) -> None:
    model, tokenizer, info = load_model(str(model_folder("qwen2")), precision="float32", device="cpu")
    assert info.architecture == "qwen2"
    assert tokenizer.decode(model.generate(torch.tensor([[5]]), max_new_tokens=1)[0])
    for settings in ({"quantization": "4bit"}, {"precision": "fp32"}, {"device": "cuda"}):
        with pytest.raises(FtkError):
            load_model(str(model_folder("qwen2")), **settings)
