"""What can be chosen as data: samples, what was used lately, the files of a folder; knows no widget."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .data_words import named, size

Kind = Literal["sample", "recent", "here", "up", "folder", "file"]
_MOST = 300
"""Entries of a folder that are listed; typing finds the others."""
_LOOKED_AT = 20_000
"""Entries of a folder that are looked at."""
RECENT = 8
"""Data sets that are kept as used lately."""


@dataclass(frozen=True)
class Choice:
    """Something that can be chosen: what the setting `data` becomes by it, or the folder it leads to."""

    kind: Kind
    value: str
    title: str
    about: str = ""

    @property
    def leads(self) -> bool:
        """Whether it leads to another folder instead of being chosen."""
        return self.kind in ("up", "folder")


def samples() -> list[Choice]:
    """The data sets that come with ftk."""
    from ftk.data.gather import SAMPLES

    return [Choice("sample", f"sample:{name}", f"sample:{name}", text) for name, text in SAMPLES.items()]


def recent(specs: Sequence[str]) -> list[Choice]:
    """What was used lately."""
    return [Choice("recent", spec, named(spec)) for spec in specs[:RECENT]]


def remembered(specs: Sequence[str], spec: str) -> list[str]:
    """The list with one more at its head; samples are listed anyway."""
    rest = [other for other in specs if other != spec]
    return rest[:RECENT] if spec.startswith("sample:") else [spec, *rest][:RECENT]


def folder_of(typed: str, where: Path) -> tuple[Path, str]:
    """The folder that a text means, and what the names in it shall begin with or hold: ``data/ro`` is (data, ro)."""
    try:
        path = Path(typed).expanduser()
        whole = where / path
        if typed.endswith(os.sep) or (typed and whole.is_dir()):
            return whole, ""
        if os.sep in typed and whole.parent.is_dir():
            return whole.parent, path.name
    except (OSError, ValueError, RuntimeError):
        pass
    return where, typed


@dataclass(frozen=True)
class Folder:
    """What a folder holds that matters here, or why it cannot be read; `more` entries are not listed."""

    path: Path
    choices: tuple[Choice, ...] = ()
    more: int = 0
    problem: str = ""


def listed(folder: Path, wanted: str = "") -> Folder:
    """The folders and readable files of a folder; those whose names hold `wanted`, in any case.

    Args:
        folder: The folder.
        wanted: What names shall hold; hidden ones are listed where it begins with a dot.

    """
    folders: list[Choice] = []
    data: list[Choice] = []
    seen = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                seen += 1
                if seen > _LOOKED_AT:
                    break
                _sort_in(entry, wanted.casefold(), folders, data)
    except OSError as error:
        return Folder(folder, (_up(folder),) if folder.parent != folder else (), 0, f"{error.strerror or error}")
    except ValueError as error:
        return Folder(folder, (), 0, str(error))
    found = [*sorted(folders, key=_name), *sorted(data, key=_name)]
    head = [_up(folder)] if folder.parent != folder and not wanted else []
    if data and not wanted and len(data) > 1:
        head.append(Choice("here", str(folder), "all of this folder", f"{len(data)} files as one data set"))
    return Folder(folder, (*head, *found[:_MOST]), max(0, len(found) - _MOST))


def _up(folder: Path) -> Choice:
    return Choice("up", str(folder.parent), "..", "the folder above")


def _name(choice: Choice) -> str:
    return choice.title.casefold()


def _sort_in(entry: os.DirEntry[str], wanted: str, folders: list[Choice], data: list[Choice]) -> None:
    from ftk.data.formats.sniff import is_data

    name = entry.name
    if (name.startswith(".") and not wanted.startswith(".")) or (wanted and wanted not in name.casefold()):
        return
    try:
        if entry.is_dir():
            folders.append(Choice("folder", entry.path, name + os.sep))
        elif is_data(Path(name)) and entry.is_file():
            data.append(Choice("file", entry.path, name, size(entry.stat().st_size)))
    except OSError:
        return
