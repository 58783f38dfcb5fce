"""The known models: what they are called, how big they are, what they ask for.

The data stands in ``presets/models.yaml``. Any other model can be used as well, by hub id, folder or GGUF
file; the catalogue only adds short names, sizes before a download, and defaults.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import strict_yaml
from .errors import ConfigError, did_you_mean
from .recipes import packaged_dir

PositiveInt = Annotated[int, Field(ge=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class LoraDefaults(_Entry):
    """The adapter that suits a model: `rank`, and the names of the layers it is put on."""

    rank: PositiveInt
    targets: list[str]


class Vram(_Entry):
    """GPU memory in GiB: `minimum_gib` for the smallest setting, `recommended_gib` for a comfortable one."""

    minimum_gib: Annotated[float, Field(gt=0)]
    recommended_gib: Annotated[float, Field(gt=0)]


class CatalogModel(_Entry):
    """One model of the catalogue; the header of ``presets/models.yaml`` explains every field."""

    id: str
    name: str
    family: str
    hub: str
    aliases: list[str]
    architecture: str
    weights: PositiveInt
    layers: PositiveInt
    hidden: PositiveInt
    intermediate: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    vocabulary: PositiveInt
    tied: bool
    context: PositiveInt
    license: str
    gated: bool
    chat_template: bool
    lora: LoraDefaults
    vram: Vram


class _Catalog(_Entry):
    models: list[CatalogModel]


@cache
def models() -> tuple[CatalogModel, ...]:
    """All models of the catalogue, in its order.

    Raises:
        ConfigError: the catalogue's file was damaged.

    """
    document = strict_yaml.read(packaged_dir() / "models.yaml", source="models.yaml")
    try:
        return tuple(_Catalog.model_validate(document.values).models)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"models.yaml: {where}: {first['msg']}", hint="Install ftk again.") from None


@cache
def _by_name() -> dict[str, CatalogModel]:
    names: dict[str, CatalogModel] = {}
    for model in models():
        for name in (model.id, model.hub, *model.aliases):
            names.setdefault(name.lower(), model)
    return names


def find(name: str) -> CatalogModel | None:
    """The model of that id, alias or hub id (upper and lower case alike), or None."""
    return _by_name().get(name.lower())


def suggest(name: str) -> str:
    """`` Did you mean 'x'?`` for a name that is close to one of the catalogue, else an empty string."""
    return did_you_mean(name, tuple(_by_name()))
