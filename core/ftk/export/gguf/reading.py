"""Read a GGUF file back, by other code than that which wrote it: sizes, tokens, weights.

transformers' reader is used where it knows the architecture; for Gemma 1, which it does not, the tensors are read with
the gguf package and put into the model's places.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ...errors import ExportError
from . import metadata

_LOCAL = {"trust_remote_code": False, "local_files_only": True}
_OWN = ("gemma",)
_NOT_SHARED = ("model_type", "architectures", "sliding_window", "transformers_version")
_CLOSE = 1e-4


def model(path: Path, config: Any, dtype: torch.dtype) -> Any:
    """The model of a GGUF file.

    Args:
        path: The file.
        config: The configuration of the model that was written; the file cannot say all of it.
        dtype: The number format to compute with.

    Raises:
        ExportError: the file cannot be read, or says other sizes than the model has.

    """
    text = config.get_text_config()
    try:
        found = _own(path, text, dtype) if text.model_type in _OWN else _transformers(path, text, dtype)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{path.name} does not read back: {' '.join(str(error).split())[:200]}") from error
    found.config.eos_token_id, found.config.pad_token_id = text.eos_token_id, text.pad_token_id
    return found.eval()


def _transformers(path: Path, config: Any, dtype: torch.dtype) -> Any:
    from tqdm.auto import tqdm
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
    from transformers.utils import logging
    from transformers.utils.quantization_config import GgufConfig

    logging.disable_progress_bar()
    tqdm.set_lock(threading.RLock())  # tqdm's own spans processes, and cannot be made inside a Textual app
    _check_sizes(load_gguf_checkpoint(str(path), return_tensors=False)["config"], config)
    with _no_bar():
        return AutoModelForCausalLM.from_pretrained(
            str(path.parent),
            gguf_file=path.name,
            config=_as_llama(config) if config.model_type == "mistral" else config,
            dtype=dtype,
            quantization_config=GgufConfig(dequantize=True),
            **_LOCAL,
        )


@contextmanager
def _no_bar() -> Iterator[None]:
    """Keep the bar off the terminal that transformers' reader draws whatever it is told."""
    from transformers import modeling_gguf_pytorch_utils as reader

    bar = reader.tqdm
    reader.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        reader.tqdm = bar


def _as_llama(config: Any) -> Any:
    """A Mistral without its window, which is a Llama: GGUF has no other name for it."""
    from transformers import LlamaConfig

    return LlamaConfig(**{key: value for key, value in config.to_dict().items() if key not in _NOT_SHARED})


def _check_sizes(told: dict[str, Any], config: Any) -> None:
    """Compare what the file's metadata says with the model that was written.

    Raises:
        ExportError: they differ.

    """
    for key, value in told.items():
        mine = metadata.positions_of(config).get(key) if key == "rope_theta" else getattr(config, key, None)
        if type(value) not in (int, float) or mine is None or key.endswith("token_id"):
            continue
        if abs(value - mine) > _CLOSE * abs(mine):
            raise ExportError(f"The GGUF file says {key} {value}, and the model has {mine}.")


def _own(path: Path, config: Any, dtype: torch.dtype) -> Any:
    import gguf
    from transformers import AutoModelForCausalLM

    made = AutoModelForCausalLM.from_config(config, dtype=dtype)
    known = next(
        key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == metadata.ARCHITECTURES[config.model_type]
    )
    names = gguf.get_tensor_name_map(known, config.num_hidden_layers)
    places = {f"{names.get_name(name.removesuffix('.weight'))}.weight": name for name in made.state_dict()}
    weights = {}
    for tensor in gguf.GGUFReader(str(path)).tensors:
        values = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        weights[places[tensor.name]] = values - 1 if tensor.name.endswith("norm.weight") else values
    missing, unexpected = made.load_state_dict(weights, strict=False)
    if unexpected or set(missing) - {"lm_head.weight"}:
        raise ExportError(f"{path.name} lacks {', '.join(missing[:3])}.")
    made.tie_weights()
    return made


def check_tokens(path: Path, tokenizer: Any, texts: Sequence[str]) -> None:
    """See that the tokenizer in a GGUF file makes the same tokens, and that the chat template is in it.

    Raises:
        ExportError: it does not.

    """
    import gguf

    field = gguf.GGUFReader(str(path)).fields.get("tokenizer.chat_template")
    if tokenizer.chat_template and (field is None or field.contents() != tokenizer.chat_template):
        raise ExportError(f"{path.name} does not hold the chat template.")
    try:
        encode = _tokenizer(path)
    except Exception as error:
        raise ExportError(f"{path.name}: its tokenizer does not read back: {str(error)[:200]}") from error
    for text in texts:
        if tokenizer(text, add_special_tokens=False)["input_ids"] != encode(text):
            raise ExportError(
                f"The tokenizer in {path.name} makes other tokens of {text[:40]!r} than the model learnt.",
                hint="Use --to merged, then llama.cpp's convert_hf_to_gguf.py.",
            )


def _tokenizer(path: Path) -> Callable[[str], list[int]]:
    """The tokenizer of a GGUF file, by transformers; also where it knows no model of that architecture."""
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer

    architecture, words, _ = get_gguf_tokenizer(str(path))
    made, _ = convert_gguf_tokenizer(architecture, words)
    return lambda text: list(made.encode(text, add_special_tokens=False).ids)
