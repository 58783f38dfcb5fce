"""The fast path gives the numbers of the plain one: every architecture, length, mask and precision."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config
import yaml
from torch._dynamo.utils import counters
from torch.nn import functional

from ftk import SimpleTrainer
from ftk.config import RunConfig, build
from ftk.data.batches import filled, pack
from ftk.data.encoding import Example
from ftk.errors import FtkError
from ftk.events import Warned
from ftk.hardware import compile_obstacle
from ftk.memory.models import describe
from ftk.models import adapters
from ftk.training import compile_times, passes
from ftk.training.fast import attention, compiling, lora, row_kernels
from ftk.training.fast.head import ChunkedLoss
from ftk.training.passes import FastPass, PlainPass, choose
from tests import tiny
from tests.core.training.helpers import DEFAULTS, Run

Folders = Callable[..., Path]
CPU = torch.device("cpu")
SHORT = (41, 17, 33, 5)
LONG = (300, 40, 257)
"""Rows longer than a block of the attention."""


def rows(lengths: tuple[int, ...], seed: int = 0) -> list[Example]:
    """Rows of random tokens, of which a random part is supervised."""
    draw = random.Random(seed)
    made = []
    for length in lengths:
        tokens = tuple(draw.randrange(3, 512) for _ in range(length))
        supervised = (False, *(draw.random() < 0.6 for _ in range(length - 1)))
        made.append(Example(tokens, supervised, "made up"))
    return made


def adapted(architecture: str, **changes: Any) -> Any:
    """A tiny model in training mode with an adapter that does something."""
    config = tiny.config(architecture)
    for key, value in changes.items():
        setattr(config, key, value)
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=tiny.attention(architecture))
    made = adapters.add(model, rank=4, alpha=8.0, dropout=0.0, targets=adapters.default_targets(architecture))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(0, 0.02)
    return made.train()


def settings(**values: Any) -> RunConfig:
    return build({"fast": True, "compile": False, "max_length": 512, **values})


def gradients(made: passes.Pass, model: Any, examples: list[Example]) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of some rows and the gradients of the adapter."""
    model.zero_grad(set_to_none=True)
    loss = made.backward(made.batch(examples), 0.25)
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def both(model: Any, examples: list[Example], **values: Any) -> list[tuple[float, dict[str, torch.Tensor]]]:
    """The plain path's numbers and the fast path's."""
    found = []
    for make in (lambda: PlainPass(model, 0, CPU), lambda: FastPass(model, 0, CPU, settings(**values), _fail)):
        made = make()
        found.append(gradients(made, model, examples))
        made.close()
    return found


def _fail(warning: Warned) -> None:
    raise AssertionError(warning.message)


def assert_same(found: list[tuple[float, dict[str, torch.Tensor]]], tolerance: float) -> None:
    (plain_loss, plain), (fast_loss, fast) = found
    assert fast_loss == pytest.approx(plain_loss, rel=tolerance)
    assert plain.keys() == fast.keys()
    for name, gradient in plain.items():
        scale = float(gradient.float().norm()) + 1e-6
        assert float((fast[name].float() - gradient.float()).norm()) <= 10 * tolerance * scale, name


@pytest.mark.parametrize("lengths", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("architecture", tiny.ARCHITECTURES)
def test_losses_and_gradients_are_those_of_the_plain_path(architecture: str, lengths: tuple[int, ...]) -> None:
    model = adapted(architecture, max_position_embeddings=512)
    assert_same(both(model, rows(lengths)), 1e-5)


def test_matmuls_over_blocks_agree_with_the_fused_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_kernels, "fused", lambda query, form: False)
    assert_same(both(adapted("llama", max_position_embeddings=512), rows(LONG)), 1e-5)


@pytest.mark.parametrize("window", [20, 400])
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2"])
def test_blocks_that_are_filled_up_give_the_same(
    architecture: str, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_kernels, "fused", lambda query, form: False)
    monkeypatch.setattr(row_kernels, "size_step", lambda kind: 32)
    model = adapted(architecture, sliding_window=window, max_position_embeddings=512)
    for lengths in (SHORT, LONG):
        assert_same(both(model, rows(lengths)), 1e-5)


def test_sizes_of_matrices_come_again_in_16_bit_numbers() -> None:
    draw = random.Random(0)
    wanted = [[draw.randrange(30, 512) for _ in range(4)] for _ in range(200)]
    for precision, most in ((torch.bfloat16, 200), (torch.float32, 1100)):
        made = FastPass(adapted("llama").to(precision), 0, CPU, settings(), _fail)
        found = {size for lengths in wanted for size in made.sizes(lengths)}
        assert most / 2 < len(found) <= most
        batch = made.batch(rows((41, 200, 99)))
        assert batch.input_ids.shape[1] == made.sizes((41, 200, 99))[0][0]
        made.close()


