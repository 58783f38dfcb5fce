"""The last line of every screen: the keys that work now."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Footer


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
