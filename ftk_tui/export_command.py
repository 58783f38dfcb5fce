"""`ftk export`: what a run trained as an adapter, a merged model, GGUF, for Ollama, or on the Hub."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftk import dataspec
from ftk.errors import EXIT_DONE, UsageError

from .busy import Tell, busy
from .parsing import command_parser
from .runs_report import line, size

if TYPE_CHECKING:
    from ftk.export.hub import Pushed
    from ftk.export.source import Trained
    from ftk.export.target import Exported

_DESCRIPTION = """\
Ship what a run trained. Every export is loaded again and compared before it is called done.

  ftk export RUN --to adapter                 for those who have the base model: small
  ftk export RUN --to merged                  one whole model, for transformers, vLLM and others
  ftk export RUN --to gguf --type q8_0        for llama.cpp and LM Studio
  ftk export RUN --to ollama --type q4_k_m    a GGUF file and a Modelfile
  ftk export RUN --to hub --repo owner/name   to the Hub, private; --dry-run shows what would be sent
"""
_TARGETS = ("adapter", "merged", "gguf", "ollama", "hub")
_FOR = {
    "type": ("gguf", "ollama"),
    "llama_cpp": ("gguf", "ollama"),
    "base": ("merged", "gguf", "ollama", "hub"),
    "precision": ("merged",),
    "repo": ("hub",),
    "what": ("hub",),
    "public": ("hub",),
    "dry_run": ("hub",),
    "out": ("adapter", "merged", "gguf", "ollama"),
}
"""The options that only some targets have."""


def main(arguments: Sequence[str]) -> int:
    """Run `ftk export`; returns the exit code."""
    options = _parser().parse_args(arguments)
    _check(options)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    from ftk.export import source

    trained = source.find(options.run, options.checkpoint)
    made: Exported | Pushed
    with busy(as_json=options.json) as tell:
        made = _push(trained, options, tell) if options.to == "hub" else _export(trained, options, tell)
    if options.json:
        print(json.dumps(_values(made)))
        return EXIT_DONE
    print(line(_heading(made, dry_run=bool(options.dry_run))))
    _show(made)
    if options.to == "ollama":
        print(line(f"Use it:  ollama create {trained.name.lower()} -f {shlex.quote(_heading(made) + '/Modelfile')}"))
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("export", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="the run's name, or its folder")
    parser.add_argument("--to", choices=_TARGETS, required=True, metavar="|".join(_TARGETS), help="What is made.")
    parser.add_argument("--out", metavar="FOLDER", help="The folder to make [exports/RUN-TARGET].")
    parser.add_argument("--checkpoint", type=int, metavar="STEP", help="Take this checkpoint, not the result.")
    parser.add_argument("--force", action="store_true", help="Replace an earlier export of that name.")
    parser.add_argument(
        "--type", type=str.lower, metavar="TYPE", help="GGUF: f32, f16, bf16, q8_0; by llama.cpp: q4_k_m, ... [f16]"
    )
    parser.add_argument("--llama-cpp", metavar="FOLDER", help="Where llama.cpp was built, for its types.")
    parser.add_argument(
        "--base", choices=("dequantised", "original"), metavar="dequantised|original",
        help="For adapters trained on 4 or 8 bits: merge into the very weights they were trained on, unpacked, or into "
        "the original ones, which are finer but others [dequantised]",
    )  # fmt: skip
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16", "float16"), metavar="auto|float32|bfloat16|float16",
        help="Number format of a merged model; auto: that of its base.",
    )  # fmt: skip
    parser.add_argument("--repo", metavar="OWNER/NAME", help="The repository on the Hub.")
    parser.add_argument("--what", choices=("adapter", "merged"), metavar="adapter|merged", help="What goes to the Hub.")
    parser.add_argument("--public", action="store_true", default=None, help="Let everybody see the repository.")
    parser.add_argument("--dry-run", action="store_true", default=None, help="Show what would be sent; send nothing.")
    return parser


def _check(options: argparse.Namespace) -> None:
    for name, targets in _FOR.items():
        if getattr(options, name) is not None and options.to not in targets:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} goes with --to {' or '.join(targets)}, not with --to {options.to}.")
    if options.to == "hub" and not options.repo:
        raise UsageError("--to hub needs a repository.", hint="--repo owner/name")


def _export(trained: Trained, options: argparse.Namespace, tell: Tell) -> Exported:
    from ftk.export import adapter, merged, target
    from ftk.export.gguf import exporting

    kind = f"{options.to}-{options.type or 'f16'}" if options.to in ("gguf", "ollama") else options.to
    folder = dataspec.expanded(options.out).absolute() if options.out else target.default(trained, kind)
    base: Any = options.base or "dequantised"
    if options.to == "adapter":
        return adapter.export(trained, folder, force=options.force, progress=tell)
    if options.to == "merged":
        precision = options.precision or "auto"
        return merged.export(trained, folder, base=base, precision=precision, force=options.force, progress=tell)
    how = exporting.Options(options.type or "f16", options.to == "ollama", base, options.llama_cpp)
    return exporting.export(trained, folder, how, force=options.force, progress=tell)


def _push(trained: Trained, options: argparse.Namespace, tell: Tell) -> Pushed:
    from ftk.export import hub

    wanted = hub.Push(
        options.repo,
        options.what or "adapter",
        public=bool(options.public),
        dry_run=bool(options.dry_run),
        base=options.base or "dequantised",
    )
    return hub.push(trained, wanted, force=options.force, progress=tell)


def _values(made: Any) -> dict[str, Any]:
    values = asdict(made)
    if "path" in values:
        values["path"] = str(made.path)
    values["files"] = [{"name": name, "bytes": bytes_} for name, bytes_ in made.files]
    return values


def _heading(made: Exported | Pushed, *, dry_run: bool = False) -> str:
    """Where it is, or went."""
    if isinstance(place := getattr(made, "path", None), Path):
        here = Path.cwd()
        return str(place.relative_to(here) if place.is_relative_to(here) else place)
    values = asdict(made)
    seen = "private" if values["private"] else "for everybody to see"
    return f"Would send to {values['repo']}, {seen}:" if dry_run else f"Sent to {values['address']}, {seen}:"


def _show(made: Exported | Pushed) -> None:
    width = max(len(name) for name, _ in made.files)
    for name, bytes_ in made.files:
        print(line(f"  {name:<{width}}  {size(bytes_)}"))
    for check in made.checks:
        print(line(f"Checked: {check}"))
    for note in made.notes:
        print(line(f"Note: {note}"))