@pytest.mark.parametrize("architecture", ["mistral", "gemma2", "gemma3_text", "phi3"])
def test_sliding_windows_are_kept(architecture: str) -> None:
    model = adapted(architecture, sliding_window=20, max_position_embeddings=512)
    wide = adapted(architecture, sliding_window=400, max_position_embeddings=512)
    found = both(model, rows(LONG))
    assert_same(found, 1e-5)
    assert abs(found[0][0] - both(wide, rows(LONG))[0][0]) > 1e-3


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_bfloat16_agrees_within_its_precision(architecture: str) -> None:
    model = adapted(architecture).to(torch.bfloat16)
    assert_same(both(model, rows(SHORT)), 1e-2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_no_row_sees_another(fused: bool, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit: other neighbours of the same length change nothing of a row's loss or gradients."""
    if not fused:
        monkeypatch.setattr(row_kernels, "fused", lambda query, form: False)
    model = adapted("llama").to(precision)
    made = FastPass(model, 0, CPU, settings(), _fail)
    mine, one, other = rows((41,), 1)[0], rows((83,), 2)[0], rows((83,), 3)[0]
    silent = [Example(row.tokens, (False,) * len(row), row.origin) for row in (one, other)]
    first = gradients(made, model, [silent[0], mine])
    second = gradients(made, model, [silent[1], mine])
    assert first[0] == second[0]
    assert all(torch.equal(first[1][name], second[1][name]) for name in first[1])


def test_a_step_is_the_same_in_one_micro_batch_or_in_four() -> None:
    model = adapted("llama")
    made = FastPass(model, 0, CPU, settings(), _fail)
    whole = gradients(made, model, rows(SHORT))[1]
    model.zero_grad(set_to_none=True)
    for row in rows(SHORT):
        made.backward(made.batch([row]), 0.25)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, whole[name], rtol=1e-4, atol=1e-6)


def test_recomputed_activations_give_the_same() -> None:
    model = adapted("llama")
    plain = both(model, rows(SHORT))[1]
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    assert_same([plain, both(model, rows(SHORT))[1]], 1e-6)


def test_every_architecture_that_is_called_proved_is_proved_here() -> None:
    assert set(tiny.ARCHITECTURES) == passes.FAST_ARCHITECTURES


def test_a_failed_run_leaves_a_given_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its layers and its attention are its own again, so that it can be used or trained once more."""
    model = tiny.model()
    attention_before = model.config._attn_implementation
    original = FastPass.summed_loss

    def broken(self: FastPass, batch: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(FastPass, "summed_loss", broken)
    with pytest.raises(FtkError):
        SimpleTrainer(model, tiny.tokenizer(), tiny.ROWS, **{**DEFAULTS, "max_steps": 2}).train()
    monkeypatch.setattr(FastPass, "summed_loss", original)
    assert model.config._attn_implementation == attention_before
    assert not any(hasattr(module, "_ftk_weight") for module in model.modules())
    assert torch.isfinite(model(torch.tensor([rows((12,))[0].tokens])).logits).all()


@pytest.mark.parametrize("length", [8, 40])
def test_the_warm_up_is_no_longer_than_rows_may_be(length: int) -> None:
    model = adapted("gpt2", n_positions=48)
    made = FastPass(model, 0, CPU, settings(max_length=length), _fail)
    made._compiled = []  # nothing is compiled, but the batch is computed
    made.warm_up()
    assert all(parameter.grad is None for parameter in model.parameters())
    made.close()


def test_layers_with_dropout_dora_or_a_bias_keep_their_own_pass() -> None:
    for options in ({"dropout": 0.5}, {"dora": True}):
        plain = {"dropout": 0.0, **options}
        model = adapters.add(tiny.model(), rank=4, alpha=8.0, targets="all-linear", **plain)  # type: ignore[arg-type]
        assert lora.fuse(model, dequantise=False) == []


def test_a_closed_pass_leaves_the_model_as_it_was() -> None:
    model = adapted("llama")
    ids = torch.tensor([rows((20,))[0].tokens])
    before = model(ids).logits
    forwards = [module.forward for module in model.modules()]
    made = FastPass(model, 0, CPU, settings(), _fail)
    gradients(made, model, rows(SHORT))
    made.close()
    assert [module.forward for module in model.modules()] == forwards
    assert torch.equal(model(ids).logits, before)


def test_an_adapter_that_is_switched_off_is_off_in_the_fast_path_too() -> None:
    model = adapted("llama")
    made = FastPass(model, 0, CPU, settings(), _fail)
    batch = made.batch(rows(SHORT))
    on = made.summed_loss(batch).item()
    with model.disable_adapter():
        off = made.summed_loss(batch).item()
    made.close()
    plain = PlainPass(model, 0, CPU)
    with model.disable_adapter(), torch.no_grad():
        assert off == pytest.approx(plain.summed_loss(plain.batch(rows(SHORT))).item(), rel=1e-5)
    assert on != off


@pytest.mark.parametrize("cap", [0.0, 5.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cached", [False, True])
def test_the_chunked_loss_is_cross_entropy(
    cap: float, bias: bool, cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftk.training.fast import head

    monkeypatch.setattr(head, "_CHUNK_ELEMENTS", 64 * 7)
    monkeypatch.setattr(head, "_CACHED_ELEMENTS", 64 * 3)
    torch.manual_seed(0)
    weight, offset = torch.randn(64, 16), torch.randn(64) if bias else None
    labels = torch.randint(0, 64, (20,))
    one, two = (torch.randn(20, 16, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2))
    found = ChunkedLoss.apply(one, weight, offset, labels, cap, cached)
    logits = functional.linear(two, weight, offset)
    logits = torch.tanh(logits / cap) * cap if cap else logits
    expected = functional.cross_entropy(logits, labels, reduction="sum")
    (found * 0.5).backward()
    (expected * 0.5).backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cached", [False, True])
def test_a_batch_without_supervised_tokens_has_no_loss(cached: bool) -> None:
    hidden = torch.randn(0, 16, requires_grad=True)
    loss = ChunkedLoss.apply(hidden, torch.randn(64, 16), None, torch.zeros(0, dtype=torch.long), 0.0, cached)
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("kept", [True, False])
def test_quantised_weights_kept_in_plain_numbers_give_the_same(
    kept: bool, model_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room the 4-bit layers are unpacked once, else at every use; the plain path is peft with bitsandbytes."""
    monkeypatch.setattr(passes, "room_to_dequantise", lambda model: kept)
    plain, fast = (Run(model_folder(), quantization="nf4", fast=how) for how in (False, True))
    assert fast.losses == pytest.approx(plain.losses, rel=1e-4)
    assert fast.losses[0] == pytest.approx(plain.losses[0], rel=1e-5)


def test_unpacked_weights_are_bit_for_bit_those_that_bitsandbytes_multiplies_with(model_folder: Folders) -> None:
    from ftk.models import loading, sources

    model = loading.load(sources.locate(str(model_folder())), quantization="nf4").model
    adapted_model = adapters.add(model, rank=4, alpha=8.0, dropout=0.0, targets="all-linear")
    layers = lora.fuse(adapted_model, dequantise=True)
    assert layers
    for layer in layers:
        x = torch.randn(5, layer.in_features)
        unit = torch.eye(layer.in_features)
        assert torch.equal(layer.base_layer(unit), functional.linear(unit, layer._ftk_weight))
        torch.testing.assert_close(layer.base_layer(x), functional.linear(x, layer._ftk_weight))


def test_a_model_that_the_fast_path_does_not_know_takes_the_plain_one_and_says_so() -> None:
    model = adapted("llama")
    model.get_base_model().config.model_type = "novel"
    warnings: list[Warned] = []
    made = choose(model, 0, CPU, settings(), warnings.append)
    assert isinstance(made, PlainPass)
    assert "does not know 'novel'" in warnings[0].message
    made.close()
    assert isinstance(choose(model, 0, CPU, settings(fast=False), _fail), PlainPass)


def test_a_trained_output_layer_takes_the_plain_path() -> None:
    warnings: list[Warned] = []
    base = tiny.model()
    model = adapters.add(base, rank=4, alpha=8.0, dropout=0.0, targets=["q_proj", "lm_head"])
    assert isinstance(choose(model, 0, CPU, settings(), warnings.append), PlainPass)
    assert "output layer" in warnings[0].message


@pytest.mark.parametrize("changes", [{"gradient_accumulation": 2, "batch_size": 2}, {"eval_fraction": 0.25}, {}])
def test_a_run_is_the_same_on_both_paths_and_the_same_twice(changes: dict[str, Any], model_folder: Folders) -> None:
    plain, fast, again = (Run(model_folder(), fast=how, **changes) for how in (False, True, True))
    assert fast.losses == pytest.approx(plain.losses, abs=1e-4)
    assert fast.losses == again.losses
    assert all(torch.equal(value, again.weights()[name]) for name, value in fast.weights().items())
    assert [e.loss for e in fast.of("evaluation")] == pytest.approx([e.loss for e in plain.of("evaluation")], abs=1e-4)


def test_rows_without_padding_need_a_kernel_that_tells_them_apart() -> None:
    model = tiny.model("gemma2")
    assert passes.packs(model, CPU)
    assert not passes.packs(model, torch.device("cuda"))  # its attention caps scores, the flash kernel does not
    assert not passes.packs(tiny.model(), torch.device("cuda"))  # float32
    assert not passes.packs(tiny.model(), torch.device("mps"))


def test_attention_without_the_rows_layout_is_refused() -> None:
    with pytest.raises(ValueError, match="starts"):
        attention.attend(None, *(torch.zeros(1, 2, 4, 8) for _ in range(3)), None)


def _compiled(model: Any, cache: Path, monkeypatch: pytest.MonkeyPatch, warn: Callable[[Warned], None]) -> FastPass:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(cache))
    torch._dynamo.reset()
    return FastPass(model, 0, CPU, settings(compile=True), warn)


