"""Where compiled code is kept: by kind of processor, where the user wants it, and never in torch's temporary folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from ftk.hardware import processor
from ftk.training.fast import compiling


@pytest.fixture(autouse=True)
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has named a folder."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")


def test_it_is_kept_in_the_cache(home: Path) -> None:
    compiling.keep_compiled_in_cache()
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.parent == home / "ftk_cache" / "compiled"
    assert compiling.folder() == folder


def test_processors_of_another_kind_do_not_meet_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = "processor: 0\nflags: sse avx2 avx512f\nprocessor: 1\nflags: sse avx2 avx512f\n"
    found = []
    for info, told in (
        (wide, ""),
        (wide.replace("processor: 1", "processor: 2"), ""),
        (wide, "avx2"),
        ("flags: avx2", ""),
    ):
        monkeypatch.setattr(processor, "_cpuinfo", lambda info=info: info)
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", told)
        found.append(compiling.folder())
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_folder_that_the_user_has_named_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    assert compiling.folder() == tmp_path
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "torchinductor_someone"))
    assert compiling.folder() != Path(tempfile.gettempdir()) / "torchinductor_someone"
