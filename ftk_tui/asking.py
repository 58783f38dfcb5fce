"""What the commands that ask models have in common: flags, the words for loading, text shown while it comes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ftk.errors import UsageError

from .text import shown

if TYPE_CHECKING:
    from ftk.evaluation.sampling import Sampling

_PHASES = {
    "import": "Loading the libraries",
    "download": "Downloading",
    "convert": "Converting",
    "load": "Loading",
    "quantise": "Loading and quantising",
    "adapter": "Putting on the adapter",
    "merge": "Merging",
    "measure": "Measuring",
}

ENDED = {
    "length": "cut off: --max-tokens allows more",
    "stopped": "stopped",
    "no room": "not answered: the prompt is longer than the model can read",
}
"""Why an answer ended, where it did not come to its end."""


def add_sampling(parser: argparse.ArgumentParser, *, max_tokens: int, temperature: float) -> None:
    """Add the flags that say how tokens are chosen."""
    group = parser.add_argument_group("How answers are written")
    group.add_argument(
        "--max-tokens", type=int, default=max_tokens, metavar="N", help=f"Longest answer [{max_tokens}]."
    )
    group.add_argument(
        "--temperature", type=float, default=temperature, metavar="X",
        help=f"0 takes the likeliest token each time; 1 draws as the model thinks [{temperature:g}].",
    )  # fmt: skip
    group.add_argument("--top-p", type=float, default=1.0, metavar="X", help="Draw from the likeliest of this sum [1].")
    group.add_argument("--top-k", type=int, default=0, metavar="N", help="Draw from the N likeliest; 0: all [0].")
    group.add_argument(
        "--repetition-penalty", type=float, default=1.0, metavar="X", help="Above 1 avoids what was said before [1]."
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="Fixes what is drawn, for all models alike [0]."
    )


def add_place(parser: argparse._ActionsContainer) -> None:
    """Add the flags that say where the model is, and where it is put."""
    parser.add_argument("--model", metavar="PATH", help="Where the base model is now, if it moved.")
    parser.add_argument(
        "--device", metavar="NAME", help="Another device than the run had: cpu, cuda, cuda:N, mps, xpu."
    )


def sampling(options: argparse.Namespace) -> Sampling:
    """How tokens are chosen, from the flags.

    Raises:
        UsageError: a value is out of range; its flag is named.

    """
    from ftk.evaluation.sampling import Sampling

    names = ("max_tokens", "temperature", "top_p", "seed", "top_k", "repetition_penalty")
    try:
        return Sampling(**{name: getattr(options, name) for name in names})
    except UsageError as error:
        name, _, rest = error.message.partition(":")
        raise UsageError(f"--{name.replace('_', '-')}:{rest}") from None


def on_terminal() -> bool:
    """Whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def note(text: str) -> None:
    """Say something that is no answer, where it is in nobody's way."""
    print(shown(text), file=sys.stderr, flush=True)


class Loading:
    """Says on standard error what is being loaded, if that is a terminal, in a line that goes away."""

    def __init__(self) -> None:
        self._status: Any = None

    def __call__(self, phase: str, detail: str, done: float | None = None, total: float | None = None) -> None:
        """Take what goes on."""
        if self._status is None:
            return
        part = f" {done / total:.0%}" if done and total else ""
        self._status.update(_line(f"{_PHASES.get(phase, phase)} {detail}{part}"))

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """A block in which it is shown."""
        if not sys.stderr.isatty() or os.environ.get("TERM", "") in ("", "dumb"):
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(_line(_PHASES["import"])) as self._status:
            yield
        self._status = None


def _line(text: str) -> Any:
    from rich.text import Text

    return Text(shown(text).replace("\n", " ")[:70])


class Shown:
    r"""Parts of a text made safe to print one after the other: `text.shown` of the whole, in parts."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, part: str) -> str:
        """The next part; what it begins with may belong to what the last one ended with."""
        if not part:
            return ""
        safe = shown(self._last + part)[len(shown(self._last)) :]
        self._last = part[-1]
        return safe
