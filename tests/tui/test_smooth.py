"""What keeps the event loop smooth: torch's libraries loaded apart from its import, no full collections meanwhile."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftk_tui import smooth


@pytest.fixture
def usual() -> Iterator[tuple[int, int, int]]:
    before = gc.get_threshold()
    yield before
    gc.set_threshold(*before)
    gc.unfreeze()


def test_torch_finds_its_libraries_loaded_and_works() -> None:
    if sys.platform != "linux":
        pytest.skip("libraries are loaded apart on Linux only")
    code = (
        "import sys\n"
        "from ftk_tui import smooth\n"
        "begun = []\n"
        "smooth.load_apart(lambda: begun.append('first')); smooth.load_apart(lambda: begun.append('second'))\n"
        "assert sum(isinstance(f, smooth.Loader) for f in sys.meta_path) == 1\n"
        "loaded = []\n"
        "load = smooth.load\n"
        "smooth.load = lambda folder: loaded.append(load(folder))\n"
        "import json.tool\n"
        "assert not loaded\n"
        "import torch\n"
        "assert loaded and loaded[0] >= 2 and begun == ['second'], (loaded, begun)\n"
        "assert not any(isinstance(f, smooth.Loader) for f in sys.meta_path)\n"
        "assert (torch.ones(3, 3) @ torch.ones(3, 3)).sum() == 27\n"
        "smooth.load_apart(print)\n"
        "assert not any(isinstance(f, smooth.Loader) for f in sys.meta_path)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_is_no_library_is_left_to_torch(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("libraries are loaded apart on Linux only")
    assert smooth.load(tmp_path) == 0
    (tmp_path / "libc10.so").write_text("no library")
    assert smooth.load(tmp_path) == 0


def test_there_are_no_full_collections_while_modules_come(
    usual: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def come(number: int) -> None:
        for _ in range(number):
            name = f"_came_{len(sys.modules)}"
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

    collector = smooth.Collector()
    collector.look()
    come(3)  # a screen of ours
    collector.look()
    assert gc.get_threshold() == usual
    come(200)
    collector.look()
    assert gc.get_threshold()[:2] == usual[:2] and gc.get_threshold()[2] > 1_000_000
    come(1)
    collector.look()
    assert gc.get_threshold()[2] > 1_000_000  # still on its way
    frozen = gc.get_freeze_count()
    collector.look()
    assert gc.get_threshold() == usual and gc.get_freeze_count() > frozen
    come(200)
    collector.look()
    collector.leave()
    assert gc.get_threshold() == usual
    collector.wait()
    assert gc.get_threshold()[2] > 1_000_000
    collector.leave()
    assert gc.get_threshold() == usual


def test_threads_take_turns_often_while_the_event_loop_waits_and_leave_it_alone_while_it_works() -> None:
    usual = sys.getswitchinterval()
    seen: list[float] = []

    async def work() -> None:
        turns = smooth.Turns()
        turns.shorten(asyncio.get_running_loop())
        try:
            while len(seen) < 3:  # a thread looks while the loop waits for it
                await asyncio.to_thread(lambda: seen.append(sys.getswitchinterval()))
                assert sys.getswitchinterval() > usual
        finally:
            turns.leave()
        await asyncio.sleep(0.01)
        assert sys.getswitchinterval() == pytest.approx(usual)
        turns.leave()

    asyncio.run(work())
    assert min(seen) < 0.001 < usual
    assert sys.getswitchinterval() == pytest.approx(usual)


def test_a_loop_of_another_kind_shares_with_all_threads() -> None:
    class Other(asyncio.AbstractEventLoop):
        pass

    usual = sys.getswitchinterval()
    turns = smooth.Turns()
    turns.shorten(Other())
    assert sys.getswitchinterval() < 0.001
    turns.leave()
    assert sys.getswitchinterval() == pytest.approx(usual)
