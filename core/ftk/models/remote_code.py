"""Code that a model brings along: never run unless its user says so, and then only the version that was looked at.

Some models name Python classes in their `config.json` (`auto_map`), which transformers would import from the files
beside it: whoever wrote them then runs as the user.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..plain_files import read_text

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str | None) -> bool:
    """Whether a revision names one state of a repository for ever, which branches and tags do not."""
    return _COMMIT.fullmatch(revision or "") is not None


def in_config(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes that a configuration wants to have imported, as ``module.Class``, in order and without doubles."""
    named = config.get("auto_map")
    values = named.values() if isinstance(named, Mapping) else [named]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return tuple(dict.fromkeys(str(item) for item in flat if item))


def in_folder(folder: Path) -> tuple[str, ...]:
    """The same of a model's folder, by its configuration and by that of its tokenizer."""
    found = [name for file in ("config.json", "tokenizer_config.json") for name in in_config(_read(folder / file))]
    return tuple(dict.fromkeys(found))


def has_files(folder: Path) -> bool:
    """Whether the code that a folder names lies in it."""
    return all((folder / f"{name.partition('.')[0]}.py").is_file() for name in in_folder(folder))


def check(folder: Path, where: str, *, trusted: bool, revision: str | None = None) -> None:
    """Refuse a model that works only with code of its own, unless that is allowed.

    A model that also names code, but is of an architecture that transformers carries, is loaded with transformers' own
    where code is not allowed.

    Args:
        folder: Where its files are.
        where: What to call that place.
        trusted: Whether the code may run.
        revision: The commit that the files are of, where they are the Hub's.

    Raises:
        ModelError: the code may not run, or lies in another repository, of which nobody can say in what state.

    """
    config = _read(folder / "config.json")
    if trusted:
        _check_here(in_folder(folder), where)
    elif (names := in_config(config)) and not _carried(str(config.get("model_type"))):
        raise refusal(names, where, revision)


def refusal(names: tuple[str, ...], where: str, revision: str | None = None) -> ModelError:
    """What to say of code that may not run: which it is, where it lies, and how to allow it."""
    pin = f" --revision {revision}" if is_commit(revision) else ""
    files = ", ".join(dict.fromkeys(f"{name.rpartition('--')[2].partition('.')[0]}.py" for name in names))
    return ModelError(
        f"{where} works only with code of its own ({', '.join(names)}), which would run here with all your rights. "
        "ftk runs no remote code unasked.",
        hint=f"Read {files} in {where} first. To run just what you have read: --trust-remote-code true{pin}",
    )


def _check_here(names: tuple[str, ...], where: str) -> None:
    if elsewhere := [name for name in names if "--" in name]:
        raise ModelError(
            f"The code of {where} lies in another repository ({', '.join(elsewhere)}), in whatever state that is now.",
            hint="Put the code beside the weights, and take the part before the two dashes out of auto_map.",
        )


def _carried(architecture: str) -> bool:
    """Whether transformers has an architecture itself; asked only of models that name code, as the import is slow."""
    from transformers import CONFIG_MAPPING

    return architecture in CONFIG_MAPPING


def _read(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):  # whoever loads it says what is wrong
        return {}
    return values if isinstance(values, dict) else {}
