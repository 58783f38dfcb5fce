"""Find, read and write presets: named recipes, the packaged ones and the user's own.

A name is looked for in the user's folder first, so that a recipe of one's own may carry the name of a
packaged one; anything with a slash or a ``.yaml`` ending is a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from . import config, dataspec, strict_yaml
from .config import RunConfig
from .errors import ConfigError, did_you_mean
from .files import config_dir, write_atomic

_NOT_PRESETS = {"cards", "models", "prices"}


@dataclass(frozen=True)
class Preset:
    """A recipe: its name, the file it stands in, its text and the settings it makes."""

    name: str
    path: Path
    text: str
    values: dict[str, Any]
    config: RunConfig

    @property
    def summary(self) -> str:
        """The first line of the header comment."""
        first = self.text.splitlines()[0] if self.text else ""
        return first.lstrip("# ").rstrip() if first.startswith("#") else ""


def packaged_dir() -> Path:
    """The folder of the YAML files that come with ftk."""
    return Path(str(resources.files("ftk.presets")))


def user_dir() -> Path:
    """The folder of the user's own presets (it need not exist)."""
    return config_dir() / "presets"


def available() -> dict[str, Path]:
    """The presets that can be used by name, sorted, with their files; the user's own come before packaged ones."""
    found: dict[str, Path] = {}
    for folder in (packaged_dir(), user_dir()):
        if folder.is_dir():
            found |= {path.stem: path for path in folder.glob("*.yaml") if path.stem not in _NOT_PRESETS}
    return dict(sorted(found.items()))


def load(name: str) -> Preset:
    """Read a preset by name or path.

    Raises:
        ConfigError: there is none of that name, or it holds something that is not accepted; the message
            names file, line, key and value.

    """
    path = _locate(name)
    document = strict_yaml.read(path, source=str(path) if path.parent != packaged_dir() else path.name)
    settings = config.with_paths_from(config.build(document.values, document), path.parent)
    return Preset(path.stem, path, path.read_text(encoding="utf-8"), document.values, settings)


def _locate(name: str) -> Path:
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = dataspec.expanded(name)
        if dataspec.holds(path.is_file):
            return path
        raise ConfigError(f"There is no preset file {name!r}.", hint="`ftk presets` lists the presets known by name.")
    known = available()
    if name in known:
        return known[name]
    raise ConfigError(
        f"There is no preset {name!r}.{did_you_mean(name, tuple(known))}",
        hint=f"Presets: {', '.join(known)}. A file of your own: --preset ./my.yaml",
    )


def save(settings: RunConfig, path: Path, *, overwrite: bool = False) -> Path:
    """Write settings as a preset file with a comment for every key.

    Raises:
        ConfigError: the file exists and `overwrite` is not set, or it cannot be written.

    """
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(path.name + ".yaml")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists and was not changed.", hint="Choose another name, or remove the file first.")
    header = f"{path.stem}: my own recipe\n\nftk --preset {path}"
    try:
        write_atomic(path, settings.to_yaml(header=header))
    except OSError as error:
        raise ConfigError(f"{path} could not be written: {error.strerror or error}.") from None
    return path
