"""`ftk estimate`: will a run fit, how long will it take, what will it cost, here or on a card that is not here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftk.config import RunConfig
from ftk.errors import EXIT_DONE
from ftk.hardware import gib

from .options import add_settings
from .parsing import command_parser
from .text import clock, counted, shown

if TYPE_CHECKING:
    from ftk.estimate.options import Option, Run
    from ftk.estimate.outlook import Outlook

_DESCRIPTION = """\
Whether a run fits the memory, how long it takes and what it costs, before anything is downloaded.

  ftk estimate --preset smollm2                              on this machine
  ftk estimate --model mistral-7b --data my.json --gpu t4 --max-steps 500
  ftk estimate --model llama3.1-8b --gpu a100-80 --price 1.19/h

The other settings are those of a run: `ftk --help` lists them.
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk estimate`; returns the exit code."""
    from .cli import settings_of

    parser = command_parser("estimate", _DESCRIPTION)
    parser.add_argument("--preset", metavar="NAME", help="Start from a recipe: a name (`ftk presets`) or a file.")
    parser.add_argument("--gpu", metavar="CARD", help="As if this machine had that card: t4, l4, rtx4090, h100 ...")
    parser.add_argument("--price", metavar="0.79/h", help="What an hour costs in dollars; by default a list's price.")
    parser.add_argument("--trace", action="store_true", help="Run the model's code without memory: exacter, seconds.")
    parser.add_argument("--no-measure", action="store_true", help="Do not measure this machine: its speed is guessed.")
    add_settings(parser)
    options = parser.parse_args(arguments)
    return show(
        settings_of(options),
        gpu=options.gpu,
        price=options.price,
        trace=options.trace,
        measure=not options.no_measure,
        as_json=options.json,
    )


def show(
    config: RunConfig,
    *,
    gpu: str | None = None,
    price: str | None = None,
    trace: bool = False,
    measure: bool = True,
    as_json: bool = False,
) -> int:
    """Print what a run with these settings would take; returns the exit code.

    Args:
        config: The settings.
        gpu: A card that is not here.
        price: What an hour costs.
        trace: Run the model's code without memory.
        measure: Measure this machine if that was never done; takes some seconds.
        as_json: Print one JSON object.

    Raises:
        FtkError: model, data or card cannot be had, or a setting cannot work there.

    """
    from ftk.estimate import options as ways

    run = _run(config, gpu, price, trace=trace, measure=measure and gpu is None)
    chosen = run.look()
    choices, cards = ways.ways(run, chosen), ways.across_cards(run)
    if as_json:
        print(json.dumps(_values(run, chosen, choices, cards), ensure_ascii=False))
        return EXIT_DONE
    _print(Console(highlight=False), run, chosen, choices, cards)
    return EXIT_DONE


def _run(config: RunConfig, gpu: str | None, price: str | None, *, trace: bool, measure: bool) -> Run:
    from ftk import autoconfig, estimate, hardware
    from ftk.data.dataset import load_dataset
    from ftk.estimate.options import Run
    from ftk.memory import card

    found = card.find(gpu) if gpu else None
    paid = estimate.parse_price(price) if price else None
    source = autoconfig.located(config, asks_hub=False)
    dataset = load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad)
    return Run(config, hardware.detect(), dataset, source, found, paid, measure, trace)


def _values(run: Run, chosen: Outlook, choices: list[Option], cards: list[Option]) -> dict[str, Any]:
    from ftk.estimate.options import shown as differing

    time = chosen.time
    return {
        "model": run.config.model,
        "data": run.dataset.name,
        "rows": chosen.plan.rows[0],
        "machine": run.card.id if run.card else chosen.plan.hardware.summary,
        "steps": chosen.plan.total_steps,
        "max_length": chosen.plan.config.max_length,
        "chosen": {**differing(chosen), **chosen.to_dict()},
        "reasons": chosen.plan.reasons,
        "memory": chosen.memory.parts() if chosen.memory else None,
        "time": {name: round(part, 1) for name, part in time.parts.items()} if time else None,
        "price": chosen.price.words if chosen.price else None,
        "choices": [option.to_dict() for option in choices],
        "cards": [option.to_dict() for option in cards],
    }


def _print(console: Console, run: Run, chosen: Outlook, choices: list[Option], cards: list[Option]) -> None:
    plan = chosen.plan
    config = plan.config
    rows = config.batch_size * config.gradient_accumulation
    there = f"{run.card.name}, {gib(run.card.memory)} (not here)" if run.card else plan.hardware.summary
    _say(console, f"Machine   {there}")
    _say(console, f"Model     {config.model}")
    _say(console, f"Data      {run.dataset.name}, {counted(plan.rows[0], 'row')} to train on")
    steps = f"{counted(plan.total_steps, 'step')} of {counted(rows, 'row')}"
    _say(console, f"Run       {steps}, up to {config.max_length} tokens each")
    _say(console, f"Memory    {_memory(chosen)}")
    if chosen.time:
        parts = ", ".join(f"{name} {clock(part)}" for name, part in chosen.time.parts.items() if part >= 0.5)
        _say(console, f"Time      {_span(chosen)}: {parts}")
    if chosen.price:
        _say(console, f"Cost      {_dollars(chosen)}: {chosen.price.words}")
    for remark in plan.remarks:
        _say(console, f"          {remark.message} {remark.hint}")
    console.print(_ways_table(choices))
    console.print(_cards_table(cards))
    _say(console, "* what ftk would take; rows: computed at once x portions of a step")
    _say(console, f"Speed     {chosen.time.basis if chosen.time else 'not known'}")
    if run.card:
        _say(console, "Cards that are not here are worked out from data sheets, not measured: docs/estimate.md.")


def _ways_table(choices: list[Option]) -> Table:
    table = _table("", "weights", "rows", "recomputed", "fits", "memory", "time", "cost")
    for option in choices:
        table.add_row(*_marked(option), *_settings(option), *_answers(option))
    return table


def _cards_table(cards: list[Option]) -> Table:
    table = _table("", "card", "weights", "rows", "recomputed", "fits", "memory", "time", "cost")
    for option in cards:
        table.add_row(*_marked(option), Text(str(option.settings["card"])), *_settings(option), *_answers(option))
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in ("memory", "time", "cost") else "left", no_wrap=True)
    return table


def _marked(option: Option) -> tuple[Text]:
    return (Text("*" if option.chosen else " ", "bold green"),)


def _settings(option: Option) -> tuple[str, str, str]:
    made = option.settings
    if "batch_size" not in made:
        return "-", "-", "-"
    portions = int(made["gradient_accumulation"])
    at_once = str(made["batch_size"]) + (f" x {portions}" if portions > 1 else "")
    recomputed = made.get("gradient_checkpointing")
    return str(made["quantization"]), at_once, "yes" if recomputed else "no"


def _answers(option: Option) -> tuple[Text, str, str, str]:
    found = option.outlook
    if found is None:
        return Text(shown(option.problem.splitlines()[0])[:40], "red"), "", "", ""
    words, style = {True: ("yes", "green"), False: ("no", "bold red"), None: ("?", "yellow")}[found.fits]
    size = gib(found.memory.process) if found.memory else "?"
    if found.fits is False:
        return Text(words, style), size, "-", "-"
    return Text(words, style), size, clock(found.time.seconds) if found.time else "?", _dollars(found)


def _memory(chosen: Outlook) -> str:
    if chosen.memory is None or chosen.room is None:
        return "not known before the model is loaded"
    largest = sorted(chosen.memory.parts().items(), key=lambda part: -part[1])[:4]
    parts = ", ".join(f"{name} {gib(size)}" for name, size in largest)
    return f"about {gib(chosen.memory.process)} of the {gib(chosen.room)} that are free: {parts}"


def _span(found: Outlook) -> str:
    assert found.time is not None
    return f"about {clock(found.time.seconds)} ({clock(found.time.low)} to {clock(found.time.high)})"


def _dollars(found: Outlook) -> str:
    if found.dollars is None:
        return "-"
    return f"${found.dollars:.2f}" if found.dollars >= 0.1 else f"${found.dollars:.3f}"


def _say(console: Console, text: str) -> None:
    console.print(Text(shown(text)), soft_wrap=True)
