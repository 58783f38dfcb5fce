"""The part of the Compare screen that knows threads: opens a run, has prompts answered, takes what came, keeps it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ftk.errors import FtkError

from .. import comparing
from ..compare_look import Look
from ..comparing import Opened, Work
from ..starting import CancelledError
from ..text import shown
from .base import StepScreen

if TYPE_CHECKING:
    from ftk.evaluation.pair import Pair
    from ftk.events import Event

    from ..sitting import Entry

_LOOK_S = 0.25
"""Seconds between two looks at answers that grow."""


class CompareWork(StepScreen):
    """Holds a run that is compared, the models while they are in memory, and what goes on; shows nothing."""

    def __init__(self) -> None:
        super().__init__()
        self._opened: Opened | None = None
        self._for: tuple[str, str] | None = None
        """The run that is shown or looked for, and how it had ended then."""
        self._chosen = ""
        self._pair: Pair | None = None
        self._doing: Work | None = None
        self._problem: FtkError | None = None
        self._place = 0
        self._blind = False
        self._marked = True
        self._agreed = False
        """Whether to ask while a run is trained is all right."""
        self._unwanted = False
        """Whether the models are to leave the memory as soon as what goes on has ended."""

    def show(self) -> None:
        """Bring the screen up to date."""

    def on_mount(self) -> None:
        """Look at what threads do while they do it."""
        self._timer = self.set_interval(_LOOK_S, self._look_at_work, pause=True)

    def on_unmount(self) -> None:
        """End what goes on, so that the app can leave."""
        if self._doing:
            self._doing.stopped.set()

    @property
    def look(self) -> Look | None:
        """What there is to show; None before a run is found."""
        opened = self._opened
        return Look(opened, self._place, self._doing, self._blind, self._marked) if opened else None

    @property
    def current(self) -> Entry | None:
        """The prompt that is shown."""
        look = self.look
        return look.entry if look else None

    # Which run

    def on_entered(self) -> None:
        """Show the run that was chosen, here or on another screen."""
        self._open()
        self.show()

    def on_events(self, events: Sequence[Event]) -> None:
        """The run may have ended, so that there is something to compare."""
        if any(event.kind in ("started", "finished", "stopped", "failed") for event in events):
            self._open()

    def make_room(self) -> None:
        """Let go of the models: another run is about to begin."""
        if self._doing:
            self._doing.stopped.set()
            self._unwanted = True
        elif self._pair:
            pair, self._pair = self._pair, None
            self.in_background(pair.release, lambda _: None)

    def _open(self) -> None:
        """Find the run that is to be shown, if that is another one than before, or has ended since."""
        run, session = self.wizard.run, self.session
        if not run:
            self._for = self._opened = self._problem = None
            return
        name = self._chosen if self._chosen.partition("@")[0] == run else run
        wanted = (name, session.state if session.run is not None and session.run.name == run else "")
        if wanted == self._for:
            return
        self.make_room()
        self._for, self._opened, self._problem, self._place = wanted, None, None, 0
        self.in_background(
            partial(comparing.open_run, name), partial(self._found, wanted), partial(self._not_found, wanted)
        )
        self.show()

    def _found(self, wanted: tuple[str, str], opened: Opened) -> None:
        if wanted == self._for:
            self._opened = opened
            entries = opened.sitting.entries
            self._place = next((place for place, entry in enumerate(entries) if entry.answers is None), 0)
            self.show()

    def _not_found(self, wanted: tuple[str, str], error: FtkError) -> None:
        if wanted == self._for:
            self._problem = error
            self.show()

    # What goes on

    def may_load(self, then: Callable[[], None]) -> None:
        """Do something for which models are loaded; ask first while a run goes on that needs the memory too."""
        from .dialogs import Confirm

        if not self.session.busy or self._pair or self._agreed:
            then()
            return

        def answered(answer: str | None) -> None:
            if answer == "y":
                self._agreed = True
                then()

        text = "Two models beside it take memory that it may need, and both get slower."
        self.app.push_screen(Confirm("A run is being trained. Ask now?", text, yes="Ask", no="Wait"), answered)

    def start(self, entries: Sequence[Entry]) -> None:
        """Have prompts answered."""
        if entries and not self._doing:
            self.may_load(partial(self._begin, entries))

    def _begin(self, entries: Sequence[Entry]) -> None:
        if self._opened and not self._doing:
            work = Work("ask" if len(entries) == 1 else "all", entries[0], pair=self._pair)
            work.progress = None if self._pair else ("import", "", None, None)
            self.run_work(
                work, partial(comparing.ask, work, self._result, self._opened.sitting, entries), lambda _: None
            )

    def measure(self) -> None:
        """Have the held-out loss of both measured."""
        if opened := self._opened:
            work = Work("measure", pair=self._pair, progress=("read", "", None, None))

            def measured(found: Any) -> None:
                opened.sitting.losses = found
                if any(entry.answers is not None for entry in opened.sitting.entries):
                    self.keep()

            self.run_work(work, partial(comparing.measure, work, self._result, opened), measured)

    @property
    def _result(self) -> Any:
        return self.session.result if self.session.own else None

    def run_work(self, work: Work, function: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do something in a thread, with what goes on shown."""
        self._doing, self._problem = work, None
        self._timer.resume()
        self.in_background(function, partial(self._ended, work, then), partial(self._broke, work))
        self.show()

    def _ended(self, work: Work, then: Callable[[Any], None], found: Any) -> None:
        self._rest(work)
        then(found)
        self.show()

    def _broke(self, work: Work, error: FtkError) -> None:
        self._rest(work)
        self._problem = None if isinstance(error, CancelledError) else error
        self.show()

    def _rest(self, work: Work) -> None:
        self._take(work)
        self._timer.pause()
        self._doing, self._pair = None, work.pair
        if self._unwanted:
            self._unwanted = False
            self.make_room()

    def _look_at_work(self) -> None:
        if self._doing:
            self._take(self._doing)
            self.show()

    def _take(self, work: Work) -> None:
        """Take the answers that are complete, and keep them."""
        if not self._opened:
            return
        entries, fresh = self._opened.sitting.entries, False
        while work.done:
            entry, found, parts = work.done.popleft()
            if any(entry is one for one in entries):
                entry.answers, entry.parts, fresh = found.answers, parts, True
                if self._blind and entry.judgeable and len(set(entry.texts)) == 1:
                    self._opened.sitting.judge(entry, None)
        while work.remarks:
            self.notify(shown(work.remarks.popleft()), severity="warning", markup=False)
        if work.kind == "all" and not self._blind:  # a blind answer that is being judged stays in sight
            self._place = next((place for place, entry in enumerate(entries) if entry is work.entry), self._place)
        if fresh:
            self.keep()

    def note_seen(self) -> None:
        """An answer that is shown with its name can no longer be judged blindly; have its differences worked out."""
        entry, look = self.current, self.look
        if entry is None or look is None:
            return
        if not self._blind and (entry.answers is not None or look.writing):
            entry.seen = True
        if entry.answers is not None and entry.parts is None and len(entry.texts) > 1:
            entry.parts = ([], [])
            self.in_background(partial(comparing.differences, entry.texts), partial(self._differ, entry))

    def _differ(self, entry: Entry, parts: Any) -> None:
        entry.parts = parts
        self.show()

    def keep(self) -> None:
        """Write prompts, answers and verdicts into the folder of the run."""
        if self._opened:
            self.note_seen()
            sitting = self._opened.sitting
            self.in_background(partial(comparing.keep, sitting, sitting.record()), lambda _: None)
