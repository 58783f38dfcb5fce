"""What every screen of the wizard has: its place in the flow, the app's wizard and session, and the way on and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeVar

from rich.cells import cell_len
from textual import work
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from ftk.errors import FtkError

from ..text import shown
from ..widgets.key_footer import KeyFooter, fitting
from ..widgets.step_bar import StepBar

if TYPE_CHECKING:
    from ftk.events import Event

    from ..app import FtkApp
    from ..session import Session
    from ..wizard import Wizard

Result = TypeVar("Result")
ORDER = ("home", "model", "dataset", "train", "compare")


class StepScreen(Screen[None]):
    """A screen of the wizard.

    A subclass sets `step` (its name in `ORDER`) and `ABOUT`, yields its widgets in `compose_body` (the bar with the
    steps above them and the footer below come from here), and may override the hooks that follow. Nothing that takes
    longer than a few milliseconds may happen in a handler: it goes into a thread worker (`exit_on_error=False`) that
    posts its result back.

    The screen has the class ``-wide`` from 100 columns on and ``-huge`` from 140, ``-tall`` from 36 lines on.
    """

    step: ClassVar[str] = ""
    ABOUT: ClassVar[str] = ""
    """What is done here, in a few sentences without markup: the beginning of the help that `?` shows."""
    AUTO_FOCUS = "*"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide"), (140, "-huge")]  # noqa: RUF012 - Textual has it so
    VERTICAL_BREAKPOINTS = [(0, "-short"), (36, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back", id="step.back"),
        Binding("enter", "next", "Next", id="step.next"),
        Binding("down,right", "app.focus_next", "Next field", id="step.focus_next", show=False),
        Binding("up,left", "app.focus_previous", "Field before", id="step.focus_previous", show=False),
    ]

    class Done(Message):
        """A thread has done what it was to do."""

        def __init__(self, then: Callable[[], object]) -> None:
            super().__init__()
            self.then = then

    entered: bool = False
    """Whether the screen was shown before, so that its widgets are there."""

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

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys that work now; shown are those that the last line has room for."""
        found = super().active_bindings
        room = self.app.size.width
        if not self.has_class("-narrow") and (palette := found.get(self.app.COMMAND_PALETTE_BINDING)):
            room -= cell_len(f"| {self.app.get_key_display(palette.binding)} {palette.binding.description}")
        return fitting(found, room, self.app.get_key_display)

    def compose(self) -> ComposeResult:
        """The bar with the steps, what the screen itself shows, and the keys that work now."""
        yield StepBar()
        yield from self.compose_body()
        yield KeyFooter(compact=True)

    def compose_body(self) -> ComposeResult:
        """What the screen shows; its widgets."""
        yield from ()

    def on_screen_resume(self) -> None:
        """The screen is shown, or a dialog above it was closed."""
        self.entered = True
        self.on_entered()

    def on_entered(self) -> None:
        """The screen is shown (again), or a dialog above it was closed; its widgets are there."""

    def on_settings(self, changed: frozenset[str]) -> None:
        """Settings of the wizard changed, here or elsewhere; called on the screen that is shown."""

    def on_hardware(self) -> None:
        """What machine this is became known (`ftk.hardware`); called on the screen that is shown."""

    def on_events(self, events: Sequence[Event]) -> None:
        """The session's run told something; called a few times a second at most, on the screen that is shown."""

    def make_room(self) -> None:
        """Let go of what takes much memory: a run is about to begin. Called on every screen that was shown."""

    def why_not_next(self) -> str:
        """What is missing before the next screen makes sense, in words; empty if nothing is."""
        return ""

    def in_background(
        self,
        function: Callable[[], Result],
        then: Callable[[Result], object],
        failed: Callable[[FtkError], object] | None = None,
    ) -> None:
        """Have something done in a thread, and go on in the app when it is done.

        Args:
            function: What is to be done; touches no widget.
            then: Called in the app with what came of it, unless the screen is gone.
            failed: Called in the app with an error that is for people; by default it is shown as a toast.

        """
        self._work(function, then, failed or self.complain)

    @work(thread=True, exit_on_error=False, group="background")
    def _work(
        self, function: Callable[[], Result], then: Callable[[Result], object], failed: Callable[[FtkError], object]
    ) -> None:
        try:
            result = function()
        except FtkError as error:
            self.post_message(self.Done(partial(failed, error)))
        except Exception as error:  # noqa: BLE001 - a fault of ours is told like any other, and does not end the app
            told = FtkError(f"{type(error).__name__}: {error}", hint="This is a fault of ftk.")
            self.post_message(self.Done(partial(failed, told)))
        else:
            self.post_message(self.Done(partial(then, result)))

    def on_step_screen_done(self, message: Done) -> None:
        """Go on in the app."""
        message.stop()
        message.then()

    def complain(self, error: FtkError) -> None:
        """Say what went wrong and what to do."""
        self.notify(shown(str(error)), title="That did not work", severity="error", markup=False, timeout=12)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether an action can be had now (False: no, and its key is not shown); subclasses ask `super()` too."""
        if action == "back":
            return self.step != ORDER[0]
        if action == "next":
            return self.step != ORDER[-1]
        return True

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