@pytest.mark.skipif(bool(compile_obstacle("cpu")), reason="needs a C++ compiler")
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_compiled_layers_agree_with_plain_ones(
    architecture: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One compilation serves every batch, training and measuring, and the model comes back uncompiled."""
    model = adapted(architecture)
    plain = PlainPass(model, 0, CPU)
    batches = [rows(lengths) for lengths in ((41, 17, 33, 20), (60,), (9, 30, 22, 8, 50))]
    expected = [gradients(plain, model, batch) for batch in batches]
    plain.close()
    made = _compiled(model, tmp_path_factory.getbasetemp() / "compiled", monkeypatch, _fail)
    before = counters["stats"]["unique_graphs"]
    made.warm_up()
    for reference, batch in zip(expected, batches, strict=True):
        assert_same([reference, gradients(made, model, batch)], 1e-5)
    with made.measuring():
        measured = made.summed_loss(made.batch(batches[0])).item()
    assert measured == pytest.approx(expected[0][0], rel=1e-5)
    assert counters["stats"]["unique_graphs"] - before <= 2  # Gemma has two kinds of layers
    made.close()
    assert all(layer._compiled_call_impl is None for layer in compiling.layers_of(made._decoder))


def test_a_failing_compiler_is_told_and_training_goes_on(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    torch._dynamo.reset()
    run = Run(model_folder(), max_steps=3, compile=True)
    (warning,) = run.of("warning")
    assert warning.code == "compile"
    assert "--compile false" in warning.hint
    assert run.losses == Run(model_folder(), max_steps=3, compile=False).losses
    assert compiled_in(run, model_folder()) is None


def compiled_in(run: Run, model: Path) -> float | None:
    """What is known of the time that compiling for such a run takes."""
    assert run.result.run
    config = build(yaml.safe_load(run.result.run.config_file.read_text()))
    return compile_times.expected(compile_times.key(describe(str(model)), config))


def test_how_long_compiling_took_is_kept(
    model_folder: Folders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "compile_layers", lambda layers: None)
    run = Run(model_folder(), max_steps=2, compile=True)
    took = compiled_in(run, model_folder())
    assert took is not None
    assert 0 < took <= 5.0


def test_a_machine_without_a_compiler_says_so(model_folder: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/g++")
    run = Run(model_folder(), max_steps=2, compile=True)
    (warning,) = run.of("warning")
    assert "no C++ compiler" in warning.message
    assert len(run.losses) == 2


def test_what_fills_a_batch_up_is_little_and_is_learnt_by_nobody() -> None:
    for tokens in range(1, 5000):
        full = filled(tokens, few=True)
        assert tokens <= full <= max(tokens + 15, tokens * 1.0625 + 1) and full % 16 == 0
        assert filled(full, few=True) == full
    assert len({filled(tokens, few=True) for tokens in range(512, 4096)}) <= 3 * 16 + 1
    examples = rows((300, 301, 420))
    batch = pack(examples, 0, few=True)
    assert batch.input_ids.shape == (1, 1024) and batch.starts.tolist() == [0, 300, 601, 1021, 1024]
    assert not batch.predict[0, 1020:].any() and batch.tokens == 1021
    assert int(batch.position_ids.max()) == 419
