"""What is installed: both packages with their data, and nothing else in site-packages."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOMES = {"ftk": ROOT / "core" / "ftk", "ftk_tui": ROOT / "ftk_tui"}


def _folders() -> set[str]:
    found = {"ftk.presets", "ftk.sample_data"}
    for name, home in HOMES.items():
        for folder in [home, *(path for path in home.rglob("*") if path.is_dir() and path.name != "__pycache__")]:
            found.add(".".join([name, *folder.relative_to(home).parts]))
    return found


def test_every_folder_of_code_is_a_listed_package() -> None:
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == _folders()
    for name in _folders() - {"ftk.presets", "ftk.sample_data"}:
        home = HOMES[name.split(".")[0]].joinpath(*name.split(".")[1:])
        assert (home / "__init__.py").is_file(), home


def test_no_module_has_the_name_of_a_package() -> None:
    assert not (ROOT / "core" / "ftk" / "presets.py").exists()  # the package of the YAML files would hide it
    assert not (ROOT / "core" / "ftk" / "sample_data.py").exists()


@pytest.mark.slow
def test_the_wheel_holds_both_packages_with_their_data_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"ftk", "ftk_tui", wheel.name.split("-py3")[0] + ".dist-info"}
    for folder, packaged in (("presets", "ftk/presets"), ("sample_data", "ftk/sample_data")):
        shipped = {path.name for path in (ROOT / folder).iterdir() if path.suffix in (".yaml", ".jsonl", ".py")}
        assert shipped == {name.split("/")[-1] for name in names if name.startswith(packaged + "/")}
    sources = {path.relative_to(ROOT / "core").as_posix() for path in (ROOT / "core" / "ftk").rglob("*.py")}
    assert sources <= set(names)
    assert {"ftk/py.typed", "ftk_tui/py.typed"} <= set(names)
