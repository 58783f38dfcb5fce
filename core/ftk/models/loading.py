"""Load a model for training or inference: weights, precision, quantisation, tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..catalog import CatalogModel
from ..errors import ModelError
from . import quantised, remote_code, soundness, sources
from .sources import Progress, Source


@dataclass(frozen=True)
class ModelInfo:
    """What was loaded: names, the exact number of weights, number format, device, and where it came from."""

    name: str
    reference: str
    architecture: str
    weights: int
    context: int
    vocabulary: int
    quantization: Literal["none", "8bit", "nf4"]
    precision: Literal["float32", "bfloat16", "float16"]
    device: str
    source: str
    entry: CatalogModel | None


class LoadedModel(NamedTuple):
    """A model with its tokenizer, ready to be trained or asked; unpacks into the three."""

    model: Any
    tokenizer: Any
    info: ModelInfo


def silent(phase: str, detail: str, done: float | None, total: float | None) -> None:
    """A progress callback that tells nobody."""


def load(
    source: Source,
    *,
    quantization: Literal["none", "8bit", "nf4"] = "none",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    device: str = "cpu",
    progress: Progress = silent,
) -> LoadedModel:
    """Load a model that is on disk.

    Args:
        source: What `sources.locate` found and `sources.fetch` brought.
        quantization: How the linear layers are stored; nf4 is double-quantised (QLoRA, arXiv:2305.14314).
        precision: The number format of everything else and of the computation.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``xpu``.
        progress: Told that the load goes on.

    Raises:
        ModelError: the files are damaged, or the model does not fit into the memory.

    """
    _quiet()
    path = source.path
    assert path is not None
    progress("quantise" if quantization != "none" else "load", source.name, None, None)
    soundness.check_files(path)
    soundness.check_no_adapter(path)
    sources.check_code(source, path)
    model = _explained(source, lambda: _read(path, quantization, precision, device, code=source.runs_code))
    model.name_or_path = model.config._name_or_path = source.reference
    model.eval()
    return LoadedModel(model, load_tokenizer(source), _info(source, model, quantization, precision, device))


def _read(path: Path, quantization: str, precision: str, device: str, *, code: bool) -> Any:
    """The model of a folder; quantised weights come out of the cache where they were kept."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, precision)
    options: dict[str, Any] = {}
    folder, kept = path, None
    if device != "cpu" or quantization != "none":
        options["device_map"] = {"": device}
    if quantization != "none":
        kept = None if code else quantised.place(path, quantization, precision)
        folder = kept if kept and kept.is_dir() else path
        if folder is path:
            options["quantization_config"] = _quantization_config(quantization, dtype)
    if folder is path and not code:  # such code may compute with weights already while the model is made
        soundness.check_weights(path, lambda: _with_attention(lambda attention: _made(path, attention)))

    def from_folder(attention: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(
            str(folder),
            config=_configuration(folder, attention, code=code),
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=code,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # the check below says which they are
            output_loading_info=True,
            **options,
        )

    model, told = _with_attention(from_folder)
    soundness.check_loaded(model, told, folder)
    quantised.keep_layout(model)
    if kept and folder is path:
        quantised.keep(model, path, kept)
    return model


def _made(path: Path, attention: str) -> Any:
    """The model that a configuration describes, without its weights."""
    from transformers import AutoModelForCausalLM

    config = _configuration(path, attention, code=False)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention, trust_remote_code=False)


def _configuration(path: Path, attention: str, *, code: bool) -> Any:
    """The configuration of a folder, with the attention that we want.

    A name that stands in a `config.json` under `_attn_implementation` comes before one that is asked for, and may be
    that of a kernel to be fetched off the Hub; so it is overwritten here.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(str(path), trust_remote_code=code, local_files_only=True)
    config._attn_implementation = attention
    return config


def _quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _with_attention(from_folder: Callable[[str], Any]) -> Any:
    """Load with torch's fused attention; architectures that cap their scores (Gemma 2) get the plain one."""
    try:
        return from_folder("sdpa")
    except ValueError as error:  # raised before any weight is read
        if "attention implementation" not in str(error):
            raise
        return from_folder("eager")


def load_tokenizer(source: Source) -> Any:
    """The tokenizer of a model that is on disk, with a padding token.

    Raises:
        ModelError: the folder holds none that can be read.

    """
    from transformers import AutoTokenizer

    assert source.path is not None
    soundness.check_files(source.path)
    if (source.path / "config.json").is_file():
        soundness.check_config(source.path)
    options = {"trust_remote_code": source.runs_code, "local_files_only": True}

    def tried() -> Any:
        found = AutoTokenizer.from_pretrained(str(source.path), **options)
        found.decode(found("Does it work? Yes: 1 + 1 = 2.")["input_ids"])
        return found

    tokenizer = _explained(source, tried)
    if tokenizer.eos_token_id is None:
        raise ModelError(f"The tokenizer of {source.name} has no end-of-text token.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked by position, never by this id
    return tokenizer


def _explained(source: Source, action: Callable[[], Any]) -> Any:
    import torch

    try:
        return action()
    except ModelError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f"{source.name} does not fit into the memory.",
            hint="Try --quantization nf4, or a smaller model: `ftk models`.",
        ) from error
    except Exception as error:
        if "trust_remote_code" in str(error) and source.path and (names := remote_code.in_folder(source.path)):
            raise remote_code.refusal(names, str(source.hub or source.path), source.revision) from None
        raise ModelError(
            f"{source.path} could not be loaded: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
            hint="Is the folder complete, and its architecture one that transformers carries (no remote code)?",
        ) from error


def _quantization_config(quantization: str, dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _info(source: Source, model: Any, quantization: Any, precision: Any, device: str) -> ModelInfo:
    config = model.config.get_text_config()
    return ModelInfo(
        name=source.entry.name if source.entry else source.name,
        reference=source.reference,
        architecture=config.model_type,
        weights=model.num_parameters(),
        context=int(getattr(config, "max_position_embeddings", 0) or 2048),
        vocabulary=int(config.vocab_size),
        quantization=quantization,
        precision=precision,
        device=device,
        source=source.kind,
        entry=source.entry,
    )


def find_and_load(name: str, progress: Progress = silent, **options: Any) -> LoadedModel:
    """Find, fetch and load a model in one call; `options` are those of `load`."""
    return load(sources.fetch(sources.locate(name), progress), progress=progress, **options)
