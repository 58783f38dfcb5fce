"""What is well on this machine, what is not, and how to mend it: `ftk doctor`."""

from __future__ import annotations

from .examination import CHECKS, examine
from .finding import Check, Finding, Level

__all__ = ["CHECKS", "Check", "Finding", "Level", "examine"]
