"""Compare: base and tuned model side by side on the same prompts, with names or blindly; kept with the run."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from .. import comparing
from ..compare_look import Look, advice, head
from ..text import counted, shown
from ..widgets.compare_view import CompareView
from ..widgets.phase_bar import NAMES, PhaseBar, Progress
from .compare_work import CompareWork

if TYPE_CHECKING:
    from ftk.evaluation.asked import Sampling
    from ftk.evaluation.prompts import Chosen


_WIDE = 100
"""Columns from which on the answers stand beside each other."""
_EMPTY = (
    "Nothing to compare yet.\n\n"
    "Here base and tuned model answer the same prompts, side by side. "
    "r chooses a run that has trained something; 3 trains one."
)


class CompareScreen(CompareWork):
    """Two models, a prompt, their answers; and the keys that work on them now."""

    step = "compare"
    ABOUT = (
        "Base and tuned model answer the same prompts with the same seed, so that what differs comes from what was "
        "learnt. The prompts are held-out rows at first, which training never saw; t types one, f reads a file. "
        "Underlined words are those that the other answer lacks. Blindly (j) the names are hidden and the order is "
        "drawn: say which is better before you know whose it is. Everything is kept in the folder of the run. In the "
        "list: · not asked, ✓ answered, b or t where base or tuned was found better, = no difference."
    )
    CSS_PATH = "compare.tcss"
    AUTO_FOCUS = "#one"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "ask", "Ask", id="compare.ask", tooltip="Have both models answer this prompt"),
        Binding("enter", "onward", "Next", id="compare.onward", tooltip="Ask the next prompt"),
        Binding("enter", "choose_first", "Choose a run", id="compare.choose_first"),
        Binding("x,escape", "stop", "Stop", id="compare.stop", tooltip="End what goes on with what there is"),
        Binding("escape", "back", "Back", id="step.back"),
        Binding("a", "judge('a')", "A", id="compare.a", tooltip="A is better"),
        Binding("b", "judge('b')", "B", id="compare.b", tooltip="B is better"),
        Binding("equals_sign", "judge('=')", "Equal", id="compare.equal", key_display="=", tooltip="No difference"),
        Binding("n,right", "step(1)", "Next prompt", id="compare.next", show=False),
        Binding("p,left", "step(-1)", "Prompt before", id="compare.before", show=False),
        Binding("w", "all", "All", id="compare.all", show=False, tooltip="Have all prompts answered"),
        Binding("t", "type", "Type", id="compare.type", tooltip="Type a prompt"),
        Binding(
            "f",
            "file",
            "File",
            id="compare.file",
            show=False,
            tooltip="Prompts of a file: a prompt a line, or JSON Lines",
        ),
        Binding("h", "held_out", "Held-out rows", id="compare.held_out", show=False, tooltip="Ten more held-out rows"),
        Binding("s", "sampling", "Sample", id="compare.sampling", tooltip="Temperature, top-p, length, seed"),
        Binding("j", "blind", "Blind", id="compare.blind", tooltip="Judge without knowing whose answers they are"),
        Binding("j", "names", "Names", id="compare.names", tooltip="Show whose answers they are"),
        Binding(
            "m", "measure", "Measure", id="compare.measure", show=False, tooltip="Held-out loss and perplexity of both"
        ),
        Binding("e", "export", "Export", id="compare.export", tooltip="Write a page: Markdown or HTML"),
        Binding("d", "differences", "Differences", id="compare.differences", show=False),
        Binding("v", "arrange", "Beside or below", id="compare.arrange", show=False),
        Binding("r", "choose", "Run", id="compare.choose", tooltip="Another run or checkpoint"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._beside: bool | None = None
        """Whether the answers stand beside each other, where that was chosen; else the width decides."""
        self._keys_now: set[str] = set()

    def compose_body(self) -> ComposeResult:
        """The models, the prompts and answers, what goes on, what can be done."""
        yield Static("", id="head", markup=False)
        with VerticalScroll(id="none", can_focus=False):
            yield Static(_EMPTY, markup=False)
        yield CompareView(id="view")
        yield PhaseBar(id="phase")
        yield Static("", id="said", markup=False)

    # What is shown

    def show(self) -> None:
        """Bring everything up to date; each part draws only what is another than before."""
        look = self.look
        self.set_class(self._for is None, "-none")
        self.set_class(self.size.width >= _WIDE if self._beside is None else self._beside, "-beside")
        self.note_seen()
        self._put("#head", head(look.opened, look, self._memory()) if look else self._before())
        view = self.query_one(CompareView)
        view.display = look is not None
        if look:
            view.show(look)
        self._show_work()
        self._put("#said", self._said(look))
        if (allowed := self._allowed()) != self._keys_now:
            self._keys_now = allowed
            self.refresh_bindings()

    def _before(self) -> Text:
        if self._problem or not self._for:
            return Text("")
        return Text(f"Looking at {shown(self._for[0])} …", "dim")

    def _memory(self) -> str:
        if self._pair is None:
            return ""
        return "the model in memory is asked" if self._pair.given else "in memory"

    def _said(self, look: Look | None) -> Text:
        if self._problem:
            text = Text(f"✗ {shown(self._problem.message)}", "bold red")
            hint = f"  {shown(self._problem.hint)}" if self._problem.hint else ""
            return text.append(hint, "not bold")
        return Text(advice(look) if look else "")

    def _put(self, where: str, text: Text) -> None:
        label = self.query_one(where, Static)
        label.display = bool(text.plain)
        if text != label.content:
            label.update(text)

    def _show_work(self) -> None:
        bar, work = self.query_one(PhaseBar), self._doing
        bar.display = work is not None
        if work is None:
            return
        name, detail, done, total = work.progress or ("answer", "", None, None)
        if work.stopped.is_set():
            bar.show(Progress("Stopping"))
        elif name == "answer":
            entries = self._opened.sitting.entries if self._opened else []
            place = entries.index(work.entry) + 1 if work.entry in entries else 0
            bar.show(Progress("Answering", f"prompt {place} of {len(entries)}; x stops"))
        else:
            amount = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB  " if name == "download" and done and total else ""
            bar.show(Progress(_WORDS.get(name) or NAMES.get(name, name), f"{amount}{detail}", done, total))

    # Which run

    def action_choose_first(self) -> None:
        """Choose a run where none is shown."""
        self.action_choose()

    def action_choose(self) -> None:
        """Show what can be compared, found in a thread."""
        from .compare_dialogs import ChooseModel

        name = self._opened.name if self._opened else ""
        self.in_background(
            comparing.choices, lambda found: self.app.push_screen(ChooseModel(found, name), self._choose)
        )

    def _choose(self, name: str | None) -> None:
        if name:
            self._chosen, self.wizard.run = name, name.partition("@")[0]
            self._open()
            self.show()

    # The keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key does anything now."""
        if action in _OURS:
            return action in self._allowed()
        if action == "back" and self._doing:
            return False  # Esc stops first
        return super().check_action(action, parameters)

    def _allowed(self) -> set[str]:
        """The actions of this screen that make sense now."""
        look, entry = self.look, self.current
        if look is None:
            return {"choose", "choose_first"}
        found = {"step", "arrange", "differences"} if len(look.opened.sitting.entries) > 1 else {"arrange"}
        if look.hidden and entry and entry.judgeable:
            found.add("judge")
        if self._doing:
            return found | {"stop"}
        found |= {"choose", "type", "file", "held_out", "sampling", "measure", "names" if self._blind else "blind"}
        if entry and entry.answers is None:
            found.add("ask")
        elif entry and "judge" not in found:
            found.add("onward")
        answered = [one.answers is not None for one in look.opened.sitting.entries]
        return found | ({"export"} if any(answered) else set()) | (set() if all(answered) else {"all"})

    def action_ask(self) -> None:
        """Have this prompt answered."""
        if entry := self.current:
            self.start([entry])

    def action_onward(self) -> None:
        """Go on with the next prompt: have it answered, or judge it."""
        if not self._opened:
            return
        entries = self._opened.sitting.entries
        order = [*range(self._place + 1, len(entries)), *range(self._place)]
        for place in order:
            if entries[place].answers is None or (self._blind and entries[place].judgeable):
                self._place = place
                self.show()
                if entries[place].answers is None:
                    self.start([entries[place]])
                return
        self.notify("All prompts are answered: t types another one, h takes more held-out rows.", markup=False)

    def action_all(self) -> None:
        """Have all prompts answered that are not yet."""
        if self._opened:
            self.start([entry for entry in self._opened.sitting.entries if entry.answers is None])

    def action_stop(self) -> None:
        """End what goes on; answers stay as far as they are."""
        if self._doing:
            self._doing.stopped.set()
            self.show()

    def action_step(self, by: int) -> None:
        """Show the next prompt, or the one before."""
        if self._opened and self._opened.sitting.entries:
            self._place = (self._place + by) % len(self._opened.sitting.entries)
            self.show()

    def on_compare_view_picked(self, message: CompareView.Picked) -> None:
        """Show the prompt that the cursor of the list is on."""
        if message.place != self._place:
            self._place = message.place
            self.show()

    # Blind

    def action_blind(self) -> None:
        """Hide the names, or show them."""
        self._blind = not self._blind
        self.show()

    def action_names(self) -> None:
        """Show the names again."""
        self.action_blind()

    def action_judge(self, which: str) -> None:
        """Say which of two answers is better, and see whose they were."""
        entry = self.current
        if self._opened and entry and entry.judgeable:
            first, second = self._opened.sitting.order(entry)
            self._opened.sitting.judge(entry, {"a": first, "b": second}.get(which))
            self.keep()
            self.show()

    # Prompts

    def action_type(self) -> None:
        """Ask for a prompt."""
        from .dialogs import AskText

        self.app.push_screen(AskText("What is asked?", "Both models answer it."), self._typed)

    def _typed(self, text: str | None) -> None:
        if text and self._opened:
            self._add(comparing.typed(self._opened, text))
            self.action_ask()

    def action_file(self) -> None:
        """Ask for a file of prompts."""
        from .compare_dialogs import check_prompts
        from .dialogs import AskText

        text = "A prompt a line, or JSON Lines with prompt (or messages), and if wanted system and response."
        self.app.push_screen(AskText("Prompts of which file?", text, check=check_prompts), self._from_file)

    def _from_file(self, name: str | None) -> None:
        if name and self._opened:
            self.in_background(partial(comparing.from_file, self._opened, name), self._add)

    def action_held_out(self) -> None:
        """Take more rows that were held out."""
        if self._opened:
            have = sum("held out" in entry.source for entry in self._opened.sitting.entries)
            self.in_background(partial(comparing.held_out, self._opened, have + comparing.HELD_OUT), self._add)

    def _add(self, chosen: Chosen) -> None:
        if not self._opened:
            return
        entries = self._opened.sitting.entries
        before = len(entries)
        first = comparing.add(self._opened, chosen)
        if more := len(entries) - before:
            self._place = before
            self.notify(f"{counted(more, 'prompt')} more.")
        else:
            self._place = self._place if first is None else first
            self.notify("No others than are here already.")
        self.show()

    # How, and where to

    def action_sampling(self) -> None:
        """Ask how tokens are chosen."""
        from .compare_dialogs import SamplingDialog

        if self._opened:
            self.app.push_screen(SamplingDialog(self._opened.sitting.sampling), self._sample)

    def _sample(self, sampling: Sampling | None) -> None:
        if sampling and self._opened and sampling != self._opened.sitting.sampling:
            kept = self._opened.sitting.path
            self._opened.sitting = self._opened.sitting.again(sampling)
            if kept:
                self.notify(f"The answers so far are kept in {kept}.", markup=False, timeout=8)
            self.show()

    def action_measure(self) -> None:
        """Have the held-out loss of both measured."""
        self.may_load(self.measure)

    def action_differences(self) -> None:
        """Mark the words that differ, or do not."""
        self._marked = not self._marked
        self.show()

    def action_arrange(self) -> None:
        """Answers beside each other, or one below the other."""
        self._beside = not self.has_class("-beside")
        self.show()

    def action_export(self) -> None:
        """Ask for a file to write."""
        from .compare_dialogs import AskPage

        if self._opened:
            self.app.push_screen(AskPage(f"{self._opened.name.replace('@', '-')}.html"), self._export)

    def _export(self, path: str | None) -> None:
        from .compare_dialogs import replacing

        if not path:
            return
        if Path(path).exists():
            self.app.push_screen(replacing(path), lambda answer: self._write(path) if answer == "y" else None)
        else:
            self._write(path)

    def _write(self, path: str) -> None:
        if self._opened:
            made = self._opened.sitting.record()
            self.in_background(
                partial(comparing.export, made, Path(path), force=True),
                lambda target: self.notify(f"Written to {target}.", markup=False, timeout=8),
            )

    def on_resize(self) -> None:
        """Arrange the answers as the width wants it."""
        if self.entered:
            self.call_after_refresh(self.show)


_WORDS = {"measure": "Measuring", "load": "Loading", "adapter": "Putting the adapter on"}


_OURS = frozenset(
    (
        "ask",
        "onward",
        "choose",
        "choose_first",
        "stop",
        "judge",
        "step",
        "all",
        "type",
        "file",
        "held_out",
        "sampling",
        "blind",
        "names",
        "measure",
        "export",
        "differences",
        "arrange",
    )
)
"""The actions that can be had only at times."""
