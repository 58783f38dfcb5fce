"""FtkApp: the screens, what they share, and the keys that work everywhere. Imports no torch."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Literal

from textual import events, work
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.screen import Screen

from ftk.errors import EXIT_DONE, EXIT_FAILED, EXIT_RESUMABLE

from . import smooth
from .common import Common
from .screens.base import ORDER, StepScreen
from .widgets.step_bar import StepBar

if TYPE_CHECKING:
    from ftk.events import Event
    from ftk.hardware import Hardware
    from ftk.runner import Runner

    from .own_terminal import OwnTerminal
    from .screens.small import SmallScreen
    from .session import Session
    from .wizard import Wizard

TAKE_EVERY_S = 0.25
"""Seconds between two looks for news of the run: charts change a few times a second at most."""
_MORE_S = 0.03
"""Seconds until the next look where there is more to take than one look takes."""
SMALLEST = (80, 24)
"""Columns and lines that everything fits in."""

Leave = Literal["", "background", "stop"]
_ENDED = {
    "finished": "The run is finished: 4 compares what it learnt.",
    "stopped": "The run was stopped and saved; Home continues it.",
    "failed": "The run failed: 3 shows why.",
}


def _screen(name: str) -> Callable[[], Screen[None]]:
    """Make a screen when it is first shown: none is imported before."""

    def make() -> Screen[None]:
        try:
            module = import_module(f".screens.{name}", __package__)
        except ModuleNotFoundError as error:
            if error.name != f"{__package__}.screens.{name}":
                raise
            from .screens.placeholder import placeholder

            return placeholder(name)
        made: Screen[None] = getattr(module, f"{name.title()}Screen")()
        return made

    return make


def _detect() -> Hardware:
    from ftk import hardware

    return hardware.detect()


class FtkApp(Common):
    """The wizard over the engine.

    Args:
        wizard: The settings to begin with; what was kept from the last time by default.
        session: The run to show; none by default.
        detect: Says what machine this is; called in a thread.
        begin: The screen to begin with.
        terminal: The terminal, with the file that the output of others goes to; what Textual finds by default.

    """

    TITLE = "ftk"
    CSS_PATH = ["app.tcss", "screens/dialogs.tcss"]  # noqa: RUF012 - Textual has it so
    DEFAULT_MODE = "home"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[None]]]] = {name: _screen(name) for name in ORDER}
    BINDINGS: ClassVar[list[BindingType]] = [
        *(
            Binding(str(number), f"go('{name}')", f"Go to {name.title()}", id=f"go.{name}", show=False)
            for number, name in enumerate(ORDER)
        ),
        Binding("question_mark,f1", "help", "Help", id="app.help", key_display="?"),
        Binding("q", "quit", "Quit", id="app.quit"),
        Binding("ctrl+q", "quit", "Quit", id="app.quit_now", show=False, priority=True),
        Binding("ctrl+c", "quit", "Quit", id="app.interrupt", show=False, system=True),
        Binding("f2", "command", "Show as command", id="app.command", show=False),
        Binding("f3", "save_preset", "Save as preset", id="app.save_preset", show=False),
        Binding("f4", "toggle_light", "Light or dark", id="app.toggle_light", show=False),
    ]

    class Known(Message):
        """What machine this is became known."""

        def __init__(self, hardware: Hardware) -> None:
            super().__init__()
            self.hardware = hardware

    def __init__(
        self,
        wizard: Wizard | None = None,
        session: Session | None = None,
        *,
        detect: Callable[[], Hardware] = _detect,
        begin: str = "home",
        terminal: OwnTerminal | None = None,
    ) -> None:
        super().__init__(terminal)
        self._loop_of_ours: asyncio.AbstractEventLoop | None = None
        self._collector, self._turns = smooth.Collector(), smooth.Turns()
        self._early: list[Callable[[], object]] = []
        self._wizard, self._session = wizard, session
        self._detect, self._begin = detect, begin
        self._notice: SmallScreen | None = None
        self.hardware: Hardware | None = None
        """This machine; None until it is known."""
        self.left: Leave = ""
        """What shall become of the run now that the app has been left."""
        self.fault: BaseException | None = None
        """What ended the app, if that was a fault of its own."""
        if wizard:
            wizard.watch(self._settings_changed)

    @property
    def wizard(self) -> Wizard:
        """The settings that are being put together."""
        if self._wizard is None:
            from .wizard import Wizard

            self._wizard = Wizard.restored()
            self._wizard.watch(self._settings_changed)
        return self._wizard

    @property
    def session(self) -> Session:
        """The run that goes on or is looked at."""
        if self._session is None:
            from .session import Session

            self._session = Session()
        return self._session

    @property
    def shown(self) -> StepScreen | None:
        """The screen that is shown, also below a dialog, once its widgets are there."""
        bottom = self.screen_stack[0] if self.screen_stack else None
        return bottom if isinstance(bottom, StepScreen) and bottom.entered else None

    @property
    def busy(self) -> bool:
        """Whether a run of this process goes on."""
        return self._session is not None and self._session.busy

    @property
    def runner(self) -> Runner | None:
        """The thread that carries out a run of this process."""
        return self._session.runner if self._session is not None and self._session.busy else None

    # How it begins

    def on_mount(self) -> None:
        """Begin to look for news, and at the machine, once the first screen is on the terminal."""
        self._loop_of_ours = asyncio.get_running_loop()
        for callback in self._early:
            self.call_later(callback)
        self.set_interval(TAKE_EVERY_S, self._take)
        self._turns.shorten(self._loop_of_ours)
        smooth.load_apart(self._collector.wait)
        self.set_interval(1.0, self._collector.look)
        self.call_after_refresh(self._look_around)
        if self._begin != "home":
            self.go(self._begin)

    def on_unmount(self) -> None:
        """Leave Python as it was."""
        self._collector.leave()
        self._turns.leave()

    @work(thread=True, exit_on_error=False, group="look-around")
    def _look_around(self) -> None:
        """See what machine this is; imports what the next screens need (no torch), so that they come at once."""
        found = self._detect()
        self.post_message(self.Known(found))
        for name in (".wizard", ".session", ".follower"):
            import_module(name, __package__)

    def on_ftk_app_known(self, message: Known) -> None:
        """Show what machine this is."""
        self.hardware = message.hardware
        self._show_status()
        if self.shown:
            self.shown.on_hardware()

    def on_resize(self, event: events.Resize) -> None:
        """Say so where the terminal is too small, and go on when it no longer is."""
        from .screens.small import SmallScreen

        small = event.size.width < SMALLEST[0] or event.size.height < SMALLEST[1]
        if small and self._notice is None:
            self._notice = SmallScreen(event.size)
            self.call_later(self.push_screen, self._notice, self._large)
        elif not small and self._notice is not None and self._notice.is_current:
            self._notice.dismiss(None)

    def _large(self, answer: None) -> None:
        self._notice = None

    # From screen to screen

    def go(self, name: str) -> None:
        """Show a screen; each is made when it is first shown, and keeps its state."""
        if self.current_mode != name:
            self.switch_mode(name)
        if name != "home":
            if self._wizard is not None:
                self._keep_step(name)
            else:
                self.call_after_refresh(self._keep_step, name)  # to read what was kept must not hold the screen up
        self._store()
        self.call_after_refresh(self._show_status)

    def _keep_step(self, name: str) -> None:
        self.wizard.step = name
        self._store()

    def action_go(self, name: str) -> None:
        """Show a screen."""
        self.go(name)

    def make_room(self) -> None:
        """Have all screens let go of what takes much memory: a run is about to begin."""
        for stack in self._screen_stacks.values():
            for screen in stack[:1]:
                if isinstance(screen, StepScreen):
                    screen.make_room()

    def action_help(self) -> None:
        """Explain the screen, its keys and the terms."""
        from .screens.help import HelpScreen

        self.push_screen(HelpScreen(self.shown, self.screen.active_bindings))

    @work(thread=True, exit_on_error=False, group="store")
    def _store(self) -> None:
        if self._wizard is not None:
            self._wizard.store()

    # What the run tells

    def _take(self) -> None:
        if self._session is None or not self.screen_stack:
            return
        events = self._session.take()
        for event in events:
            self._told(event)
        if events and self.shown:
            self.shown.on_events(events)
        if self.left == "stop" and not self.busy:
            self.leave({"stopped": EXIT_RESUMABLE, "finished": EXIT_DONE}.get(self._session.state, EXIT_FAILED))
        self._show_status()
        if self._session.behind:
            self.set_timer(_MORE_S, self._take)

    def _told(self, event: Event) -> None:
        """Send what libraries print to the folder of a run that began; say how one ended where Train does not."""
        if self._session is None or not self._session.own:
            return
        if event.kind == "started" and self._terminal and self._session.run:
            self._terminal.log_to(self._session.run.output_file)
        elif event.kind in _ENDED and self.current_mode != "train" and not self.left:
            self.notify(_ENDED[event.kind], severity="error" if event.kind == "failed" else "information")

    def _show_status(self) -> None:
        for bar in self.screen.query(StepBar) if self.screen_stack else ():
            bar.show(self._status())

    def _status(self) -> str:
        from .status import of_session

        if self._session is not None and (text := of_session(self._session)):
            return text
        return self.hardware.summary if self.hardware else "looking at this machine"

    def _settings_changed(self, changed: frozenset[str]) -> None:
        if self.shown:
            self.shown.on_settings(changed)

    # How it ends

    async def action_quit(self) -> None:
        """Leave; while a run of this process goes on, ask what shall become of it."""
        self.ask_to_quit()

    def ask_to_quit(self) -> None:
        """The same, from wherever it is asked for."""
        from .screens.leaving import Leaving

        if self._session is None or not self._session.busy:
            self.leave(EXIT_DONE)
        elif not isinstance(self.screen, Leaving):
            self.push_screen(Leaving(self._session), self._quit)

    def _quit(self, answer: str | None) -> None:
        if answer == "b":
            self.left = "background"
            self.leave(EXIT_DONE)
        elif answer == "s":
            self.left = "stop"
            self.stop_run("stopped in the app")
            self.notify("The run saves and stops, then ftk leaves.", timeout=10)

    def leave(self, code: int) -> None:
        """End the app with an exit code; everything is kept for the next start."""
        self.keep()
        self.exit(code)

    def keep(self) -> None:
        """Keep the settings for the next start."""
        if self._wizard is not None:
            self._wizard.store()

    def stop_run(self, why: str) -> None:
        """Have a run of this process save and stop; may be called by a handler of signals."""
        if self._session is not None and self._session.busy:
            self._session.stop(why=why)

    def from_outside(self, callback: Callable[[], object]) -> None:
        """Have something done in the app, from another thread or from a handler of signals."""
        if self._loop_of_ours is None:
            self._early.append(callback)
        else:
            self._loop_of_ours.call_soon_threadsafe(self.call_later, callback)

    def terminated(self) -> None:
        """Leave the terminal after SIGTERM; a run saves, which is waited for without the app."""
        self.leave(128 + signal.SIGTERM)

    def on_terminal_gone(self) -> None:
        """Leave, because nobody sees the app any more; called in another thread."""
        self.from_outside(partial(self.leave, 128 + signal.SIGHUP))

    def note(self, text: str) -> None:
        """Keep what a library said with the run; may be called from any thread."""
        if self._session is not None:
            self._session.note(text)

    def _print(self, text: str, stderr: bool = False) -> None:
        """Take what is printed while the app has the terminal: it goes where all output of others goes."""
        stream = sys.__stderr__ if stderr else sys.__stdout__
        if self._terminal and stream is not None:
            stream.write(text)

    def _handle_exception(self, error: Exception) -> None:
        self.fault = self.fault or error
        super()._handle_exception(error)

    def _fatal_error(self) -> None:
        """End after a fault; what happened is told when the terminal is as it was, in words and not as a traceback."""
        self._close_messages_no_wait()
