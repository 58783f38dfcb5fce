"""Is a model what its files say? Looked at before its weights are read, and again when they are in memory.

A folder may be half copied, damaged or made to do harm. What is found here costs milliseconds; later it would be a
crash in the middle of a run, memory without end, or a training that learns nothing.
"""

from __future__ import annotations

import fnmatch
import json
import math
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import hub_api
from ..errors import ModelError
from ..plain_files import read_text

READ = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.py")
"""The files of a model's folder that anything is read from."""
_AGAIN = "Fetch or copy the model again."
_LAYERS = re.compile(r"(?:(?:n|num|decoder|encoder)_\w*)?(?:layers?|experts|blocks|depth)")
_FEW, _TOO_MANY = 1024, 100_000
"""Layers, or experts, that a model may have however few tensors it holds; and more than any model has."""
_SHOWN = 3


def check_files(folder: Path) -> None:
    """See that all files of a model are plain ones, and its own.

    A link may lead to another file of the folder, into the Hub's cache, or from a weight file to wherever weights are
    kept. From others it may not: what a configuration or template holds is copied into what is trained, and a link in
    a folder from a stranger could put any file of this machine there.

    Raises:
        ModelError: one is a device, a pipe, a link to nothing, or a link that leads out.

    """
    inside = [folder.resolve(), Path(hub_api.cache()).resolve()]
    if folder.parent.name == "snapshots":  # a Hub's cache that lies elsewhere
        inside.append(folder.parent.parent.resolve())
    for path in sorted(folder.iterdir()):
        if not any(fnmatch.fnmatch(path.name, pattern) for pattern in READ):
            continue
        try:
            kind = path.stat().st_mode
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}.", hint=_AGAIN) from None
        if not stat.S_ISREG(kind):
            raise ModelError(f"{path} is no file of a model, but a folder, a pipe or a device.", hint=_AGAIN)
        if not path.is_symlink() or path.suffix == ".safetensors":
            continue
        target = path.resolve()
        if not any(target.is_relative_to(place) for place in inside):
            raise ModelError(
                f"{path} is a link to {target}, out of the model's folder, and was not followed.",
                hint="Put the file itself there if it belongs to the model.",
            )


