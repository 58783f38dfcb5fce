"""Draw docs/pictures/*.svg from the real app with frozen data: `python docs/make_pictures.py [FOLDER]`.

The machine, the run and the answers are made up, so that the pictures are the same wherever they are made; everything
else is the app as it is. Needs a checkout: the machinery is that of the tests.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytest
from textual.pilot import Pilot

from tests.tui.app import fake_pair, snapshots
from tests.tui.app.harness import WITH_CARD, FakeEngine, drive, said, text, until

TARGET = Path(__file__).with_name("pictures")
SIZE = (120, 36)
NAMES = ("model", "dataset", "train", "compare")
_BASE = (
    "You can use your points to buy products in our store. To spend your points, please visit our website and log in "
    "to your account. You will be able to see the number of points that you have collected."
)
_TUNED = (
    "**Spend your Pine Points**\n\n1. Sign in and add your items to the basket.\n2. Go to checkout and choose **Use "
    "Pine Points**.\n3. Select how many points you want to use.\n\n**Good to know:** 300 points take 15 euros off."
)

Do = Callable[[Pilot[int], FakeEngine], Awaitable[None]]


async def model(pilot: Pilot[int], engine: FakeEngine) -> None:
    """The models that there are, and what they take of this machine."""
    await pilot.press("1")
    await until(pilot, lambda: "★" in text(pilot.app))


async def dataset(pilot: Pilot[int], engine: FakeEngine) -> None:
    """A sample, as the model sees it."""
    app: Any = pilot.app
    app.wizard.choose(data="sample:chat")
    await pilot.press("2")
    await until(pilot, lambda: "sample:chat" in text(app))


async def train(pilot: Pilot[int], engine: FakeEngine) -> None:
    """A run that goes on."""
    from tests.tui.app import test_train_screen

    await pilot.press("3")
    test_train_screen.train(engine, pilot.app, 64, card=True)
    await until(pilot, lambda: "step 64 of 100" in text(pilot.app))


async def compare(pilot: Pilot[int], engine: FakeEngine) -> None:
    """An answer of both models."""
    fake_pair.run("helpdesk")
    app: Any = pilot.app
    app.wizard.run = "helpdesk"
    await pilot.press("4")
    await until(pilot, lambda: "Enter asks both" in said(app))
    await pilot.press("enter")
    await until(pilot, lambda: "underlined" in said(app))


@contextmanager
def frozen() -> Iterator[None]:
    """A home of its own, a clock that stands still, and two models that always say the same."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        for name in ("FTK_CACHE", "FTK_CONFIG", "FTK_RUNS", "HF_HOME", "HF_HUB_CACHE"):
            patch.setenv(name, str(Path(home) / name.lower()))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(home)
        snapshots.freeze(patch)
        fake_pair.use(patch, lambda prompt, number: (_BASE, _TUNED))
        yield


def draw(name: str, target: Path) -> Path:
    """Draw a screen into a folder."""

    async def test(pilot: Pilot[int]) -> None:
        await globals()[name](pilot, engine)
        await snapshots.settled(pilot)
        path.write_text(snapshots.picture(pilot.app), encoding="utf-8")

    engine, path = FakeEngine(), target / f"{name}.svg"
    with frozen():
        drive(test, size=SIZE, engine=engine, hardware=WITH_CARD)
    return path


def main(target: Path) -> None:
    """Draw all screens."""
    target.mkdir(parents=True, exist_ok=True)
    target = target.absolute()
    before = Path.cwd()
    for name in NAMES:
        sys.stdout.write(f"{draw(name, target)}\n")
        os.chdir(before)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
