"""The sentences and tables of a report, the same in HTML and in Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ...runs import IN_MEMORY
from ..results import Difference, Evaluated, Measure, spanned, written
from .gathered import Facts
from .visible import shortened

SIGNS = {"better": "▲", "worse": "▼", "differs": "●", "noise": "≈", "unknown": ""}
"""What a verdict looks like, so that it is not told by colour alone."""

_FEW = 10


def headline(facts: Facts) -> str:
    """What came of the run, in a sentence."""
    run = facts.summary
    if run.loss_before and run.loss_after is not None:
        change = run.loss_after / run.loss_before - 1
        return f"Held-out loss {run.loss_before:.4f} before, {run.loss_after:.4f} after ({change:+.0%})."
    if run.loss is not None:
        return f"Training loss {run.loss:.4f} at the end; nothing was held out to measure with."
    return "Nothing was measured yet."


def state(facts: Facts) -> str:
    """What the run is doing, or how it ended."""
    run = facts.summary
    steps = f", step {run.step} of {run.total_steps}" if run.total_steps else ""
    return f"{run.state}{steps}" + (f": {run.reason}" if run.reason else "")


def overview(facts: Facts) -> Iterator[tuple[str, str]]:
    """The run in a few lines, as label and text."""
    run, model, data = facts.summary, facts.part("model"), facts.part("data")
    revision = f" ({model['revision']})" if model.get("revision") else ""
    yield "Model", shortened(run.model or model.get("name")) + revision
    rows = f", {data['rows']:,} rows" if isinstance(data.get("rows"), int) else ""
    yield "Data", shortened(run.data or data.get("name")) + rows
    yield "State", state(facts)
    if run.started is not None:
        yield "Begun", f"{datetime.fromtimestamp(run.started):%Y-%m-%d %H:%M}"
    if run.seconds is not None:
        yield "Trained", duration(run.seconds)


def duration(seconds: float) -> str:
    """Seconds as ``42 s``, ``12 min 5 s``, ``3 h 7 min``."""
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, last = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {last} s" if minutes else f"{last} s"


def difference(apart: Difference | None, unit: Any) -> str:
    """A difference with its interval; a dash where there is none."""
    if apart is None or apart.value is None:
        return "–"
    if apart.low is None or apart.high is None:
        return written(apart.value, unit, sign=True).replace("%", "pp")
    value, low, high = (written(part, unit, sign=True) for part in (apart.value, apart.low, apart.high))
    return f"{value} [{low.removesuffix(' %')}, {high}]".replace("%", "pp")


def verdict(apart: Difference | None) -> str:
    """A verdict with its sign."""
    return f"{SIGNS[apart.verdict]} {apart.words}".strip() if apart else ""


def score_rows(measures: tuple[Measure, ...]) -> list[tuple[str, str, str, str, str]]:
    """A row for each metric: name, base, tuned, difference, verdict."""
    rows = []
    for found in measures:
        kind = found.kind
        base = spanned(found.base, kind.unit) if found.base else "–"
        name = kind.name + {"lower": " ↓", "higher": " ↑", "": ""}[kind.better]
        rows.append((name, base, spanned(found.tuned, kind.unit), difference(found.difference, kind.unit),
                     verdict(found.difference)))  # fmt: skip
    return rows


def about_scores(found: Evaluated) -> list[str]:
    """How the scores were measured, what they say of overfitting and forgetting, and what else is to be known."""
    how = _part(_part(found.about, "settings"), "confidence")
    data = _part(found.about, "data")
    level = f"{100 * how['level']:g} %" if isinstance(how.get("level"), int | float) else "95 %"
    rows = f"{found.rows} held-out {'row' if found.rows == 1 else 'rows'}"
    lines = [
        f"{rows} of {shortened(data.get('name')) or 'the data'} with {found.supervised_tokens:,} supervised tokens; "
        f"{found.answered} answered. ↑ higher is better, ↓ lower is better. In brackets: {level} intervals (bootstrap "
        "over rows; rates: Wilson). Differences are of pairs on the same rows; one in twenty is called more than noise "
        "by chance. pp: percentage points."
    ]
    if found.rows < _FEW or 0 < found.answered < _FEW:
        lines.append(f"With fewer than {_FEW} rows, intervals hold the true value less often than they say.")
    if found.overfitting:
        lines.append(f"{_train_losses(found)}{found.overfitting.words}")
    if found.forgetting:
        lines.append(found.forgetting.words)
    return [*lines, *found.notes]


def _train_losses(found: Evaluated) -> str:
    assert found.overfitting is not None
    train = found.overfitting.train
    if train.base is None or train.base.value is None or train.tuned.value is None:
        return ""
    return f"On rows it was trained on its loss went from {train.base.value:.3f} to {train.tuned.value:.3f}. "


def data_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """The data in a few lines, as label and text."""
    data, last, told = facts.part("data"), facts.last, facts.evaluated
    if data.get("name"):
        yield "Name", shortened(data["name"])
    if isinstance(data.get("rows"), int):
        yield "Rows to train on, with those set aside", f"{data['rows']:,}"
    if told:
        yield "Held-out rows", f"{told.rows:,}, with {told.supervised_tokens:,} supervised tokens"
    if last:
        yield "Tokens in training", f"{last.tokens:,} read, {last.supervised_tokens:,} learnt, {last.epoch:.2f} epochs"
    if data.get("sha256"):
        yield "SHA-256 of the content", str(data["sha256"])


def machine_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Machine and versions, as label and text."""
    machine = facts.part("hardware")
    gpus = machine.get("gpus")
    names = [str(gpu.get("name")) for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list) else []
    yield "GPU", ", ".join(names) or "none"
    for label, key in (("Processor", "cpu"), ("Cores", "cores")):
        if machine.get(key):
            yield label, str(machine[key])
    memory = machine.get("memory")
    if isinstance(memory, int):
        yield "Memory", f"{memory / 2**30:.1f} GiB"
    if facts.finished:
        yield "Most memory in use", f"{facts.finished.peak_memory_bytes / 2**30:.1f} GiB"
    for label, key in (("ftk", "ftk"), ("Python", "python")):
        if facts.about.get(key):
            yield label, str(facts.about[key])
    for name, version in facts.part("packages").items():
        if version:
            yield str(name), str(version)


