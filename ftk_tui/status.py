"""A run in a few words, for the first line of every screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ftk.events import Phase, Step

from .text import shown

if TYPE_CHECKING:
    from .session import Session

_SIGNS = {
    "running": "▶", "paused": "‖", "stopping": "■", "finished": "✓", "stopped": "■", "failed": "✗", "interrupted": "!",
}  # fmt: skip


def of_session(session: Session) -> str:
    """What the session's run is doing: a sign, a word, how far it is; empty where there is none."""
    state = session.state
    if state == "none":
        return ""
    return f"{_SIGNS[state]} {shown(_words(session, state))}"


def _words(session: Session, state: str) -> str:
    last = session.last.get("step")
    far = f" {last.step}/{last.total_steps}" if isinstance(last, Step) else ""
    if state == "running" and not far:
        phase = session.last.get("phase")
        return phase.name if isinstance(phase, Phase) else "starting"
    return f"{'training' if state == 'running' else state}{far}"
