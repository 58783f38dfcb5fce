"""How a run stands, in words: a headline, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ftk.events import CheckpointSaved, Failed, Finished, Phase, Started, Step, Stopped

from .text import clock

if TYPE_CHECKING:
    from .session import Session

Tone = Literal["", "good", "warn", "bad"]


@dataclass(frozen=True)
class Standing:
    """A sign, a headline, advice, and whether it is good news; the sign and the words say it without colours too."""

    sign: str
    headline: str
    advice: str = ""
    tone: Tone = ""


def standing(session: Session) -> Standing:
    """How the run of a session stands."""
    state, name = session.state, _name(session)
    if state == "running":
        return Standing("▶", f"{name} {_doing(session)}", _elsewhere(session))
    if state == "paused":
        return Standing("‖", f"{name} holds after step {_step(session)}.", "p goes on, s saves now.", "warn")
    if state == "stopping":
        return Standing("■", f"{name} stops.", "What is being computed is finished first.", "warn")
    if state == "finished":
        return _finished(session, name)
    if state == "stopped":
        return _stopped(session, name)
    if state == "failed":
        return _failed(session, name)
    if state == "interrupted":
        kept = session.last.get("checkpoint")
        where = f"from step {kept.step}" if isinstance(kept, CheckpointSaved) else "from its beginning"
        headline = f"{name} was interrupted after step {_step(session)}: its process is gone."
        return Standing("!", headline, f"r goes on {where}.", "bad")
    return Standing(" ", "")


def _name(session: Session) -> str:
    begun = session.last.get("started")
    name = session.run.name if session.run else begun.run if isinstance(begun, Started) else ""
    return name or "The run"


def _step(session: Session) -> int:
    step = session.last.get("step")
    return step.step if isinstance(step, Step) else 0


def _doing(session: Session) -> str:
    phase = session.last.get("phase")
    if not isinstance(phase, Phase):
        return "begins"
    return {"train": "trains", "save": "saves what it learnt", "compare": "answers"}.get(phase.name, "gets ready")


def _elsewhere(session: Session) -> str:
    return "" if session.own else "Another process carries it out; it hears your keys."


def _finished(session: Session, name: str) -> Standing:
    ending = session.last["finished"]
    assert isinstance(ending, Finished)
    headline = f"{name} is done: {ending.step} steps in {clock(ending.training_s)}."
    before, after = ending.loss_before, ending.loss_after
    tone: Tone = "good"
    if before is not None and after is not None:
        change = f" ({(after - before) / before:+.0%})" if before else ""
        headline += f" Held-out loss {before:.4f} before, {after:.4f} after{change}."
        if after > 0.99 * before:
            headline += " It hardly fell: try more steps or a higher rate, or look at the data."
            tone = "warn"
    elif ending.train_loss is not None:
        headline += f" Training loss {ending.train_loss:.4f} at the end."
    if ending.reason:
        headline += f" Stopped early: {ending.reason}."
    return Standing("✓", headline, "Enter compares base and tuned model.", tone)


def _stopped(session: Session, name: str) -> Standing:
    ending = session.last["stopped"]
    assert isinstance(ending, Stopped)
    headline = f"{name} stopped at step {ending.step}: {ending.reason}."
    if ending.checkpoint:
        return Standing("■", headline, "Everything up to its checkpoint is saved. r goes on from there.", "warn")
    return Standing("■", headline, "Nothing was saved yet. r begins again.", "warn")


def _failed(session: Session, name: str) -> Standing:
    ending = session.last.get("failed")
    if isinstance(ending, Failed):
        headline, hint = f"{name} failed at step {ending.step}: {ending.message}", ending.hint
    else:
        problem = session.problem
        headline = f"The run could not begin: {problem.message}" if problem else "The run could not begin."
        hint = (problem.hint or "") if problem else ""
        return Standing("✗", headline, f"{hint} Enter tries again.".strip(), "bad")
    return Standing("✗", headline, f"{hint} r goes on from the newest checkpoint.".strip(), "bad")
