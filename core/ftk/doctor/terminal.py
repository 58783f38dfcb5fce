"""The terminal: its size, colours, encoding, and what stands between it and the person (tmux, SSH)."""

from __future__ import annotations

import locale
import os
import sys
from collections.abc import Iterator, Mapping

from .finding import Finding

WIDTH, HEIGHT = 80, 24
"""The smallest terminal on which every screen has room."""


def terminal() -> Iterator[Finding]:
    """All of it: a line for each thing that is not well, or one if everything is."""
    size = _size()
    faults = [*of_encoding(_encoding(), _locale_trouble()), *(of_kind(os.environ, size) if size else ())]
    yield from faults
    if faults:
        return
    details = {"size": size, "term": os.environ.get("TERM"), "colours": colours(os.environ), "encoding": _encoding()}
    if size is None:
        text = f"none: output goes to a file or a pipe, as plain lines ({_encoding()})"
    else:
        inside = [name for name, variable in (("tmux", "TMUX"), ("screen", "STY")) if os.environ.get(variable)]
        over = ["over SSH"] if os.environ.get("SSH_CONNECTION") else []
        kind = os.environ.get("TERM", "")
        where = [f"inside {name}" for name in inside] + over
        text = ", ".join([f"{size[0]}x{size[1]}", colours(os.environ), _encoding(), kind, *where])
    yield Finding("terminal", "ok", text, details=details)


def of_kind(environ: Mapping[str, str], size: tuple[int, int]) -> Iterator[Finding]:
    """What is wrong with the kind and the size of a terminal.

    Args:
        environ: The variables of the environment.
        size: Columns and rows.

    """
    term = environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        said = f"TERM is {term!r}" if term else "TERM is not set"
        text = f"{said}: ftk prints plain lines and opens no screens"
        yield Finding("terminal", "warning", text, "In a real terminal: export TERM=xterm-256color", {"term": term})
    if environ.get("TMUX") and not term.startswith(("tmux", "screen")):
        text = f"TERM is {term!r} inside tmux, which draws otherwise: screens may come out garbled"
        mend = 'In ~/.tmux.conf: set -g default-terminal "tmux-256color"; no shell should set TERM itself.'
        yield Finding("terminal", "warning", text, mend, {"term": term})
    columns, rows = size
    if not columns or not rows:
        mend = f"Tell it: stty cols {WIDTH} rows {HEIGHT} (for containers: docker exec -it)."
        yield Finding("terminal", "warning", "the terminal does not tell its size", mend, {"size": size})
    elif columns < WIDTH or rows < HEIGHT:
        text = f"{columns}x{rows} is small: screens need {WIDTH}x{HEIGHT}"
        yield Finding("terminal", "warning", text, "Enlarge the window or make its font smaller.", {"size": size})


def of_encoding(encoding: str, trouble: str = "") -> Iterator[Finding]:
    """What is wrong with the encoding.

    Args:
        encoding: In which text goes to the terminal.
        trouble: What the system says of the locale that the environment asks for; empty if it has it.

    """
    details = {"encoding": encoding}
    if trouble:
        mend = "export LC_ALL=C.UTF-8, or have the locale made (`locale -a` lists those that there are)."
        yield Finding("terminal", "warning", f"the locale is not installed: {trouble}", mend, details)
    if encoding.lower().replace("-", "").replace("_", "") != "utf8":
        text = f"text is encoded as {encoding}: what it lacks (bars, other scripts) is shown as escapes"
        yield Finding("terminal", "warning", text, "export LANG=C.UTF-8", details)


def colours(environ: Mapping[str, str]) -> str:
    """How many colours the terminal is taken to have, in words."""
    term = environ.get("TERM", "")
    if environ.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if term in ("", "dumb", "unknown"):
        return "no colours"
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return "true colour"
    return "256 colours" if "256" in term or "kitty" in term else "16 colours"


def _size() -> tuple[int, int] | None:
    """Columns and rows of the terminal that output goes to, as programs see them; None where it goes elsewhere."""
    try:
        size = os.get_terminal_size(1)
    except OSError:
        return None
    told = [os.environ.get(name, "") for name in ("COLUMNS", "LINES")]  # these count more, where they are set
    columns, rows = (int(text) if text.isdigit() else 0 for text in told)
    return columns or size.columns, rows or size.lines


def _encoding() -> str:
    return "utf-8" if sys.flags.utf8_mode else locale.getencoding()


def _locale_trouble() -> str:
    asked = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    try:
        locale.setlocale(locale.LC_CTYPE, "")  # what Python did when it began: changes nothing where it works
    except locale.Error:
        return asked or "unknown"
    return ""
