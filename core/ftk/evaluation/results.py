"""What an evaluation found, as plain values: scores with their intervals, base against tuned, and how it came about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Better = Literal["higher", "lower", ""]
Verdict = Literal["better", "worse", "differs", "noise", "unknown"]
Unit = Literal["number", "percent", "points"]

NO_ROWS = "there are no rows to measure"
ONE_ROW = "one row is too few to measure with"

VERDICTS: dict[str, str] = {
    "better": "better, by more than noise",
    "worse": "worse, by more than noise",
    "differs": "different, by more than noise",
    "noise": "no more than noise",
    "unknown": "unknown",
}
"""What a verdict says, in words."""


@dataclass(frozen=True)
class Score:
    """A measured value and the interval in which it may lie as well.

    Args:
        value: The value; None where there is none, and `note` says why.
        low: The lower end of the interval.
        high: Its upper end.
        rows: How many rows it was measured on.
        note: Why there is no value, or what is to be known of it.

    """

    value: float | None
    low: float | None
    high: float | None
    rows: int
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """Tuned less base on the same rows.

    Args:
        value: The difference; None where it cannot be told, and `note` says why.
        low: The lower end of its interval.
        high: Its upper end.
        chance: How often swapping the two models at random gives as large a difference, 0 to 1.
        verdict: Whether it is more than noise, and in which direction.
        note: Why there is no value.

    """

    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    verdict: Verdict
    note: str = ""

    @property
    def words(self) -> str:
        """The verdict in words."""
        return self.note or VERDICTS[self.verdict]


@dataclass(frozen=True)
class Kind:
    """What a metric is: its name, which values are better, and how it is written."""

    name: str
    better: Better
    unit: Unit = "number"
    meaning: str = ""


KINDS: dict[str, Kind] = {
    "loss": Kind("held-out loss", "lower", "number", "mean over the supervised tokens, in nats"),
    "perplexity": Kind("perplexity", "lower", "number", "exp of the held-out loss"),
    "exact_match": Kind("exact match", "higher", "percent", "answers that are the reference, but for white space"),
    "token_f1": Kind("token F1", "higher", "points", "words that answer and reference share"),
    "bleu": Kind("BLEU", "higher", "points", "n-grams of words, of the whole set (sacrebleu)"),
    "chrf": Kind("chrF", "higher", "points", "n-grams of characters, of the whole set (sacrebleu)"),
    "rouge1": Kind("ROUGE-1", "higher", "points", "words, F1"),
    "rouge2": Kind("ROUGE-2", "higher", "points", "pairs of words, F1"),
    "rougeL": Kind("ROUGE-L", "higher", "points", "longest common subsequence of words, F1"),
    "semantic": Kind("semantic score", "higher", "points", "likeness of word meanings, F1 of greedy matching"),
    "json": Kind("valid JSON", "higher", "percent", "answers that are JSON"),
    "regex": Kind("fits the pattern", "higher", "percent", "answers that the regular expression matches whole"),
    "length": Kind("fits the length", "higher", "percent", "answers with as many words as asked for"),
    "repetition": Kind("repetition", "lower", "percent", "triples of words that occurred before in the answer"),
    "empty": Kind("empty answers", "lower", "percent", "answers without any text"),
    "cut": Kind("cut off", "lower", "percent", "answers that reached the longest length"),
    "judged": Kind("preferred by the judge", "higher", "percent", "tuned over base; undecided counts half"),
}
"""All metrics, in the order in which they are shown."""


@dataclass(frozen=True)
class Measure:
    """One metric of base and tuned model; `base` and `difference` are None where only one model was measured.

    `better` is told by metrics that are not among `KINDS`: those of lm-evaluation-harness.
    """

    key: str
    tuned: Score
    base: Score | None = None
    difference: Difference | None = None
    better: Better = ""

    @property
    def kind(self) -> Kind:
        """What the metric is; one that is not known has its key for a name."""
        return KINDS.get(self.key) or Kind(self.key, self.better, "number")


@dataclass(frozen=True)
class Overfitting:
    """The loss on rows that were trained on, and how much more the tuned model gained there than on held-out rows.

    Args:
        train: The loss on training rows, of base and tuned.
        gap: How much farther held-out rows are from training rows for the tuned model than for the base, in nats.

    """

    train: Measure
    gap: Difference

    @property
    def words(self) -> str:
        """What that means."""
        if self.gap.value is None:
            return f"Overfitting cannot be told: {self.gap.note}."
        if self.gap.verdict != "worse":
            return "It gained as much on held-out rows as on those it was trained on, as far as these can tell."
        return (
            f"It gained {self.gap.value:.3f} nats a token more on rows that it was trained on than on held-out ones: "
            "that part is learnt by heart."
        )


@dataclass(frozen=True)
class Forgetting:
    """The perplexity on neutral texts, which have nothing to do with the data, of base and tuned."""

    perplexity: Measure

    @property
    def words(self) -> str:
        """What that means."""
        base, tuned, apart = self.perplexity.base, self.perplexity.tuned, self.perplexity.difference
        if not base or not apart or not base.value or tuned.value is None:
            return f"Forgetting cannot be told: {(apart and apart.note) or tuned.note}."
        change = f"{tuned.value / base.value - 1:+.1%}"
        if apart.verdict == "worse":
            return f"On neutral text its perplexity is {change}: it forgot some of what it knew."
        if apart.verdict == "better":
            return f"On neutral text its perplexity is {change}: it forgot nothing there."
        return f"On neutral text its perplexity is {change}, no more than noise."


@dataclass(frozen=True)
class Example:
    """An answered row: what was asked, the reference, both answers, and the row by its hash and its place.

    `judged` is what the judge said: ``tuned``, ``base``, ``undecided``, or empty where it was not asked.
    """

    prompt: str
    reference: str
    base: str | None
    tuned: str
    row: str
    origin: str = ""
    judged: str = ""


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Args:
        rows: Rows whose loss was measured.
        supervised_tokens: Their tokens that the loss counts.
        loss: Mean loss of the (tuned) model over these tokens, in nats.
        measures: All metrics, of the base too where it was measured.
        answered: Rows that were answered.
        overfitting: Training rows against held-out ones, where these were measured.
        forgetting: Neutral text before and after, where that was measured.
        examples: The answered rows.
        notes: What is to be known of it, in words.
        about: How it came about: rows by hash, sampling, versions, models, time.
        name: What it is called in its run; empty where it belongs to none.

    """

    rows: int
    supervised_tokens: int
    loss: float
    measures: tuple[Measure, ...] = ()
    answered: int = 0
    overfitting: Overfitting | None = None
    forgetting: Forgetting | None = None
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def perplexity(self) -> float:
        """Exp of the loss."""
        return math.exp(min(self.loss, 700))

    def measure(self, key: str) -> Measure | None:
        """The metric of that key, if it was measured."""
        return next((found for found in self.measures if found.key == key), None)

    def __getitem__(self, key: str) -> Any:
        """``loss``, ``perplexity``, ``rows`` or ``supervised_tokens``, as the mapping of earlier versions had them."""
        if key not in ("loss", "perplexity", "rows", "supervised_tokens"):
            raise KeyError(key)
        return getattr(self, key)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is no finite number is None."""
        values: dict[str, Any] = plain_values(asdict(self))
        return {**values, "perplexity": plain_values(self.perplexity)}


def from_dict(values: Mapping[str, Any]) -> Evaluated:
    """The evaluation whose `to_dict` this is; what this version does not know is left out.

    Raises:
        ValueError: it is none.

    """
    try:
        return Evaluated(
            rows=int(values["rows"]),
            supervised_tokens=int(values["supervised_tokens"]),
            loss=float(values["loss"]) if values["loss"] is not None else math.nan,
            measures=tuple(_measure(found) for found in values.get("measures", ())),
            answered=int(values.get("answered", 0)),
            overfitting=_overfitting(values.get("overfitting")),
            forgetting=_forgetting(values.get("forgetting")),
            examples=tuple(Example(**_known(Example, found)) for found in values.get("examples", ())),
            notes=tuple(map(str, values.get("notes", ()))),
            about=dict(values.get("about") or {}),
            name=str(values.get("name", "")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not an evaluation: {type(error).__name__}: {error}") from None


def _measure(values: Mapping[str, Any]) -> Measure:
    apart, base = values.get("difference"), values.get("base")
    return Measure(
        str(values["key"]),
        Score(**_known(Score, values["tuned"])),
        Score(**_known(Score, base)) if base else None,
        Difference(**_known(Difference, apart)) if apart else None,
        values.get("better", ""),
    )


def _overfitting(values: Mapping[str, Any] | None) -> Overfitting | None:
    return Overfitting(_measure(values["train"]), Difference(**_known(Difference, values["gap"]))) if values else None


def _forgetting(values: Mapping[str, Any] | None) -> Forgetting | None:
    return Forgetting(_measure(values["perplexity"])) if values else None


def _known(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in kind.__dataclass_fields__}


def plain_values(value: Any) -> Any:
    """A value as JSON gives it back: tuples as lists, numbers that are not finite as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_values(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(part) for part in value]
    return value


def written(value: float | None, unit: Unit, *, sign: bool = False) -> str:
    """A value as people read it: ``12.3 %``, ``45.1`` of 100 points, ``1.2345``; a dash where there is none."""
    if value is None:
        return "–"
    plus = "+" if sign else ""
    if unit == "percent":
        return f"{100 * value:{plus}.1f} %"
    if unit == "points":
        return f"{value:{plus}.1f}"
    return f"{value:{plus}.4g}" if abs(value) >= 1000 else f"{value:{plus}.3f}"


def spanned(score: Score, unit: Unit) -> str:
    """A score with its interval: ``1.234 [1.1, 1.4]``; why there is none, where there is none."""
    if score.value is None:
        return score.note or "–"
    if score.low is None or score.high is None:
        return written(score.value, unit)
    low, high = written(score.low, unit).removesuffix(" %"), written(score.high, unit)
    return f"{written(score.value, unit)} [{low}, {high}]"
