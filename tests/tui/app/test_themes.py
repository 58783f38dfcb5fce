"""Every screen in every kind of theme: dark and light, in all colours, in the terminal's own 16, and in none."""

from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from tests.tui.app import fake_pair
from tests.tui.app.harness import SIZES, WITH_CARD, FakeEngine, drive, said, text, until
from tests.tui.app.test_train_screen import train


@pytest.mark.parametrize("size", SIZES, ids=["80x24", "160x50"])
@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark", "ansi-light"])
def test_all_screens_are_drawn(theme: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine()
    fake_pair.run("helpdesk")
    fake_pair.use(monkeypatch, lambda prompt, number: ("Please visit our website.", "Sign in and add your items."))

    async def test(pilot: Pilot[int]) -> None:
        app: Any = pilot.app
        app.theme = theme
        await until(pilot, lambda: "helpdesk" in text(app))
        await pilot.press("1")
        await until(pilot, lambda: "★" in text(app))
        app.wizard.choose(data="sample:chat")
        await pilot.press("2")
        await until(pilot, lambda: "sample:chat" in text(app) and "reset my password" in said(app))
        for view in "flro":
            await pilot.press(view)
        await pilot.press("3")
        train(engine, app, 64, card=True)
        await until(pilot, lambda: "step 64 of 100" in text(app))
        await pilot.press("v", "v", "v", "t", "l")
        await pilot.press("question_mark")
        await until(pilot, lambda: "Keys here" in text(app))
        await pilot.press("escape")
        engine.runner.finish()
        app.wizard.run = "helpdesk"
        await pilot.press("4")
        await until(pilot, lambda: "Enter asks both" in said(app))
        await pilot.press("enter")
        await until(pilot, lambda: "underlined" in said(app))
        assert app.theme == theme

    drive(test, size=size, engine=engine, hardware=WITH_CARD)
