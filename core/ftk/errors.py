"""What may go wrong, as the person at the terminal should read it.

Every error says what happened and, where there is something to do, what to do next. The commands print
exactly that and leave with the error's exit code; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

from typing import Final

from .secrets import redact

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_RESUMABLE: Final = 75  # EX_TEMPFAIL of sysexits.h: stopped, everything saved, start it again


class FtkError(Exception):
    """Something that ftk can explain: `message` says what and where, `hint` what to do next; both without secrets."""

    exit_code: int = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = redact(message)
        self.hint = hint and redact(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(FtkError):
    """The command line or the arguments of a call make no sense."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A setting is unknown, of the wrong type or out of range."""


class DataError(FtkError):
    """The training data cannot be read or used."""


class ModelError(FtkError):
    """A model cannot be found, fetched, read or adapted."""


class RunError(FtkError):
    """The run folder is missing, taken or damaged."""


class TrainingError(FtkError):
    """Training cannot go on."""


class ExportError(FtkError):
    """What was trained cannot be exported, combined or served."""


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str | None:
    """The known word closest to `word`, or None where nothing comes near.

    Args:
        word: What was typed.
        known: What would have been understood.

    """
    import difflib

    matches = difflib.get_close_matches(word.lower(), [k.lower() for k in known], n=1, cutoff=0.6)
    if not matches:
        return None
    return next(k for k in known if k.lower() == matches[0])


def did_you_mean(word: str, known: list[str] | tuple[str, ...]) -> str:
    """`` Did you mean 'x'?`` with a leading blank, or an empty string where nothing comes near."""
    match = nearest(word, known)
    return f" Did you mean {match!r}?" if match else ""
