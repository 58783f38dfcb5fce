"""Whether the Hub answers, and takes the token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .. import hub_api
from .finding import Finding

_PUBLIC = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""A small model that everybody may see."""
_SECONDS = 4.5


def hub() -> Iterator[Finding]:
    """One question to the Hub, answered within five seconds: who the token belongs to, or a public model's data."""
    from huggingface_hub import constants

    where, token = hub_api.endpoint(), hub_api.has_token()
    details: dict[str, Any] = {"endpoint": where, "token": token, "reachable": None}
    if constants.HF_HUB_OFFLINE:
        text = "offline mode is on (HF_HUB_OFFLINE): nothing is downloaded"
        yield Finding("hub", "warning", text, "unset HF_HUB_OFFLINE, or use models that are on disk.", details)
        return
    answer = hub_api.ask(lambda api, seconds: _question(api, seconds, token=token), _SECONDS)
    yield of_answer(answer, where, token=token)


def _question(api: Any, seconds: float, *, token: bool) -> Any:
    return api.whoami() if token else api.model_info(_PUBLIC, timeout=seconds)


def of_answer(answer: Any, where: str, *, token: bool) -> Finding:
    """What the Hub's answer means.

    Args:
        answer: What it said, or the exception.
        where: Its address.
        token: Whether a token was shown to it.

    """
    status = getattr(getattr(answer, "response", None), "status_code", None)
    details = {"endpoint": where, "token": token, "reachable": True, "status": status}
    if not isinstance(answer, Exception):
        text = f"{where} answers" + (f" and takes the token{_role(answer)}" if token else "; no token is set")
        return Finding("hub", "ok", text, details=details)
    reason, mend = hub_api.explain(answer, _PUBLIC, "or use the embedded model, a local folder or a GGUF file.")
    if token and status == 401:
        return Finding("hub", "failure", f"{where} answers, but does not take the token (HTTP 401)", mend, details)
    if status is not None:
        what = "the token could not be checked" if token else "a public model could not be looked up"
        mend = "Try again later; if HF_ENDPOINT names a mirror, it may not know such questions."
        return Finding("hub", "warning", f"{where} answers, but {what} (HTTP {status})", mend, details)
    text = f"{where} cannot be reached: {reason}"
    mend = mend.removeprefix("What you can do: ")
    return Finding("hub", "warning", text, mend, {**details, "reachable": False})


def _role(answer: Any) -> str:
    """What the token may do, as far as the Hub tells: `` (read)``."""
    try:
        return f" ({answer['auth']['accessToken']['role']})"
    except (KeyError, TypeError):
        return ""
