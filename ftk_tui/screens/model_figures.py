"""The models that can be chosen and how each would do here, found out in threads, for the Model screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.text import Text

from .. import candidates
from ..candidates import Candidate
from ..outlook import DATA_KEYS, remedy
from ..text import shown

if TYPE_CHECKING:
    from ftk.config import RunConfig
    from ftk.errors import FtkError
    from ftk.hardware import Hardware

    from ..outlook import Here, Outlook
    from ..setting_fields import SettingField
    from .base import StepScreen

_AT_ONCE = 6
"""Models that a thread looks at before the list shows them: the first figures come soon, and few redraws."""
_GIB = 2**30


class Figures:
    """The models with their figures.

    Args:
        screen: Has things done in threads.
        changed: Called when there is something new to show.
        ranked: Called when all are known, and when that is so for the first time.

    """

    def __init__(self, screen: StepScreen, changed: Callable[[], None], ranked: Callable[[bool], None]) -> None:
        self._screen, self._changed, self._ranked = screen, changed, ranked
        self._models: dict[str, Candidate] = {}
        self.here: Here | None = None
        """The machine and the rows that the figures are for; None until they are known."""
        self.seen: RunConfig | None = None
        """The settings that the figures are for."""
        self._round = 0
        """Counts what was asked of threads: answers to older questions are dropped."""
        self._first = True

    @property
    def models(self) -> list[Candidate]:
        """The models in the order in which they are listed."""
        return list(self._models.values())

    @property
    def room(self) -> int | None:
        """Bytes that are free where a run would go; None until that is known."""
        return next((model.outlook.free for model in self.models if model.outlook and model.outlook.free), None)

    def get(self, name: str | None) -> Candidate | None:
        """The model of exactly that name."""
        return self._models.get(name or "")

    def find(self, name: str) -> Candidate | None:
        """The model that a name, alias or hub id means."""
        return candidates.find(self.models, name)

    def put(self, model: Candidate) -> None:
        """Add a model in front, or replace the one of that name."""
        self._models = self._models | {model.name: model} if model.name in self._models else {
            model.name: model, **self._models
        }  # fmt: skip

    def begin(self, models: Sequence[Candidate]) -> None:
        """Take the models of the catalogue, and find out which are on disk."""
        self._models = {model.name: model for model in models}
        self._screen.in_background(partial(candidates.with_states, self.models), self._stated)

    def _stated(self, models: list[Candidate]) -> None:
        for model in models:
            mine = self._models[model.name]
            self._models[model.name] = replace(mine, source=model.source, state=model.state)
        self._changed()

    def add_chosen(self, settings: RunConfig, lost: Callable[[FtkError], None]) -> None:
        """A line for the model that is chosen and not in the catalogue, and a look at where it is.

        Args:
            settings: The settings.
            lost: Called if it is nowhere to be had.

        """
        from ftk.models.sources import Source

        name = settings.model
        self.put(Candidate(name, Source(name, "hub", None, None, None), "checking"))

        def found(model: Candidate) -> None:
            self.put(replace(model, name=name))
            self.look(settings, self._screen.ftk.hardware, name)

        def gone(error: FtkError) -> None:
            self.put(replace(self._models[name], state="missing"))
            self._changed()
            lost(error)

        self._screen.in_background(partial(checked, name, settings), found, gone)

    def forget_machine(self) -> None:
        """The machine is another than was thought."""
        self.here = None

    def look(self, settings: RunConfig, hardware: Hardware | None, marked: str | None) -> None:
        """Work out all figures anew, beginning with the model that is marked."""
        before, self.seen = self.seen, settings
        if before and any(getattr(settings, key) != getattr(before, key) for key in DATA_KEYS):
            self.here = None
        if not hardware or not self._models:
            return
        self._round += 1
        names = sorted(self._models, key=lambda name: name != marked)
        if self.here:
            self._estimate(self._round, names)
        else:
            from ..outlook import here

            self._screen.in_background(partial(here, settings, hardware), partial(self._settled, self._round, names))

    def _settled(self, number: int, names: list[str], found: Here) -> None:
        if number == self._round:
            self.here = found
            self._estimate(number, names)

    def _estimate(self, number: int, names: list[str]) -> None:
        """Look at some models in a thread, show them, and go on with the others."""
        if number != self._round or not self.here or not self.seen:
            return
        some = [self._models[name] for name in names[:_AT_ONCE]]
        work = partial(_looked, self.here, self.seen, some)
        self._screen.in_background(work, partial(self._estimated, number, names[_AT_ONCE:]))

    def _estimated(self, number: int, rest: list[str], found: list[tuple[str, Outlook]]) -> None:
        if number != self._round:
            return
        for name, outlook in found:
            self._models[name] = replace(self._models[name], outlook=outlook)
        if rest:
            self._changed()
            self._estimate(number, rest)
            return
        self._models = {model.name: model for model in candidates.ordered(candidates.starred(self.models))}
        first, self._first = self._first, False
        self._ranked(first)


class Trial:
    """Finds out in a thread what a setting would mean for the memory; only the newest one matters.

    Args:
        screen: Has things done in threads.
        tell: Called with the setting and what there is to say.

    """

    def __init__(self, screen: StepScreen, tell: Callable[[SettingField, Text], None]) -> None:
        self._screen, self._tell = screen, tell
        self._next: tuple[Here, RunConfig, Candidate, SettingField] | None = None
        self._busy = False

    def ask(self, here: Here | None, settings: RunConfig, model: Candidate | None, field: SettingField) -> None:
        """Find out what settings mean for a model, of which one was changed."""
        if here and model:
            self._next = (here, settings, model, field)
            self._go()

    def _go(self) -> None:
        if self._busy or not self._next:
            return
        here, settings, model, field = self._next
        self._next, self._busy = None, True
        self._screen.in_background(
            partial(_tried, here, settings, model, field.key), partial(self._done, field), self._failed
        )

    def _done(self, field: SettingField, note: Text) -> None:
        self._busy = False
        if self._next is None:
            self._tell(field, note)
        self._go()

    def _failed(self, error: FtkError) -> None:
        self._busy = False
        self._screen.complain(error)
        self._go()


def _looked(here: Here, settings: RunConfig, models: Sequence[Candidate]) -> list[tuple[str, Outlook]]:
    return [(model.name, here.look(settings.merged({"model": model.name}), model.source)) for model in models]


def checked(name: str, settings: RunConfig) -> Candidate:
    """A model that was typed, where it is; see `candidates.checked`."""
    same = settings.model == name  # a revision is that of one model
    return candidates.checked(
        name, settings.revision if same else None, trust_remote_code=same and settings.trust_remote_code
    )


def _tried(here: Here, settings: RunConfig, model: Candidate, key: str) -> Text:
    outlook = here.look(settings, model.source)
    return note(outlook, remedy(outlook, key) if outlook.verdict == "too big" else None)


def note(outlook: Outlook, nearest: dict[str, Any] | None) -> Text:
    """What settings mean for the memory: they fit, or the nearest that would."""
    from ..setting_fields import as_text

    if outlook.problem:
        return Text(f"✗ {shown(' '.join(outlook.problem.split()))}", style="bold")
    if outlook.needed is None:
        return Text("")
    figures = f"{outlook.needed / _GIB:.1f} of {outlook.free / _GIB:.1f} GiB free"
    if outlook.verdict != "too big":
        return Text(f"{'✓ fits' if outlook.verdict == 'fits' else '! tight'}: {figures}.")
    advice = " No setting makes it fit."
    if nearest:
        words = ", ".join(f"{key} {as_text(value)}" for key, value in nearest.items())
        advice = f" The nearest that does: {words}."
    return Text(f"✗ Does not fit: {figures}.{advice}", style="bold")
