"""What every screen of the wizard has: its place in the flow, the app's wizard and session, and the way on and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen

from ftk.events import Event

if TYPE_CHECKING:
    from ..app import FtkApp
    from ..session import Session
    from ..wizard import Wizard

ORDER = ("home", "model", "dataset", "train", "compare")


class StepScreen(Screen[None]):
    """A screen of the wizard.

    A subclass sets `step` (its name in `ORDER`), composes its widgets between a header and a footer, and may override
    the four hooks below. Nothing that takes longer than a few milliseconds may happen in a handler: it goes into a
    thread worker (`exit_on_error=False`) that posts its result back.
    """

    step: ClassVar[str] = ""
    AUTO_FOCUS = "*"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="step.back"),
    ]

    @property
    def ftk(self) -> FtkApp:
        """The app."""
        from ..app import FtkApp

        assert isinstance(self.app, FtkApp)
        return self.app

    @property
    def wizard(self) -> Wizard:
        """The settings that are being put together."""
        return self.ftk.wizard

    @property
    def session(self) -> Session:
        """The run that goes on or is looked at."""
        return self.ftk.session

    def on_entered(self) -> None:
        """The screen is shown (again)."""

    def on_settings(self, changed: frozenset[str]) -> None:
        """Settings of the wizard changed, here or elsewhere."""

    def on_events(self, events: Sequence[Event]) -> None:
        """The session's run told something; called a few times a second at most, on the screen that is shown."""

    def why_not_next(self) -> str:
        """What is missing before the next screen makes sense, in words; empty if nothing is."""
        return ""

    def action_back(self) -> None:
        """To the screen before this one; nothing is lost."""
        place = ORDER.index(self.step)
        if place:
            self.ftk.go(ORDER[place - 1])

    def action_next(self) -> None:
        """To the screen after this one."""
        if reason := self.why_not_next():
            self.notify(reason, severity="warning", markup=False)
            return
        place = ORDER.index(self.step)
        if place + 1 < len(ORDER):
            self.ftk.go(ORDER[place + 1])
