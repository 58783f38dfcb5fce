"""Models that are damaged, or made to do harm: each ends in words, runs nothing, and writes nothing elsewhere."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import ftk
from ftk import QuickTrainer, files, load_model
from ftk.config import build
from ftk.errors import ConfigError, ModelError
from ftk.models import adapters, gguf_header, loading, sources
from ftk.models.tokenizers import find_tokenizer
from tests import tiny
from tests.core.models import tiny_gguf
from tests.core.models.conftest import point_to
from tests.core.models.hub_server import COMMIT, HubServer, Repository

Folder = Callable[..., Path]
NAME = "someone/clever-model"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def model(model_folder: Folder, home: Path) -> Path:
    """A good model that may be damaged, alone in its folder."""
    return Path(shutil.copytree(model_folder(), home / "place" / "model"))


@pytest.fixture
def mark(home: Path) -> Path:
    """A file that comes to be where something runs that must not."""
    return home / "it-ran"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def opened(folder: Path, **options: Any) -> Any:
    return loading.load(sources.fetch(sources.locate(str(folder)), loading.silent), **options)


def refusal(folder: Path, *told: str, **options: Any) -> str:
    """What is said of a model that is refused: where, what, and what to do; nothing else may have come of it."""
    before = tree(folder.parent)
    with pytest.raises(ModelError) as refused:
        opened(folder, **options)
    assert refused.value.hint
    text = str(refused.value)
    for part in (str(folder), *told):
        assert part in text
    assert "Traceback" not in text
    assert len(text) < 1200
    assert tree(folder.parent) == before
    return text


def tree(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*") if "ftk_cache" not in str(path))


# --- weights ------------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self._mark}",))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth"])
def test_pickles_are_never_read(model: Path, mark: Path, name: str) -> None:
    torch.save(Evil(mark), model / name)
    opened(model)  # beside good weights they are left alone
    (model / "model.safetensors").rename(model.parent / "aside")
    refusal(model, "only pickled weights", "save_pretrained")
    (model / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    refusal(model, "only pickled weights")
    shutil.copy(model / name, model / "model.safetensors")  # under a false name
    refusal(model, "model.safetensors is damaged")
    shutil.copy(model / name, model / "tokenizer.model")
    (model / "tokenizer.json").unlink()
    (model.parent / "aside").rename(model / "model.safetensors")
    refusal(model)
    assert not mark.exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_that_are_no_numbers_are_found_before_training(model: Path, bad: float, precision: str) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][3, 5] = bad
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    refusal(model, "not finite", "model.layers.1.mlp.up_proj.weight", precision=precision)
    with pytest.raises(ModelError, match="not finite"):
        QuickTrainer(str(model), tiny.ROWS, device="cpu", max_steps=1, precision=precision).train()


def test_scales_of_packed_weights_are_looked_at(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    for bad in (float("inf"), float("nan")):
        weights["model.layers.1.mlp.up_proj.weight"][3, 5] = bad
        save_file(weights, model / "model.safetensors", {"format": "pt"})
        refusal(model, "not finite", "up_proj", quantization="nf4")


def test_large_numbers_are_numbers(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"][:] = 3e38  # their sum is infinite
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    assert opened(model).info.weights > 0


def test_every_cut_and_every_changed_bit_of_the_header_is_told(model: Path) -> None:
    path = model / "model.safetensors"
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    for size in (0, 7, 8, 100, 8 + length, len(whole) - 1):
        path.write_bytes(whole[:size])
        refusal(model, "model.safetensors is damaged")
    for bit in range(0, 64, 3):  # of the header's length
        changed = int.from_bytes(whole[:8], "little") ^ (1 << bit)
        path.write_bytes(changed.to_bytes(8, "little") + whole[8:])
        refusal(model, "model.safetensors is damaged")
    refused = 0
    for place in range(8, 8 + min(length, 400), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        try:
            opened(model)  # a changed digit of a text that nobody reads
        except ModelError as error:
            refused += 1
            assert str(model) in str(error)
    assert refused > 40


def test_weights_of_another_shape_are_named(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    weights["model.norm.weight"] = torch.ones(49)
    weights["model.layers.0.mlp.up_proj.weight"] = torch.ones(48, 96)
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    refusal(model, "model.norm.weight is 49 and must be 48", "up_proj.weight is 48x96 and must be 96x48")


def test_weights_that_are_missing_are_not_made_up(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    spare = {"spare": torch.ones(20_000)}  # so that there is no lack of numbers
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file({**weights, **spare}, model / "model.safetensors", {"format": "pt"})
    refusal(model, "weights are missing", "model.layers.1.mlp.up_proj.weight")


@pytest.mark.parametrize(
    "shard",
    ["../../secret.safetensors", "/etc/passwd", "sub/model.safetensors", "..", "", "model.bin", "model.safetensors/.."],
)
def test_an_index_that_leads_out_of_the_folder_is_refused(model: Path, home: Path, shard: str) -> None:
    shutil.copy(model / "model.safetensors", home / "secret.safetensors")
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"model.norm.weight": shard}}))
    refusal(model, INDEX, "no weight file of this folder")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": [1]}', "[" * 10_000, "\0" * 100])
def test_an_index_that_is_none_is_refused(model: Path, text: str) -> None:
    (model / INDEX).write_text(text)
    refusal(model, INDEX)


# --- configurations -----------------------------------------------------------------------------------------------

ABSURD = {
    "hidden_size": 10**12, "intermediate_size": 10**12, "vocab_size": 10**12, "num_hidden_layers": 10**12,
    "num_attention_heads": 10**12, "num_key_value_heads": 10**12, "head_dim": 10**12,
}  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        *({key: value} for key, value in ABSURD.items()), ABSURD,
        {"hidden_size": 48_000, "intermediate_size": 480_000, "num_attention_heads": 4000},  # gigabytes, not more
        {"num_hidden_layers": 5000}, {"num_hidden_layers": 300}, {"hidden_size": 0}, {"hidden_size": -48},
        {"hidden_size": "48"}, {"hidden_size": None}, {"num_attention_heads": 0}, {"vocab_size": 10**400},
        {"model_type": "../../llama"}, {"model_type": 7}, {"model_type": None, "architectures": []},
        {"rope_parameters": {"rope_type": "none", "rope_theta": 1}}, {"hidden_act": "__import__('os')"},
    ],
    ids=str,
)  # fmt: skip
def test_absurd_configurations_end_in_words(model: Path, values: dict[str, Any]) -> None:
    change(model / "config.json", **values)
    refusal(model)


def test_layers_without_end_are_found_before_anything_counts_to_them(model_folder: Folder, home: Path) -> None:
    """The configuration of some architectures is a list of its layers, as soon as it is read."""
    model = Path(shutil.copytree(model_folder("qwen2"), home / "place" / "model"))
    change(model / "config.json", num_hidden_layers=10**12)
    refusal(model, "num_hidden_layers is 1,000,000,000,000")
    with pytest.raises(ModelError, match="num_hidden_layers"):
        find_tokenizer(str(model))


@pytest.mark.parametrize("text", ["", "[]", "null", "7", "{", "[" * 10_000, '{"a": ' * 5000, "\xff\xfe", "NaN"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_files_that_are_no_json_end_in_words(model: Path, name: str, text: str) -> None:
    (model / name).write_text(text, encoding="utf-16" if text.startswith("\xff") else "utf-8")
    try:
        opened(model)
    except ModelError as error:
        assert str(model) in str(error)
        assert error.hint
    else:
        assert name == "generation_config.json" or (name == "tokenizer_config.json" and text == "{}")


@pytest.mark.parametrize(
    "change_of",
    [
        {"model": {"type": "BPE", "vocab": {"a": 10**18}, "merges": []}},
        {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}},
        {"model": {"type": "WordLevel", "vocab": {}, "unk_token": "x"}},
        {"model": {"type": "__import__"}},
        {"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated"}},
        {"decoder": {"type": "None"}},
    ],
    ids=str,
)
def test_garbage_in_a_tokenizer_ends_in_words(model: Path, change_of: dict[str, Any]) -> None:
    change(model / "tokenizer.json", **change_of)
    try:
        tokenizer = opened(model).tokenizer
        tokenizer("some text")
    except ModelError as error:
        assert str(model) in str(error)
        assert error.hint


def test_a_chat_template_reaches_nothing_outside_of_itself(model: Path, mark: Path) -> None:
    (model / "chat_template.jinja").write_text(
        "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}"
        "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{{ c }}{% endfor %}"
    )
    with pytest.raises(ftk.FtkError, match="unsafe"):
        QuickTrainer(str(model), tiny.ROWS, device="cpu", precision="float32", max_steps=1).train()
    assert not mark.exists()


@pytest.mark.parametrize("kernel", ["someone/evil-kernel", "kernels-community/flash-attn3", "flash_attention_2"])
def test_the_attention_that_a_configuration_asks_for_is_not_fetched(
    model: Path, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import modeling_utils

    def fetched(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a kernel was asked for")

    monkeypatch.setattr(modeling_utils, "lazy_import_flash_attention", fetched)
    for key in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        change(model / "config.json", **{key: kernel})
    for options in ({}, {"quantization": "nf4"}):
        assert opened(model, **options).model.config._attn_implementation == "sdpa"


def test_an_adapter_beside_a_model_leads_to_no_other_model(model: Path, model_folder: Folder) -> None:
    """transformers would load the base that the adapter names, wherever that is."""
    (model / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(model_folder("gpt2"))})
    )
    refusal(model, "adapter_config.json", "only one of them")
    with pytest.raises(ModelError, match="only one of them"):
        loading.load(sources.Source("x", "folder", model, None, None))


# --- links, pipes and devices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja", "tokenizer_config.json"])
def test_a_link_out_of_the_folder_is_not_followed(model: Path, home: Path, name: str) -> None:
    secret = home / "secret"
    secret.write_text("what nobody else may read")
    (model / name).unlink()
    for target in (secret, Path("../../secret"), Path("/etc/passwd")):
        (model / name).symlink_to(target)
        text = refusal(model, name, "is a link to")
        assert "what nobody" not in text
        (model / name).unlink()
    (model / name).symlink_to("nowhere")
    refusal(model, name)
    (model / name).unlink()
    (model / name).symlink_to(name)
    refusal(model, name)


def test_links_that_lead_to_models_are_followed(
    model: Path, home: Path, model_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf_hub_cache"))
    blobs = home / "hf_hub_cache" / "models--a--b" / "blobs"
    shutil.copytree(model, blobs)
    (home / "big-disk").mkdir()
    (model / "model.safetensors").rename(home / "big-disk" / "weights")
    (model / "model.safetensors").symlink_to(home / "big-disk" / "weights")
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.json").symlink_to(blobs / "tokenizer.json")
    (model / "generation_config.json").rename(model / "other")
    (model / "generation_config.json").symlink_to("other")
    whole = home / "a-link-to-it-all"
    whole.symlink_to(model)
    assert opened(whole).info.weights > 0


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "model.safetensors", "chat_template.jinja"])
def test_a_pipe_or_a_device_in_the_place_of_a_file_holds_nothing_up(model: Path, name: str) -> None:
    (model / name).unlink()
    os.mkfifo(model / name)
    refusal(model, name)
    (model / name).unlink()
    (model / name).symlink_to("/dev/zero")
    refusal(model, name)
    (model / name).unlink()
    (model / name).mkdir()
    refusal(model, name)


# --- GGUF ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def gguf_file(home: Path) -> Path:
    (home / "place").mkdir()
    tiny_gguf.write(home / "place" / "a.gguf")
    return home / "place" / "a.gguf"


def test_a_gguf_header_is_read_as_it_was_written(gguf_file: Path) -> None:
    import gguf

    reader = gguf.GGUFReader(gguf_file)
    header = gguf_header.read(gguf_file)
    assert header.shapes == {tensor.name: tuple(int(n) for n in tensor.shape) for tensor in reader.tensors}
    assert header.values["general.architecture"] == "llama"
    assert header.values["llama.block_count"] == 2
    assert set(header.values) <= set(reader.fields)
    assert opened(gguf_file).info.weights == tiny.model().num_parameters()


def test_a_gguf_file_that_lies_about_sizes_is_found_out(gguf_file: Path) -> None:
    whole = gguf_file.read_bytes()
    at_tensors, at_pairs = 8, 16
    tokens = whole.index(b"tokenizer.ggml.tokens") + len("tokenizer.ggml.tokens") + 4 + 4
    kinds = whole.index(b"tokenizer.ggml.token_type") + len("tokenizer.ggml.token_type") + 4 + 4
    first = whole.index(b"token_embd.weight") + len("token_embd.weight")
    lies = {
        "tensors": (at_tensors, 2**60), "values": (at_pairs, 2**60), "list of texts": (tokens, 2**60),
        "list of numbers": (kinds, 2**60), "list a little longer": (kinds, len(whole)),
        "key": (24, 2**50), "width": (first + 4, 2**40), "place": (first + 4 + 16 + 4, 2**50),
    }  # fmt: skip
    for what, (place, number) in lies.items():
        gguf_file.write_bytes(whole[:place] + struct.pack("<Q", number) + whole[place + 8 :])
        assert "could not be read as GGUF" in refusal(gguf_file), what
    for what, (place, number) in {"version": (4, 99), "dimensions": (first, 2**31), "kind": (first + 20, 999)}.items():
        gguf_file.write_bytes(whole[:place] + struct.pack("<I", number) + whole[place + 4 :])
        assert "could not be read as GGUF" in refusal(gguf_file), what
    assert list(files.cache_dir().glob("models/*")) == []


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "feed_forward_length", "attention.head_count"])
def test_a_gguf_file_with_absurd_numbers_builds_nothing(gguf_file: Path, key: str) -> None:
    whole = gguf_file.read_bytes()
    place = whole.index(f"llama.{key}".encode()) + len(f"llama.{key}") + 4
    gguf_file.write_bytes(whole[:place] + struct.pack("<I", 2**31) + whole[place + 4 :])
    refusal(gguf_file, f"llama.{key} is 2,147,483,648")


@pytest.mark.parametrize("size", [0, 3, 20, 100, 5000, 0.5, 0.99])
def test_a_gguf_file_that_is_cut_is_told(gguf_file: Path, size: float) -> None:
    whole = gguf_file.read_bytes()
    gguf_file.write_bytes(whole[: int(size if size > 1 or not size else size * len(whole))])
    refusal(gguf_file, "could not be read as GGUF")


def test_a_gguf_file_with_weights_that_are_no_numbers_is_refused(gguf_file: Path) -> None:
    whole = gguf_file.read_bytes()
    gguf_file.write_bytes(whole[:-4] + struct.pack("<f", float("nan")))
    refusal(gguf_file, "not finite")
    assert list(files.cache_dir().glob("models/*")) == []


# --- code that a model brings along -------------------------------------------------------------------------------

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

Path({mark!r}).write_text("x")

class CleverConfig(LlamaConfig):
    model_type = "clever"

class CleverModel(LlamaForCausalLM):
    config_class = CleverConfig
"""
AUTO_MAP = {"AutoConfig": "clever.CleverConfig", "AutoModelForCausalLM": "clever.CleverModel"}


