"""The last line of every screen: the keys that work now, as many as there is room for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from itertools import groupby

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding
from textual.widgets import Footer

_ALWAYS = "app."
"""How the names of those keys begin that are shown however narrow the screen is: help, the way out."""


class KeyFooter(Footer):
    """A footer that lets go of the keys that it no longer shows.

    Textual's own is composed anew with every change of the keys, and remembers each key that it ever showed: those that
    hear of its `compact` are looked through only when that changes. In an app that is kept open for days this grows by
    a quarter of a megabyte with every switch of the screen.
    """

    def compose(self) -> ComposeResult:
        """The keys, after those that are gone were forgotten."""
        self.mutate_reactive(Footer.compact)
        yield from super().compose()

    def on_resize(self, event: events.Resize) -> None:
        """Another number of keys may fit."""
        self.call_after_refresh(self.recompose)


def fitting(keys: dict[str, ActiveBinding], width: int, label: Callable[[Binding], str]) -> dict[str, ActiveBinding]:
    """The same keys, of which only those say that they are shown that a compact footer has room for.

    Those that come last are left out first, but help and the way out, which stay. Textual's footer cuts off what does
    not fit, in the middle of a word.

    Args:
        keys: What `Screen.active_bindings` holds.
        width: The cells there are.
        label: How a key is written; see `App.get_key_display`.

    """
    shown: dict[str, Binding] = {}  # one key for every action, as the footer has it
    for _, binding, _, _ in keys.values():
        if binding.show:
            shown.setdefault(binding.action, binding)
    groups = [list(group) for _, group in groupby(shown.values(), _group)]
    room = width - sum(_width(group, label) for group in groups if _stays(group)) + 1  # no blank behind the last
    left_out = set()
    for group in groups:
        if not _stays(group):
            room -= _width(group, label)
            left_out |= {binding.action for binding in group if room < 0}
    return {
        key: found._replace(binding=dataclasses.replace(found.binding, show=False))
        if found.binding.action in left_out
        else found
        for key, found in keys.items()
    }


def _group(binding: Binding) -> object:
    """What keys that stand together have in common; a key of no group stands alone."""
    return binding.group or binding


def _stays(group: Sequence[Binding]) -> bool:
    return all((binding.id or "").startswith(_ALWAYS) for binding in group)


def _width(bindings: Sequence[Binding], label: Callable[[Binding], str]) -> int:
    """The cells of keys that stand together, with the blank behind them."""
    group = bindings[0].group
    labels = [cell_len(label(binding)) for binding in bindings]
    if group is None or len(bindings) == 1:
        return sum(labels) + sum(cell_len(binding.description) + 2 for binding in bindings)
    around = 2 if group.compact else 2 * len(bindings)
    return sum(labels) + around + cell_len(group.description) + 1
