"""What an hour of a machine costs: from the list, from the user's own, or as it was said."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import strict_yaml
from ..errors import ConfigError, UsageError
from ..files import config_dir
from ..recipes import packaged_dir

_PRICE = re.compile(r"\$?\s*(\d+(?:\.\d+)?)\s*(?:/\s*(h|hr|hour|d|day|m|min|s))?", re.ASCII)
_HOURS = {"h": 1.0, "hr": 1.0, "hour": 1.0, "d": 24.0, "day": 24.0, "m": 1 / 60, "min": 1 / 60, "s": 1 / 3600}
_FILE = "prices.yaml"


@dataclass(frozen=True)
class Price:
    """US dollars an hour, and where that comes from in words."""

    per_hour: float
    words: str

    def of(self, seconds: float) -> float:
        """What so many seconds cost."""
        return self.per_hour * seconds / 3600


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    card: str
    per_hour: Annotated[float, Field(ge=0)] | Annotated[int, Field(ge=0)]
    date: str
    source: str


class _Prices(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    prices: list[_Entry]


def user_file() -> Path:
    """The user's own list; it need not exist."""
    return config_dir() / _FILE


def price_of(card: str, *, own_only: bool = False) -> Price | None:
    """The price of a card by its id, or of ``cpu``: the user's, else the list's; None where neither has one.

    Args:
        card: The id.
        own_only: Look into the user's list only.

    Raises:
        ConfigError: a list cannot be read; the message says where.

    """
    for path, own in ((user_file(), True), (packaged_dir() / _FILE, False)):
        if not path.is_file() if own else own_only:
            continue
        for entry in _read(path):
            if entry.card.lower() == card.lower():
                return Price(float(entry.per_hour), f"${entry.per_hour:g} an hour, {entry.source}, {entry.date}")
    return None


def parse(text: str) -> Price:
    """A price as it is typed: ``0.79/h``, ``$1.2/hour``, ``0.79`` (an hour), ``18/day``.

    Raises:
        UsageError: it is none.

    """
    found = _PRICE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no price.", hint="Write dollars and the time that they are for: --price 0.79/h")
    per_hour = float(found[1]) / _HOURS[found[2] or "h"]
    return Price(per_hour, f"${per_hour:g} an hour, as you said")


def _read(path: Path) -> list[_Entry]:
    document = strict_yaml.read(path, source=str(path) if path.parent != packaged_dir() else _FILE)
    try:
        return _Prices.model_validate(_dates_as_text(document.values)).prices
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{path}: {where}: {first['msg']}", hint="The packaged prices.yaml shows the form.") from None


def _dates_as_text(values: dict[str, Any]) -> dict[str, Any]:
    """YAML readers differ in whether a date is text."""
    entries = values.get("prices")
    if not isinstance(entries, list):
        return values
    return values | {
        "prices": [
            {key: str(value) if key == "date" else value for key, value in entry.items()}
            if isinstance(entry, dict)
            else entry
            for entry in entries
        ]
    }
