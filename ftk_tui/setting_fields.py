"""The settings as fields of a form: help, limits and words come from RunConfig, where each setting has its home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from ftk.config import (
    LoraSettings,
    ModelSettings,
    RunConfig,
    RunSettings,
    TrainingSettings,
    allowed_values,
)
from ftk.errors import ConfigError

from .options import parsed

_ELSEWHERE = frozenset({"model", "compare"})
"""Settings of the sections below that another part of the app asks for."""
_BESIDES = {"TrainingSettings": ("max_length",)}
"""Settings of other sections that belong to one of those below as well."""


@dataclass(frozen=True)
class SettingField:
    """A setting as a field.

    Attributes:
        key: Its name in RunConfig.
        section: The heading that it stands under.
        help: What it does.
        words: The words that it takes, if it takes no other text; without ``auto``.
        limits: What numbers or texts it takes, in words.
        default: What it is if nobody says anything; ``auto`` and None are decided later.

    """

    key: str
    section: str
    help: str
    words: tuple[str, ...]
    limits: str
    default: Any

    def value(self, text: str) -> Any:
        """What a text means as the value; not validated yet."""
        return parsed(self.key, text.strip())

    def problem(self, text: str, settings: RunConfig) -> str:
        """What is wrong with a text as the value, in words; empty if nothing is, as of an empty text.

        Args:
            text: What was typed.
            settings: The settings that it would be one of.

        """
        if not text.strip():
            return ""
        try:
            settings.merged({self.key: self.value(text)})
        except (ConfigError, ValueError, RecursionError) as error:
            return " ".join(str(error).split()).removeprefix(f"{self.key}: ")
        return ""


@cache
def fields() -> tuple[SettingField, ...]:
    """The settings of the model, the adapter, the training and the run, in their order."""
    return tuple(
        _field(key, section)
        for section in (ModelSettings, LoraSettings, TrainingSettings, RunSettings)
        for key in (*section.model_fields, *_BESIDES.get(section.__name__, ()))
        if key not in _ELSEWHERE
    )


def _field(key: str, section: type[Any]) -> SettingField:
    about = RunConfig.model_fields[key]
    kinds = set(_kinds(about.annotation))
    words = tuple(word for word in allowed_values(key) if word != "auto")
    if bool in kinds:
        words = ("true", "false")
    title = (section.__doc__ or "").partition(":")[0].strip()
    limits = _limits(about, kinds) if not words else f"one of {', '.join(words)}"
    return SettingField(key, title, about.description or "", words, limits, about.default)


def _kinds(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _limits(about: Any, kinds: set[type]) -> str:
    """Such as ``a whole number, 1 to 1024``."""
    if list in kinds or "list" in str(about.annotation):
        return "names, with commas between"
    if not kinds & {int, float}:
        return ""
    bounds = [bound for part in (about, *_parts(about.annotation)) for bound in getattr(part, "metadata", ())]
    bounds += list(_parts(about.annotation))
    number = "a number" if float in kinds else "a whole number"
    low = _bound(bounds, "ge", "from") or _bound(bounds, "gt", "above")
    high = _bound(bounds, "le", "to") or _bound(bounds, "lt", "below")
    return " ".join(filter(None, (number, low, high)))


def _bound(bounds: list[Any], name: str, word: str) -> str:
    found = next((value for bound in bounds if (value := getattr(bound, name, None)) is not None), None)
    return "" if not isinstance(found, int | float) else f"{word} {found}"


def _parts(annotation: Any) -> Iterator[Any]:
    """Everything that an annotation is made of, with what `Annotated` says of each."""
    for part in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        yield part
        yield from _parts(part)


def as_text(value: Any) -> str:
    """A value as it would be typed; empty for one that is not decided."""
    if value is None or value == "auto":
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
