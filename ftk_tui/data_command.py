"""`ftk data`: look at a data set, check it, convert it, split it. Imports no torch unless a model is named."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ftk import dataspec
from ftk.config import DataSettings, RunConfig, build
from ftk.errors import EXIT_DONE, EXIT_FAILED, UsageError

from .data_work import inspection_settings, shape_of
from .meter import meter, reading
from .options import add_settings, settings_from
from .parsing import Formatter, Parser, add_output
from .text import counted

_ACTIONS = {
    "inspect": "what a data set is, what is wrong with it, how long its rows are",
    "preview": "its first rows, at once, however large it is",
    "show": "one row as the model sees it, with what is learnt",
    "rows": "page through all rows, or through those with a word in them",
    "convert": "write it in another format or layout",
    "split": "write a part to train on and a part to measure with",
}
_SOURCE = "a file, folder, glob, sample (sample:chat), hub id, - for standard input, or a mixture (a.jsonl:2,b.csv)"
_INSPECT_KEYS = (*(key for key in DataSettings.model_fields if key != "data"), "batch_size", "seed")
_SHOW_KEYS = ("columns", "max_length", "template", "train_on", "long_rows", "system_prompt")


def main(arguments: Sequence[str]) -> int:
    """Run `ftk data ...`; returns the exit code."""
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:  # said by the parser of the action, which knows its flags
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.model is not None:
        from .headless import quiet_libraries

        quiet_libraries(debug=options.debug)
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "inspect": _inspect, "preview": _preview, "show": _show, "rows": _rows, "convert": _convert, "split": _split,
    }  # fmt: skip
    return actions[options.action](options)


def _parser() -> Parser:
    listed = "\n".join(f"  {name:<10} {text}" for name, text in _ACTIONS.items())
    parser = Parser(
        prog="ftk data",
        usage="ftk data ACTION SOURCE [options]",
        description=f"Everything about a data set, before anything is trained on it.\n\nactions:\n{listed}",
        epilog="`ftk data ACTION --help` lists the options of an action.",
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    parser.set_defaults(model=None)
    actions = parser.add_subparsers(
        dest="action", prog="ftk data", metavar="ACTION", required=True, help=argparse.SUPPRESS
    )
    made = {
        name: actions.add_parser(name, description=text, formatter_class=Formatter, allow_abbrev=False)
        for name, text in _ACTIONS.items()
    }
    for action in made.values():
        action.add_argument("source", metavar="SOURCE", help=_SOURCE)
        action.set_defaults(parser=action)
        add_output(action)
    _looking(made)
    _writing(made)
    return parser


def _looking(made: dict[str, Parser]) -> None:
    """The options of the actions that only read."""
    for name in ("inspect", "show"):
        made[name].add_argument("--model", metavar="NAME", help="The model whose tokens and chat template are meant.")
    add_settings(made["inspect"], _INSPECT_KEYS)
    add_settings(made["show"], _SHOW_KEYS)
    made["show"].add_argument("--row", type=int, metavar="N", help="The number of the row, from 1 [1].")
    made["show"].add_argument("--line", type=int, metavar="N", help="The line of the file where the row begins.")
    made["show"].add_argument("--tokens", action="store_true", help="Token by token.")
    add_settings(made["preview"], ("columns",))
    made["preview"].add_argument("--rows", type=int, default=5, metavar="N", help="How many rows of each file [5].")
    add_settings(made["rows"], ("columns",))
    made["rows"].add_argument(
        "--search", nargs="+", default=[], metavar="WORD", help="Only rows with all of these in them, in any case."
    )


def _writing(made: dict[str, Parser]) -> None:
    """The options of the actions that write files."""
    from ftk.data.writing import LAYOUTS

    made["convert"].add_argument("out", metavar="OUT", help=".jsonl, .json, .csv, .tsv, .parquet or .arrow; .gz, .zst")
    made["split"].add_argument("train", metavar="TRAIN", help="the file to write the rows to train on to")
    made["split"].add_argument("held_out", metavar="HELD_OUT", help="the file to write the held-out rows to")
    for name in ("convert", "split"):
        made[name].add_argument("--to", choices=LAYOUTS, metavar="LAYOUT", help=f"{', '.join(LAYOUTS)} [what suits]")
        made[name].add_argument("--overwrite", action="store_true", help="Replace files that are there.")
    add_settings(made["convert"], ("columns", "skip_bad", "duplicates", "max_rows"))
    add_settings(made["split"], ("columns", "skip_bad", "duplicates", "max_rows", "eval_fraction", "seed"))


def _settings(options: argparse.Namespace) -> RunConfig:
    return build({"data": options.source, **settings_from(options, skip=("model",))})


def _tokenizer(options: argparse.Namespace) -> Any:
    if options.model is None:
        return None
    from ftk.models.tokenizers import find_tokenizer

    return find_tokenizer(options.model)


def _inspect(options: argparse.Namespace) -> int:
    from ftk.data.inspection import inspect_dataset

    from . import data_report

    config = _settings(options)
    tokenizer = _tokenizer(options)
    wanted = inspection_settings(config, tokenizer)
    with meter() as tell:
        found = inspect_dataset(config.data, tokenizer, wanted, tell)
    if options.json:
        print(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        data_report.inspection(found, options.model)
    return EXIT_FAILED if any(finding.severity == "error" for finding in found.findings) else EXIT_DONE


def _preview(options: argparse.Namespace) -> int:
    from ftk.data.preview import preview

    from . import data_report

    config = _settings(options)
    found = preview(config.data, columns=config.columns, count=max(1, options.rows))
    if options.json:
        for number, row in enumerate(found.rows, 1):
            print(json.dumps(data_report.row_json(row, number), ensure_ascii=False))
    else:
        data_report.preview(found)
    return EXIT_DONE


def _show(options: argparse.Namespace) -> int:
    from ftk.data.preview import find
    from ftk.data.view import views

    from . import data_report

    if options.row is not None and options.line is not None:
        raise UsageError("--row and --line both say which row.", hint="Give one of them.")
    number = options.row if options.row is not None or options.line is not None else 1
    config = _settings(options)
    row = find(config.data, row=number, line=options.line, columns=config.columns)
    if options.model is None:
        if options.tokens:
            raise UsageError("--tokens needs to know the model.", hint="Add --model NAME, such as --model smollm2.")
        if options.json:
            print(json.dumps(data_report.row_json(row, number or 0), ensure_ascii=False))
        else:
            _print(data_report.row_lines(row, str(number or "")))
        return EXIT_DONE
    tokenizer = _tokenizer(options)
    found = views(row, tokenizer, shape_of(config, tokenizer), config.template)
    if options.json:
        print(json.dumps(data_report.views_json(row, found), ensure_ascii=False))
    else:
        data_report.views(row, found, tokens=options.tokens)
    return EXIT_DONE


def _rows(options: argparse.Namespace) -> int:
    from ftk.data.preview import browse

    from . import data_report

    config = _settings(options)
    found = (
        item
        for item in browse(config.data, config.columns)
        if not options.search or (item.row is not None and data_report.matches(item.row, options.search))
    )
    if options.json:
        for item in found:
            if item.row is not None:
                print(json.dumps(data_report.row_json(item.row, item.number, held_out=item.held_out)))
        return EXIT_DONE
    count = _paged(data_report.browsed_lines(item) for item in found)
    if not count:
        print("No row holds that." if options.search else "There are no rows.", file=sys.stderr)
    return EXIT_DONE


def _convert(options: argparse.Namespace) -> int:
    from ftk.data.dataset import load_dataset
    from ftk.data.split import first_rows, unique_rows

    config = _settings(options)
    out = dataspec.expanded(options.out)
    with meter() as tell:
        dataset = load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad, progress=reading(tell))
    chosen = unique_rows(first_rows(dataset, config.max_rows), config.duplicates)
    files = [(out, chosen.rows)]
    if len(chosen.held_out):
        files.append((held_out_name(out), chosen.held_out))
    return _write(files, options, dataset.info.faults)


def held_out_name(path: Path) -> Path:
    """The file beside `path` for its held-out rows: ``a.heldout.jsonl.gz`` of ``a.jsonl.gz``; read as such again."""
    stem, dot, endings = path.name.partition(".")
    return path.with_name(f"{stem}.heldout{dot}{endings}")


def _split(options: argparse.Namespace) -> int:
    from ftk.data.dataset import load_dataset
    from ftk.data.split import first_rows, split, unique_rows

    config = _settings(options)
    if not config.eval_fraction:
        raise UsageError("--eval-fraction 0 sets no row aside.", hint="Say which part, such as --eval-fraction 0.1")
    with meter() as tell:
        dataset = load_dataset(config.data, columns=config.columns, skip_bad=config.skip_bad, progress=reading(tell))
    chosen = unique_rows(first_rows(dataset, config.max_rows), config.duplicates)
    parts = split(chosen, config.eval_fraction, seed=config.seed)
    if parts.overlap:
        print(f"Left out, as also held out: {counted(parts.overlap, 'row')} to train on.", file=sys.stderr)
    files = [(dataspec.expanded(options.train), parts.train), (dataspec.expanded(options.held_out), parts.held_out)]
    return _write(files, options, dataset.info.faults)


def _write(files: Sequence[tuple[Path, Any]], options: argparse.Namespace, faults: int) -> int:
    from ftk.data import writing

    if len({path.absolute() for path, _ in files}) < len(files):
        raise UsageError(f"{files[0][0]} is named twice; nothing was written.", hint="Give each part its own file.")
    taken = [path for path, _ in files if path.exists()]
    if taken and not options.overwrite:
        raise UsageError(f"{taken[0]} exists; nothing was written.", hint="Choose another name, or add --overwrite.")
    layout = options.to or writing.layout_for(row for _, rows in files for row in rows)
    for path, rows in files:  # all of them before the first is written
        writing.check(rows, path, layout)
    for path, rows in files:
        count = writing.write(rows, path, layout, overwrite=options.overwrite)
        if options.json:
            print(json.dumps({"path": str(path), "rows": count, "layout": layout}))
        else:
            print(f"{path}: {counted(count, 'row')} as {layout}")
    if faults:
        print(f"Left out, as --skip-bad allows: {counted(faults, 'row')} that cannot be read.", file=sys.stderr)
    return EXIT_DONE


def _print(lines: Iterable[Text]) -> None:
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def _paged(rows: Iterable[Iterable[Text]]) -> int:
    """Print rows through a pager on a terminal, one after the other elsewhere; returns how many."""
    rows = iter(rows)
    first = list(islice(rows, 1))
    if not first:
        return 0
    program = shlex.split(os.environ.get("PAGER", "") or "less")
    if not (sys.stdout.isatty() and sys.stdin.isatty() and shutil.which(program[0])):
        return _print_rows(first, rows)
    environment = {"LESS": "-R", "LESSSECURE": "1", **os.environ}  # secure: text of the data opens no files
    console = Console(highlight=False)
    with subprocess.Popen(program, stdin=subprocess.PIPE, env=environment, text=True) as pager:
        count = 0
        with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
            for count, lines in enumerate(_chained(first, rows), 1):  # noqa: B007 - the last number is the answer
                with console.capture() as captured:
                    for line in lines:
                        console.print(line, soft_wrap=True)
                assert pager.stdin is not None
                pager.stdin.write(captured.get())
        with contextlib.suppress(BrokenPipeError):
            pager.communicate()
    return count


def _print_rows(first: Iterable[Iterable[Text]], rest: Iterable[Iterable[Text]]) -> int:
    count = 0
    for count, lines in enumerate(_chained(first, rest), 1):  # noqa: B007 - the last number is the answer
        _print(lines)
    return count


def _chained(first: Iterable[Iterable[Text]], rest: Iterable[Iterable[Text]]) -> Iterator[Iterable[Text]]:
    yield from first
    yield from rest
