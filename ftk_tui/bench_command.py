"""`ftk bench`: how fast the model of a run answers, and what memory it takes: base, adapter, merged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftk.errors import EXIT_DONE, UsageError

from .asking import Loading, add_place, note
from .parsing import command_parser
from .text import shown

if TYPE_CHECKING:
    from ftk.evaluation.speed import Speed, Spread

_DESCRIPTION = """\
Measure how fast the model of a run answers: seconds to the first token, tokens a second at several batch sizes, and
the most memory in use. The base, the base with the adapter, and the adapter merged into it (in memory only).

  ftk bench RUN
  ftk bench RUN --batch-sizes 1,8,32 --max-tokens 128
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk bench`; returns the exit code."""
    parser = command_parser("bench", _DESCRIPTION)
    parser.add_argument("names", metavar="RUN", nargs="+", help="a run, a checkpoint of it (RUN@STEP), another run")
    parser.add_argument("--no-base", action="store_true", help="Leave the untuned model out.")
    parser.add_argument("--no-merged", action="store_true", help="Leave the merged model out.")
    parser.add_argument("--batch-sizes", default="1,4,16", metavar="N,N", help="Prompts answered at once [1,4,16].")
    parser.add_argument("--max-tokens", type=int, default=64, metavar="N", help="Tokens of every answer [64].")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="How often each is measured [3].")
    parser.add_argument("--prompt", metavar="TEXT", help="What is asked [a sentence].")
    add_place(parser)
    options = parser.parse_args(arguments)
    sizes = _sizes(options.batch_sizes)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    from ftk.evaluation import subjects

    models = subjects.find(options.names, base=not options.no_base, model=options.model)
    loading = Loading()
    found = []
    with loading.shown():
        from ftk.evaluation import speed

        measured = speed.measure_run(
            models,
            merged=not options.no_merged,
            device=options.device,
            progress=loading,
            loaded=_told,
            prompt=options.prompt or speed.PROMPT,
            max_tokens=options.max_tokens,
            batch_sizes=sizes,
            repeats=options.repeats,
        )
        for one in measured:
            found.append(one)
            if options.json:
                print(json.dumps(one.to_dict(), ensure_ascii=False), flush=True)
    if not options.json:
        _table(found)
    return EXIT_DONE


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise UsageError(f"--batch-sizes: {text!r} is not accepted.", hint="Numbers with commas, like 1,4,16.")
    return list(dict.fromkeys(sizes))


def _told(loaded: Any) -> None:
    for text in loaded.remarks:
        note(f"Note: {text}")


def _table(found: Sequence[Speed]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ftk.hardware import gib

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("model", overflow="fold")
    sizes = list(found[0].tokens_per_s)
    for heading in ("first token", *(f"at {size}" for size in sizes), "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        first = _spread(one.first_token_s, 1000, " ms")
        rates = [_spread(one.tokens_per_s[size]) for size in sizes]
        table.add_row(Text(shown(one.model)), *map(Text, (first, *rates, gib(one.peak_memory_bytes))))
    console = Console()
    console.print(table)
    told = (
        f"at N: tokens a second of N answers at once, {found[0].tokens} tokens each, their prompt included.",
        f"Medians of {found[0].repeats}, ± half of the range.",
    )
    console.print(Text("\n" + "\n".join(told)))


def _spread(of: Spread, times: float = 1.0, unit: str = "") -> str:
    """The middle value, and half the width of the range against it."""
    half = (of.high - of.low) / 2 / of.median if of.median else 0.0
    value = of.median * times
    return f"{f'{value:,.0f}' if value >= 100 else f'{value:.3g}'}{unit} ±{half:.0%}"
