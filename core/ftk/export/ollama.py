"""A Modelfile for Ollama: the chat template in Ollama's own language, found out by looking at what the model's writes.

Ollama does not read Jinja templates. The template of a tokenizer is asked to render conversations of marked words, what
it writes around them is taken apart by role, and the Go template that follows from that is tried on other conversations
before it is believed. Nothing has to be known about the family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..data import encoding, templates
from ..data.rows import Message
from ..errors import DataError

_S, _U, _A, _V, _B = "§system§", "§user§", "§answer§", "§again§", "§more§"
_LONGEST = 8192
"""Tokens of context that a Modelfile asks for at most; every token of it takes memory."""


@dataclass(frozen=True)
class Shape:
    """What a chat template writes around each role's text.

    `begin` stands before everything; `system` is None where the system text is put before a user text, the first or
    with `into_last` the last, with `joint` around it; `default` is the system text of conversations without one,
    None where then nothing is written; `opening` is what the model goes on from.
    """

    begin: str
    system: tuple[str, str] | None
    joint: tuple[str, str]
    into_last: bool
    user: tuple[str, str]
    answer: tuple[str, str]
    opening: str
    default: str | None

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation as Ollama will write it with `go`."""
        turns = list(messages)
        told = turns[0]["content"] if turns[0]["role"] == "system" else ""
        parts = [self.begin]
        if self.system and not told and self.default is not None:
            parts.append(self.system[0] + self.default + self.system[1])
        place = len(turns) - 1 if self.into_last else 1
        for number, turn in enumerate(turns):
            if turn["role"] == "system":
                parts.append(self.system[0] + told + self.system[1] if self.system else "")
            else:
                before, after = self.user if turn["role"] == "user" else self.answer
                folds = told and self.system is None and number == place
                folded = self.joint[0] + told + self.joint[1] if folds else ""
                parts.append(before + folded + turn["content"] + after)
        return "".join(parts) + self.opening

    @property
    def go(self) -> str:
        """The Go template; `begin` is left out, see `modelfile`."""
        parts = []
        if self.system and self.default is not None:
            parts.append(f"{{{{ if not .System }}}}{self.system[0]}{self.default}{self.system[1]}{{{{ end }}}}")
        parts.append("{{ range $i, $m := .Messages }}")
        begin = "{{ if"
        if self.system:
            parts.append(f'{begin} eq $m.Role "system" }}}}{self.system[0]}{{{{ $m.Content }}}}{self.system[1]}')
            begin = "{{ else if"
        place = "(eq (len (slice $.Messages $i)) 1)" if self.into_last else "(eq $i 1)"
        inner = f"{self.joint[0]}{{{{ $.System }}}}{self.joint[1]}"
        folded = "" if self.system else f"{{{{ if and $.System {place} }}}}{inner}{{{{ end }}}}"
        for role, (before, after), more in (("user", self.user, folded), ("assistant", self.answer, "")):
            parts.append(f'{begin} eq $m.Role "{role}" }}}}{before}{more}{{{{ $m.Content }}}}{after}')
            begin = "{{ else if"
        return "".join(parts) + "{{ end }}{{ end }}" + self.opening


def shape_of(tokenizer: Any) -> Shape | None:
    """What a tokenizer's chat template writes, or None where that depends on more than the roles."""
    try:
        found = _taken_apart(tokenizer)
        if found is None or not all(_agrees(tokenizer, found, turns) for turns in _trials()):
            return None
        if '"""' in found.go or "{{" in found.render([_turn("user", "")]):  # which neither file can say
            return None
    except (DataError, ValueError):
        return None
    return found


