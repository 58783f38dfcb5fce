"""What is wrong with a data set, before anything is trained on it: counted, with the rows and what to do."""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import DataError
from . import characters, near, normalise
from .dataset import Dataset, Rows
from .encoding import Encoded
from .rows import Row, digest, shorten
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
_ENOUGH = 10  # answers of which some may be said to be alike
UNCHANGED = "changes nothing"


@dataclass(frozen=True)
class Finding:
    """Something about a data set that a person should know.

    `rows` are the first places; `action` is what ftk does ("ftk cuts them"), `change` how to have it otherwise.
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

    def finding(self, code: str, message: str, action: str = UNCHANGED, change: str = "") -> Finding:
        """A warning; `{n}` in its message becomes the count, as in "12 rows"."""
        return Finding(
            code, "warning", self.count, message.format(n=count_of(self.count)), tuple(self.rows), action, change
        )


def count_of(rows: int) -> str:
    """``1 row``, ``1,234 rows``."""
    return f"{rows:,} row" + ("" if rows == 1 else "s")


class _Pass:
    """One pass over the rows, and what it saw. Of a row that is nothing special only two hashes are kept."""

    def __init__(self, special: Iterable[str]) -> None:
        self.hidden, self.secret, self.email, self.leak, self.refusal, self.special = (_Seen() for _ in range(6))
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")
        self.languages: Counter[str] = Counter()
        self.asked, self.answers = array("Q"), array("Q")
        self.texts: list[str] = []
        self.origins: list[str] = []
        self.total = 0

    def look(self, row: Row) -> None:
        """Look at one row."""
        self.total += 1
        text = row.text if row.text is not None else "\n".join(map(_said, row.messages))
        if names := characters.hidden(text):
            self.hidden.add(row.origin, names)
        if kinds := characters.secrets(text):
            self.secret.add(row.origin, kinds)
        if characters.emails(text):
            self.email.add(row.origin)
        if found := self._special.findall(text):
            self.special.add(row.origin, found)
        self.languages[characters.language(row.response or text)] += 1
        if len(self.texts) < NEAR_LIMIT:
            self.texts.append(near.normalised(text))
            self.origins.append(row.origin)
        self._answer(row)

    def _answer(self, row: Row) -> None:
        if row.text is not None:
            self.asked.append(0)
            self.answers.append(0)
            return
        prompt, answer = near.normalised(row.prompt), near.normalised(row.response)
        if len(prompt) >= 20 and answer.startswith(prompt):
            self.leak.add(row.origin)
        if _REFUSAL.search(row.response):
            self.refusal.add(row.origin)
        before = "\n".join(map(_said, row.messages[:-1]))
        self.asked.append(digest(near.normalised(before)))
        self.answers.append(digest(answer))


def _said(turn: Any) -> str:
    calls = turn.get("tool_calls")
    return f"{turn['content']}\n{json.dumps(calls, ensure_ascii=False)}" if calls else str(turn["content"])


def check(
    dataset: Dataset,
    parts: Split | None = None,
    encoded: Encoded | None = None,
    *,
    held_out: Encoded | None = None,
    max_length: int = 512,
    skip_bad: int = 0,
    special: Iterable[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Finding]:
    """Look through a data set.

    Args:
        dataset: As it was read.
        parts: Its sides, to see whether they overlap.
        encoded: Its training rows as tokens, to see what does not fit.
        held_out: Its held-out rows as tokens.
        max_length: The limit that they were encoded with.
        skip_bad: Unreadable rows that are tolerated.
        special: The texts that the model's tokenizer reads as control tokens; see `special_tokens`.
        progress: Called with rows done and rows in all; may raise to cancel.

    Returns:
        The findings, errors first, then warnings, then notes.

    """
    seen = _Pass(special)
    rows = Rows(dataset.store, _once(dataset.rows.indices))
    for number, row in enumerate(rows, 1):
        seen.look(row)
        if progress and (number % 500 == 0 or number == len(rows)):
            progress(number, len(rows))
    found = [
        *_size(rows),
        *_copies(dataset, seen),
        *_answers(seen, rows),
        *_contents(seen),
        *losses(dataset, parts, encoded, held_out=held_out, max_length=max_length, skip_bad=skip_bad),
        *_languages(seen),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def losses(
    dataset: Dataset,
    parts: Split | None = None,
    encoded: Encoded | None = None,
    *,
    held_out: Encoded | None = None,
    max_length: int = 512,
    skip_bad: int = 0,
) -> list[Finding]:
    """What is left out, cut or changed on the way, without a look at the texts; the arguments are those of `check`."""
    return [
        *_reading(dataset, skip_bad),
        *(_overlap(parts) if parts else ()),
        *(_lengths(encoded, max_length) if encoded else ()),
        *(_held_out(held_out, max_length) if held_out else ()),
    ]


def _once(indices: Any) -> Any:
    import numpy as np

    return np.unique(indices)


def _reading(dataset: Dataset, skip_bad: int) -> Iterator[Finding]:
    info = dataset.info
    if info.faults:
        tolerated = info.faults <= skip_bad
        first = tuple(" ".join(filter(None, words)) for words in info.fault_messages[:FIRST])  # with the mend
        yield Finding(
            "unreadable",
            "warning" if tolerated else "error",
            info.faults,
            f"cannot be read: {count_of(info.faults)}",
            first,
            "leaves them out" if tolerated else "refuses to train",
            "mend them" if tolerated else f"mend them, or leave them out: --skip-bad {info.faults}",
        )
    if info.unused:
        names = ", ".join(info.unused[:FIRST])
        yield Finding("unused", "note", len(info.unused), f"not read, as another part is held out already: {names}")
    for setting, count in dataset.left_out.items():
        yield Finding("left-out", "note", count, f"left out, as {setting} asks: {count_of(count)}")
    for source in info.sources:
        if source.said:
            yield Finding("format", "note", source.rows, f"{source.name}: {source.said}")
    for code, count in info.notes.items():
        yield Finding(code, "note", count, f"{normalise.NOTES[code]}: {count_of(count)}", tuple(info.noted[code]))


def _size(rows: Rows) -> Iterator[Finding]:
    if len(rows) < _FEW:
        message = f"only {count_of(len(rows))}: enough for a style, not for new knowledge"
        change = "add rows; some hundred good ones do more than any setting"
        yield Finding("few", "note", len(rows), message, (), UNCHANGED, change)


def _copies(dataset: Dataset, seen: _Pass) -> Iterator[Finding]:
    import numpy as np

    once = _once(dataset.rows.indices)
    _, first, counts = np.unique(dataset.store.digests[once], return_index=True, return_counts=True)
    copies = int(len(once) - len(first))
    if copies:
        later = np.setdiff1d(once, once[first])[:FIRST]
        places = tuple(dataset.store.origin(int(index)) for index in later)
        message = f"copies of other rows: {count_of(copies)} (the most frequent occurs {counts.max():,} times)"
        action = "trains on them as often as they occur, all on the same side of the split"
        yield Finding("duplicates", "warning", copies, message, places, action, "keep one of each: --duplicates drop")
    texts, origins = seen.texts, seen.origins
    distinct = list(dict.fromkeys(texts))
    number = {text: index for index, text in enumerate(texts)}
    groups = near.groups(distinct) if len(distinct) > 1 else []
    if groups:
        alike = sum(len(group) - 1 for group in groups)
        pairs = tuple(f"{origins[number[distinct[g[0]]]]} ~ {origins[number[distinct[g[1]]]]}" for g in groups[:FIRST])
        limit = f" (among the first {NEAR_LIMIT:,})" if seen.total > NEAR_LIMIT else ""
        message = f"nearly the same as others: {count_of(alike)}{limit}"
        yield Finding(
            "near-duplicates", "warning", alike, message, pairs, UNCHANGED, "remove those that add nothing"
        )  # fmt: skip


def _answers(seen: _Pass, rows: Rows) -> Iterator[Finding]:
    yield from _alike(seen, rows)
    yield from _contradictions(seen, rows)
    if seen.leak.count:
        yield seen.leak.finding(
            "leak", "answers that begin by repeating their prompt: {n}",
            change="remove the prompt from the answer, or the model will repeat it too",
        )  # fmt: skip
    if seen.refusal.count:
        yield seen.refusal.finding(
            "refusal", 'answers that talk of being "an AI language model": {n}', change="rewrite or remove them"
        )


def _alike(seen: _Pass, rows: Rows) -> Iterator[Finding]:
    """One answer to a fifth of all prompts and more."""
    import numpy as np

    answers = np.frombuffer(seen.answers, dtype=np.uint64)
    conversations = answers[answers != 0]
    if len(conversations) < _ENOUGH:
        return
    values, counts = np.unique(conversations, return_counts=True)
    most = int(counts.max())
    if most < _ENOUGH // 2 or most <= len(conversations) / 5:
        return
    places = np.flatnonzero(answers == values[counts.argmax()])[:FIRST]
    text = shorten(rows[int(places[0])].response)
    message = f"the same answer ({text!r}) to {most:,} of {len(conversations):,} prompts"
    origins = tuple(rows[int(place)].origin for place in places)
    action = "changes nothing, and the model will learn to say just that"
    yield Finding("alike", "warning", most, message, origins, action, "vary the answers, or leave some of these out")


def _contradictions(seen: _Pass, rows: Rows) -> Iterator[Finding]:
    """The same prompt with another answer."""
    import numpy as np

    asked = np.frombuffer(seen.asked, dtype=np.uint64)
    answers = np.frombuffer(seen.answers, dtype=np.uint64)
    _, first, inverse = np.unique(asked, return_index=True, return_inverse=True)
    different = np.flatnonzero((answers != answers[first[inverse]]) & (answers != 0))
    if not len(different):
        return
    pairs = tuple(
        f"{rows[int(place)].origin} ~ {rows[int(first[inverse[place]])].origin}" for place in different[:FIRST]
    )
    yield Finding(
        "contradiction", "warning", len(different),
        f"ask what another row asks, and answer something else: {count_of(len(different))}",
        pairs, UNCHANGED, "keep the better answer, or say in the prompt what makes the difference",
    )  # fmt: skip


def _contents(seen: _Pass) -> Iterator[Finding]:
    if seen.secret.count:
        kinds = ", ".join(seen.secret.kinds)
        yield seen.secret.finding(
            "secrets", f"what looks like {kinds}: {{n}}",
            "changes nothing, and what is trained on can be asked out again", "replace it by a placeholder",
        )  # fmt: skip
    if seen.email.count:
        yield seen.email.finding("emails", "e-mail addresses: {n}", change="replace them by name@example.com")
    if seen.hidden.count:
        kinds = ", ".join(f"{name} ({count})" for name, count in seen.hidden.kinds.most_common(4))
        yield seen.hidden.finding("hidden", f"characters that nobody sees, {kinds}: {{n}}", change="remove them")

    if seen.special.count:
        kinds = ", ".join(seen.special.kinds)
        yield seen.special.finding(
            "special", f"texts that the model reads as control tokens, {kinds}: {{n}}",
            "trains on them as such, as the model would read them when asked", "write them otherwise, or remove them",
        )  # fmt: skip


def special_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts that a tokenizer reads as control tokens wherever they stand."""
    return tuple(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)


