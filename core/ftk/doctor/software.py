"""Python and the packages, against what ftk asks for."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import struct
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION = "llm-finetune-kit"
_INSTALL_AGAIN = f"Install it again: python -m pip install --force-reinstall {DISTRIBUTION}"


def python() -> Iterator[Finding]:
    """The version of Python, its word size, and whether it is an environment of its own."""
    from packaging.specifiers import SpecifierSet

    version, bits = platform.python_version(), struct.calcsize("P") * 8
    wanted, tested = _of_python()
    own = sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ
    text = f"{version}, {bits} bit, {'in an environment of its own' if own else 'the system-wide one'}"
    details = {"version": version, "bits": bits, "asked": wanted, "prefix": sys.prefix}
    if not SpecifierSet(wanted).contains(version, prereleases=True) or bits != 64:
        mend = f"Make an environment with Python {tested[-1] if tested else '3.11'}, 64 bit, and install ftk into it."
        yield Finding("python", "failure", f"{text}; ftk needs {wanted or '3.11'} and 64 bit", mend, details)
    elif tested and sys.version_info[:2] > tuple(map(int, tested[-1].split("."))):
        mend = f"If a package fails, make an environment with Python {tested[-1]}."
        yield Finding("python", "warning", f"{text}; newer than ftk was tested with ({tested[-1]})", mend, details)
    else:
        yield Finding("python", "ok", text, details=details)


def _of_python() -> tuple[str, list[str]]:
    """What versions of Python ftk asks for, and those that it was tested with, oldest first."""
    try:
        about = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return ">=3.11", []
    prefix = "Programming Language :: Python :: 3."
    minors = [line.removeprefix(prefix) for line in about.get_all("Classifier") or [] if line.startswith(prefix)]
    return about["Requires-Python"] or "", [f"3.{minor}" for minor in sorted(filter(str.isdigit, minors), key=int)]


def packages() -> Iterator[Finding]:
    """Every package that ftk asks for: there, and of a version that it asks for."""
    from packaging.requirements import Requirement

    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        text = "ftk runs from a folder and was not installed: nothing says which versions it needs"
        yield Finding("packages", "warning", text, "In that folder: python -m pip install -e .")
        return
    needed, extras = [], []
    for line in lines:
        asked = Requirement(line)
        if asked.marker is None or asked.marker.evaluate({"extra": ""}):
            needed.append(asked)
        elif "dev" not in str(asked.marker):
            extras.append(asked)
    versions = {asked.name: installed(asked.name) for asked in needed}
    faults = [fault for asked in needed if (fault := _fault(asked, versions[asked.name]))]
    for asked in extras:  # one may do without them, but not with the wrong version
        if version := installed(asked.name):
            versions[asked.name] = version
            faults += [fault] if (fault := _fault(asked, version)) else []
    yield from faults
    if not faults:
        text = f"all {len(needed)} as ftk asks, among them torch {versions.get('torch')}"
        yield Finding("packages", "ok", text, details={"versions": versions})


def _fault(asked: Requirement, version: str | None) -> Finding | None:
    """What is wrong with a package; None if nothing is."""
    from packaging.version import InvalidVersion

    details = {"package": asked.name, "installed": version, "asked": str(asked.specifier)}
    mend = f"python -m pip install '{asked.name}{asked.specifier}'"
    if version is None:
        return Finding("packages", "failure", f"{asked.name} is missing", mend, details)
    try:
        fits = asked.specifier.contains(version, prereleases=True)
    except InvalidVersion:
        fits = False
    if fits:
        return None
    text = f"{asked.name} is {version or 'damaged'}; ftk asks for {asked.specifier}"
    return Finding("packages", "failure", text, mend if version else _INSTALL_AGAIN, details)


def installed(name: str) -> str | None:
    """The version of an installed package; None where it is missing, empty where its files are damaged."""
    try:
        return importlib.metadata.version(name) or ""
    except importlib.metadata.PackageNotFoundError:
        return None
    except (KeyError, OSError, ValueError):
        return ""
