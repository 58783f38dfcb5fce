"""Secrets: what they look like, which ones this process knows, and how to keep them out of whatever is written.

Tokens come from the environment or from the Hub's login, and go nowhere but to the Hub. `redact` is the second line of
defence: it stands before the journal, error messages and logs, in case a library puts a token into a text of its own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

SHAPES: Mapping[str, str] = {
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "an access key of a cloud": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "an API key": r"\b(?:sk-[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|api_org_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_\w{40,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|pypi-[\w-]{40,}"
    r"|[rs]k_live_[A-Za-z0-9]{20,})",
    "a web token": r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}",
}
"""Regular expressions of secrets that cannot be anything else, by kind."""

MARKS: Mapping[str, tuple[str, ...]] = {
    "a private key": ("PRIVATE KEY",),
    "an access key of a cloud": ("AKIA", "ASIA"),
    "an API key": (
        "sk-", "hf_", "api_org_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "AIza",
        "pypi-", "k_live_",
    ),
    "a web token": ("eyJ",),
}  # fmt: skip
"""One of these stands in every text in which the pattern finds anything: cheap to see."""

_SHORTEST = 8
"""Characters from which the value of a variable is a secret; shorter ones stand in too many innocent words."""
_WORDS = "|".join(shape for kind, shape in SHAPES.items() if kind != "a private key")
_BODY = r"[^\"]{0,20000}?-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|(?:(?:\s|\\[nrt])*[A-Za-z0-9+/=]{16,})*"
_FOUND = re.compile(
    _WORDS.replace(r"\b", r"(?:\b|(?<=\\[bfnrt]))")  # in JSON a line break is \n, and the n is no part of the word
    + rf"|{SHAPES['a private key']}(?:{_BODY})"
    + r"|(?<=earer )[\w.~+/=-]{8,}"
    # a name and a password, in which / and @ may stand, unless it is a port and a path; a key alone
    + r"|(?<=://)[^\s/@:\"\\]{0,256}:(?!\d{1,5}/)(?:(?!://)[^\s@\"\\]){1,256}(?:@[^\s/@\"\\]{1,256}){0,8}(?=@)"
    + rf"|(?<=://)[^\s/@:?#\"\\]{{{_SHORTEST},256}}(?=@)"
)
_SEEN = (*(mark for marks in MARKS.values() for mark in marks), "earer ")

_SECRET_NAME = re.compile(
    r"(?:^|_)(?:\w*(?:TOKEN|APIKEY|PASSWORD|PASSWD|PASSPHRASE)|KEY|SECRET|PASS|PWD|PAT|CREDENTIALS?)(?=_|\d*$)", re.I
)
_NO_SECRET_NAME = re.compile(r"^(?:OLD)?PWD$|_(?:FILE|PATH|DIR|HOME|NAME|TYPE|LIMIT|COUNT|TIMEOUT|LENGTH)$", re.I)
_LOOK_EVERY_S = 1.0
_LOGINS = re.compile(r"^(?:[^=\n]*=)?\s*(\S+)\s*$", re.MULTILINE)


def redact(text: str) -> str:
    """A text with every secret in it replaced by ``[redacted]``; a line that is a JSON object stays one.

    Secrets are the keys that have a well-known form, passwords and keys before the host of an address, what the Hub's
    login keeps, and the values of environment variables whose name says that they are one (``..._TOKEN``, ``..._KEY``,
    ``..._SECRET``, ``..._PASSWORD``), from eight characters on. Costs some microseconds where there is none.
    """
    clean = _without(text)
    if clean == text or not text.startswith("{"):
        return clean
    try:  # a password may be a number, or a word that is a key here
        values = json.loads(text)
    except (ValueError, RecursionError):
        return clean
    return json.dumps({key: value if key == "event" else _cleaned(value) for key, value in values.items()})


def holds_key(text: str) -> bool:
    """Whether something stands in a text that is a secret by its form: a key, or a password in an address."""
    return bool(_FOUND.search(text))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _without(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    return value


def _without(text: str) -> str:
    for secret in _known.values():
        if secret in text:
            text = text.replace(secret, REDACTED)
    if any(mark in text for mark in _SEEN) or ("@" in text and "://" in text):
        text = _FOUND.sub(REDACTED, text)
    return text


class _Known:
    """The secrets of this process, looked up again when a variable comes or goes, and once a second."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()
        self._variables, self._until = -1, 0.0

    def values(self) -> tuple[str, ...]:
        """The secrets, each in all forms that JSON writes it in; the longest first."""
        now = time.monotonic()
        if now > self._until or len(os.environ) != self._variables:
            variables = len(os.environ)
            found = {value for value in (*_of_environment(), *_of_logins()) if len(value) >= _SHORTEST}
            self._values = tuple(sorted({form for value in found for form in _forms(value)}, key=len, reverse=True))
            self._variables, self._until = variables, now + _LOOK_EVERY_S
        return self._values

    def forget(self) -> None:
        """Let the next call look."""
        self._until = 0.0


_known = _Known()


def look_again() -> None:
    """Compare the next text with the environment as it is then; else a changed value may be missed for a second."""
    _known.forget()


def _of_environment() -> Iterable[str]:
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and not _NO_SECRET_NAME.search(name):
            yield value.strip()


def _of_logins() -> Iterable[str]:
    """What `hf auth login` keeps: the token, and those that one may switch to."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    for variable, name in (("HF_TOKEN_PATH", "token"), ("HF_STORED_TOKENS_PATH", "stored_tokens")):
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            path = Path(os.environ.get(variable) or Path(home) / name).expanduser()
            if path.is_file():
                yield from _LOGINS.findall(path.read_text(encoding="utf-8")[: 1 << 16])


def _forms(secret: str) -> set[str]:
    in_addresses = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    in_addresses |= {re.sub("%[0-9A-F]{2}", lambda code: code[0].lower(), text) for text in in_addresses}
    return {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], *in_addresses}


class RedactingFilter(logging.Filter):
    """Takes the secrets out of log records: message, arguments and traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record; lets every record pass."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - arguments that do not fit: logging itself tells of that
            return True
        record.msg, record.args = redact(message), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def redact_logs() -> None:
    """Redact every log record of this process, whichever library writes it and wherever it goes.

    For a program; a library leaves the logs of the program that uses it alone. A second call changes nothing.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return
    guard = RedactingFilter()

    def made(*args: object, **kwargs: object) -> logging.LogRecord:
        record = make(*args, **kwargs)
        guard.filter(record)
        return record

    made.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(made)
