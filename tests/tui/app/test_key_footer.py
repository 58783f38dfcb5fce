"""The last line: whole keys, with help and the way out however narrow it is."""

from __future__ import annotations

from typing import Any

import pytest
from textual.binding import ActiveBinding, Binding
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Footer

from ftk_tui.widgets.key_footer import fitting
from ftk_tui.widgets.loss_chart import LossChart

from .harness import FakeEngine, drive, footer, plan, until


def shown(app: Any) -> list[str]:
    """The words of the last line."""
    return list(footer(app).values())


async def training(pilot: Pilot[int], engine: FakeEngine) -> Any:
    """Have the app train and show it."""
    app: Any = pilot.app
    app.session.start(plan())
    await until(pilot, lambda: bool(engine.runners))
    engine.runner.steps(5)
    await pilot.press("3")
    await until(pilot, lambda: app.current_mode == "train" and "Pause" in shown(app))
    return app


@pytest.mark.parametrize("width", [80, 90, 100, 120, 160])
def test_no_key_is_cut_off_and_help_stays(width: int) -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app = await training(pilot, engine)
        keys = app.screen.query_one(Footer)
        assert "Help" in shown(app) and "Quit" in shown(app) and "Back" in shown(app)
        assert max(key.region.right for key in keys.query("FooterKey, FooterLabel") if key.display) <= width
        assert app.screen.active_bindings["l"].binding.show is (width >= 120)
        await pilot.press("l")  # works all the same
        await until(pilot, lambda: app.screen.query_one(LossChart).log_scale)

    drive(test, size=(width, 24), engine=engine)


def test_another_width_has_other_keys() -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        app = await training(pilot, engine)
        assert "Log scale" not in shown(app)
        await pilot.resize_terminal(180, 24)
        await until(pilot, lambda: "Log scale" in shown(app))
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "Log scale" not in shown(app) and "Help" in shown(app))

    drive(test, size=(80, 24), engine=engine)


def test_those_that_come_last_are_left_out_first() -> None:
    names = ("Back", "Start", "Other", "Help")
    bindings = [
        Binding(name[0].lower(), name.lower(), name, id="app.help" if name == "Help" else f"x.{name}") for name in names
    ]
    node = Screen[None]()
    keys = {binding.key: ActiveBinding(node, binding, True, "") for binding in bindings}
    whole = len("b Back s Start o Other h Help")
    for width, left in ((whole, names), (whole - 1, ("Back", "Start", "Help")), (13, ("Back", "Help")), (3, ("Help",))):
        found = fitting(keys, width, lambda binding: binding.key)
        assert tuple(key.binding.description for key in found.values() if key.binding.show) == left
        assert list(found) == list(keys)
