"""Recognise what the columns of a data set are: by what they hold, by their names, and with a question if in doubt."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal

from .. import dataspec
from ..errors import DataError, did_you_mean
from .rows import kind_of, shorten

Kind = Literal["messages", "sharegpt", "instruction", "pair", "preference", "text"]
Shape = Literal["text", "turns", "sharegpt turns", "pairs", "other", "nothing"]

_MESSAGES = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns")
_PROMPTS = ("prompt", "instruction", "question", "query", "problem", "input", "inputs", "user", "human", "request",
            "q")  # fmt: skip
_RESPONSES = ("response", "completion", "output", "outputs", "answer", "solution", "assistant", "reply", "bot", "gpt",
              "target", "targets", "a")  # fmt: skip
_SOURCES = ("text", "document", "article", "source", "dialogue", "passage")
_TARGETS = ("summary", "highlights", "target", "targets", "translation", "label_text")
_INPUTS = ("input", "context", "inputs")
_SYSTEMS = ("system", "system_prompt", "system_message")
_TEXTS = ("text", "content", "document", "body", "passage", "page_content", "raw_content")
_ASIDE = ("", "unnamed: 0", "id", "idx", "index", "uuid", "source", "url", "title", "category", "topic", "language",
          "lang", "model", "timestamp", "date", "license", "meta", "metadata", "score")  # fmt: skip

SAMPLE = 200
"""Rows that are looked at to recognise a file."""


@dataclass(frozen=True)
class Reading:
    """How the columns of a file are read: `parts` maps a part to its column, `reason` says why, in words."""

    kind: Kind
    parts: Mapping[str, str]
    reason: str

    @property
    def said(self) -> str:
        """What was recognised and why, in one line."""
        columns = ", ".join(f"{part} = {column!r}" for part, column in self.parts.items())
        return f"{_LABELS[self.kind]} ({columns}): {self.reason}"


_LABELS: dict[str, str] = {
    "messages": "conversations (OpenAI messages)",
    "sharegpt": "conversations (ShareGPT)",
    "instruction": "instructions (alpaca)",
    "pair": "prompts and responses",
    "preference": "preference pairs, of which the chosen answer is learnt",
    "text": "raw text for continued training",
}


@dataclass
class Column:
    """A column as the first rows show it."""

    name: str
    shapes: set[Shape] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)

    @property
    def is_text(self) -> bool:
        """Whether it holds text, and now and then nothing."""
        return "text" in self.shapes and self.shapes <= {"text", "nothing"}

    @property
    def may_hold_text(self) -> bool:
        """Whether it holds a text, or nothing yet: later rows may, and theirs must not be lost."""
        return "text" in self.shapes or self.shapes <= {"nothing"}

    @property
    def kinds(self) -> str:
        """What it holds, for messages."""
        return " or ".join(sorted(self.shapes)) or "nothing"


def survey(records: Sequence[Any]) -> dict[str, Column]:
    """The columns of some rows, in the order in which they appear."""
    columns: dict[str, Column] = {}
    for record in records:
        if isinstance(record, Mapping):
            for name, value in record.items():
                column = columns.setdefault(str(name), Column(str(name)))
                column.shapes.add(shape(value))
                if isinstance(value, str):
                    column.texts.append(value)
    return columns


def shape(value: Any) -> Shape:
    """What a value is to a data set; text that is a JSON list of turns counts as turns (CSV has no lists)."""
    if value is None or value == "":
        return "nothing"
    if isinstance(value, str):
        turns = as_list(value)
        return shape(turns) if turns else "text"
    if isinstance(value, list | tuple) and all(isinstance(turn, Mapping) for turn in value) and value:
        if all("role" in turn and ("content" in turn or "tool_calls" in turn) for turn in value):
            return "turns"
        if all("from" in turn and "value" in turn for turn in value):
            return "sharegpt turns"
    if isinstance(value, list) and value and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return "pairs"
    return "other"


def as_list(value: str) -> list[Any] | None:
    """The list of turns that a text writes as JSON, or None."""
    text = value.lstrip()
    if not text.startswith("[") or not text[1:].lstrip().startswith("{"):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, list) and all(isinstance(turn, dict) for turn in parsed) else None


def recognise(records: Sequence[Any], where: str, wanted: str | None = None) -> Reading:
    """Recognise the columns of a data set.

    Args:
        records: Its first rows.
        where: The file, for the message.
        wanted: The setting `columns`, which decides if it is given.

    Raises:
        DataError: no reading or more than one is possible; the message shows the columns, three rows and the
            flag that decides.

    """
    columns = survey(records)
    if not columns:
        raise DataError(
            f"{where}: expected rows with columns, found {kind_of(records[0]) if records else 'nothing'}.",
            hint='A row looks like {"prompt": "...", "response": "..."}.',
        )
    if wanted:
        return _as_told(columns, wanted, where)
    lower = {name.lower().strip(): column for name, column in columns.items()}
    for look in (_conversations, _preferences, _instructions, _by_names, _raw_text, _by_content, _mistyped):
        readings = look(lower)
        if len(readings) == 1:
            return readings[0]
        if readings:
            raise _question(columns, readings, records, where)
    raise _undecidable(columns, records, where)


def _as_told(columns: Mapping[str, Column], wanted: str, where: str) -> Reading:
    parts = dataspec.columns(wanted)
    for column in parts.values():
        if column not in columns:
            raise DataError(
                f"{where}: there is no column {column!r}.{did_you_mean(column, tuple(columns))}",
                hint=f"Columns: {', '.join(columns)}",
            )
    reason = "as --columns says"
    if "messages" in parts:
        sharegpt = "sharegpt turns" in columns[parts["messages"]].shapes
        return Reading("sharegpt" if sharegpt else "messages", parts, reason)
    if "chosen" in parts:
        return Reading("preference", parts, reason)
    if "text" in parts:
        return Reading("text", parts, reason)
    return Reading("instruction" if {"input", "history"} & parts.keys() else "pair", parts, reason)


def _first(lower: Mapping[str, Column], names: Sequence[str]) -> str | None:
    return next((lower[name].name for name in names if name in lower), None)


def _extras(lower: Mapping[str, Column]) -> dict[str, str]:
    system = _first(lower, _SYSTEMS)
    return {"system": system} if system else {}


def _conversations(lower: Mapping[str, Column]) -> list[Reading]:
    turns = [name for name, column in lower.items() if column.shapes & {"turns", "sharegpt turns"}]
    if not turns or {"chosen", "rejected"} <= lower.keys():
        return []
    answer = next((name for name in ("completion", "response") if name in lower), None)
    if "prompt" in lower and answer and {"prompt", answer} & set(turns) and not set(_MESSAGES) & set(turns):
        parts = {"prompt": lower["prompt"].name, "response": lower[answer].name}
        return [Reading("pair", parts | _extras(lower), "the names of the columns, which hold lists of turns")]
    named = [name for name in _MESSAGES if name in turns]
    extras = _extras(lower) | ({"tools": lower["tools"].name} if "tools" in lower else {})
    found = []
    for name in named[:1] or turns:
        sharegpt = "sharegpt turns" in lower[name].shapes
        reason = "turns with from and value" if sharegpt else "turns with role and content"
        found.append(Reading("sharegpt" if sharegpt else "messages", {"messages": lower[name].name} | extras, reason))
    return found


def _preferences(lower: Mapping[str, Column]) -> list[Reading]:
    if not {"chosen", "rejected"} <= lower.keys():
        return []
    prompt = _first(lower, _PROMPTS) or _first(lower, _MESSAGES)
    parts = {"prompt": prompt} if prompt else {}
    return [Reading("preference", parts | {"chosen": lower["chosen"].name} | _extras(lower), "chosen and rejected")]


def _instructions(lower: Mapping[str, Column]) -> list[Reading]:
    task = "instruction" if "instruction" in lower else "question" if "question" in lower else None
    extra = next((name for name in _INPUTS if name in lower and lower[name].may_hold_text), None)
    answers = [name for name in _RESPONSES if name in lower and lower[name].is_text]
    if task is None or len(answers) != 1 or (task == "question" and extra is None):
        return []
    parts = {"prompt": lower[task].name, "response": lower[answers[0]].name}
    if extra:
        parts["input"] = lower[extra].name
    if "history" in lower:
        parts["history"] = lower["history"].name
    return [Reading("instruction", parts | _extras(lower), "the names of the columns")]


def _mistyped(lower: Mapping[str, Column]) -> list[Reading]:
    """Known names that do not hold text: recognised all the same, so that the rows are told what is wrong."""
    named = [name for name in _MESSAGES if name in lower]
    if named:
        return [Reading("messages", {"messages": lower[named[0]].name}, "the name of the column")]
    found = _named(lower, lambda column: True)
    return found if len(found) == 1 else []


def _by_names(lower: Mapping[str, Column]) -> list[Reading]:
    """A prompt and a response by their names; where no column is all text, those that hold a text at least."""
    return _named(lower, lambda column: column.is_text) or _named(lower, lambda column: "text" in column.shapes)


def _named(lower: Mapping[str, Column], fits: Callable[[Column], bool]) -> list[Reading]:
    found = []
    for prompts, responses in ((_PROMPTS, _RESPONSES), (_SOURCES, _TARGETS)):
        pairs = product(
            (name for name in prompts if name in lower and fits(lower[name])),
            (name for name in responses if name in lower and fits(lower[name])),
        )
        for prompt, response in pairs:
            parts = {"prompt": lower[prompt].name, "response": lower[response].name}
            found.append(Reading("pair", parts | _extras(lower), "the names of the columns"))
        if found:
            break
    return found


def _raw_text(lower: Mapping[str, Column]) -> list[Reading]:
    texts = [name for name, column in lower.items() if column.is_text and name not in _ASIDE]
    others = lower.keys() - set(texts) - set(_ASIDE)  # a label or a score says that the text is not all of it
    if len(texts) == 1 and not others and (texts[0] in _TEXTS or len(lower) == 1):
        reason = "the only column of text"
        return [Reading("text", {"text": lower[texts[0]].name}, reason)]
    return []


def _by_content(lower: Mapping[str, Column]) -> list[Reading]:
    texts = [column for name, column in lower.items() if column.is_text and name not in _ASIDE]
    if len(texts) != 2:
        return []
    first, second = texts
    for prompt, response in ((first, second), (second, first)):
        share = _questions(prompt)
        if share >= 0.6 and _questions(response) <= 0.2:
            reason = f"{share:.0%} of {prompt.name!r} are questions"
            return [Reading("pair", {"prompt": prompt.name, "response": response.name}, reason)]
    return [
        Reading("pair", {"prompt": first.name, "response": second.name}, "two columns of text"),
        Reading("pair", {"prompt": second.name, "response": first.name}, "two columns of text"),
    ]


def _questions(column: Column) -> float:
    return sum(text.rstrip().endswith(("?", "？", "؟")) for text in column.texts) / max(1, len(column.texts))


def _flag(reading: Reading) -> str:
    return "--columns " + ",".join(f"{part}={column}" for part, column in reading.parts.items())


def _shown(columns: Mapping[str, Column], records: Sequence[Any]) -> str:
    seen = ", ".join(f"{name!r} ({column.kinds})" for name, column in columns.items())
    rows = ["  " + shorten(_written(record), 110) for record in records[:3]]
    return "\n".join([f"Columns: {seen}. First rows:", *rows])


def _written(record: Any) -> str:
    """A row on one line; what is no text (half of a surrogate pair) is shown by its number."""
    try:
        text = json.dumps(record, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # no JSON: names that are no text, or nested without end
        text = ", ".join(map(str, record)) if isinstance(record, Mapping) else kind_of(record)
    return text.encode("utf-8", "backslashreplace").decode()


def _question(
    columns: Mapping[str, Column], readings: Sequence[Reading], records: Sequence[Any], where: str
) -> DataError:
    flags = "\n".join(f"  {_flag(reading)}" for reading in readings[:6])
    return DataError(
        f"{where}: the columns can be read in more than one way.{_guesses(columns)}\n{_shown(columns, records)}",
        hint=f"Say which one is meant:\n{flags}",
    )


def _guesses(columns: Mapping[str, Column]) -> str:
    known = (*_PROMPTS, *_RESPONSES, *_MESSAGES, "chosen", "rejected", "text")
    unknown = [name for name in columns if len(name) > 2 and name.lower() not in known]
    return "".join(dict.fromkeys(did_you_mean(name, known) for name in unknown))


def _undecidable(columns: Mapping[str, Column], records: Sequence[Any], where: str) -> DataError:
    return DataError(
        f"{where}: the columns are not a form that ftk knows.{_guesses(columns)}\n{_shown(columns, records)}",
        hint="Say what they are: --columns prompt=COLUMN,response=COLUMN (or messages=, text=, chosen=). "
        "Known by name: prompt and response; instruction, input and output; messages; text.",
    )
