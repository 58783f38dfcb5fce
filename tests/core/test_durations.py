"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from ftk import durations
from ftk.config import build
from ftk.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("25m", 1500), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), ("1h1m1s", 3661)]
)
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds
    assert build({"max_time": text}).max_time == text


@pytest.mark.parametrize("text", ["", "25", "m", "-5m", "5 m", "1h 30m", "5min", "0s", "1e3s", "1h30", "٣m"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="max_time"):
        build({"max_time": text})
