"""The shell of the app: ways from screen to screen, keys, themes, leaving."""

from __future__ import annotations

from textual.pilot import Pilot

from .harness import SMALL, FakeEngine, drive, plan, text, until


def test_numbers_lead_to_every_screen() -> None:
    async def test(pilot: Pilot[int]) -> None:
        for number, name in enumerate(("home", "model", "dataset", "train", "compare")):
            await pilot.press(str(number))
            await until(pilot, lambda name=name: pilot.app.current_mode == name)
        await until(pilot, lambda: "2 CPU cores" in text(pilot.app))

    drive(test, size=SMALL)


def test_a_run_is_shown(home) -> None:
    engine = FakeEngine()

    async def test(pilot: Pilot[int]) -> None:
        pilot.app.session.start(plan())
        engine.runner.steps(5)
        await until(pilot, lambda: "training 5/100" in text(pilot.app))
        engine.runner.finish()
        await until(pilot, lambda: "✓ finished 5/100" in text(pilot.app))

    drive(test, engine=engine)
