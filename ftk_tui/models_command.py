"""`ftk models`: a table for people, JSON lines for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ftk import catalog, hub_api
from ftk.errors import EXIT_DONE
from ftk.models import sources

from .candidates import size_of
from .parsing import command_parser

_COLUMNS = ("model", "size", "reads", "licence", "GiB", "good", "state")
_FOR_WIDE = ("reads", "licence")  # left out where names would have to be cut, which are there to be copied
_WIDE = 78


def main(arguments: Sequence[str]) -> int:
    """Run `ftk models`; returns the exit code."""
    parser = command_parser("models", "The known models: size, licence, memory, whether on disk.")
    parser.add_argument("search", nargs="?", default="", help="show only names, families and licences with this text")
    options = parser.parse_args(arguments)
    return models(options.search, as_json=options.json)


def models(search: str = "", *, as_json: bool = False) -> int:
    """Print the catalogue."""
    found = [m for m in catalog.models() if search.lower() in f"{m.id} {m.name} {m.family} {m.hub} {m.license}".lower()]
    token = hub_api.has_token()
    states = {model.id: _state(model, token) for model in found}
    if as_json:
        for model in found:
            print(json.dumps(model.model_dump() | {"state": states[model.id]}))
        return EXIT_DONE
    console = Console()
    shown = [name for name in _COLUMNS if console.width >= _WIDE or name not in _FOR_WIDE]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in shown:
        right = heading in ("size", "reads", "GiB", "good")
        table.add_column(heading, justify="right" if right else "left", no_wrap=True)
    for model in found:
        cells = _cells(model) | {"state": states[model.id]}
        table.add_row(*(Text(cells[heading]) for heading in shown))
    console.print(table if found else Text(f"No known model matches {search!r}."))
    print("Also: any hub id (owner/name), a local folder, a GGUF file.")
    print("GiB: GPU memory to train it at all; good: with comfort (see docs/models.md).")
    return EXIT_DONE


def _cells(model: catalog.CatalogModel) -> dict[str, str]:
    return {
        "model": model.id,
        "size": size_of(model.weights),
        "reads": f"{model.context // 1024}k",
        "licence": model.license,
        "GiB": f"{model.vram.minimum_gib:.1f}",
        "good": f"{model.vram.recommended_gib:.1f}",
    }


def _state(model: catalog.CatalogModel, token: bool) -> str:
    if sources.on_disk(model):
        return "on disk"
    if model.gated:
        return "licence" if token else "licence+token"
    return "embedded" if model.id == "smollm2-135m" else "download"
