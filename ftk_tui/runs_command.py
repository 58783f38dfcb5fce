"""`ftk runs`: what runs there are, one of them in full; rename, delete and open them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ftk import dataspec, run_edit, run_list
from ftk.errors import EXIT_DONE, UsageError
from ftk.run_list import RunSummary
from ftk.runs import RunFolder

from . import runs_report
from .parsing import command_parser
from .runs_report import line, size

_ACTIONS = {
    "list": ("", "all runs, newest first; the same as `ftk runs`"),
    "show": ("RUN", "settings, losses, checkpoints, where the result lies, what to do next"),
    "rename": ("RUN NEW", "give a run another name"),
    "delete": ("RUN ...", "remove runs with all they hold; asks first"),
    "open": ("RUN", "print its folder; on a desktop, open it"),
}


def main(arguments: Sequence[str]) -> int:
    """Run `ftk runs ...`; returns the exit code."""
    listed = "\n".join(f"  {f'{name} {names}':<16} {text}" for name, (names, text) in _ACTIONS.items())
    parser = command_parser("runs", f"The runs in ./runs, or in $FTK_RUNS.\n\nactions:\n{listed}")
    parser.add_argument("action", nargs="?", choices=list(_ACTIONS), default="list", metavar="ACTION", help="see above")
    parser.add_argument("names", nargs="*", metavar="RUN", help="a run's name; `show` and `open` also take a folder")
    parser.add_argument("--yes", action="store_true", help="Delete without asking.")
    options = parser.parse_intermixed_args(arguments)
    _count(options.action, options.names)
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "list": _list, "show": _show, "rename": _rename, "delete": _delete, "open": _open,
    }  # fmt: skip
    return actions[options.action](options)


def _count(action: str, names: list[str]) -> None:
    """See that an action has as many names as it takes."""
    wanted, _ = _ACTIONS[action]
    enough = bool(names) if wanted.endswith("...") else len(names) == len(wanted.split())
    if not enough:
        raise UsageError(
            f"`ftk runs {action}` takes {wanted or 'no name'}, and got {len(names) or 'none'}.",
            hint="`ftk runs` lists the runs; `ftk runs --help` shows how.",
        )


def _list(options: argparse.Namespace) -> int:
    found = run_list.all_runs()
    if options.json:
        for run in found:
            print(json.dumps(_values(run)))
    else:
        runs_report.table(found)
    return EXIT_DONE


def _show(options: argparse.Namespace) -> int:
    run = _found(options.names[0])
    detail = runs_report.Detail.of(run)
    if options.json:
        print(json.dumps(_values(detail.summary) | detail.to_dict()))
    else:
        runs_report.detail(detail)
    return EXIT_DONE


def _rename(options: argparse.Namespace) -> int:
    old, new = options.names
    run = run_edit.rename(run_edit.find(old), new)
    _say(options, {"renamed": old, "name": run.name, "path": str(run.path)}, f"{line(old)} is now {run.name}.")
    return EXIT_DONE


def _delete(options: argparse.Namespace) -> int:
    runs = {run.name: run for run in map(run_edit.find, options.names)}
    for run in runs.values():
        run_edit.check_deletable(run)
    if not options.yes and not _agreed([run_list.summary(run) for run in runs.values()]):
        _say(options, {"deleted": None}, "Nothing was deleted.")
        return EXIT_DONE
    for name, run in runs.items():
        run_edit.delete(run)
        _say(options, {"deleted": name}, f"Deleted {line(name)}.")
    return EXIT_DONE


def _agreed(runs: list[RunSummary]) -> bool:
    """Ask whether some runs shall be lost.

    Raises:
        UsageError: nobody is there to ask.

    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("Deleting asks first, and there is no terminal to ask on.", hint="--yes deletes unasked.")
    for run in runs:
        print(f"{line(run.name)}: {runs_report.holdings(RunFolder(run.path), run)}")
    whole = f" ({size(sum(run.bytes for run in runs))})" if len(runs) > 1 else ""
    print(f"Delete {'it' if len(runs) == 1 else f'these {len(runs)} runs{whole}'} for good? [y/N] ", end="", flush=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        print()  # Ctrl-D leaves the cursor behind the question
    return answer.strip().lower() in ("y", "yes")


def _open(options: argparse.Namespace) -> int:
    path = _found(options.names[0]).path.absolute()
    _say(options, {"path": str(path)}, line(str(path)))
    opener = _opener()
    if opener and not options.json:
        subprocess.Popen(
            [opener, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return EXIT_DONE


def _opener() -> str | None:
    """The program that opens a folder on this desktop; None where there is no desktop."""
    if sys.platform == "darwin":
        return shutil.which("open")
    on_desktop = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return shutil.which("xdg-open") if on_desktop else None


def _found(name: str) -> RunFolder:
    """A run by name, also a damaged one, or by the path of its folder, which may lie elsewhere."""
    if os.sep in name and dataspec.holds((Path(name) / "run.json").is_file):
        return RunFolder.open(name)
    return run_edit.find(name)


def _values(run: RunSummary) -> dict[str, Any]:
    return dataclasses.asdict(run) | {"path": str(run.path)}


def _say(options: argparse.Namespace, values: dict[str, Any], text: str) -> None:
    print(json.dumps(values) if options.json else text)
