"""Write a model with its tokenizer as one GGUF file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import ExportError
from . import metadata, vocabulary, weights

_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16", "q8_0": "MOSTLY_Q8_0"}


def size_of(model: Any, number_format: str) -> int:
    """About how many bytes the file will have.

    Raises:
        ExportError: the model cannot be written as GGUF.

    """
    stored = weights.plan(model.config.get_text_config(), model.state_dict(), number_format)
    return sum(part.bytes for part in stored) + (16 << 20)  # tokens, merges and the template take some megabytes


def write(
    path: Path,
    model: Any,
    tokenizer: Any,
    number_format: str,
    *,
    name: str,
    about: dict[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a GGUF file; one tensor at a time is in memory twice.

    Args:
        path: The file to make.
        model: A transformers causal language model without an adapter.
        tokenizer: Its tokenizer, with the chat template.
        number_format: One of `weights.WRITTEN`.
        name: What the file calls the model.
        about: ``license`` and ``base`` (a hub id), where they are known.
        progress: Told bytes written and bytes in all.

    Raises:
        ExportError: the model or its tokenizer cannot be said in GGUF.
        OSError: the disk is full.

    """
    import numpy

    if number_format not in weights.WRITTEN:
        raise ExportError(f"ftk does not write {number_format!r} itself.", hint=f"It writes {weights.WRITTEN}.")
    config, given = model.config.get_text_config(), model.state_dict()
    stored = weights.plan(config, given, number_format)
    writer = _described(model, tokenizer, name, number_format, about or {})
    factors = _factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for part in stored:
        writer.add_tensor_info(part.name, part.shape, numpy.dtype("f4"), part.bytes, raw_dtype=part.kind)
    writer.open_output_file(path)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        total, done = sum(part.bytes for part in stored), 0
        for part, array in weights.numbers(stored, given, config):
            writer.write_tensor_data(array)
            done += part.bytes
            progress(done, total)
        writer.flush()
    finally:
        writer.close()


def _factors(config: Any) -> Any:
    """The slower angles of Llama 3 as an array; None for all others."""
    import numpy

    factors = metadata.position_factors(config)
    return None if factors is None else numpy.array(factors, numpy.float32)


def _described(model: Any, tokenizer: Any, name: str, number_format: str, about: dict[str, str]) -> Any:
    """A writer that knows everything of a file but its tensors."""
    import gguf

    config = model.config.get_text_config()
    words = vocabulary.read(tokenizer, model.get_input_embeddings().weight.shape[0])
    writer = gguf.GGUFWriter(None, metadata.architecture_of(config))
    _describe(writer, name, number_format, about)
    metadata.write(writer, config)
    vocabulary.write(writer, words, tokenizer)
    return writer


def _describe(writer: Any, name: str, number_format: str, about: dict[str, str]) -> None:
    import gguf

    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[_FILE_TYPES[number_format]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    if "license" in about:
        writer.add_license(about["license"])
    if "base" in about:
        owner, _, base = about["base"].rpartition("/")
        writer.add_base_model_count(1)
        writer.add_base_model_name(0, base)
        writer.add_base_model_organization(0, owner)
        writer.add_base_model_repo_url(0, f"https://huggingface.co/{about['base']}")
