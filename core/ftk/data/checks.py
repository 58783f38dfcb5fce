"""What is wrong with a data set, before anything is trained on it: counted, with the rows and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from . import characters, near, normalise
from .dataset import Dataset, Rows
from .encoding import Encoded
from .rows import Row
from .split import Split

Severity = Literal["error", "warning", "note"]
FIRST = 5
"""Rows that a finding names."""
NEAR_LIMIT = 20_000
"""Rows that are compared for near duplicates; more would take minutes and gigabytes."""

_REFUSAL = re.compile(
    r"(?i)\bas an? (?:ai|artificial intelligence)(?: language)? (?:model|assistant)\b|\bi(?:'m| am) just an? ai\b"
)
_FEW = 50


@dataclass(frozen=True)
class Finding:
    """Something about a data set that a person should know.

    `rows` are the first places, `action` is what ftk does with them, `change` how to have it otherwise.
    """

    code: str
    severity: Severity
    count: int
    message: str
    rows: tuple[str, ...] = ()
    action: str = ""
    change: str = ""


@dataclass
class _Seen:
    """Rows of one kind while they are counted."""

    count: int = 0
    rows: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, origin: str, kinds: Iterable[str] = ()) -> None:
        self.count += 1
        self.kinds.update(set(kinds))
        if len(self.rows) < FIRST:
            self.rows.append(origin)

    def finding(self, code: str, severity: Severity, message: str, action: str = "", change: str = "") -> Finding:
        return Finding(code, severity, self.count, message.format(n=self.count), tuple(self.rows), action, change)


class _Pass:
    """One pass over the rows, and what it saw."""

    def __init__(self) -> None:
        self.hidden, self.secret, self.email, self.leak, self.refusal = (_Seen() for _ in range(5))
        self.languages: Counter[str] = Counter()
        self.answers: Counter[int] = Counter()
        self.answer_text: dict[int, str] = {}
        self.prompts: dict[int, tuple[int, str]] = {}
        self.contradiction = _Seen()
        self.texts: list[str] = []
        self.origins: list[str] = []
        self.total = 0

    def look(self, row: Row) -> None:
        """Look at one row."""
        self.total += 1
        parts = [row.text] if row.text is not None else [str(turn["content"]) for turn in row.messages]
        text = "\n".join(parts)
        if names := characters.hidden(text):
            self.hidden.add(row.origin, names)
        if kinds := characters.secrets(text):
            self.secret.add(row.origin, kinds)
        if characters.emails(text):
            self.email.add(row.origin)
        self.languages[characters.language(row.response or text)] += 1
        plain = near.normalised(text)
        if len(self.texts) < NEAR_LIMIT:
            self.texts.append(plain)
            self.origins.append(row.origin)
        if row.text is None:
            self._answer(row)

    def _answer(self, row: Row) -> None:
        prompt, answer = near.normalised(row.prompt), near.normalised(row.response)
        if len(prompt) >= 20 and answer.startswith(prompt):
            self.leak.add(row.origin)
        if _REFUSAL.search(row.response):
            self.refusal.add(row.origin)
        key = hash(answer)
        self.answers[key] += 1
        if self.answers[key] == 2:
            self.answer_text[key] = row.response
        asked = hash(near.normalised("\n".join(str(turn["content"]) for turn in row.messages[:-1])))
        known = self.prompts.setdefault(asked, (key, row.origin))
        if known[0] != key:
            self.contradiction.add(row.origin)


def check(
    dataset: Dataset,
    parts: Split | None = None,
    encoded: Encoded | None = None,
    *,
    max_length: int = 512,
    skip_bad: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Look through a data set.

    Args:
        dataset: As it was read.
        parts: Its sides, to see whether they overlap.
        encoded: Its training rows as tokens, to see what does not fit.
        max_length: The limit that they were encoded with.
        skip_bad: Unreadable rows that are tolerated.
        progress: Called with rows done and rows in all; may raise to cancel.

    Returns:
        The findings, errors first, then warnings, then notes.

    """
    seen = _Pass()
    rows = Rows(dataset.store, _once(dataset.rows.indices))
    for number, row in enumerate(rows, 1):
        seen.look(row)
        if progress and (number % 500 == 0 or number == len(rows)):
            progress(number, len(rows))
    found = [
        *_reading(dataset, skip_bad),
        *_size(rows),
        *_copies(dataset, seen),
        *_answers(seen),
        *_contents(seen),
        *(_overlap(parts) if parts else ()),
        *(_lengths(encoded, max_length) if encoded else ()),
        *_languages(seen),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def _once(indices: Any) -> Any:
    import numpy as np

    return np.unique(indices)


def _reading(dataset: Dataset, skip_bad: int) -> Iterator[Finding]:
    info = dataset.info
    if info.faults:
        tolerated = info.faults <= skip_bad
        first = tuple(message for message, _ in info.fault_messages[:FIRST])
        yield Finding(
            "unreadable",
            "warning" if tolerated else "error",
            info.faults,
            f"{info.faults} rows cannot be read",
            first,
            "they are left out" if tolerated else "training is refused",
            "mend them" if tolerated else f"mend them, or leave them out: --skip-bad {info.faults}",
        )
    for source in info.sources:
        if source.said:
            yield Finding("format", "note", source.rows, f"{source.name}: {source.said}")
    for code, count in info.notes.items():
        yield Finding(code, "note", count, f"{count} rows: {normalise.NOTES[code]}", tuple(info.noted[code]))


def _size(rows: Rows) -> Iterator[Finding]:
    if len(rows) < _FEW:
        yield Finding(
            "few",
            "warning",
            len(rows),
            f"only {len(rows)} rows: enough for a style, not for new knowledge",
            action="nothing",
            change="add rows; some hundred good ones do more than any setting",
        )


def _copies(dataset: Dataset, seen: _Pass) -> Iterator[Finding]:
    import numpy as np

    once = _once(dataset.rows.indices)
    _, first, counts = np.unique(dataset.store.digests[once], return_index=True, return_counts=True)
    copies = int(len(once) - len(first))
    keep = "they are trained on as often as they occur, all on the same side of the split"
    if copies:
        later = np.setdiff1d(once, once[first])[:FIRST]
        places = tuple(dataset.store.origin(int(index)) for index in later)
        message = f"{copies} rows are copies of others (the most frequent occurs {counts.max()} times)"
        yield Finding("duplicates", "warning", copies, message, places, keep, "keep one of each: --duplicates drop")
    texts, origins = seen.texts, seen.origins
    distinct = list(dict.fromkeys(texts))
    number = {text: index for index, text in enumerate(texts)}
    groups = near.groups(distinct) if len(distinct) > 1 else []
    if groups:
        alike = sum(len(group) - 1 for group in groups)
        pairs = tuple(f"{origins[number[distinct[g[0]]]]} ~ {origins[number[distinct[g[1]]]]}" for g in groups[:FIRST])
        limit = f" (among the first {NEAR_LIMIT})" if seen.total > NEAR_LIMIT else ""
        yield Finding(
            "near-duplicates", "warning", alike, f"{alike} rows are nearly the same as others{limit}", pairs,
            "nothing", "remove those that add nothing",
        )  # fmt: skip


def _answers(seen: _Pass) -> Iterator[Finding]:
    total = sum(seen.answers.values())
    if total >= 10 and seen.answers:
        key, most = seen.answers.most_common(1)[0]
        if most >= 5 and most / total > 0.2:
            text = " ".join(seen.answer_text[key].split())[:60]
            message = f"{most} of {total} answers are the same ({text!r})"
            yield Finding("alike", "warning", most, message, (), "nothing", "the model will learn to say just that")
    if seen.leak.count:
        yield seen.leak.finding(
            "leak", "warning", "{n} answers begin by repeating their prompt", "nothing",
            "remove the prompt from the answer, or the model will repeat it too",
        )  # fmt: skip
    if seen.contradiction.count:
        yield seen.contradiction.finding(
            "contradiction", "warning", "{n} rows ask what another row asks, and answer something else", "nothing",
            "keep the better answer, or say in the prompt what makes the difference",
        )  # fmt: skip
    if seen.refusal.count:
        yield seen.refusal.finding(
            "refusal", "warning", '{n} answers talk of being "an AI language model"', "nothing", "write what you want"
        )


def _contents(seen: _Pass) -> Iterator[Finding]:
    if seen.secret.count:
        kinds = ", ".join(seen.secret.kinds)
        yield seen.secret.finding(
            "secrets", "warning", f"{{n}} rows seem to hold {kinds}",
            "nothing: what is trained on can be asked out again",
            "replace it by a placeholder",
        )  # fmt: skip
    if seen.email.count:
        yield seen.email.finding(
            "emails", "warning", "{n} rows hold e-mail addresses", "nothing", "replace them by name@example.com"
        )
    if seen.hidden.count:
        kinds = ", ".join(f"{name.lower()} ({count})" for name, count in seen.hidden.kinds.most_common(4))
        yield seen.hidden.finding(
            "hidden", "warning", f"{{n}} rows hold characters that nobody sees: {kinds}",
            "they are trained on as they are", "remove them",
        )  # fmt: skip


def _overlap(parts: Split) -> Iterator[Finding]:
    if parts.overlap:
        yield Finding(
            "overlap", "warning", parts.overlap, f"{parts.overlap} training rows are also held out", (),
            "they are left out of the training, so that the held-out loss stays honest", "",
        )  # fmt: skip


def _lengths(encoded: Encoded, limit: int) -> Iterator[Finding]:
    if encoded.cut:
        yield Finding(
            "cut", "warning", encoded.cut, f"{encoded.cut} rows are longer than {limit} tokens", (),
            "they are cut at the end", "raise --max-length, or leave them out: --long-rows drop",
        )  # fmt: skip
    if encoded.dropped:
        yield Finding(
            "dropped", "warning", len(encoded.dropped), f"{len(encoded.dropped)} rows keep no token of the answer",
            encoded.dropped[:FIRST], "they are left out", "raise --max-length, or shorten the prompts",
        )  # fmt: skip


def _languages(seen: _Pass) -> Iterator[Finding]:
    if not seen.total:
        return
    shares = [(name, count / seen.total) for name, count in seen.languages.most_common(6)]
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)
    yield Finding("languages", "note", seen.total, f"languages and scripts of the answers: {said}")