def _turn(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _trials() -> list[list[Message]]:
    s, u, a, v, b = (
        _turn(role, text)
        for role, text in (
            ("system", "Be brief.\nAnd kind."), ("user", "Hi, what is 1 < 2?"), ("assistant", "True {it} is."),
            ("user", "Why\n\nso?"), ("assistant", "Because."),
        )
    )  # fmt: skip
    return [[u], [s, u], [u, a, v], [s, u, a, v], [s, u, a, v, b, u]]


def _agrees(tokenizer: Any, shape: Shape, turns: list[Message]) -> bool:
    return _render(tokenizer, turns, prompt=True) == shape.render(turns)


def _render(tokenizer: Any, turns: list[Message], *, prompt: bool) -> str:
    return templates.render(tokenizer, tuple(turns), prompt=prompt)


def _taken_apart(tokenizer: Any) -> Shape | None:
    """The shape that a template seems to have; it has to be tried."""
    s, u, a, v, b = (
        _turn(role, text)
        for role, text in (("system", _S), ("user", _U), ("assistant", _A), ("user", _V), ("assistant", _B))
    )
    asked, talk = _render(tokenizer, [u], prompt=True), _render(tokenizer, [u, a, v, b], prompt=False)
    head, tail = asked.split(_U)
    between, back, end = _between(talk, _U, _A), _between(talk, _A, _V), talk.partition(_B)[2]
    plain = _render(tokenizer, [u], prompt=False).partition(_U)[2]
    after_user = plain if tail.startswith(plain) and between.startswith(plain) else ""
    begin = tokenizer.bos_token or ""
    once = talk.count(begin) == 1 or templates.beginning(tokenizer)  # SmolLM2's also begins every turn
    begin = begin if once and head.startswith(begin) else ""
    head = head.removeprefix(begin)
    before_user = back[len(end) :] if end and back.startswith(end) else ""
    if not before_user or not head.endswith(before_user):
        before_user = _common_ending(back, head)
    own = head.removesuffix(before_user)
    whole = {
        "user": (before_user, after_user),
        "answer": (between[len(after_user) :], back.removesuffix(before_user)),
        "opening": tail[len(after_user) :],
    }
    return _with_system(tokenizer, [s, u, a, v], begin, own, whole)


def _with_system(tokenizer: Any, turns: list[Message], begin: str, own: str, whole: dict[str, Any]) -> Shape | None:
    """The shape with what becomes of a system text: a turn of its own, or a part of a user's."""
    before_user = whole["user"][0]
    told = _render(tokenizer, turns[:2], prompt=True)
    before, middle = told.partition(_S)[0].removeprefix(begin), _between(told, _S, _U)
    if before.startswith(own + before_user):
        talk = _render(tokenizer, turns, prompt=True)
        joint = (before.removeprefix(own + before_user), middle)
        return Shape(begin + own, None, joint, talk.index(_S) > talk.index(_A), default=None, **whole)
    if not middle.endswith(before_user):
        return None
    system = (before, middle.removesuffix(before_user))
    default = own.removeprefix(before).removesuffix(system[1]) if own else None
    return Shape(begin, system, ("", ""), False, default=default, **whole)


def _between(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0]


def _common_ending(one: str, other: str) -> str:
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return one[len(one) - length :]


def modelfile(tokenizer: Any, file: str, system: str | None, context: int) -> tuple[str, list[str]]:
    """The text of a Modelfile, and what has to be said about it.

    Args:
        tokenizer: The model's tokenizer, with its chat template.
        file: The GGUF file beside the Modelfile.
        system: The system prompt that the model was trained with, if any.
        context: Tokens that the model reads.

    """
    notes: list[str] = []
    lines = [f"FROM ./{file}", ""]
    shape = shape_of(tokenizer) if tokenizer.chat_template else None
    if shape:
        begin = shape.begin
        if templates.beginning(tokenizer):  # llama.cpp puts that token there by itself
            begin = begin.removeprefix(tokenizer.bos_token)
        lines += [f"TEMPLATE {_quoted(begin + shape.go)}", ""]
    else:
        notes.append(
            "The chat template does more than put text around each turn, so its Go form has to be written by hand: see "
            "the comment in the Modelfile."
        )
        lines += [
            "# TEMPLATE: the model's chat template (Jinja, in the GGUF file) has no plain Go form. Write one by hand:",
            "# https://docs.ollama.com/template ; without it Ollama looks for a template of its own that is like it.",
            "",
        ]
    if system and '"""' in system:
        notes.append('The system prompt holds """, which a Modelfile cannot say; it was left out.')
    elif system:
        lines += [f"SYSTEM {_quoted(system)}", ""]
    lines += [f"PARAMETER stop {_line(word)}" for word in stop_words(tokenizer, shape)]
    lines += [
        f"PARAMETER num_ctx {min(context, _LONGEST) if context > 0 else _LONGEST}",
        "PARAMETER temperature 0.7",
        "PARAMETER top_p 0.9",
    ]
    return "\n".join(lines) + "\n", notes


def stop_words(tokenizer: Any, shape: Shape | None) -> list[str]:
    """The texts at which an answer ends: the tokens that end a turn, and how the user's turn begins in plain text."""
    words = [str(tokenizer.convert_ids_to_tokens(number)) for number in encoding.end_of_turn(tokenizer)]
    special = set(tokenizer.get_added_vocab())
    begin = shape.user[0].strip() if shape else ""
    if begin and not any(token in begin for token in special):
        words.append(begin)
    return list(dict.fromkeys(words))


def _quoted(text: str) -> str:
    return f'"""{text}"""'


def _line(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
