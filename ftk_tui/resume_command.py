"""`ftk resume`: go on with a run that was stopped or interrupted."""

from __future__ import annotations

from collections.abc import Sequence

from .parsing import command_parser


def main(arguments: Sequence[str]) -> int:
    """Run `ftk resume`; returns the exit code."""
    parser = command_parser("resume", "Go on with a stopped or interrupted run: `ftk resume [RUN]`.")
    parser.add_argument("run", metavar="RUN", help="the run's name, or its folder")
    options = parser.parse_args(arguments)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    return headless.resume(options.run, as_json=options.json)
