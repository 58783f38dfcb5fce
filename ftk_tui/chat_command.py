"""`ftk chat`: talk to a tuned model, and to its base. On a terminal, or a turn a line from a pipe."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ftk import dataspec
from ftk.errors import EXIT_DONE, FtkError, UsageError, did_you_mean

from .asking import ENDED, Loading, Shown, add_place, add_sampling, note, sampling
from .interrupts import Interrupts
from .parsing import command_parser
from .text import counted, shown

if TYPE_CHECKING:
    from ftk.evaluation.dialogue import Dialogue, Reply, Voices
    from ftk.evaluation.sampling import Sampling

_DESCRIPTION = """\
Talk to the model that a run trained, turn by turn. Ctrl-C stops an answer, Ctrl-D leaves; a line that ends with \\
goes on in the next one. From a pipe, every line is a turn.

  ftk chat RUN
  ftk chat RUN@200 --system "You answer in one sentence."
  ftk chat RUN --temperature 0 < questions.txt

In the conversation:
"""

_COMMANDS = {
    "base": ("", "the untuned model answers from here on"),
    "tuned": ("", "the tuned model answers again"),
    "system": ("TEXT", "another system message, for a new conversation; without a text: none"),
    "reset": ("", "a new conversation"),
    "save": ("FILE", "write the conversation: .jsonl as a row to train on, .md to read"),
    "temperature": ("X", "0 takes the likeliest token each time"),
    "help": ("", "these commands; // begins a turn with /"),
    "quit": ("", "leave; so does Ctrl-D"),
}


def main(arguments: Sequence[str]) -> int:
    """Run `ftk chat`; returns the exit code."""
    options = _parser().parse_args(arguments)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    from ftk.evaluation import subjects

    base, tuned = subjects.find([options.name], model=options.model)
    loading = Loading()
    with loading.shown():
        how = sampling(options)
        from ftk.evaluation.dialogue import Dialogue, Voices

        voices = Voices(
            [base, tuned], device=options.device, progress=loading, remark=lambda text: note(f"Note: {text}")
        )
        first = base.label if options.base else tuned.label
        voices.ready(first)
    system = tuned.config.system_prompt if options.system is None else options.system
    chat = Chat(voices, Dialogue(system or None), how, first, loading)
    return _piped(chat, as_json=options.json) if _is_piped(options) else _interactive(chat)


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {f'/{name} {value}':<16} {text}" for name, (value, text) in _COMMANDS.items())
    parser = command_parser("chat", _DESCRIPTION + listed)
    parser.add_argument("name", metavar="RUN", help="a run, or a checkpoint of it (RUN@STEP)")
    parser.add_argument("--base", action="store_true", help="Begin with the untuned model.")
    parser.add_argument("--system", metavar="TEXT", help="The system message [that of the run].")
    add_sampling(parser, max_tokens=512, temperature=0.7)
    add_place(parser)
    return parser


def _is_piped(options: argparse.Namespace) -> bool:
    return options.json or not (sys.stdin.isatty() and sys.stdout.isatty())


@dataclass
class Chat:
    """A conversation, who answers, and how."""

    voices: Voices
    dialogue: Dialogue
    sampling: Sampling
    label: str
    loading: Loading

    def ask(self, text: str, write: Callable[[str], Any], stop: Callable[[], bool]) -> Reply:
        """Say something; `write` gets the parts of the answer, safe to print."""
        safe = Shown()
        with self.voices.using(self.label) as (model, tokenizer):
            return self.dialogue.ask(
                model, tokenizer, text, self.sampling, on_text=lambda part: write(safe(part)), stop=stop
            )

    def command(self, line: str) -> str | None:
        """Carry out a line that begins with a slash; returns what to say, or None to leave.

        Raises:
            UsageError: there is no such command, or its value is not accepted.

        """
        name, _, value = line[1:].strip().partition(" ")
        value = value.strip()
        if name not in _COMMANDS:
            raise UsageError(
                f"There is no command /{name}.{did_you_mean(name, tuple(_COMMANDS))}", hint="/help lists them all."
            )
        if name == "quit":
            return None
        if value and not _COMMANDS[name][0]:
            raise UsageError(f"/{name} takes no value.", hint="// begins a turn that is meant to begin with /.")
        found: str = getattr(self, f"_{name}")(value)
        return found

    def _base(self, _: str) -> str:
        return self._switched(self.voices.labels[0])

    def _tuned(self, _: str) -> str:
        return self._switched(self.voices.labels[1])

    def _switched(self, label: str) -> str:
        with self.loading.shown():
            self.voices.ready(label)
        self.label = label
        return f"{label} answers from here on; it reads what was said so far."

    def _system(self, value: str) -> str:
        self.dialogue.system = value or None
        self.dialogue.reset()
        return (
            "A new conversation, with that system message."
            if value
            else "A new conversation, without a system message."
        )

    def _reset(self, _: str) -> str:
        self.dialogue.reset()
        return "A new conversation."

    def _save(self, value: str) -> str:
        if not value:
            raise UsageError("/save needs a file.", hint="Like /save talk.md")
        return f"Saved in {self.dialogue.save(dataspec.expanded(value))}"

    def _temperature(self, value: str) -> str:
        try:
            self.sampling = replace(self.sampling, temperature=float(value))
        except ValueError:
            raise UsageError(f"/temperature: {value!r} is no number.", hint="Like /temperature 0.7") from None
        return f"Temperature {self.sampling.temperature:g}."

    def _help(self, _: str) -> str:
        return "\n".join(f"{f'/{name} {value}':<16} {text}" for name, (value, text) in _COMMANDS.items())


def remarks(reply: Reply) -> Iterator[str]:
    """What is to be said below an answer."""
    if reply.answer.reason in ENDED:
        yield ENDED[reply.answer.reason]
    if reply.left_out:
        yield (
            f"the conversation is longer than the model can read: {counted(reply.left_out, 'exchange')} at its "
            "beginning left out from here on"
        )


def _piped(chat: Chat, *, as_json: bool) -> int:
    """Answer every line of standard input, and print answers only; what else is to be said goes to standard error."""
    for line in sys.stdin:
        text = line.strip()
        if not text:
            continue
        if text.startswith("/") and not text.startswith("//"):
            said = chat.command(text)
            if said is None:
                break
            note(said)
            continue
        parts: list[str] = []
        with Interrupts() as interrupted:
            reply = chat.ask(text.removeprefix("/"), parts.append if as_json else _write, interrupted)
        if as_json:
            turn = {"prompt": text, "model": chat.label, **asdict(reply.answer), "left_out": reply.left_out}
            print(json.dumps(turn, ensure_ascii=False), flush=True)
        else:
            print(flush=True)
            for remark in remarks(reply):
                note(f"({remark})")
        if interrupted():
            raise KeyboardInterrupt
    return EXIT_DONE


def _write(part: str) -> None:
    print(part, end="", flush=True)


def _interactive(chat: Chat) -> int:
    from rich.console import Console
    from rich.text import Text

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` arrows and history
    console = Console(highlight=False)

    def say(text: str, style: str = "dim") -> None:
        console.print(Text(shown(text), style=style))

    say(f"{chat.label} answers. /help lists what else there is, Ctrl-D leaves.")
    while (text := _heard(say)) is not None:
        try:
            if text.startswith("/") and not text.startswith("//"):
                said = chat.command(text)
                if said is None:
                    break
                say(said)
            elif text:
                _answer(chat, text.removeprefix("/"), console, say)
        except FtkError as error:
            say(str(error), "yellow")
    return EXIT_DONE


def _answer(chat: Chat, text: str, console: Any, say: Callable[[str], None]) -> None:
    from rich.text import Text

    console.print(Text(f"{shown(chat.label)}> ", style="bold"), end="")
    with Interrupts() as interrupted:
        try:
            reply = chat.ask(text, _write, interrupted)
        finally:
            print(flush=True)
    for remark in remarks(reply):
        say(f"({remark})")


def _heard(say: Callable[[str], None]) -> str | None:
    """What a person types, over several lines where they end with a backslash; None at the end."""
    lines: list[str] = []
    while True:
        try:
            line = input("… " if lines else "> ")
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print()
            say("Ctrl-D leaves.")
            lines = []
            continue
        if line.endswith("\\"):
            lines.append(line[:-1])
            continue
        return "\n".join([*lines, line]).strip()
