"""What the models are asked: held-out rows of the run's data, the lines of a file, or what a person typed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import dataspec
from ..config import RunConfig
from ..data.dataset import Dataset, Rows, load_dataset
from ..data.rows import Row, kind_of, shorten, with_system
from ..data.split import first_rows, mixed, split, unique_rows
from ..errors import DataError, RunError
from ..runs import IN_MEMORY, RunFolder
from .asked import Prompt, conversation

ROWS = 10
"""Held-out rows that are asked by default."""

_OWN = "Ask prompts of your own: --prompts FILE, or --prompt TEXT."
_BEGUN = 32  # words of a raw text that are given; the rest is to be written


@dataclass(frozen=True)
class Chosen:
    """Prompts, where they are from, and what is to be known of the choice."""

    prompts: tuple[Prompt, ...]
    source: str
    notes: tuple[str, ...] = ()


def typed(texts: Sequence[str], system: str | None = None) -> Chosen:
    """Prompts as a person typed them.

    Args:
        texts: What the user says in each.
        system: The system message put before them.

    """
    return Chosen(tuple(Prompt(conversation(text, system)) for text in texts), "typed")


def held_out(run: RunFolder, config: RunConfig, count: int = ROWS, *, dataset: Dataset | None = None) -> Chosen:
    """Rows that the run set aside, chosen by their content: always the same ones of the same data.

    The rows are divided again as training divided them. None of them is a training row, and none asks what a
    training row asks: both are looked up by content.

    Args:
        run: The run.
        config: Its settings.
        count: So many rows, if there are as many.
        dataset: The rows of a run whose data was given as Python objects.

    Raises:
        RunError: the rows are gone, or are not those that the run was trained on.
        DataError: nothing was held out that the run was not trained on.

    """
    train, aside, name = _sides(run, config, dataset)
    if not len(aside):
        raise DataError(f"The run {run.name!r} held no rows back.", hint=_OWN)
    rows = _picked(aside, train, config.seed)
    new = [place for place, known in rows if not known]
    if not new:
        raise DataError(f"Every prompt that {run.name!r} held back is also one that it was trained on.", hint=_OWN)
    asked = len(rows) - len(new)
    notes = (f"{asked} of {len(rows)} held-out rows ask what training rows ask, and were left out.",) if asked else ()
    prompts = tuple(of_row(with_system(aside[place], config.system_prompt)) for place in new[:count])
    return Chosen(prompts, f"{name}, held out", notes)


def _sides(run: RunFolder, config: RunConfig, dataset: Dataset | None) -> tuple[Rows, Rows, str]:
    if dataset is None and config.data == IN_MEMORY:
        raise RunError("The rows of this run were given as Python objects, which are gone.", hint=_OWN)
    found = dataset or load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad)
    known = (run.provenance().get("data") or {}).get("sha256")
    if known and known != found.fingerprint:
        raise RunError(
            f"The rows of {found.name} are not those that {run.name!r} was trained on, so that nobody can tell which "
            "of them it has seen.",
            hint=f"Put the old rows back. {_OWN}",
        )
    other = None
    if config.eval_data:
        other = load_dataset(config.eval_data, columns=config.columns, skip_bad=config.skip_bad)
    used = unique_rows(first_rows(found, config.max_rows), config.duplicates)
    parts = split(used, config.eval_fraction, seed=config.seed, held_out=other)
    return parts.train, parts.held_out, found.name


def _picked(aside: Rows, train: Rows, seed: int) -> list[tuple[int, bool]]:
    """One of each of the held-out rows, in an order that hangs on content and seed, and whether training asked it."""
    import numpy as np

    digests = aside.store.digests[aside.indices]
    _, first = np.unique(digests, return_index=True)
    kept = first[~np.isin(digests[first], train.store.digests[train.indices])]
    order = [int(place) for place in kept[np.argsort(mixed(digests[kept], seed + 1), kind="stable")]]
    questions = [_question(aside.store.payload(int(aside.indices[place]))) for place in order]
    wanted = set(questions)
    known = {asked for index in train.indices if (asked := _question(train.store.payload(int(index)))) in wanted}
    return [(place, asked in known) for place, asked in zip(order, questions, strict=True)]


def _question(payload: str) -> str:
    """The part of a row's content before its last turn; the whole of a raw text.

    A quote within a text is written with a backslash, so that this begins a turn wherever it occurs.
    """
    return payload.rpartition(',{"content":')[0] or payload


def of_row(row: Row) -> Prompt:
    """A row of a data set as a prompt, with its last answer as the reference; of a raw text its beginning is given."""
    if row.text is None:
        return Prompt(row.messages[:-1], None, row.tools, row.response, row.origin)
    words = row.text.split(" ")
    given = min(_BEGUN, max(1, len(words) // 2))
    return Prompt((), " ".join(words[:given]), (), " ".join(words[given:]), row.origin)


def from_file(name: str, system: str | None = None) -> Chosen:
    """Prompts out of a file.

    Args:
        name: Text with a prompt a line, or JSON Lines: objects with ``prompt`` (or ``messages``) and, if wanted,
            ``system`` and ``response``, the answer that is known to be good. ``-`` is standard input.
        system: The system message put before conversations that have none.

    Raises:
        DataError: the file cannot be read, a line is no prompt, or there are none; file and line are named.

    """
    text, name = _read(name)
    written = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # no others: texts may hold them
    lines = [(number, line) for number, line in enumerate(written, 1) if line.strip()]
    if not lines:
        raise DataError(f"{name}: there are no prompts.", hint="A prompt a line, or JSON Lines with a key 'prompt'.")
    as_json = name.lower().endswith((".jsonl", ".ndjson", ".json")) or lines[0][1].lstrip().startswith("{")
    found = []
    for number, line in lines:
        origin = f"{name}, line {number}"
        if as_json:
            found.append(_of_record(line, origin, system))
        else:
            found.append(Prompt(conversation(line.strip(), system), origin=origin))
    return Chosen(tuple(found), name)


def _read(name: str) -> tuple[str, str]:
    try:
        if name == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig"), "standard input"
        return dataspec.expanded(name).read_bytes().decode("utf-8-sig"), name
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name}: byte {error.start + 1} is not UTF-8.", hint="Save the file as UTF-8, and try again."
        ) from None
    except OSError as error:
        raise DataError(f"{name} could not be read: {error.strerror or error}.") from None


def _of_record(line: str, origin: str, system: str | None) -> Prompt:
    hint = 'A line looks like {"prompt": "..."} or {"messages": [{"role": "user", "content": "..."}]}.'
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{origin}: is no JSON: {error}. Near: {shorten(line)}", hint=hint) from None
    if not isinstance(record, Mapping):
        raise DataError(f"{origin}: expected an object, found {kind_of(record)}.", hint=hint)
    messages, reference = _turns(record, origin, hint), record.get("response")
    if messages[-1]["role"] == "assistant":
        reference, messages = messages[-1]["content"], messages[:-1]
    if not messages or messages[-1]["role"] not in ("user", "tool"):
        raise DataError(f"{origin}: the last turn is not a user's, so that there is nothing to answer.", hint=hint)
    if reference is not None and not isinstance(reference, str):
        raise DataError(f"{origin}: 'response' must be text, found {kind_of(reference)}.", hint=hint)
    own = record.get("system")
    if messages[0]["role"] != "system" and (said := own if isinstance(own, str) and own.strip() else system):
        messages = ({"role": "system", "content": said}, *messages)
    return Prompt(messages, reference=reference, origin=origin)


def _turns(record: Mapping[str, Any], origin: str, hint: str) -> tuple[dict[str, Any], ...]:
    prompt, turns = record.get("prompt"), record.get("messages")
    if isinstance(prompt, str) and prompt.strip():
        return ({"role": "user", "content": prompt},)
    if not isinstance(turns, list) or not turns:
        raise DataError(f"{origin}: holds no 'prompt' and no 'messages'.", hint=hint)
    roles = ("system", "user", "assistant", "tool")
    for number, turn in enumerate(turns, 1):
        fits = isinstance(turn, Mapping) and turn.get("role") in roles and isinstance(turn.get("content"), str)
        if not fits:
            raise DataError(f"{origin}, message {number}: expected a role and content that is text.", hint=hint)
    return tuple(dict(turn) for turn in turns)
