"""What the wizard holds: the settings that were chosen so far, kept from one start of the app to the next.

Knows no widget. The screens read and change it; whatever it holds can be shown as a command and saved as a preset.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftk import files, recipes
from ftk.config import RunConfig, build, field_names
from ftk.errors import ConfigError

from .options import flag

STATE_FILE = "wizard.json"
_STEPS = ("model", "dataset", "train", "compare")


class Wizard:
    """The settings of the run that is being put together.

    Args:
        settings: What is chosen already; everything else is left to `ftk.autoconfig`.
        preset: The name of the preset that they come from.

    """

    def __init__(self, settings: RunConfig | None = None, preset: str | None = None) -> None:
        self._settings = settings or build({})
        self._watchers: list[Callable[[frozenset[str]], None]] = []
        self.preset = preset
        self.step = _STEPS[0]
        self.run: str | None = None
        """The name of the run that the Train and Compare screens show."""

    @property
    def settings(self) -> RunConfig:
        """The settings, with ``auto`` where nothing was chosen."""
        return self._settings

    @property
    def chosen(self) -> dict[str, Any]:
        """Only what was chosen."""
        return self._settings.model_dump(exclude_unset=True)

    def watch(self, watcher: Callable[[frozenset[str]], None]) -> None:
        """Have a function called with the keys of every change."""
        self._watchers.append(watcher)

    def choose(self, **values: Any) -> None:
        """Choose settings.

        Raises:
            ConfigError: a key is unknown or a value not acceptable; nothing is changed then.

        """
        self._replace(self._settings.merged(values))

    def forget(self, *keys: str) -> None:
        """Leave settings to be decided automatically again."""
        self._replace(build({key: value for key, value in self.chosen.items() if key not in keys}))

    def load_preset(self, name: str) -> None:
        """Take the settings of a preset in place of all others.

        Raises:
            ConfigError: there is none, or it is not acceptable.

        """
        preset = recipes.load(name)
        self.preset = preset.name
        self._replace(preset.config)

    def _replace(self, settings: RunConfig) -> None:
        changed = frozenset(key for key in field_names() if getattr(settings, key) != getattr(self._settings, key))
        self._settings = settings
        if changed:
            for watcher in list(self._watchers):
                watcher(changed)

    def command(self) -> str:
        """The command line that does the same."""
        words = ["ftk"]
        base: dict[str, Any] = {}
        if self.preset:
            words += ["--preset", self.preset]
            base = recipes.load(self.preset).config.model_dump(exclude_unset=True)
        for key, value in self.chosen.items():
            if key in base and base[key] == value:
                continue
            words += _words(key, value)
        return shlex.join(words if len(words) > 1 else ["ftk", "--model", self._settings.model])

    def save_preset(self, path: Path, *, overwrite: bool = False) -> Path:
        """Write the settings as a preset; see `recipes.save`."""
        return recipes.save(self._settings, path, overwrite=overwrite)

    def store(self) -> None:
        """Keep everything for the next start; a disk that is full or read-only is no reason to complain."""
        values = {"settings": self.chosen, "preset": self.preset, "step": self.step, "run": self.run}
        try:
            files.write_atomic(_state_path(), json.dumps(values, indent=1))
        except OSError:
            return

    @classmethod
    def restored(cls) -> Wizard:
        """What was kept; a new one where that cannot be used."""
        try:
            values = json.loads(_state_path().read_text(encoding="utf-8"))
            wizard = cls(build(values["settings"]), values["preset"])
            wizard.step = values["step"] if values["step"] in _STEPS else _STEPS[0]
            wizard.run = values["run"] if isinstance(values["run"], str) else None
        except (OSError, ValueError, KeyError, TypeError, ConfigError):
            return cls()
        return wizard


def _state_path() -> Path:
    return files.config_dir() / STATE_FILE


def _words(key: str, value: Any) -> list[str]:
    """A setting as flags of the command line."""
    if key == "compare":
        return [word for prompt in (value if isinstance(value, list) else [value]) for word in (flag(key), str(prompt))]
    if value is None:
        return []
    if isinstance(value, list):
        return [flag(key), ",".join(map(str, value))]
    return [flag(key), str(value).lower() if isinstance(value, bool) else str(value)]
