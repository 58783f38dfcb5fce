"""The app's driver on a terminal of its own: writes to that terminal's descriptor, and outlives it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from textual.drivers.linux_driver import LinuxDriver

if TYPE_CHECKING:
    from .own_terminal import OwnTerminal


class OwnDriver(LinuxDriver):
    """Textual's driver, kept to one terminal; `OwnTerminal.driver` makes a class that knows which."""

    terminal: ClassVar[OwnTerminal]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._file = self.terminal.file
        self.terminal.shows = self

    def take_mouse(self, wanted: bool) -> None:
        """Have mouse events sent to the app, or leave the mouse to the terminal."""
        if not wanted:
            self._disable_mouse_support()
        self._mouse = wanted
        self._enable_mouse_support()

    def run_input_thread(self) -> None:
        """Read keys, until the terminal is no more."""
        try:
            super().run_input_thread()
        except OSError:
            if not self.terminal.gone_soon():
                raise

    def _sigcont_application(self, *_: Any) -> None:
        if self._must_signal_resume:  # else it follows a hang-up, and nothing was suspended
            super()._sigcont_application()

    def _get_terminal_size(self) -> tuple[int, int]:
        try:
            width, height = os.get_terminal_size(self.terminal.descriptor)
        except OSError:
            return 80, 24
        return width or 80, height or 24
