"""What the wizard holds: the settings that were chosen so far, kept from one start of the app to the next.

Knows no widget. The screens read and change it; whatever it holds can be shown as a command and saved as a preset.
"""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ftk import dataspec, files, recipes
from ftk.config import RunConfig, build, field_names
from ftk.errors import ConfigError

from .options import flag

STATE_FILE = "wizard.json"
_STEPS = ("model", "dataset", "train", "compare")


class Wizard:
    """The settings of the run that is being put together.

    Args:
        settings: What is chosen already; everything else is left to `ftk.autoconfig`.
        preset: The name or file of the preset that they come from.

    """

    def __init__(self, settings: RunConfig | None = None, preset: str | None = None) -> None:
        self._settings = settings or build({})
        self._watchers: list[Callable[[frozenset[str]], None]] = []
        self.preset = _lasting(preset)
        self._stored = ""
        self._storing = threading.Lock()
        self.step = _STEPS[0]
        self.run: str | None = None
        """The name of the run that the Train and Compare screens show."""

    @property
    def settings(self) -> RunConfig:
        """The settings, with ``auto`` where nothing was chosen."""
        return self._settings

    @property
    def chosen(self) -> dict[str, Any]:
        """Only what was chosen, in the order of the settings."""
        values = self._settings.model_dump(exclude_unset=True)
        return {key: values[key] for key in field_names() if key in values}

    def watch(self, watcher: Callable[[frozenset[str]], None]) -> None:
        """Have a function called with the keys of every change."""
        self._watchers.append(watcher)

    def choose(self, **values: Any) -> None:
        """Choose settings; with other data, the prompts that a preset asks of its sample are left out.

        Raises:
            ConfigError: a key is unknown or a value not acceptable; nothing is changed then.

        """
        old = self._settings
        if self.preset and old.data.startswith("sample:") and values.get("data", old.data) != old.data:
            values = {"compare": "auto", **values}
        self._replace(old.merged(values))

    def forget(self, *keys: str) -> None:
        """Leave settings to be decided automatically again."""
        self._replace(build({key: value for key, value in self.chosen.items() if key not in keys}))

    def load_preset(self, name: str) -> None:
        """Take the settings of a preset in place of all others.

        Raises:
            ConfigError: there is none, or it is not acceptable.

        """
        preset = recipes.load(name)
        self.preset = preset.name if preset.path == recipes.available().get(preset.name) else _lasting(str(preset.path))
        self._replace(preset.config)

    def _replace(self, settings: RunConfig) -> None:
        changed = frozenset(key for key in field_names() if getattr(settings, key) != getattr(self._settings, key))
        self._settings = settings
        if changed:
            for watcher in list(self._watchers):
                watcher(changed)

    def command(self) -> str:
        """The command line that does the same; without the preset, if that is not there any more."""
        words, base = ["ftk"], build({})
        if self.preset:
            try:
                base = recipes.load(self.preset).config
                words += ["--preset", self.preset]
            except (ConfigError, OSError, ValueError):
                pass
        for key, value in _differences(base, self._settings).items():
            words += _words(key, value)
        return shlex.join(words if len(words) > 1 else ["ftk", "--model", self._settings.model])

    def save_preset(self, path: Path, *, overwrite: bool = False) -> Path:
        """Write the settings as a preset; see `recipes.save`."""
        return recipes.save(self._settings, path, overwrite=overwrite)

    def store(self) -> None:
        """Keep everything for the next start; a disk that is full or read-only is no reason to complain.

        May be called from any thread; writes only what is new.
        """
        with self._storing:
            values = {"settings": self.chosen, "preset": self.preset, "step": self.step, "run": self.run}
            text = json.dumps(values, indent=1)
            if text == self._stored:
                return
            try:
                files.write_atomic(_state_path(), text)
            except OSError:
                return
            self._stored = text

    @classmethod
    def restored(cls) -> Wizard:
        """What was kept; a new one where that cannot be used."""
        try:
            values = json.loads(_state_path().read_text(encoding="utf-8"))
            settings, preset, step, run = (values[key] for key in ("settings", "preset", "step", "run"))
            if not isinstance(settings, dict):
                return cls()
            wizard = cls(build(settings), preset if isinstance(preset, str) else None)
        except (OSError, ValueError, LookupError, TypeError, RecursionError, ConfigError):
            return cls()
        wizard.step = step if step in _STEPS else _STEPS[0]
        wizard.run = run if isinstance(run, str) else None
        return wizard


def _state_path() -> Path:
    return files.config_dir() / STATE_FILE


def _lasting(preset: str | None) -> str | None:
    """The name of a preset, or the whole path of its file: the app may be started elsewhere the next time."""
    if preset and (os.sep in preset or preset.endswith((".yaml", ".yml"))):
        return str(dataspec.expanded(preset).absolute())
    return preset


def _differences(base: RunConfig, settings: RunConfig) -> dict[str, Any]:
    """What has to be said on the command line to come from some settings (a preset's, or the defaults) to others."""
    before, wanted = base.model_dump(), settings.model_dump()
    if base.data.startswith("sample:") and settings.data != base.data:
        before["compare"] = "auto"  # as the command does: the preset's prompts ask what its sample answers
    found = {key: wanted[key] for key in field_names() if wanted[key] != before[key]}
    if "epochs" in found and wanted["max_steps"] is None:
        found.pop("max_steps", None)  # so does the command
    elif "epochs" in found:
        found["max_steps"] = wanted["max_steps"]
    return found


def _words(key: str, value: Any) -> list[str]:
    """A setting as flags of the command line."""
    if key == "compare":
        prompts = value if isinstance(value, list) else [value]
        return [word for prompt in prompts or ["none"] for word in _flag(key, str(prompt))]
    if value is None:
        return _flag(key, "null")
    if isinstance(value, list):
        return _flag(key, ",".join(map(str, value)))
    return _flag(key, str(value).lower() if isinstance(value, bool) else str(value))


def _flag(key: str, text: str) -> list[str]:
    return [f"{flag(key)}={text}"] if text.startswith("-") else [flag(key), text]
