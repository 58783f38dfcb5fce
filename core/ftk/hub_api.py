"""The Hub's client with ftk's manners: one short question, an answer in words, progress in bytes."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from typing import Any

PROBE_SECONDS = 3.5


def ask(question: Callable[[Any, float], Any], seconds: float = PROBE_SECONDS) -> Any:
    """Ask the Hub once: the answer, or the exception; never longer than `seconds`.

    In a thread because a resolver that does not answer blocks far longer than any socket's time limit.
    """
    from huggingface_hub import HfApi

    answer: list[Any] = []

    def work() -> None:
        try:
            answer.append(question(HfApi(), seconds - 0.5))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answer.append(error)

    thread = threading.Thread(target=work, daemon=True, name="ftk-hub-probe")
    thread.start()
    thread.join(seconds)
    return answer[0] if answer else TimeoutError(f"no answer within {seconds:g} s")


def explain(error: Exception, hub: str, otherwise: str, *, what: str = "model") -> tuple[str, str]:
    """What a failed look-up of `hub`, a `what`, means, and what to do about it; `otherwise` ends the advice."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        page = f"datasets/{hub}" if what == "data set" else hub
        return "access needs a licence click and a token", gated_hint(page)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401 and has_token():
        return "the token was not accepted (HTTP 401)", (
            f"Log in again (`hf auth login`) or export a valid HF_TOKEN; for a public {what} unset it."
        )
    if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403, 404):
        return (
            f"no such {what}, or private (HTTP {status})",
            f"Check the spelling of {hub!r}; for a private {what} set a token: `hf auth login` or export HF_TOKEN=...",
        )
    reason = _one_line(error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return reason, f"Free some room in {cache()}, or move the cache: export HF_HUB_CACHE=/path"
    if isinstance(error, errors.OfflineModeIsEnabled):
        reason = "offline mode is on (HF_HUB_OFFLINE)"
    if isinstance(error, json.JSONDecodeError):
        reason = "the answer is not the Hub's (a proxy, or a network's login page?)"
    return reason, (f"What you can do: use a mirror (export HF_ENDPOINT=https://...), {otherwise}")


def gated_hint(hub: str) -> str:
    """How to get access to what lies behind a licence click."""
    return (
        f"Open {endpoint()}/{hub} in a browser, accept the licence, then `hf auth login` or export HF_TOKEN=..., "
        "and start again."
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__


def progress_bar(progress: Callable[[float, float | None], None]) -> type[Any]:
    """A tqdm class for the Hub's client that reports bytes to `progress` and prints nothing.

    Several files are fetched at once, each in a thread; `progress` is called by one of them at a time.
    """
    from tqdm.auto import tqdm

    class Reporter(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            self._counts = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "file": _Nowhere(), "disable": False})  # disabled, it does not count

        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            if self._counts:
                with lock:
                    progress(float(self.n), float(self.total) if self.total else None)
            return bool(shown)

    lock = threading.RLock()
    Reporter.set_lock(lock)  # tqdm's own spans processes, and cannot be made inside a Textual app
    return Reporter


class _Nowhere:
    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        return None


def endpoint() -> str:
    """The address of the Hub, or of the mirror in its place."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def cache() -> str:
    """The folder in which the Hub's client keeps what it downloaded."""
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE)


def has_token() -> bool:
    """Whether a token is set in the environment or by a login (its value is not looked at)."""
    from huggingface_hub import get_token

    return get_token() is not None
