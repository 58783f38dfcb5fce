"""All checks, one after another: the quick ones first, and none that can hold or end the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

from ..errors import FtkError
from . import graphics, hub, login, machine, software, terminal, trials
from .finding import Check, Finding

CHECKS: tuple[Check, ...] = (
    Check("python", software.python),
    Check("packages", software.packages),
    Check("processor", machine.processor),
    Check("memory", machine.memory),
    Check("disk", machine.disk),
    Check("gpu", graphics.cards, seconds=60),  # eight cards take 20 s to wake up where nothing keeps them awake
    Check("cuda", graphics.cuda, seconds=60),
    Check("terminal", terminal.terminal),
    Check("login", login.login),
    Check("hub", hub.hub, heavy=True),
    Check("torch", trials.torch, heavy=True, seconds=trials.SECONDS["torch"] + 10),
    Check("bitsandbytes", trials.bitsandbytes, heavy=True, seconds=trials.SECONDS["bitsandbytes"] + 10),
    Check("compile", trials.compiling, heavy=True, seconds=trials.SECONDS["compile"] + 10),
)
"""Every check, in the order in which they are made."""


def examine(
    checks: Sequence[Check] | None = None, *, quick: bool = False, begun: Callable[[Check], None] | None = None
) -> Iterator[Finding]:
    """Make the checks; each finding comes as soon as it is known.

    A check that raises is a failure, and so is one that does not end in its time; the others are made all the same.

    Args:
        checks: Those to make; all of `CHECKS` by default.
        quick: Leave out those that take seconds.
        begun: Called before each.

    """
    try:
        for check in CHECKS if checks is None else checks:
            if quick and check.heavy:
                continue
            if begun:
                begun(check)
            yield from _made(check)
    finally:
        trials.end_all()


def _made(check: Check) -> list[Finding]:
    """What a check finds, in a thread: a driver or a disk that hangs can only be left behind."""
    found: list[Finding] = []
    ended = threading.Event()

    def work() -> None:
        try:
            found.extend(check.ask())
        except FtkError as error:
            found.append(Finding(check.name, "failure", error.message, error.hint or ""))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            text = f"the check itself failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            mend = "Please report this with the output of `ftk doctor --json`."
            found.append(Finding(check.name, "failure", text, mend))
        ended.set()

    threading.Thread(target=work, name=f"ftk-doctor-{check.name}", daemon=True).start()
    if ended.wait(check.seconds):
        return found
    text = f"no answer within {check.seconds:g} s"
    mend = "A driver or a disk that does not answer; `dmesg` may tell more."
    return [*found, Finding(check.name, "failure", text, mend)]