def check_no_adapter(folder: Path) -> None:
    """See that there is no adapter beside a model: transformers would load the base that it names instead.

    Raises:
        ModelError: there is one.

    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{folder} holds a model and an adapter (adapter_config.json), and only one of them can be meant.",
            hint="Move the adapter into a folder of its own.",
        )


def shards(folder: Path) -> list[str]:
    """The names of the weight files of a folder, by its index if it has one.

    Raises:
        ModelError: the index is damaged, or names something else than files in the folder.

    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ["model.safetensors"]
    try:
        named = {str(shard) for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{index} is damaged: {error}.", hint=_AGAIN) from None
    if strange := sorted(name for name in named if Path(name).name != name or not name.endswith(".safetensors")):
        raise ModelError(
            f"{index} names {strange[0][:100]!r}, which is no weight file of this folder; nothing was read from it.",
            hint="Do not use this model, unless you know how that came about.",
        )
    return sorted(named)


def check_config(folder: Path, most: int = _TOO_MANY) -> dict[str, Any]:
    """Read a configuration, and see that nothing is done more often because of it than makes sense.

    Raises:
        ModelError: it is damaged, or tells of more layers or experts than `most`.

    """
    config = _config(folder)
    for name, value in _numbers(config):
        if _LAYERS.fullmatch(name) and value > most:
            raise ModelError(f"{folder} could not be loaded: by its config.json, {name} is {value:,}.", hint=_AGAIN)
    return config


def check_weights(folder: Path, build: Callable[[], Any]) -> None:
    """See that the weight files can hold the model that the configuration describes.

    Reads the headers, and makes the model without any memory for its weights: a tenth of a second for 7 billion.

    Args:
        folder: The model's folder.
        build: Makes the model.

    Raises:
        ModelError: a weight file is damaged, or the model would be larger than what is in the files.

    """
    import torch

    shapes = dict(_stored(folder))
    if "quantization_config" in check_config(folder, max(_FEW, len(shapes))):
        return  # packed: what lies in the files has other shapes
    with torch.device("meta"):
        try:
            model = build()
        except RuntimeError as error:
            raise _unlike(folder, " ".join(str(error).split())[:200], shapes) from None
    described = sum(parameter.numel() for parameter in model.parameters())
    if described > sum(map(math.prod, shapes.values())):
        raise _unlike(folder, f"it has {described:,} weights", shapes)


def _unlike(folder: Path, described: str, shapes: Mapping[str, tuple[int, ...]]) -> ModelError:
    held = f"{sum(map(math.prod, shapes.values())):,}"
    return ModelError(
        f"{folder} could not be loaded: by its config.json, {described}; its weight files hold {held}.", hint=_AGAIN
    )


def _stored(folder: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor, from the headers of the weight files."""
    from safetensors import SafetensorError, safe_open

    for name in shards(folder):
        try:
            with safe_open(folder / name, framework="numpy") as file:
                yield from ((key, tuple(file.get_slice(key).get_shape())) for key in file.keys())  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(
                f"{folder} could not be loaded: {name} is damaged ({' '.join(str(error).split())[:200]}).", hint=_AGAIN
            ) from None


def _config(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_text(folder / "config.json"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{folder} could not be loaded: config.json is damaged ({' '.join(str(error).split())[:200]}).", hint=_AGAIN
        ) from None
    if not isinstance(values, dict):
        raise ModelError(f"{folder} could not be loaded: config.json is no configuration.", hint=_AGAIN)
    return values


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, int | float]]:
    """The numbers of a configuration and of those in it, with their names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value)
        elif isinstance(value, int | float):
            yield name, value


def check_loaded(model: Any, told: Mapping[str, Any], where: Path) -> None:
    """See that every weight of a model came out of its files, and is a finite number.

    The look at the numbers reads every weight once: some tenths of a second for 135 million on a CPU, less on a GPU.
    Of weights that are packed into 4 or 8 bits only the scales can be looked at.

    Args:
        model: What was loaded.
        told: What transformers tells of the loading.
        where: The folder or file.

    Raises:
        ModelError: a weight is missing, of another shape, infinite or not a number.

    """
    if wrong := sorted(told.get("mismatched_keys", ()), key=lambda item: str(item[0])):
        parts = [f"{name} is {_shape(held)} and must be {_shape(wanted)}" for name, held, wanted in wrong[:_SHOWN]]
        raise ModelError(f"{where} could not be loaded: {'; '.join(parts)}{_more(wrong)}.", hint=_AGAIN)
    if missing := sorted(told.get("missing_keys", ())):
        raise ModelError(
            f"{where} could not be loaded: weights are missing ({', '.join(missing[:_SHOWN])}{_more(missing)}).",
            hint=_AGAIN,
        )
    if broken := not_finite(_looked_at(model)):
        raise ModelError(
            f"{where} holds weights that are not finite numbers: {', '.join(broken[:_SHOWN])}{_more(broken)}. "
            "Nothing could be learnt from there.",
            hint="Fetch or copy the model again; if it stays so, the model itself is broken.",
        )


def _shape(lengths: Any) -> str:
    return "x".join(map(str, lengths))


def _more(found: list[Any]) -> str:
    return f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""


def not_finite(named: Iterable[tuple[str, Any]]) -> list[str]:
    """The names of tensors that hold something infinite, or what is not a number."""
    return [name for name, tensor in named if not _finite(tensor)]


def _looked_at(model: Any) -> Iterator[tuple[str, Any]]:
    for name, weight in model.named_parameters():
        state = getattr(weight, "quant_state", None)
        scales = [getattr(state, "absmax", None), getattr(state, "offset", None)]  # of which the latter is their mean
        yield from ((name, tensor) for tensor in (weight, *scales) if tensor is not None)


def _finite(tensor: Any) -> bool:
    """Whether a tensor holds finite numbers only; its sum tells at once, unless that is too large for its format."""
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    if tensor.element_size() == 1:  # 8-bit floats cannot be added up
        return True
    return bool(tensor.detach().sum().isfinite()) or bool(tensor.isfinite().all())
