"""`ftk compare`: base and tuned model, or several runs and checkpoints, on the same prompts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftk.errors import EXIT_DONE, EXIT_FAILED, RunError, UsageError

from .asking import Loading, add_place, add_sampling, note, on_terminal, sampling
from .interrupts import Interrupts
from .parsing import command_parser, numbers

if TYPE_CHECKING:
    from ftk.evaluation.comparisons import Record
    from ftk.evaluation.prompts import Chosen
    from ftk.evaluation.subjects import Subject

    from .compare_views import View

_DESCRIPTION = """\
Ask the base and the tuned model the same, side by side; one copy of the base is loaded.

  ftk compare RUN                              held-out rows of the run's own data
  ftk compare RUN --prompt "Where is my parcel?" --prompt "And my refund?"
  ftk compare RUN --prompts questions.txt --to answers.html
  ftk compare RUN OTHER                        two runs, and the base
  ftk compare RUN@100 200 --no-base            two checkpoints of a run
  ftk compare RUN OTHER --ensemble             and both together, token by token
  ftk compare RUN --blind                      say which is better without knowing whose it is
"""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk compare`; returns the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    _check(options)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    from ftk.evaluation import subjects

    models = subjects.find(options.names, base=_with_base(options), model=options.model)
    if options.ensemble:
        models = subjects.with_ensemble(models, numbers("--weights", options.weights))
    if len(models) < 2:
        raise UsageError("There is only one model to ask.", hint="Name another run, or leave --no-base out.")
    loading = Loading()
    with loading.shown():
        how = sampling(options)
        from ftk.evaluation import render

        if options.to:
            render.kind_of(Path(options.to), force=options.force)
        asked = _prompts(options, models[-1])
    return _compare(options, models, asked, how, loading)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("compare", _DESCRIPTION)
    parser.add_argument(
        "names", metavar="RUN", nargs="+", help="a run, a checkpoint of it (RUN@STEP), another run, or only a step"
    )
    parser.add_argument("--no-base", action="store_true", help="Leave the untuned model out.")
    parser.add_argument(
        "--ensemble", action="store_true", help="Ask all adapters together too: their probabilities are averaged."
    )
    parser.add_argument("--weights", metavar="A,B", help="How much each counts in the ensemble [equally much].")
    what = parser.add_argument_group("What is asked")
    what.add_argument(
        "--prompts", metavar="FILE", help="Text with a prompt a line, or JSON Lines; - for standard input."
    )
    what.add_argument(
        "--prompt", metavar="TEXT", action="append", default=[], help="A prompt; may be given repeatedly."
    )
    what.add_argument("--rows", type=int, metavar="N", help="Ask N held-out rows [10], or the first N of the file.")
    add_sampling(parser, max_tokens=200, temperature=0.0)
    where = parser.add_argument_group("Models and answers")
    add_place(where)
    where.add_argument(
        "--batch-size", type=int, metavar="N", help="Prompts computed at once [8 on a terminal, else 32]."
    )
    where.add_argument("--to", metavar="FILE", help="Write a page besides: FILE.html or FILE.md.")
    where.add_argument("--force", action="store_true", help="Replace that file if it is there.")
    where.add_argument("--blind", action="store_true", help="Judge two answers without knowing whose they are.")
    return parser


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense before anything is loaded."""
    for flag, value in (("--rows", options.rows), ("--batch-size", options.batch_size)):
        if value is not None and value < 1:
            raise UsageError(f"{flag}: {value} is not accepted: must be 1 or more.")
    if options.weights and not options.ensemble:
        raise UsageError("--weights goes with --ensemble.", hint="`ftk merge` combines adapters by weights for good.")
    if not options.blind:
        return
    if options.json or not (on_terminal() and sys.stdin.isatty()):
        raise UsageError("--blind asks for a key after every prompt, and there is no terminal to press it on.")
    if options.prompts == "-":
        raise UsageError("--blind reads keys from standard input, so that prompts cannot come from there.")
    if options.ensemble or len(options.names) > 2 or (len(options.names) == 1 and options.no_base):
        raise UsageError("--blind takes two models: a run and its base, or two runs or checkpoints.")


def _with_base(options: argparse.Namespace) -> bool:
    return not options.no_base and not (options.blind and len(options.names) == 2)


def _prompts(options: argparse.Namespace, subject: Subject) -> Chosen:
    """What is asked: what was typed, then the file; where nothing is given, held-out rows."""
    from ftk.evaluation import prompts

    system = subject.config.system_prompt
    if not options.prompts and not options.prompt:
        return prompts.held_out(subject.run, subject.config, options.rows or prompts.ROWS)
    parts = [prompts.typed(options.prompt, system)] if options.prompt else []
    if options.prompts:
        read = prompts.from_file(options.prompts, system)
        parts.append(prompts.Chosen(read.prompts[: options.rows], read.source))
    return prompts.Chosen(
        tuple(prompt for part in parts for prompt in part.prompts), ", ".join(part.source for part in parts)
    )


def _compare(options: argparse.Namespace, models: list[Subject], asked: Chosen, how: Any, loading: Loading) -> int:
    from ftk.evaluation import comparisons
    from ftk.evaluation.compare import compare_subjects

    from . import compare_views

    view = compare_views.suitable([model.label for model in models], asked.prompts, options, loading)
    for text in asked.notes:
        view.remark(text)
    with Interrupts() as interrupted, view:
        view.interrupted = interrupted
        found = compare_subjects(
            models,
            asked.prompts,
            how,
            watcher=view,
            batch_size=options.batch_size or (8 if view.side_by_side else 32),
            device=options.device,
            stop=lambda: interrupted() or view.left,
        )
    if not found:
        note("Nothing was answered.")
        return EXIT_FAILED
    made = comparisons.record(models, how, found, asked.source, notes=asked.notes, verdicts=view.verdicts)
    return _kept(options, models, made, view, complete=len(found) == len(asked.prompts) or view.left)


def _kept(options: argparse.Namespace, models: list[Subject], made: Record, view: View, *, complete: bool) -> int:
    """Write what was found, and say where it lies."""
    from ftk.evaluation import comparisons, render

    run = next(model.run for model in models if model.folder)
    view.summary(made)
    try:
        view.say(f"Kept in {comparisons.keep(run, made)}")
    except RunError as error:
        note(f"Warning: {error.message}")
        complete = False
    if options.to:
        title = f"{' and '.join(made.labels)}: {len(made.answers)} prompts"
        view.say(f"Written to {render.write(made, Path(options.to), title=title, force=options.force)}")
    return EXIT_DONE if complete else EXIT_FAILED
