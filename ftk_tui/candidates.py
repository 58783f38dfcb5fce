"""The models that can be chosen, as the Model screen lists them. Knows no widget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftk.catalog import CatalogModel
    from ftk.models.sources import Source

    from .outlook import Outlook

_LOCKED = "gated !"
"""Gated, and no token is there to show the licence click with."""
_RANKS = {"fits": 0, "tight": 1, "": 2, "too big": 3}
_FREELY = ("Apache-2.0", "MIT")
"""Licences of recommended models: they ask for nothing."""
_PATIENCE_S = {"card": 2 * 3600.0, "processor": 900.0}
"""Seconds that a recommended model takes at most, at the far end of the range, where the time is known."""
_ON_PROCESSOR = 200e6
"""Weights that a recommended model has at most on a processor, where the time is not known."""


@dataclass(frozen=True)
class Candidate:
    """A model that can be chosen: what it is called, where it is, and how training it would go here.

    Attributes:
        name: What is chosen: the catalogue's name, a hub id, a path.
        source: Where it is.
        state: Whether it is on disk, or what getting it takes, in a word or two.
        outlook: How a run would do; None while that is worked out.
        star: Why it is the recommended one; empty for all others.

    """

    name: str
    source: Source
    state: str = ""
    outlook: Outlook | None = None
    star: str = ""

    @property
    def entry(self) -> CatalogModel | None:
        """What the catalogue knows of it."""
        return self.source.entry

    @property
    def title(self) -> str:
        """What its makers call it."""
        return self.entry.name if self.entry else self.name

    @property
    def verdict(self) -> str:
        """Whether it fits here; empty where nobody knows."""
        return self.outlook.verdict if self.outlook else ""

    def matches(self, words: str) -> bool:
        """Whether every word occurs in what is known of it."""
        known = [self.name, self.state, self.verdict, size_of(self.source.size)]
        if entry := self.entry:
            known += [entry.name, entry.family, entry.hub, entry.license, *entry.aliases]
            known.append("gated" if entry.gated else "open")
        if self.star:
            known.append("recommended")
        text = " ".join(known).casefold()
        return all(word in text for word in words.casefold().split())


def size_of(weights: int | None) -> str:
    """A number of weights as people write it: ``135M``, ``1.7B``."""
    if weights is None:
        return "?"
    return f"{weights / 1e9:.1f}B" if weights >= 0.9995e9 else f"{weights / 1e6:.0f}M"


def known() -> list[Candidate]:
    """The models of the catalogue, in its order; nobody has looked at the disk yet."""
    from ftk import catalog

    return [Candidate(entry.id, _source(entry)) for entry in catalog.models()]


def with_states(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The same, with what getting each takes."""
    from ftk import hub_api

    token = hub_api.has_token()
    seen = [(found, _seen(found.source)) for found in candidates]
    return [replace(found, source=source, state=state(source, token=token)) for found, source in seen]


def _seen(source: Source) -> Source:
    """A model of the catalogue with its folder, if it is on disk."""
    from ftk.models import embedded, sources

    if not source.entry or source.kind in ("folder", "gguf"):
        return source
    if path := sources.cached_path(source.entry.hub):
        return replace(source, kind="cache", path=path)
    if source.entry.id == embedded.MODEL and (path := embedded.cached()):
        return replace(source, kind="embedded", path=path)
    return source


def _source(entry: CatalogModel) -> Source:
    from ftk.models import embedded
    from ftk.models.sources import Source

    return Source(entry.id, "embedded" if entry.id == embedded.MODEL else "hub", None, entry.hub, entry)


def state(source: Source, *, token: bool) -> str:
    """Whether a model is on disk, or what getting it takes."""
    if source.path:
        return "on disk"
    if source.entry and source.entry.gated:
        return "gated" if token else _LOCKED
    return "embedded" if source.kind == "embedded" else "download"


def explain(state: str, source: Source) -> str:
    """What a state means, in a sentence."""
    size = f": {2 * source.size / 1e9:.1f} GB" if source.size else ""
    return {
        "on disk": "On disk already.",
        "embedded": "Comes from the Python package index: no account, no token.",
        "gated": f"Its licence has to be accepted on the Hub once. Fetched when the run begins{size}.",
        _LOCKED: "First accept its licence on the Hub, and log in: hf auth login.",
        "download": f"Fetched from the Hub when the run begins{size}.",
        "checking": "Looking where it is …",
        "missing": "It was not found.",
    }.get(state, "")


def find(candidates: Iterable[Candidate], name: str) -> Candidate | None:
    """The one that a name, alias or hub id means."""
    wanted = name.casefold()
    for found in candidates:
        names = {found.name, found.source.name, *((found.entry.hub, *found.entry.aliases) if found.entry else ())}
        if wanted in {known.casefold() for known in names}:
            return found
    return None


def starred(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same, with the recommended one marked: what suits this machine, is free to use, and answers in a chat."""
    best = max((found for found in candidates if _suits(found)), key=lambda found: found.source.size or 0, default=None)
    reason = _reason(best) if best else ""
    return [replace(found, star=reason if found is best else "") for found in candidates]


def _suits(found: Candidate) -> bool:
    entry, outlook = found.entry, found.outlook
    if not entry or entry.gated or entry.license not in _FREELY or not entry.chat_template:
        return False
    if not outlook or outlook.verdict != "fits":
        return False
    if outlook.time:
        return outlook.time.high <= _PATIENCE_S["card" if outlook.on_card else "processor"]
    return outlook.on_card or entry.weights <= _ON_PROCESSOR


def _reason(found: Candidate) -> str:
    assert found.outlook
    if found.outlook.on_card:
        return "the largest that fits the card and is free to use"
    if found.outlook.time:
        return "the largest that is trained in good time and is free to use"
    return "small enough for a processor, and free to use"


def ordered(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The recommended one first, then what was typed, those that fit, and the others; of each the order they have."""
    return sorted(candidates, key=lambda found: (not found.star, found.entry is not None, _RANKS[found.verdict]))


def checked(name: str, revision: str | None, *, trust_remote_code: bool) -> Candidate:
    """A model that somebody typed, where it is; asks the Hub if it is nowhere here.

    Raises:
        ModelError: it is nowhere to be had, or cannot be used; says what was tried and what to do.

    """
    from ftk import hub_api
    from ftk.models import sources

    source = sources.locate(name, revision=revision, trust_remote_code=trust_remote_code)
    chosen = str(source.path) if source.kind in ("folder", "gguf") else name
    return Candidate(chosen, source, state(source, token=hub_api.has_token()))


def is_address(text: str) -> bool:
    """Whether a text looks like a hub id or a path, and not like words to find."""
    return "/" in text or text.startswith((".", "~")) or text.endswith(".gguf")
