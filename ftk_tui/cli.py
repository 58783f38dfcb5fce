"""The `ftk` command: parse, choose what to do, turn errors into words and exit codes. Imports no torch."""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from ftk import __version__
from ftk.errors import EXIT_DONE, EXIT_FAILED, FtkError, UsageError, did_you_mean
from ftk.secrets import redact

from .text import shown

if TYPE_CHECKING:
    from ftk.config import RunConfig

_COMMANDS = {  # each is a module with a main(arguments), imported when it is called
    "data": ("data_command", "look at a data set, check, convert and split it: `ftk data inspect FILE`"),
    "models": ("models_command", "the known models: size, licence, memory, whether on disk"),
    "presets": ("presets_command", "the recipes; `ftk presets show NAME` prints one"),
    "resume": ("resume_command", "go on with a stopped or interrupted run: `ftk resume [RUN]`"),
    "runs": ("runs_command", "the runs here: list, show, rename, delete: `ftk runs`"),
    "attach": ("attach_command", "follow a run that goes on elsewhere, pause or stop it: `ftk attach [RUN]`"),
    "compare": ("compare_command", "base and tuned model, or several runs, side by side: `ftk compare RUN`"),
    "evaluate": ("evaluate_command", "loss, scores, overfitting and forgetting, with intervals: `ftk evaluate RUN`"),
    "report": ("report_command", "one page about a run, HTML or Markdown: `ftk report RUN`"),
    "chat": ("chat_command", "talk to a tuned model, and to its base: `ftk chat RUN`"),
    "bench": ("bench_command", "how fast a run's model answers: base, adapter, merged: `ftk bench RUN`"),
    "export": ("export_command", "ship a run: adapter, merged model, GGUF, Ollama, Hub: `ftk export RUN --to gguf`"),
    "merge": ("merge_command", "combine the adapters of runs into one: `ftk merge RUN_A RUN_B`"),
    "estimate": ("estimate_command", "will it fit, how long, what will it cost: `ftk estimate --gpu t4`"),
    "serve": ("serve_command", "an OpenAI-compatible server for a run: `ftk serve RUN`"),
    "doctor": ("doctor_command", "what this machine, its login and its terminal will do to a run"),
}

_DESCRIPTION = """\
Fine-tune a language model on your own examples.

  ftk --preset smollm2                         a small model; needs no GPU and no model hub
  ftk --preset gpt2 --data my.jsonl            a recipe on your own data
  ftk --model qwen3-0.6b --data my.csv --max-steps 200
  ftk data inspect my.jsonl --model smollm2    what is in a file, and what is wrong with it
  ftk --preset mistral-7b --dry-run            show the plan and the reason for every choice
  ftk                                          on a terminal: the app, with all of this and the runs
"""


