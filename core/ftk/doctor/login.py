"""Whether the login system kills a run when its person logs out."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from .finding import Finding

_LINGER = "loginctl enable-linger"
_SETTING = re.compile(r"^\s*(?P<comment>#?)\s*(?P<key>Kill\w+)\s*=\s*(?P<value>.*?)\s*$", re.M)
_FOLDERS = ("etc/systemd", "run/systemd", "usr/local/lib/systemd", "usr/lib/systemd", "lib/systemd")
_YES = frozenset({"1", "yes", "y", "true", "t", "on"})

Ask = Callable[[Sequence[str]], str]


def login() -> Iterator[Finding]:
    """What systemd-logind does with the processes of somebody who logs out."""
    yield at_logout(Path("/"), _user(), ask)


def at_logout(root: Path, user: str, ask: Ask) -> Finding:
    """What becomes of a run that is started here when `user` logs out.

    Args:
        root: Where the system's files are found.
        user: Name of the user.
        ask: Runs a command and returns what it prints, empty if it fails.

    """
    if not (root / "run/systemd/system").is_dir() or not _has_logind(root):
        text = "no systemd-logind here: a logout ends no run"
        return Finding("login", "ok", text, details={"logind": False})
    groups, lingers = _groups(root), _lingers(root, user, ask)
    details = {"logind": True, "linger": lingers, "kills": None, "group": groups}
    if "user@" in groups:
        if lingers:
            text = "runs belong to the user's services, which stay after the logout (linger is on)"
            return Finding("login", "ok", text, details=details)
        text = "runs belong to the user's services, which end some seconds after the last logout"
        return Finding("login", "warning", text, f"{_LINGER} (once; may need sudo)", details)
    if "session-" not in groups:
        text = "this process belongs to no login session: a logout ends no run"
        return Finding("login", "ok", text, details=details)
    kills = details["kills"] = _kills(root, user, ask)
    if kills is False:
        return Finding("login", "ok", "runs go on after the logout (KillUserProcesses=no)", details=details)
    said = "is yes" if kills else "is not told, and may be yes"
    text = f"runs are killed when {user} logs out, also inside tmux and screen (logind's KillUserProcesses {said})"
    first = "" if lingers else f"{_LINGER} (once; may need sudo), then "
    return Finding("login", "warning", text, f"{first}start runs with: systemd-run --user --scope ftk ...", details)


def _has_logind(root: Path) -> bool:
    return any((root / path).exists() for path in ("run/systemd/sessions", "run/systemd/users", "run/systemd/seats"))


def _groups(root: Path) -> str:
    """The control group that systemd put this process into."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return ""
    paths = [line.split(":", 2)[2] for line in lines if line.startswith("0::") or ":name=systemd:" in line]
    return max(paths, key=len, default="")


def _lingers(root: Path, user: str, ask: Ask) -> bool:
    """Whether the user's services go on without a session."""
    told = ask(["loginctl", "show-user", user, "--property=Linger"])  # fails for users who are not logged in
    if "=" in told:
        return told.strip().partition("=")[2].lower() in _YES
    return (root / "var/lib/systemd/linger" / user).exists()


def _kills(root: Path, user: str, ask: Ask) -> bool | None:
    """Whether logind kills the processes of a session of `user`; None where nothing tells.

    The running logind is asked first: its files may have changed since it started.
    """
    settings, default = _settings(root)
    excluded, only = settings.get("KillExcludeUsers", "root").split(), settings.get("KillOnlyUsers", "").split()
    if user in excluded or (only and user not in only):
        return False
    told = ask(
        ["busctl", "get-property", "org.freedesktop.login1", "/org/freedesktop/login1",
         "org.freedesktop.login1.Manager", "KillUserProcesses"]
    )  # fmt: skip
    if told.split()[:1] == ["b"]:
        return told.split()[-1] == "true"
    value = settings.get("KillUserProcesses") or default
    return value.lower() in _YES if value else None


def _settings(root: Path) -> tuple[dict[str, str], str]:
    """The settings of logind about killing, and its default of KillUserProcesses as the distribution's file tells it.

    The main file of the first folder that has one, then all drop-ins by name; a later one wins, and one in /etc hides
    those of its name elsewhere. An empty value sets back to the default.
    """
    main = next((root / place / "logind.conf" for place in _FOLDERS if (root / place / "logind.conf").is_file()), None)
    extras: dict[str, Path] = {}
    for place in reversed(_FOLDERS):
        extras |= {path.name: path for path in (root / place / "logind.conf.d").glob("*.conf")}
    found: dict[str, str] = {}
    default = ""
    for path in [*([main] if main else []), *(extras[name] for name in sorted(extras))]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in _SETTING.finditer(text):
            if not line["comment"]:
                found[line["key"]] = line["value"]
            elif line["key"] == "KillUserProcesses":
                default = line["value"]
    return {key: value for key, value in found.items() if value}, default


def ask(command: Sequence[str]) -> str:
    """What a command prints; empty if it is missing, fails, or takes longer than 2 s."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=2, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a number without a name, as in many containers
        return str(os.getuid())