@pytest.fixture
def clever(model: Path, mark: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """A model that works only with code of its own, which leaves a mark when it is imported."""
    modules = str(home / "modules")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    change(model / "config.json", model_type="clever", architectures=["CleverModel"], auto_map=AUTO_MAP)
    (model / "clever.py").write_text(CODE.format(mark=str(mark)))
    yield model
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


def test_code_of_a_local_model_runs_only_where_it_is_asked_for(clever: Path, mark: Path) -> None:
    text = refusal(clever, "clever.CleverConfig, clever.CleverModel", "clever.py", "--trust-remote-code true")
    assert "--revision" not in text
    for attempt in (
        lambda: load_model(str(clever), device="cpu"),
        lambda: QuickTrainer(str(clever), tiny.ROWS, device="cpu").train(),
        lambda: loading.load(sources.Source("x", "folder", clever, None, None)),
        lambda: loading.find_and_load(str(clever)),
    ):
        with pytest.raises(ModelError, match="code of its own"):
            attempt()
    assert not mark.exists()
    trainer = QuickTrainer(
        str(clever), tiny.ROWS, device="cpu", precision="float32", max_steps=1, compare=[], trust_remote_code=True
    )
    assert type(trainer.train().model.base_model.model).__name__ == "CleverModel"
    assert mark.exists()


def test_a_tokenizer_with_code_is_refused_the_same_way(model: Path, mark: Path) -> None:
    (model / "clever.py").write_text(f"open({str(mark)!r}, 'w')\n")
    change(
        model / "tokenizer_config.json",
        tokenizer_class="CleverTokenizer",
        auto_map={"AutoTokenizer": ["clever.CleverTokenizer", None]},
    )
    try:
        opened(model)
    except ModelError as error:
        assert "clever.CleverTokenizer" in str(error)
        assert "--trust-remote-code true" in str(error)
    assert not mark.exists()


def test_code_that_lies_elsewhere_is_not_fetched_even_if_trusted(clever: Path, mark: Path) -> None:
    change(clever / "config.json", auto_map={"AutoConfig": "someone/else--clever.CleverConfig"})
    with pytest.raises(ModelError, match="another repository") as refused:
        load_model(str(clever), device="cpu", trust_remote_code=True)
    assert "someone/else--clever.CleverConfig" in str(refused.value)
    assert not mark.exists()


def test_an_architecture_that_transformers_carries_needs_no_code(model: Path, mark: Path) -> None:
    (model / "clever.py").write_text(CODE.format(mark=str(mark)))
    change(model / "config.json", auto_map=AUTO_MAP)
    assert type(opened(model).model).__name__ == "LlamaForCausalLM"
    assert not mark.exists()


def test_code_of_the_hub_runs_only_in_a_version_that_was_looked_at(
    clever: Path, mark: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf_hub_cache"))
    server = HubServer()
    server.repositories[NAME] = Repository.of(clever)
    point_to(server.url, monkeypatch)
    for options in (
        {},
        {"trust_remote_code": True},
        {"trust_remote_code": True, "revision": "main"},
        {"revision": COMMIT},
    ):
        with pytest.raises(ModelError, match="code of its own") as refused:
            load_model(NAME, device="cpu", **options)
        assert f"--trust-remote-code true --revision {COMMIT}" in str(refused.value)
        assert NAME in str(refused.value)
        assert set(server.downloaded()) <= {"config.json"}  # nothing that is large, and no code
    assert not mark.exists()
    loaded = load_model(NAME, device="cpu", trust_remote_code=True, revision=COMMIT)
    assert type(loaded.model).__name__ == "CleverModel"
    assert mark.exists()
    server.stop()
    again = sources.locate(NAME, revision=COMMIT, trust_remote_code=True)
    assert (again.kind, again.revision, again.runs_code) == ("cache", COMMIT, True)
    for options in ({}, {"trust_remote_code": True}):
        with pytest.raises(ModelError, match=r"code of its own|could not be found"):
            sources.locate(NAME, **options)


def test_code_that_was_not_fetched_with_the_weights_is_fetched_when_it_may_run(
    clever: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf_hub_cache"))
    server = HubServer()
    server.repositories[NAME] = Repository.of(clever)
    point_to(server.url, monkeypatch)
    from huggingface_hub import snapshot_download

    snapshot_download(NAME, revision=COMMIT, ignore_patterns="*.py")
    assert "clever.py" not in server.downloaded()
    loaded = load_model(NAME, device="cpu", trust_remote_code=True, revision=COMMIT)
    assert type(loaded.model).__name__ == "CleverModel"
    server.stop()


def test_a_revision_is_fetched_and_found_again(model: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hf_hub_cache"))
    server = HubServer()
    server.repositories[NAME] = Repository.of(model)
    point_to(server.url, monkeypatch)
    fetched = sources.fetch(sources.locate(NAME, revision="v1.0"), loading.silent)
    assert fetched.asked == "v1.0"
    assert all("/resolve/main/" not in path for _, path, _ in server.requests)
    server.stop()
    assert sources.locate(NAME, revision="v1.0").path == fetched.path
    with pytest.raises(ModelError, match=r"of revision v2\.0 could not be found"):
        sources.locate(NAME, revision="v2.0")


def test_a_revision_of_what_has_none_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="has no revisions"):
        sources.locate(str(model), revision="main")


@pytest.mark.parametrize("revision", ["../../x", "a..b", "", " ", "x y", "-x", "a\nb", "x" * 200, "main?", "a:b", "/x"])
def test_revisions_are_plain_names(revision: str) -> None:
    with pytest.raises(ConfigError, match="revision"):
        build({"revision": revision})


def test_settings_allow_no_code_by_default() -> None:
    assert build({}).trust_remote_code is False
    for value in ("yes", "true", 1, None):
        with pytest.raises(ConfigError, match="trust_remote_code"):
            build({"trust_remote_code": value})


# --- adapters -----------------------------------------------------------------------------------------------------


def test_damaged_adapters_are_refused(model: Path, home: Path) -> None:
    loaded = opened(model)
    targets = adapters.default_targets("llama")
    tuned = adapters.add(loaded.model, rank=2, alpha=4.0, dropout=0.0, targets=targets)
    adapters.save(tuned, loaded.tokenizer, home / "adapter")
    path = home / "adapter" / "adapter_model.safetensors"
    good = load_file(path)
    name = next(iter(good))
    assert adapters.load(opened(model).model, home / "adapter")
    save_file({**good, name: torch.full_like(good[name], float("nan"))}, path)
    with pytest.raises(ModelError, match="not finite"):
        adapters.load(opened(model).model, home / "adapter")
    save_file({key: value for key, value in good.items() if key != name}, path)
    with pytest.raises(ModelError, match="lacks weights"):
        adapters.load(opened(model).model, home / "adapter")
    path.unlink()
    torch.save(good, home / "adapter" / "adapter_model.bin")
    with pytest.raises(ModelError, match="holds no adapter"):
        adapters.load(opened(model).model, home / "adapter")


# --- the code of ftk ----------------------------------------------------------------------------------------------

REPOSITORY = Path(__file__).parents[2]
BAD = """
import os
import pickle
import subprocess

import torch


def bad(text: str) -> None:
    \"\"\"Do what must not be done.\"\"\"
    torch.load(text)
    pickle.loads(text)
    eval(text)
    exec(text)
    os.system(text)
    subprocess.run(text, shell=True, check=True)
"""


def rules_broken(text: str, name: str) -> set[str]:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "--stdin-filename", name, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    return set(re.findall(r"\b(?:S|TID)\d+", done.stdout))


@pytest.mark.parametrize("name", ["core/ftk/x.py", "core/ftk/training/x.py", "core/ftk/export/x.py", "ftk_tui/x.py"])
def test_the_rules_against_dangerous_calls_are_on(name: str) -> None:
    """pickle, torch.load, eval, exec, and a shell: S301, S614 or TID251, S307, S102, S605, S602."""
    found = rules_broken(BAD, name)
    assert {"S307", "S102", "S605", "S602", "TID251"} <= found
    lines = BAD.splitlines()
    for call in ("torch.load", "pickle.loads"):
        alone = "\n".join(line for line in lines if "(text" not in line or call in line or "def " in line)
        assert rules_broken(alone, name) & {"TID251", "S301", "S614"}, call


def test_no_module_of_ftk_calls_anything_dangerous() -> None:
    """Also where a comment would silence a rule."""
    dangerous = re.compile(
        r"(?<![\w.])(?:eval|exec)\(|\bpickle\b\.|\btorch\.load\(|shell\s*=\s*True|os\.system\(|os\.popen\(|marshal\.loads"
        r"|yaml\.(?:load|unsafe_load|full_load)\(|trust_remote_code\s*=\s*True|allow_pickle\s*=\s*True"
        r"|noqa:[^\n]*\b(?:S102|S30[1267]|S60\d|S614|TID251)"
    )
    for path in (*REPOSITORY.glob("core/ftk/**/*.py"), *REPOSITORY.glob("ftk_tui/**/*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            code = line.partition("  # ")[0] if "noqa" not in line else line
            assert not dangerous.search(code), f"{path}:{number}: {line}"


def test_models_are_read_with_code_forbidden_by_name() -> None:
    """Left out, transformers would ask whoever sits at the terminal."""
    calls = 0
    for path in REPOSITORY.glob("core/ftk/**/*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and re.fullmatch(r"Auto\w+\.from_pretrained", ast.unparse(call.func)):
                calls += 1
                given = {keyword.arg for keyword in call.keywords}
                assert given & {"trust_remote_code", None}, f"{path}: {ast.unparse(call)}"
    assert calls >= 5
