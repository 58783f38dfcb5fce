"""`ftk resume`: go on with a run that was stopped or interrupted."""

from __future__ import annotations

from collections.abc import Sequence

from .options import add_settings, settings_from
from .parsing import command_parser

_DESCRIPTION = """\
Go on with a run from its newest checkpoint, or from its beginning if it has none.

  ftk resume                                   the newest run that was stopped or interrupted
  ftk resume RUN --max-time 25m                a setting that the result does not hang on
  ftk resume RUN --override --learning-rate 1e-4
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk resume`; returns the exit code."""
    parser = command_parser("resume", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", nargs="?", help="the run's name, or its folder")
    parser.add_argument(
        "--override", action="store_true", help="Take settings and rows that differ from those of the run's beginning."
    )
    parser.add_argument("--detach", action="store_true", help="Go on in the background; `ftk attach` shows it.")
    add_settings(parser)
    options = parser.parse_args(arguments)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    changes = settings_from(options)
    if options.detach:
        from . import detach

        return detach.resume(options.run, changes, override=options.override, as_json=options.json, debug=options.debug)
    return headless.resume(options.run, changes, override=options.override, as_json=options.json)
