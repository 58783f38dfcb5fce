"""Model: which one, whether it fits here and why; and every setting of the training, for those who want them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Input, Static

from ftk.errors import FtkError

from .. import candidates
from ..candidates import Candidate, is_address
from ..colours import style
from ..outlook import remedy
from ..text import shown
from ..widgets.model_panel import ModelPanel
from ..widgets.model_table import ModelTable
from ..widgets.settings_view import SettingsView
from .base import StepScreen
from .model_figures import Figures, Trial, checked

if TYPE_CHECKING:
    from ftk.config import RunConfig

    from ..setting_fields import SettingField

_SEARCH = "name, family, licence; or a hub id or path"
_SETTINGS = "Quantisation, rank, learning rate, …: all that can be chosen"


class SearchInput(Input):
    """The search; the arrows move in the list while it is typed in."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter", "submit", "Choose", id="search.take", tooltip="Take the marked model, or look up what is typed"
        ),
        Binding("down", "screen.move('down')", "Next model", id="search.down", show=False),
        Binding("up", "screen.move('up')", "Model before", id="search.up", show=False),
        Binding("pagedown", "screen.move('page_down')", "Page down", show=False),
        Binding("pageup", "screen.move('page_up')", "Page up", show=False),
    ]


class ModelScreen(StepScreen):
    """The models with what each would take here, the reasons behind it, and the settings."""

    step = "model"
    ABOUT = (
        "Choose the model to train: the bar shows what it takes of the memory that is free here, by estimate. ★ marks "
        "the one that suits this machine. Type to search the list; anything else that the Hub or your disk has can be "
        "typed too: owner/name, a folder, a GGUF file. → opens the settings: each that you leave alone is decided for "
        "this machine, and the reason stands beside it. Your choices are kept when you leave."
    )
    CSS_PATH = "model.tcss"
    AUTO_FOCUS = "ModelTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f5", "settings", "Settings", id="model.settings", show=False, tooltip=_SETTINGS),
        Binding("slash", "search", "Find", id="model.search", tooltip="Search, or type a hub id or a path"),
        Binding("space", "view", "View", id="model.view", tooltip="The memory, or the reasons"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._figures = Figures(self, self._show, self._ranked)
        self._trial = Trial(self, lambda field, note: self.query_one(SettingsView).tell(field, note))
        self._asked = 0
        """Counts what was typed: answers about a hub id or a path that was typed before are dropped."""

    def compose_body(self) -> ComposeResult:
        """The machine, the search, the list or the settings, and what is known of the model that is marked."""
        yield Static("", id="machine", markup=False)
        with Horizontal(id="find"):
            yield Static("Find ", id="find-name", markup=False)
            field = SearchInput(placeholder=_SEARCH, id="search", compact=True, select_on_focus=False)
            field.cursor_blink = False
            yield field
            yield Static("", id="count", markup=False)
        yield Static("", id="hint", markup=False)
        with Horizontal(id="halves"):
            with Vertical(id="left"):
                yield ModelTable()
                yield SettingsView(id="settings")
            yield ModelPanel(id="panel")

    # When something is shown

    def on_mount(self) -> None:
        """The list, not the settings; the memory, not the reasons."""
        self.add_class("-list", "-memory")

    def on_entered(self) -> None:
        """Show what is known, and find out the rest."""
        self._show_machine()
        if not self._figures.models:
            self.call_after_refresh(self.in_background, candidates.known, self._listed)
        elif self.wizard.settings != self._figures.seen or not self._figures.here:
            self._look()
        else:
            self._show()

    def on_hardware(self) -> None:
        """The figures can be worked out now."""
        self._show_machine()
        self._figures.forget_machine()
        self._look()

    def on_settings(self, changed: frozenset[str]) -> None:
        """All figures are others."""
        self._look()

    def on_resize(self) -> None:
        """Show more columns where there is room."""
        if self.entered:
            self.call_after_refresh(self._show)

    def _show_machine(self) -> None:
        from ftk.hardware import gib

        words = "looking …"
        if machine := self.ftk.hardware:
            words = machine.summary if machine.gpus else f"{machine.summary}, {gib(machine.memory_available)} free"
        self.query_one("#machine", Static).update(f"This machine: {words}")

    def _listed(self, models: list[Candidate]) -> None:
        self._figures.begin(models)
        self._look()
        self._show()
        if chosen := self._chosen():
            self.table.mark(chosen.name)

    def _look(self) -> None:
        """Work out all figures anew, also of a model that is chosen and not in the catalogue."""
        settings = self.wizard.settings
        if self._figures.models and not self._chosen():
            self._figures.add_chosen(settings, lambda error: self._hint(f"✗ {error}", bad=True))
        self._figures.look(settings, self.ftk.hardware, self.table.marked)

    def _ranked(self, first: bool) -> None:
        """All figures are known; the first time the cursor goes to the recommended model."""
        self._show()
        if first and "model" not in self.wizard.chosen:
            self.table.mark(self._figures.models[0].name)

    # What is shown

    @property
    def table(self) -> ModelTable:
        """The list of the models."""
        return self.query_one(ModelTable)

    @property
    def search(self) -> Input:
        """What is searched for."""
        return self.query_one("#search", Input)

    @property
    def marked(self) -> Candidate | None:
        """The model that the cursor is on."""
        return self._figures.get(self.table.marked)

    @property
    def in_settings(self) -> bool:
        """Whether the settings are shown, and not the list."""
        return self.has_class("-settings")

    def _show(self) -> None:
        """Bring list, panel and settings up to date; each draws only what is another than before."""
        words = self.search.value.strip()
        models = self._figures.models
        found = [model for model in models if model.matches(words)]
        if is_address(words) and (exact := candidates.find(models, words)):
            found = [exact]
        chosen = self._chosen() if "model" in self.wizard.chosen else None
        name = chosen.name if chosen else ""
        self.table.show(found, partial(style, self.app), chosen=name, room=self._figures.room)
        self.query_one("#count", Static).update(f" {len(found)} of {len(models)}" if words else "")
        self._describe()

    def _describe(self) -> None:
        """Say all about the model that is marked, and show the settings for it."""
        model = self.marked
        missing = self._figures.here.missing if self._figures.here else ""
        self.query_one(ModelPanel).show(model, self.wizard.settings, missing=missing)
        if self.in_settings:
            outlook = model.outlook if model else None
            title = model.name if model else ""
            self.query_one(SettingsView).show(self.wizard.settings, outlook, partial(style, self.app), title=title)

    def _chosen(self) -> Candidate | None:
        """The model that the wizard holds."""
        return self._figures.find(self.wizard.settings.model)

    def _hint(self, text: str = "", *, bad: bool = False) -> None:
        hint = self.query_one("#hint", Static)
        hint.display = bool(text)
        hint.set_class(bad, "-bad")
        hint.update(Text(shown(text)))

    # The list

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Say all about the model that is marked now."""
        self._describe()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Take the model, and go on."""
        if self.marked:
            self._choose(self.marked)

    def on_model_table_typed(self, message: ModelTable.Typed) -> None:
        """Go on with the search there is, or begin one."""
        self.set_focus(self.search)
        self.search.value += message.character
        self.search.cursor_position = len(self.search.value)

    def action_nothing(self) -> None:
        """Do nothing, where the list would scroll or the focus would move."""

    # The search

    def action_search(self) -> None:
        """To the search."""
        self._leave_settings()
        self.search.focus()

    def action_move(self, where: str) -> None:
        """Move the cursor of the list while the search is typed in."""
        getattr(self.table, f"action_{'cursor_' if where in ('up', 'down') else ''}{where}")()
        if is_address(self.search.value.strip()):
            self.table.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show what matches, and say what Enter would do where nothing does."""
        words = event.value.strip()
        self._asked += 1
        self._show()
        if is_address(words) and not self._figures.find(words):
            self._hint(f"Enter looks for {words}" + (", ↓ goes to the list." if self.table.row_count else "."))
        elif words and not self.table.row_count:
            self._hint("No known model matches. Enter looks for one of that name.")
        else:
            self._hint()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the model that is marked, or look for what was typed."""
        words = event.value.strip()
        known = self._figures.find(words)
        if known or (self.marked and not is_address(words)):
            self._choose(known or self.marked)
        elif words:
            self._ask(words)

    def _ask(self, name: str) -> None:
        """Look in a thread for a model that was typed."""
        self._asked += 1
        self._hint(f"Looking for {name} …")
        self.in_background(
            partial(checked, name, self.wizard.settings),
            partial(self._answered, self._asked),
            partial(self._refused, self._asked),
        )

    def _answered(self, number: int, found: Candidate) -> None:
        if number == self._asked:
            self._hint()
            self._figures.put(found)
            self._clear_search()
            self._choose(found)

    def _refused(self, number: int, error: FtkError) -> None:
        if number == self._asked:
            self._hint(f"✗ {error}", bad=True)

    def _clear_search(self) -> None:
        with self.prevent(Input.Changed):
            self.search.value = ""
        self._show()

    # Choosing

    def _choose(self, model: Candidate | None) -> None:
        """Take a model and go on to the data; ask first if it will not fit."""
        if not model:
            return
        if model.verdict == "too big" and model.outlook:
            self._ask_too_big(model, remedy(model.outlook))
        else:
            self._take(model)

    def _ask_too_big(self, model: Candidate, changes: dict[str, Any] | None) -> None:
        from .too_big import TooBig

        self.app.push_screen(TooBig(model, changes), partial(self._after_question, model, changes))

    def _after_question(self, model: Candidate, changes: dict[str, Any] | None, answer: str | None) -> None:
        if answer in ("t", "c"):
            self._take(model, changes if answer == "t" else None)

    def _take(self, model: Candidate, changes: dict[str, Any] | None = None) -> None:
        before = self._chosen()
        if before is None or before.name != model.name:
            self.wizard.forget("revision", "trust_remote_code")  # those of another model
        self.wizard.choose(model=model.name, **(changes or {}))
        self._show()
        self.table.mark(model.name)
        if reason := self._obstacle(model):
            self.notify(shown(reason), severity="warning", markup=False, timeout=8)
            return
        self.ftk.go("dataset")

    def _obstacle(self, model: Candidate) -> str:
        """Why the settings cannot work with a model here, in words."""
        return model.outlook.problem if model.outlook else ""

    # The settings

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does anything now."""
        if action == "next":
            return False  # Enter is the list's, the search's and the settings' own
        if action in ("settings", "search"):
            return not self.in_settings
        if action == "view":
            return not self.in_settings and not self._roomy
        return super().check_action(action, parameters)

    @property
    def _roomy(self) -> bool:
        return self.has_class("-tall") and not self.has_class("-narrow")

    def action_view(self) -> None:
        """The reasons in place of the memory, and the other way round."""
        self.toggle_class("-memory", "-reasons")
        self.call_after_refresh(self._describe)

    def action_settings(self) -> None:
        """Show the settings in place of the list, with what they mean for the model that is marked."""
        self.set_class(False, "-list")
        self.set_class(True, "-settings")
        self._describe()
        self.query_one(SettingsView).table.focus()
        self.refresh_bindings()

    def _leave_settings(self) -> None:
        self.set_class(True, "-list")
        self.set_class(False, "-settings")
        self._describe()
        self.refresh_bindings()

    def action_back(self) -> None:
        """From the settings to the list, from a search to the whole list, from the list to the screen before."""
        if self.in_settings:
            self._leave_settings()
        elif self.search.has_focus or self.search.value:
            self._asked += 1
            self._hint()
            self._clear_search()
        else:
            super().action_back()
            return
        self.table.focus()

    def on_settings_view_taken(self, message: SettingsView.Taken) -> None:
        """Put a setting into the wizard, or leave it to ftk; then say what it means."""
        if message.text:
            self.wizard.choose(**{message.field.key: message.field.value(message.text)})
        else:
            self.wizard.forget(message.field.key)
        self._describe()
        self._try(message.field, message.text)

    def on_settings_view_tried(self, message: SettingsView.Tried) -> None:
        """Say what a setting would mean."""
        self._try(message.field, message.text)

    def _try(self, field: SettingField, text: str) -> None:
        self._trial.ask(self._figures.here, _with(self.wizard.settings, field, text), self.marked, field)


def _with(settings: RunConfig, field: SettingField, text: str) -> RunConfig:
    """Settings with another value of one of them; an empty text leaves it to ftk."""
    from ftk.config import build

    if text:
        return settings.merged({field.key: field.value(text)})
    kept = settings.model_dump(exclude_unset=True)
    kept.pop(field.key, None)
    return build(kept)
