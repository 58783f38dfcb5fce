"""Command-line flags made from the fields of RunConfig: one flag a setting, same name, same help."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, get_args

from ftk import strict_yaml
from ftk.config import RunConfig, allowed_values

_APPENDED = "compare"
_LISTED = "lora_targets"


def add_settings(parser: argparse.ArgumentParser, keys: Sequence[str] | None = None) -> None:
    """Add a flag for every setting, in groups by section; or without groups for those of `keys`."""
    for section in RunConfig.sections:
        title, _, text = (section.__doc__ or "").strip().partition(": ")
        group = parser.add_argument_group(title, text) if keys is None else parser
        for key, field in section.model_fields.items():
            if keys is not None and key not in keys:
                continue
            group.add_argument(
                flag(key),
                dest=key,
                metavar=_metavar(key),
                action="append" if key == _APPENDED else "store",
                default=argparse.SUPPRESS,
                help=f"{field.description}{_default(field.default)}".replace("%", "%%"),
            )


def flag(key: str) -> str:
    """The flag of a setting: ``--learning-rate`` of ``learning_rate``."""
    return "--" + key.replace("_", "-")


def _metavar(key: str) -> str:
    words = allowed_values(key)
    if words and words != ("auto",):
        return "|".join(words)
    kinds = _kinds(RunConfig.model_fields[key].annotation)
    if key == _APPENDED:
        return "PROMPT"
    if key == _LISTED:
        return "A,B"
    return "TRUE|FALSE" if bool in kinds else "N" if int in kinds else "X" if float in kinds else "TEXT"


def _default(value: Any) -> str:
    return "" if value in (None, "auto") else f" [{value}]"


def _kinds(annotation: Any) -> set[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        return {annotation}
    return {kind for part in get_args(annotation) for kind in _kinds(part)}


def settings_from(arguments: argparse.Namespace, *, skip: Sequence[str] = ()) -> dict[str, Any]:
    """The settings that were given on the command line, as values for `config.build`; none of those in `skip`.

    Words become what YAML 1.2 makes of them, except where the setting is text: ``--model 7`` is a name.
    """
    given = {key: value for key, value in vars(arguments).items() if key in RunConfig.model_fields and key not in skip}
    values = {key: parsed(key, text) for key, text in given.items()}
    if "epochs" in values and "max_steps" not in values:
        values["max_steps"] = None  # a preset's max_steps must not overrule what was asked for now
    return values


def parsed(key: str, text: Any) -> Any:
    """What a text, or several for a setting that takes several, means as the value of a setting; not validated yet."""
    if key == _APPENDED:
        return "auto" if text == ["auto"] else [prompt for prompt in text if prompt != "none"]
    if key == _LISTED:
        return text if text == "auto" else [part.strip() for part in text.split(",")]
    value = strict_yaml.scalar(text)
    kinds = _kinds(RunConfig.model_fields[key].annotation)
    return text if str in kinds and value is not None else value