def _parser() -> argparse.ArgumentParser:
    from .options import add_settings
    from .parsing import Formatter, Parser, add_output

    commands = "\n".join(f"  {name:<10} {text}" for name, (_, text) in _COMMANDS.items())
    parser = Parser(
        prog="ftk",
        usage="ftk --preset NAME [options]\n       ftk COMMAND [--help]",
        description=f"{_DESCRIPTION}\ncommands:\n{commands}",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 75 stopped but resumable.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ftk {__version__}")
    parser.add_argument("--preset", metavar="NAME", help="Start from a recipe: a name (`ftk presets`) or a file.")
    parser.add_argument("--dry-run", action="store_true", help="Show the plan and its reasons; train nothing.")
    parser.add_argument("--estimate-time", action="store_true", help="The same as `ftk estimate`; train nothing.")
    parser.add_argument("--tui", action="store_true", help="Open the app with these settings; nothing trains yet.")
    parser.add_argument("--save-preset", metavar="FILE", help="Write the settings as a recipe; train nothing.")
    parser.add_argument("--detach", action="store_true", help="Train in a process of its own: `ftk attach` follows it.")
    parser.add_argument("--profile", action="store_true", help="Say at the end where the time went.")
    add_output(parser)
    add_settings(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code.

    Args:
        argv: The arguments, without the program's name; those of the process by default.

    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _print_anything(as_json="--json" in arguments)
    try:
        if arguments and not arguments[0].startswith("-"):
            return _command(arguments[0], arguments[1:])
        return _run(arguments)
    except FtkError as error:
        if "--debug" in arguments:
            _show_where()
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away: nobody is left to complain to
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - a fault of ours, told without a traceback
        if "--debug" in arguments:
            _show_where()
        else:
            told = redact(f"ftk: {type(error).__name__}: {error}")
            print(f"{told}\nThis is a fault of ftk; --debug shows where.", file=sys.stderr)
        return EXIT_FAILED


def _show_where() -> None:
    print(redact(traceback.format_exc()), end="", file=sys.stderr)


def _print_anything(*, as_json: bool) -> None:
    """See that no text of data or of a model is too much for the terminal's encoding (ASCII, Latin-1).

    What it cannot show becomes an escape; JSON is UTF-8 wherever it goes, as its readers expect.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", encoding="utf-8" if as_json else None)


def entry() -> None:
    """The console script."""
    code = main()
    try:
        sys.stdout.flush()
    except OSError:  # nobody reads any more, or the terminal is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _complain(error: FtkError) -> None:
    """Say what happened and what to do; both may hold text of data and of models."""
    for begin, text in (("ftk: ", error.message), ("     ", error.hint)):
        for line in _fitted(shown(text or "")):
            print(f"{begin}{line}", file=sys.stderr)
            begin = "     "


def _fitted(text: str) -> Iterator[str]:
    """The lines of a text, on a terminal broken between words; never within a word, which may be one to copy."""
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):  # no terminal
        yield from text.splitlines()
        return
    for line in text.splitlines():
        yield from textwrap.wrap(
            line, max(20, width - 6), subsequent_indent=" " * (len(line) - len(line.lstrip())),
            break_long_words=False, break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True,
        ) or [""]  # fmt: skip


def _command(name: str, arguments: list[str]) -> int:
    if name not in _COMMANDS:
        raise UsageError(
            f"Unknown command {name!r}.{did_you_mean(name, tuple(_COMMANDS))}", hint="`ftk --help` lists all."
        )
    module, _ = _COMMANDS[name]
    return int(import_module(f".{module}", __package__).main(arguments))


def _run(arguments: list[str]) -> int:
    if not arguments:
        return _app()
    options = _parser().parse_args(arguments)
    settings = settings_of(options)
    if options.estimate_time:
        from . import estimate_command

        return estimate_command.show(settings, as_json=options.json)
    if options.tui:
        return _app(settings, options.preset)
    if options.save_preset:
        from ftk import dataspec, recipes

        path = recipes.save(settings, dataspec.expanded(options.save_preset))
        print(f"Saved. Use it with: ftk --preset {path}")
        return EXIT_DONE
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    if options.dry_run:
        return headless.dry_run(settings, as_json=options.json)
    if options.detach:
        from . import detach

        if options.profile:
            raise UsageError("--profile has nobody to tell with --detach.", hint="Leave one of them out.")
        return detach.train(settings, as_json=options.json, debug=options.debug)
    return headless.train(settings, as_json=options.json, profile=options.profile)


def _app(settings: RunConfig | None = None, preset: str | None = None) -> int:
    """Open the app; nothing else is imported before, so that its first screen comes at once."""
    from . import launch

    if reason := launch.obstacle():
        if settings is None:
            hint = f"Try `ftk --preset smollm2`, or `ftk --help`. The app does not open here: {reason}."
            raise UsageError("Nothing to do yet: say what to train.", hint=hint)
        raise UsageError(f"The app does not open here: {reason}.", hint="Leave --tui out to train without it.")
    return launch.open_app(settings, preset)


def settings_of(options: argparse.Namespace) -> RunConfig:
    """The settings of the flags of a run, on top of those of the preset if one is named."""
    from ftk import recipes
    from ftk.config import build

    from .options import settings_from

    given = settings_from(options)
    if options.preset:
        recipe = recipes.load(options.preset).config
        if recipe.data.startswith("sample:") and given.get("data", recipe.data) != recipe.data:
            given = {"compare": "auto", **given}  # the recipe's prompts ask what the sample answers
        return recipe.merged(given)
    return build(given)