def commands(facts: Facts) -> list[str]:
    """How to repeat it: the installation, the training, the evaluation."""
    version = facts.about.get("ftk")
    lines = [f"pip install llm-finetune-kit=={version}" if version else "pip install llm-finetune-kit"]
    lines.append(f"ftk --preset runs/{facts.run.name}/config.yaml")
    if facts.evaluation:
        lines.append(_evaluate_command(facts))
    return lines


def reproduction(facts: Facts) -> str:
    """What has to be there to repeat it."""
    data = facts.part("data")
    if data.get("name") == IN_MEMORY or any(one.key == "data" and one.value == IN_MEMORY for one in facts.settings):
        return "The rows were given as Python objects: repeat it from Python, with the same rows (see their hash)."
    return (
        "With the same versions, machine and data (see their hash), a processor repeats the losses bit for bit, and a "
        "GPU up to the last digits. config.yaml is printed below."
    )


def _evaluate_command(facts: Facts) -> str:
    assert facts.evaluation is not None
    settings = _part(facts.evaluation.about, "settings")
    sampling, expected = _part(settings, "sampling"), _part(settings, "expected")
    model = _part(facts.evaluation.about, "run").get("model") or facts.run.name
    parts = ["ftk", "evaluate", str(model)]
    for flag, value, usual in (
        ("--max-tokens", sampling.get("max_tokens"), None),
        ("--temperature", sampling.get("temperature"), 0.0),
        ("--top-p", sampling.get("top_p"), 1.0),
        ("--seed", sampling.get("seed"), 0),
        ("--expect", "json" if expected.get("json") else None, None),
        ("--expect-regex", expected.get("regex"), None),
        ("--expect-words", expected.get("words"), None),
        ("--embedding", settings.get("embedding"), None),
        ("--tasks", ",".join(map(str, settings.get("tasks") or ())) or None, None),
    ):
        if value is not None and value != usual:
            parts += [flag, shortened(value)]
    return shlex.join(parts)


def _part(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = values.get(key)
    return found if isinstance(found, Mapping) else {}
