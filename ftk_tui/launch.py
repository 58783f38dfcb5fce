"""Opens the app where there is a terminal for it, and sees to what goes on when it has been left."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from ftk.errors import EXIT_DONE, EXIT_FAILED, FtkError

from .text import shown

if TYPE_CHECKING:
    from ftk.config import RunConfig

    from .app import FtkApp
    from .app_signals import AppSignals
    from .own_terminal import OwnTerminal

_STREAMS = ("input", "output", "error")


def obstacle() -> str:
    """Why the app cannot be shown here, in words; empty if it can."""
    for descriptor, name in enumerate(_STREAMS):
        if not os.isatty(descriptor):
            return f"standard {name} is no terminal"
    kind = os.environ.get("TERM", "")
    if kind in ("", "dumb"):
        return f"the terminal can show no screens (TERM={kind or 'is empty'})"
    return ""


def open_app(settings: RunConfig | None = None, preset: str | None = None) -> int:
    """Show the app until it is left, and the run that it began to its end; returns the exit code.

    Args:
        settings: The settings to begin with; what was kept from the last time by default.
        preset: The preset that they come from.

    Raises:
        FtkError: the run that went on without a screen failed.

    """
    _prepare()
    from .app_signals import AppSignals
    from .library_log import LibraryLog
    from .own_terminal import OwnTerminal

    with OwnTerminal() as terminal:
        app = _made(settings, preset, terminal)
        with AppSignals(app, terminal) as signals, LibraryLog(app.note, sys.__stderr__):
            code = _shown(app)
    return _afterwards(app, terminal, signals, code)


def _prepare() -> None:
    """Settings of the environment that Textual and the libraries read when they are imported."""
    os.environ["TEXTUAL_DISABLE_KITTY_KEY"] = "1"  # a line that is cut would leave the shell with codes for keys
    if os.environ.get("SSH_CONNECTION"):
        os.environ["TEXTUAL_ANIMATIONS"] = "none"
    os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
    from .quiet import quiet_environment

    quiet_environment()


def _made(settings: RunConfig | None, preset: str | None, terminal: OwnTerminal) -> FtkApp:
    from .app import FtkApp

    wizard = None
    if settings is not None:
        from .wizard import Wizard

        wizard = Wizard(settings, preset)
    app = FtkApp(wizard, begin="home" if wizard is None else "model", terminal=terminal)
    terminal.on_gone = app.on_terminal_gone
    return app


def _shown(app: FtkApp) -> int:
    """Show the app until it is left; what happened, if it failed, stands in the file for output then."""
    try:
        code = app.run(mouse=app.preferences.mouse)
    except Exception as error:  # noqa: BLE001 - told when the terminal is as it was
        app.fault, code = app.fault or error, None
    finally:
        app.keep()
    if app.fault:
        traceback.print_exception(app.fault)
        return EXIT_FAILED
    return EXIT_DONE if code is None else code


def _told(fault: BaseException, log: object) -> None:
    """Say that the app failed."""
    print(f"ftk: The app failed: {shown(f'{type(fault).__name__}: {fault}')}", file=sys.stderr)
    print(f"     This is a fault of ftk. Where it happened stands in {log}; your settings are kept.", file=sys.stderr)


def _afterwards(app: FtkApp, terminal: OwnTerminal, signals: AppSignals, code: int) -> int:
    """Stay until the run has ended; a process without a terminal ends at once then."""
    if app.fault:
        _told(app.fault, terminal.log)
    stopped = signals.heard is not None and app.session.runner is not None  # told even if it has ended by now
    if not app.busy and (terminal.gone or not stopped):
        return _end(code) if terminal.gone else code
    from .without_screen import to_the_end

    if not terminal.gone:
        return to_the_end(app.session, heard=signals.heard)
    code = EXIT_FAILED
    with contextlib.suppress(FtkError):  # its last event says it too, and nobody else listens
        code = to_the_end(app.session, heard=signals.heard, gone=True)
    return _end(code)


def _end(code: int) -> NoReturn:
    """End a process whose terminal is gone: nothing that the interpreter might wait for then matters."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
