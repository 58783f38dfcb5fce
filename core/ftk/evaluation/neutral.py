"""Texts that have nothing to do with anybody's data: what a model forgot shows in how well it still predicts them."""

from __future__ import annotations

import json
from importlib.resources import files


def texts() -> tuple[str, ...]:
    """Paragraphs of plain English on eight subjects, written for this purpose, so that no model has learnt them."""
    lines = (files("ftk.sample_data") / "neutral.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(str(json.loads(line)["text"]) for line in lines)
