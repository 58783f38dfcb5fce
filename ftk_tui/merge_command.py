"""`ftk merge`: one run out of several."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ftk.errors import EXIT_DONE, UsageError

from .busy import busy
from .parsing import command_parser, numbers
from .runs_report import line

_METHODS = ("linear", "ties", "dare", "dare-ties")
_DESCRIPTION = """\
Combine the adapters of runs that share their base model. The result is a run like any other.

  ftk merge RUN_A RUN_B                                   half of each
  ftk merge RUN_A RUN_B --weights 0.7,0.3 --name both
  ftk merge RUN_A RUN_B --method ties --density 0.3

methods:
  linear      the exact weighted sum; the new rank is the sum of the ranks
  ties        keeps the largest numbers, and of those the ones whose signs agree; equal ranks
  dare        leaves numbers out at random and makes up for it; equal ranks
  dare-ties   both

To let adapters answer together without merging them: ftk compare RUN_A RUN_B --ensemble
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk merge`; returns the exit code."""
    parser = command_parser("merge", _DESCRIPTION)
    parser.add_argument("runs", metavar="RUN", nargs="+", help="names or folders of runs; the first gives the settings")
    parser.add_argument("--weights", metavar="A,B", help="How much of each [equal parts].")
    parser.add_argument("--method", choices=_METHODS, default="linear", metavar="METHOD", help="See above [linear].")
    parser.add_argument("--density", type=float, default=None, metavar="X", help="What ties and dare keep [0.5].")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="Of what dare leaves out [0].")
    parser.add_argument("--name", metavar="NAME", help="The new run's name; otherwise model, date and time.")
    options = parser.parse_args(arguments)
    if options.density is not None and options.method == "linear":
        raise UsageError("--density goes with --method ties, dare and dare-ties; linear keeps everything.")
    weights = numbers("--weights", options.weights)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    from ftk.export import combine, source

    parts = [source.find(name) for name in options.runs]
    density = 0.5 if options.density is None else options.density
    recipe = combine.Recipe(weights, options.method, density, options.seed, options.name)
    with busy(as_json=options.json) as tell:
        made = combine.combine(parts, recipe, progress=tell)
    if options.json:
        print(json.dumps({"run": made.run.name, "path": str(made.run.path), "notes": made.notes}))
        return EXIT_DONE
    print(line(f"{made.run.name} is combined from {', '.join(part.name for part in parts)}."))
    for note in made.notes:
        print(line(f"Note: {note}"))
    print(line(f"Look at it:  ftk runs show {made.run.name}"))
    return EXIT_DONE
