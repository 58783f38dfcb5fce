"""What is asked before a run is gone on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .dialogs import Choose, Confirm

if TYPE_CHECKING:
    from ftk.errors import FtkError
    from ftk.resume import Resumption
    from ftk.run_list import RunSummary


class Continue(Confirm):
    """Shows from where a run would go on, and what is not as it was when it began; the answer is ``"y"`` to do so."""

    def __init__(self, run: RunSummary, found: Resumption) -> None:
        total = found.plan.total_steps
        where = f"after step {run.step} of {total}" if run.step else f"from its beginning, {total} steps"
        lines = [f"It goes on {where}, from its newest checkpoint if there is one."]
        lines += [f"! {remark.message} {remark.hint}".rstrip() for remark in found.remarks]
        if not found.remarks:
            lines.append("Settings, rows, machine and packages are what they were when it began.")
        super().__init__(f"Continue {run.name}?", "\n\n".join(lines), yes="Continue", no="Not now")


class Refused(Choose):
    """Says why a run cannot be gone on with; the answer is ``"t"`` to take what is different all the same."""

    def __init__(self, run: RunSummary, error: FtkError) -> None:
        answers = [("x", "Close")]
        if "--override" in (error.hint or ""):
            answers.append(("t", "Take what is different"))
        super().__init__(f"{run.name} does not go on like this", str(error), answers)
