"""Warnings and log records of libraries, while the app has the terminal: into the session's log, each once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

from ftk.secrets import redact

_OWN_HANDLERS = ("transformers", "huggingface_hub")
"""Loggers that hand nothing on to the root."""
_MOST = 200
"""Different records that are told in one session; all stand in the file."""
_LONGEST = 500


class LibraryLog(logging.Handler):
    """Hands on what libraries say from the level of a warning on; without secrets, repetitions and line breaks.

    Args:
        tell: Called with a line, in whatever thread said it.
        file: Where the lines are written too.

    """

    def __init__(self, tell: Callable[[str], None], file: TextIO | None = None) -> None:
        super().__init__(logging.WARNING)
        self._tell, self._file = tell, file
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        logging.captureWarnings(True)
        for name in ("", *_OWN_HANDLERS):
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in ("", *_OWN_HANDLERS):
            logging.getLogger(name).removeHandler(self)
        logging.captureWarnings(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on, and write it where the libraries' output goes."""
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit the message: a fault of the library's
            text = str(record.msg)
        line = redact(f"{record.name.partition('.')[0]}: {' '.join(text.split())}")[:_LONGEST]
        if line in self._told or len(self._told) >= _MOST:
            return
        self._told.add(line)
        if self._file is not None:
            print(line, file=self._file)
        self._tell(line)
