"""GGUF files hold the merged model: read back by transformers' reader, and by llama.cpp where it is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.data import templates
from ftk.errors import ExportError, UsageError
from ftk.export import loading, probe, source
from ftk.export.gguf import exporting, llama_cpp, metadata, reading, vocabulary, writing
from ftk.export.gguf.exporting import Options
from ftk.export.source import Trained
from tests import tiny, tokenizers_for_tests

from . import runs_for_tests

needs_llama_cpp = pytest.mark.skipif(not llama_cpp.installed(), reason="llama-cpp-python is not installed")


def fields(path: Path) -> dict[str, Any]:
    """The metadata of a file."""
    import gguf

    return {name: field.contents() for name, field in gguf.GGUFReader(str(path)).fields.items()}


@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_the_file_holds_base_plus_adapter(architecture: str, run: Callable[..., Trained], tmp_path: Path) -> None:
    import torch

    trained = run(architecture)
    made = exporting.export(trained, tmp_path / "out")
    path = made.path / "tuned-f16.gguf"
    tuned = loading.load(trained)
    rows = probe.probes(tuned.tokenizer)
    again = reading.model(path, tuned.model.config, torch.float32)
    apart = probe.difference(probe.logits(tuned.model, rows), probe.logits(again, rows))
    assert apart.relative < 0.01
    assert fields(path)["general.architecture"] == metadata.ARCHITECTURES[architecture]
    assert fields(path)["tokenizer.chat_template"] == tiny.CHATML
    assert "the same tokens" in made.checks[1]


def test_a_wholly_trained_model_and_a_checkpoint_can_be_written(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run(method="full")
    runs_for_tests.checkpoint(trained.run, 4)
    made = exporting.export(source.find("tuned", 4), tmp_path / "out", Options("bf16"))
    assert made.path.joinpath("tuned-step4-bf16.gguf").is_file()
    assert "next to the trained one" in made.checks[0]


@needs_llama_cpp
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_llama_cpp_computes_the_same(architecture: str, run: Callable[..., Trained], tmp_path: Path) -> None:
    made = exporting.export(run(architecture), tmp_path / "out", Options("f32"))
    assert made.checks[-1].startswith("Loaded by llama.cpp: the same tokens")


def test_eight_bits_take_half_the_room_of_sixteen_where_rows_can_be_cut(
    run: Callable[..., Trained], tmp_path: Path
) -> None:
    import gguf

    trained = run("gpt2")
    sizes = {}
    for kind in ("f32", "bf16", "q8_0"):
        path = exporting.export(trained, tmp_path / kind, Options(kind)).path / f"tuned-{kind}.gguf"
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
        sizes[kind] = {name: int(tensor.n_bytes) for name, tensor in tensors.items()}
        assert int(fields(path)["general.file_type"]) == {"f32": 0, "bf16": 32, "q8_0": 7}[kind]
    down = "blk.0.ffn_down.weight"  # 192 numbers a row
    assert sizes["q8_0"][down] * 16 == sizes["bf16"][down] * 8.5
    assert sizes["f32"][down] == 2 * sizes["bf16"][down]
    assert sizes["q8_0"]["token_embd.weight"] == sizes["bf16"]["token_embd.weight"]  # 48 is no multiple of 32
    assert sizes["bf16"]["position_embd.weight"] == sizes["f32"]["position_embd.weight"]


def test_the_sizes_of_the_model_stand_in_the_file(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run("qwen3", provenance={"model": {"name": "qwen3-0.6b", "source": "cache", "revision": "c0ffee"}})
    path = exporting.export(trained, tmp_path / "out").path / "tuned-f16.gguf"
    told = fields(path)
    for key, value in {
        "general.name": "tuned",
        "general.license": "Apache-2.0",
        "general.base_model.0.repo_url": "https://huggingface.co/Qwen/Qwen3-0.6B",
        "qwen3.block_count": 2,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 12,
        "qwen3.context_length": 256,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }.items():
        assert told[key] == value, key


@pytest.mark.parametrize("kind", ["metaspace", "legacy"])
def test_a_sentencepiece_tokenizer_keeps_its_order_of_merges_as_scores(kind: str) -> None:
    tokenizer = tokenizers_for_tests.tokenizer(kind, "alpaca")
    words = vocabulary.read(tokenizer, 700)
    assert (words.model, words.pre, words.space_first) == ("llama", "default", True)
    assert words.merges is None
    assert words.scores is not None
    place = {token: number for number, token in enumerate(words.tokens)}
    assert words.kinds[place["<unk>"]] == 2
    assert words.kinds[place["<|endoftext|>"]] == 3
    assert words.kinds[place["<0x0A>"]] == 6
    assert (words.tokens[-1], words.kinds[-1]) == ("[PAD699]", 5)
    merged = [token for token in words.tokens if words.scores[place[token]] > -1e5]
    order = sorted(merged, key=lambda token: -words.scores[place[token]])  # type: ignore[index]
    assert order == sorted(merged, key=place.__getitem__)  # a trained vocabulary stands in the order of its merges


@needs_llama_cpp
def test_llama_cpp_reads_a_sentencepiece_vocabulary_as_the_tokenizer_does(tmp_path: Path) -> None:
    path, tokenizer = _sentencepiece(tmp_path)
    opinion = llama_cpp.Opinion(path)
    for text in probe.texts():
        assert opinion.tokens(text) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_sentencepiece_vocabulary_comes_back_as_it_was(tmp_path: Path) -> None:
    path, tokenizer = _sentencepiece(tmp_path)
    reading.check_tokens(path, tokenizer, probe.texts())


def _sentencepiece(folder: Path) -> tuple[Path, Any]:
    """A file with a vocabulary whose merges are those that follow from the scores, as in Llama's and Mistral's."""
    import json

    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
    from transformers.tokenization_utils_base import generate_merges

    stored = json.loads(tokenizers_for_tests.tokenizer("metaspace", "alpaca").backend_tokenizer.to_str())
    plain = {token: number for token, number in stored["model"]["vocab"].items() if not token.startswith("<")}
    merges = generate_merges(plain, {token: -number for token, number in plain.items()})
    stored["model"]["merges"] = [list(pair) for pair in merges]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(stored)), eos_token="<|endoftext|>", unk_token="<unk>"
    )
    tokenizer.pad_token = tokenizer.eos_token
    templates.choose(tokenizer)
    config = tiny.config("llama")
    config.vocab_size = 640
    path = folder / "model.gguf"
    writing.write(path, AutoModelForCausalLM.from_config(config), tokenizer, "f16", name="x")
    return path, tokenizer


def test_an_ending_that_is_not_the_end_of_text_is_marked(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer(chat=False)
    tokenizer.chat_template = tiny.CHATML
    path = tmp_path / "model.gguf"
    writing.write(path, tiny.model("llama"), tokenizer, "f16", name="x")
    told = fields(path)
    assert (told["tokenizer.ggml.eos_token_id"], told["tokenizer.ggml.eot_token_id"]) == (0, 2)


@pytest.mark.parametrize(
    ("splitter", "name"),
    [
        ([{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}], "smollm"),
        ([{"type": "Split", "pattern": {"Regex": next(iter(vocabulary._SPLITS))}, "behavior": "Isolated"},
          {"type": "ByteLevel", "use_regex": False}], "llama-bpe"),
    ],
)  # fmt: skip
def test_the_way_of_splitting_text_is_known_by_what_it_does(splitter: list[dict[str, Any]], name: str) -> None:
    assert vocabulary._splitting({"pre_tokenizer": {"type": "Sequence", "pretokenizers": splitter}}) == name


@pytest.mark.parametrize(
    "stored",
    [
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}},
        {"pre_tokenizer": {"type": "ByteLevel"}, "normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": None},
    ],
)
def test_a_way_of_splitting_that_nobody_knows_is_refused(stored: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match="splits text in a way") as caught:
        vocabulary._splitting(stored)
    assert "convert_hf_to_gguf.py" in str(caught.value)


def test_other_kinds_of_tokenizers_are_refused() -> None:
    with pytest.raises(ExportError, match="type Unigram"):
        vocabulary.read(tokenizers_for_tests.tokenizer("unigram", "alpaca"), 4000)
    with pytest.raises(ExportError, match="only 8 rows"):
        vocabulary.read(tiny.tokenizer(), 8)


def test_long_positions_of_llama_3_become_factors() -> None:
    import torch
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = tiny.config("llama")
    config.head_dim = 64
    scaled = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    config.rope_parameters = {"rope_type": "llama3", "rope_theta": 10000.0, **scaled}
    factors = metadata.position_factors(config)
    plain = 1 / 10000.0 ** (torch.arange(0, 64, 2).float() / 64)
    wanted = LlamaRotaryEmbedding(config).inv_freq
    assert factors is not None
    assert len(set(factors)) > 3
    torch.testing.assert_close(plain / torch.tensor(factors), wanted, rtol=1e-5, atol=0)


def _scaled(path: Path, scaling: str) -> Any:
    """Write a model whose positions are scaled; returns it."""
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny.config("llama")
    more = {"low_freq_factor": 1.0, "high_freq_factor": 4.0} if scaling == "llama3" else {}
    if scaling != "linear":
        more["original_max_position_embeddings"] = 32
    config.rope_parameters = {"rope_type": scaling, "rope_theta": 10000.0, "factor": 8.0, **more}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    writing.write(path, model, tiny.tokenizer(), "f32", name="x")
    return model


@pytest.mark.parametrize("scaling", ["llama3", "linear", "yarn"])
def test_scaled_positions_are_in_the_file(scaling: str, tmp_path: Path) -> None:
    import gguf
    import torch

    path = tmp_path / "model.gguf"
    model = _scaled(path, scaling)
    names = {tensor.name for tensor in gguf.GGUFReader(str(path)).tensors}
    assert ("rope_freqs.weight" in names) is (scaling == "llama3")
    assert fields(path).get("llama.rope.scaling.type") == (None if scaling == "llama3" else scaling)
    rows = [list(range(3, 93))]
    again = reading.model(path, model.config, torch.float32)
    assert probe.difference(probe.logits(model, rows), probe.logits(again, rows)).relative < 1e-4


@needs_llama_cpp
@pytest.mark.parametrize("scaling", ["llama3", "linear", "yarn"])
def test_llama_cpp_scales_positions_the_same(scaling: str, tmp_path: Path) -> None:
    path, rows = tmp_path / "model.gguf", [list(range(3, 93))]
    model = _scaled(path, scaling)
    assert probe.difference(probe.logits(model, rows), llama_cpp.Opinion(path).logits(rows)).relative < 0.02


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "gpt_neox"}, "'gpt_neox' cannot be written"),
        ({"hidden_act": "relu"}, "with silu; this one has 'relu'"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(change: dict[str, str], told: str) -> None:
    config = tiny.config("llama")
    for name, value in change.items():
        object.__setattr__(config, name, value)
    with pytest.raises(ExportError, match=told):
        metadata.architecture_of(config)


def test_an_attention_that_is_scaled_otherwise_is_refused() -> None:
    with pytest.raises(ExportError, match="query_pre_attn_scalar 256"):
        metadata.architecture_of(tiny.config("gemma2"))


def test_a_file_that_is_not_the_model_is_not_exported(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftk.export.gguf.weights.paired", lambda values, heads: values)  # the classic mistake
    with pytest.raises(ExportError, match="does not hold the merged model"):
        exporting.export(run(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def _program(folder: Path, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "llama-quantize"
    program.write_text(f"#!{sys.executable}\nimport shutil, sys\n{script}\n")
    program.chmod(0o755)
    return program


def test_other_quantisations_are_left_to_llama_cpp(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, built = run(), tmp_path / "llama.cpp"
    told = tmp_path / "told"
    _program(built / "build" / "bin", f"open({str(told)!r}, 'w').write(sys.argv[3]); shutil.copy(*sys.argv[1:3])")
    made = exporting.export(trained, tmp_path / "one", Options("q4_k_m", llama_cpp=str(built)))
    assert told.read_text() == "Q4_K_M"
    assert [name for name, _ in made.files if name.endswith(".gguf")] == ["tuned-q4_k_m.gguf"]
    monkeypatch.setenv("PATH", str(built / "build" / "bin"))
    assert exporting.export(trained, tmp_path / "two", Options("q6_k")).path.is_dir()
    _program(built / "build" / "bin", "sys.exit('no such type')")
    with pytest.raises(ExportError, match=r"exit code 1.*no such type"):
        exporting.export(trained, tmp_path / "three", Options("q6_k"))
    assert not (tmp_path / "three").exists()


@needs_llama_cpp
def test_llama_cpp_python_quantises_as_well(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    made = exporting.export(run("gpt2"), tmp_path / "out", Options("q5_0"))
    assert "Loaded by llama.cpp" in made.checks[-1]


def test_without_llama_cpp_it_says_how_to_get_it(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(llama_cpp, "installed", lambda: False)
    with pytest.raises(ExportError, match="was not found") as caught:
        exporting.export(run(), tmp_path / "out", Options("q4_k_m"))
    assert "pip install llama-cpp-python" in str(caught.value)
    with pytest.raises(ExportError, match="no program llama-quantize"):
        exporting.export(run(name="b"), tmp_path / "out", Options("q4_k_m", llama_cpp=str(tmp_path)))
    with pytest.raises(UsageError, match="Did you mean 'q8_0'"):
        exporting.export(run(name="c"), tmp_path / "out", Options("q80"))