def refused(error: DataError) -> Finding:
    """What is said of a data set that cannot be split, or of which the model's chat template refuses a row."""
    hint = error.hint or "mend the row, or choose another format: --template chatml, alpaca or plain"
    change = (hint[:1].lower() + hint[1:]).rstrip(".")
    return Finding("refused", "error", 1, error.message.rstrip("."), (), "refuses to train", change)


def _overlap(parts: Split) -> Iterator[Finding]:
    if parts.overlap:
        yield Finding(
            "overlap", "warning", parts.overlap, f"rows to train on that are also held out: {count_of(parts.overlap)}",
            parts.overlapping, "leaves them out of the training, so that the held-out loss stays honest", "",
        )  # fmt: skip


def _lengths(encoded: Encoded, limit: int) -> Iterator[Finding]:
    if encoded.cut:
        yield Finding(
            "cut", "warning", encoded.cut, f"longer than {limit:,} tokens: {count_of(encoded.cut)}", encoded.cut_rows,
            "cuts them at the end", "raise --max-length, or leave them out: --long-rows drop",
        )  # fmt: skip
    severity: Severity = "warning" if encoded.examples else "error"
    action = "leaves them out" if encoded.examples else "refuses to train, as nothing is left"
    if encoded.refused:
        yield Finding(
            "refused", "warning", len(encoded.refused),
            f"refused by the model's chat template: {count_of(len(encoded.refused))}", encoded.refused[:FIRST],
            "leaves them out, as --skip-bad allows",
            "mend them, or choose another format: --template chatml, alpaca or plain",
        )  # fmt: skip
    if encoded.unlearnt:
        yield Finding(
            "unlearnt", severity, len(encoded.unlearnt),
            f"nothing to learn, as every answer has the weight 0: {count_of(len(encoded.unlearnt))}",
            encoded.unlearnt[:FIRST], action, "take the weight off the answers that are to be learnt",
        )  # fmt: skip
    if encoded.dropped:
        yield Finding(
            "dropped", severity, len(encoded.dropped),
            f"no token of the answer within {limit:,} tokens, or too long: {count_of(len(encoded.dropped))}",
            encoded.dropped[:FIRST], action, "raise --max-length, or shorten the prompts",
        )  # fmt: skip


def _held_out(encoded: Encoded, limit: int) -> Iterator[Finding]:
    """What of the held-out rows is not measured with."""
    lost = [*encoded.dropped, *encoded.unlearnt, *encoded.refused]
    count = encoded.cut + len(lost)
    if count:
        yield Finding(
            "held-out", "warning", count,
            f"held-out rows that cannot be measured with as a whole (longer than {limit:,} tokens, mostly): "
            f"{count_of(count)}", tuple([*encoded.cut_rows, *lost][:FIRST]),
            "measures with what is left of them", "raise --max-length",
        )  # fmt: skip


def _languages(seen: _Pass) -> Iterator[Finding]:
    if not seen.total:
        return
    shares = [(name, count / seen.total) for name, count in seen.languages.most_common(6)]
    said = ", ".join(f"{name} {share:.0%}" for name, share in shares if share >= 0.005)
    yield Finding("languages", "note", seen.total, f"languages and scripts of the answers: {said}")
