"""What is asked when the app is left while a run of this process goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..status import of_session
from .dialogs import Choose

if TYPE_CHECKING:
    from ..session import Session


class Leaving(Choose):
    """Train on without a screen, save and stop, or stay; the answer is ``"b"``, ``"s"``, or anything else to stay."""

    def __init__(self, session: Session) -> None:
        name = session.run.name if session.run else ""
        super().__init__(
            f"Run {name}: {of_session(session)}" if name else "A run goes on",
            "Train on: ftk leaves the screen and this process trains to the end. The terminal may be closed; "
            f"`ftk attach {name}` shows the run again, from any terminal.\n\n"
            "Save and stop: a checkpoint is written; the run can be continued from Home.",
            [("c", "Cancel"), ("b", "Train on in the background"), ("s", "Save and stop")],
        )
