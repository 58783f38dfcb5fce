"""How a run's rows become tokens: a mark of tokenizer and chat template, which may not change unnoticed either."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.metadata
import json
from collections.abc import Iterator
from typing import Any

from ..errors import RunError
from ..events import Warned
from ..models.fingerprint import differ
from ..runs import RunFolder

_PART = "wording"
_SHOWN = 100


def check(run: RunFolder, tokenizer: Any, *, override: bool) -> Warned | None:
    """Write the mark into a run that has none; compare it with that of a run that has one.

    Args:
        run: The run, held for writing.
        tokenizer: As the rows of the run were made tokens with, its chat template chosen.
        override: Take another one from now on.

    Returns:
        What is different and was taken.

    Raises:
        RunError: it is another one, and not to be taken.

    """
    values, now = run.provenance(), _mark(tokenizer)
    known = values.get(_PART)
    differences = list(_differences(known, now)) if isinstance(known, dict) else []
    message = f"The rows of {run.name!r} would become other tokens than before: {'; '.join(differences)}."
    if differences and not override:
        hint = f"Put the old ones back, or take these from here on: ftk resume {run.name} --override"
        raise RunError(message, hint=hint)
    if known != now and (differences or not known):
        with contextlib.suppress(OSError):  # a full disk stops no run
            run.write_provenance({**values, _PART: now})
    return Warned(code="override", message=message) if differences else None


def _mark(tokenizer: Any) -> dict[str, Any]:
    """What decides the tokens: the tokenizer's rules as a hash, its number of tokens, and the template as it is."""
    rules = getattr(tokenizer, "backend_tokenizer", None)
    if rules is None:
        form, text = "vocabulary", json.dumps(sorted(tokenizer.get_vocab().items()))
    else:  # written by another version it may look different
        form, text = importlib.metadata.version("tokenizers"), rules.to_str()
        text = text[max(0, text.find('"added_tokens"')) :]  # before it stands how rows were last cut and padded
    ends = [getattr(tokenizer, name, None) for name in ("bos_token_id", "eos_token_id")]
    digest = hashlib.sha256(f"{ends} {text}".encode()).hexdigest()
    return {"tokenizer": f"{form}:{digest}", "tokens": len(tokenizer), "template": tokenizer.chat_template}


def _differences(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if differ(str(then.get("tokenizer")), now["tokenizer"]):
        yield f"the tokenizer had {then.get('tokens')} tokens and has {now['tokens']}, or others"
    if then.get("template") != now["template"]:
        lines = difflib.unified_diff(_lines(then.get("template")), _lines(now["template"]), n=0, lineterm="")
        changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        parts = [next((repr(line[1:][:_SHOWN]) for line in changed if line[0] == sign), "nothing") for sign in "-+"]
        yield f"the chat template had {parts[0]} and has {parts[1]}"


def _lines(template: Any) -> list[str]:
    """A template in pieces that can be compared: many are one line."""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return text.replace("{%", "\n{%").replace("{{", "\n{{").split("\n")
