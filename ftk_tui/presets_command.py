"""`ftk presets`: a list for people, JSON lines for programs, and one preset as it is written."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ftk import recipes
from ftk.errors import EXIT_DONE, UsageError

from .parsing import command_parser


def main(arguments: Sequence[str]) -> int:
    """Run `ftk presets`; returns the exit code."""
    parser = command_parser("presets", "The recipes; `ftk presets show NAME` prints one.")
    parser.add_argument("action", nargs="?", choices=["list", "show"], default="list")
    parser.add_argument("name", nargs="?", help="a preset's name or file")
    options = parser.parse_args(arguments)
    if options.action == "list":
        return presets(as_json=options.json)
    if not options.name:
        raise UsageError("Which preset?", hint=f"Presets: {', '.join(recipes.available())}")
    print(recipes.load(options.name).text, end="")
    return EXIT_DONE


def presets(*, as_json: bool = False) -> int:
    """Print the recipes."""
    found = [recipes.load(str(path)) for path in recipes.available().values()]
    if as_json:
        for preset in found:
            print(json.dumps({"name": preset.name, "path": str(preset.path), "summary": preset.summary}))
        return EXIT_DONE
    width = max(len(preset.name) for preset in found)
    for preset in found:
        own = "" if preset.path.parent == recipes.packaged_dir() else "  (yours)"
        print(f"{preset.name:<{width}}  {preset.summary.partition(': ')[2] or preset.summary}{own}")
    print(f"\n`ftk presets show NAME` prints one. Your own: {recipes.user_dir()}, or --preset FILE.")
    return EXIT_DONE
