"""Of what shape a model is, from the catalogue, a folder, the Hub or a configuration in memory; loads no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import catalog, dataspec, hub_api
from ..catalog import CatalogModel
from ..errors import ModelError
from ..models import gguf_header

_SECONDS = 5.0
_IN_GGUF = {"gemma3": "gemma3_text"}
"""What llama.cpp calls otherwise than transformers does."""


@dataclass(frozen=True)
class Described:
    """A model by its name and its configuration (the content of a ``config.json``); `entry` if the catalogue has it."""

    name: str
    values: dict[str, Any]
    entry: CatalogModel | None = None

    @property
    def text(self) -> dict[str, Any]:
        """The configuration of the language model, which in a model of several kinds of input is a part."""
        inner = self.values.get("text_config")
        return inner if isinstance(inner, dict) else self.values

    @property
    def architecture(self) -> str:
        """Transformers' model_type."""
        return str(self.text.get("model_type") or self.values.get("model_type") or "")

    @property
    def key(self) -> str:
        """The configuration as text in which equal ones are equal."""
        return json.dumps(self.values, sort_keys=True, default=str)


def describe(model: Any) -> Described:
    """What is known of a model before it is loaded.

    Args:
        model: A catalogue entry or name, a `models.sources.Source`, a folder, a hub id, the values of a
            ``config.json``, or a transformers configuration.

    Raises:
        ModelError: there is no such model, or its configuration cannot be read; the message says what was tried.

    """
    if isinstance(model, Described):
        return model
    if isinstance(model, CatalogModel):
        return Described(model.name, of_entry(model), model)
    if isinstance(model, dict):
        return Described(str(model.get("_name_or_path") or model.get("model_type")), model)
    if hasattr(model, "to_dict"):
        return describe({**model.to_dict(), "model_type": model.model_type})
    if hasattr(model, "kind"):
        return _of_source(model)
    return _of_name(str(model))


def _of_source(source: Any) -> Described:
    """A model that `models.sources.locate` found."""
    if source.path and source.path.is_dir():
        return Described(source.name, _read(source.path / "config.json"), source.entry)
    if source.path and source.kind == "gguf":
        return Described(source.name, _of_gguf(source.path))
    if source.entry:
        return describe(source.entry)
    return _of_name(source.hub or source.name)


def _of_name(name: str) -> Described:
    path = dataspec.expanded(name)
    if (path / "config.json").is_file():
        return Described(name, _read(path / "config.json"))
    if path.suffix == ".json" and path.is_file():
        return Described(name, _read(path))
    if path.suffix == ".gguf" and path.is_file():
        return Described(name, _of_gguf(path))
    if entry := catalog.find(name):
        return describe(entry)
    return Described(name, _from_hub(name))


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} could not be read: {error}.", hint="Is the model folder complete?") from None
    if not isinstance(values, dict) or not values.get("model_type"):
        raise ModelError(f"{path} names no model_type, so the model cannot be told.")
    return values


def _of_gguf(path: Path) -> dict[str, Any]:
    """The configuration that the header of a GGUF file makes."""
    try:
        header = gguf_header.read(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} could not be read: {error}.", hint="Is the file whole?") from None
    kind = str(header.values.get("general.architecture", ""))

    def number(name: str) -> int:
        found = header.values.get(f"{kind}.{name}")
        return found if isinstance(found, int) else 0

    hidden = number("embedding_length")
    shape = header.shapes.get("token_embd.weight", ())
    words = number("vocab_size") or max(shape, default=0)
    if not (kind and hidden and number("block_count") and number("attention.head_count") and words):
        raise ModelError(f"{path} does not tell its sizes, so the model cannot be told.")
    heads, context = number("attention.head_count"), number("context_length")
    values = {"model_type": _IN_GGUF.get(kind, kind), "vocab_size": words}
    values["tie_word_embeddings"] = "output.weight" not in header.shapes
    if kind == "gpt2":
        sizes = {"n_layer": number("block_count"), "n_embd": hidden, "n_head": heads, "n_positions": context}
        return values | sizes | {"n_inner": number("feed_forward_length") or 4 * hidden}
    return values | {
        "num_hidden_layers": number("block_count"),
        "hidden_size": hidden,
        "intermediate_size": number("feed_forward_length") or 4 * hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": number("attention.head_count_kv") or heads,
        "head_dim": number("attention.key_length") or hidden // heads,
        "max_position_embeddings": context or 2048,
        "pad_token_id": 0,
    }


def _from_hub(name: str) -> dict[str, Any]:
    """The configuration of a repository: from the local cache, else two kilobytes from the Hub."""
    from huggingface_hub import try_to_load_from_cache

    from ..models.sources import is_hub_id

    if not is_hub_id(name):
        raise ModelError(
            f"There is no model {name!r}: no such folder, and not in the catalogue.{catalog.suggest(name)}",
            hint="`ftk models` lists the known ones; a hub id looks like owner/name.",
        )
    cached = try_to_load_from_cache(name, "config.json")
    if isinstance(cached, str):
        return _read(Path(cached))

    def question(api: Any, seconds: float) -> str:
        api.model_info(name, timeout=seconds)  # asks once, where a download would try again and again
        return str(api.hf_hub_download(name, "config.json"))

    found = hub_api.ask(question, _SECONDS)
    if isinstance(found, Exception):
        reason, hint = hub_api.explain(found, name, "a folder with its config.json")
        raise ModelError(
            f"The configuration of {name} could not be had from {hub_api.endpoint()}: {reason}.", hint=hint
        )
    return _read(Path(found))


def of_entry(entry: CatalogModel) -> dict[str, Any]:
    """The configuration that the sizes of a catalogue entry make; what they do not say is the architecture's default.

    Windows of attention beyond the catalogue's context do not matter to memory and are left out.
    """
    common = {"model_type": entry.architecture, "vocab_size": entry.vocabulary, "tie_word_embeddings": entry.tied}
    if entry.architecture == "gpt2":
        return common | {
            "n_layer": entry.layers,
            "n_embd": entry.hidden,
            "n_head": entry.heads,
            "n_inner": entry.intermediate,
            "n_positions": entry.context,
        }
    return common | {
        "num_hidden_layers": entry.layers,
        "hidden_size": entry.hidden,
        "intermediate_size": entry.intermediate,
        "num_attention_heads": entry.heads,
        "num_key_value_heads": entry.kv_heads,
        "head_dim": entry.head_dim,
        "max_position_embeddings": entry.context,
        "pad_token_id": 0,
    }
