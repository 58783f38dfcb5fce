"""What a check finds, and what a check is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..secrets import redact

Level = Literal["ok", "warning", "failure"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what is so, whether that is well, and the mend where it is not.

    `details` are the same facts for programs.
    """

    check: str
    level: Level
    text: str
    mend: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON, without secrets."""
        return redact(json.dumps(asdict(self), ensure_ascii=False, default=str))


@dataclass(frozen=True)
class Check:
    """A question to this machine.

    Args:
        name: A word for it.
        ask: Answers it; may raise, which becomes a failure.
        heavy: Whether it takes seconds, and is left out of a quick examination.
        seconds: After how long it is given up.

    """

    name: str
    ask: Callable[[], Iterable[Finding]]
    heavy: bool = False
    seconds: float = 10.0
