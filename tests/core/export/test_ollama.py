"""The Modelfile: its Go template writes what the model's own Jinja template writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.data import templates
from ftk.export import ollama
from ftk.export.gguf import exporting
from ftk.export.gguf.exporting import Options
from ftk.export.source import Trained
from tests import chat_templates, tiny, tokenizers_for_tests

_BEGINNING = {"gemma": "<bos>", "gemma3": "<bos>", "llama3": "<|begin_of_text|>", "llama2": "<s>", "mistral": "<s>"}
_ACTION = re.compile(r"\{\{ (.*?) \}\}", re.S)


def go(template: str, messages: list[dict[str, str]]) -> str:
    """What Ollama makes of a template: the part of Go's template language that is used here, and no other.

    The system texts are in `.System` as well, and consecutive turns of one role are one, as Ollama does it.
    """
    parts = _ACTION.split(template)
    system = "\n\n".join(turn["content"] for turn in messages if turn["role"] == "system")
    tree, rest = _block(list(zip(parts[::2], [*parts[1::2], ""], strict=True)))
    assert rest == []
    return _write(tree, {".System": system, "$.System": system, ".Messages": messages})


def _block(parts: list[tuple[str, str]]) -> tuple[list[Any], list[tuple[str, str]]]:
    """The nodes up to the end of a block, and what is behind it."""
    nodes: list[Any] = []
    while parts:
        (text, action), *parts = parts
        nodes.append(text)
        word, _, more = action.partition(" ")
        if word in ("range", "if"):
            cases = []
            while True:
                inner, (ending, *parts) = _block(parts)
                cases.append((word, more, inner))
                if ending[1] == "end":
                    break
                word, _, more = ending[1].removeprefix("else ").partition(" ")
            nodes.append(cases)
        elif word in ("end", "else"):
            return nodes, [("", action), *parts]
        elif action:
            nodes.append((action,))
    return nodes, []


def _write(nodes: list[Any], known: dict[str, Any]) -> str:
    out = ""
    for node in nodes:
        if isinstance(node, str):
            out += node
        elif isinstance(node, tuple):
            out += known[node[0]]
        elif node[0][0] == "range":
            assert node[0][1] == "$i, $m := .Messages"
            for number, turn in enumerate(known[".Messages"]):
                mine = {"$i": number, "$m.Role": turn["role"], "$m.Content": turn["content"]}
                out += _write(node[0][2], {**known, **mine})
        else:
            taken = next((inner for _, condition, inner in node if _true(condition, known)), [])
            out += _write(taken, known)
    return out


def _true(condition: str, known: dict[str, Any]) -> bool:
    if match := re.fullmatch(r'eq \$m\.Role "(\w+)"', condition):
        return bool(known["$m.Role"] == match[1])
    if condition == "not .System":
        return not known[".System"]
    if condition == "and $.System (eq $i 1)":
        return bool(known["$.System"]) and known["$i"] == 1
    assert condition == "and $.System (eq (len (slice $.Messages $i)) 1)", condition
    return bool(known["$.System"]) and len(known[".Messages"]) - known["$i"] == 1


def _tokenizer(family: str) -> Any:
    tokenizer = tokenizers_for_tests.tokenizer("bytes", family)
    tokenizer.bos_token = _BEGINNING.get(family)
    return tokenizer


@pytest.mark.parametrize("family", [*chat_templates.FAMILIES, *templates.TEMPLATES])
def test_every_family_has_a_go_template_that_writes_the_same(family: str) -> None:
    tokenizer = _tokenizer(family)
    shape = ollama.shape_of(tokenizer)
    assert shape is not None
    s, u, a, v = (
        {"role": role, "content": text}
        for role, text in (("system", "Be brief."), ("user", "Hi?"), ("assistant", "Yes."), ("user", "Why\nso?"))
    )
    for turns in ([u], [s, u], [u, a, v], [s, u, a, v]):
        wanted = templates.render(tokenizer, tuple(turns), prompt=True)
        assert shape.begin + go(shape.go, turns) == wanted, shape.go


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ loop.index }}. {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}",
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\"\"\"\n{% endfor %}",
    ],
)  # fmt: skip
def test_a_template_that_does_more_is_left_to_a_person(template: str) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    text, notes = ollama.modelfile(tokenizer, "m.gguf", None, 256)
    assert "TEMPLATE " not in [line.split("# ")[-1] for line in text.splitlines() if not line.startswith("#")]
    assert "\n# TEMPLATE: " in text
    assert "written by hand" in notes[0]


def test_the_modelfile_says_what_the_model_needs() -> None:
    text, notes = ollama.modelfile(_tokenizer("qwen2.5"), "m.gguf", "Answer as a \\pirate.", 32768)
    assert notes == []
    assert text.startswith("FROM ./m.gguf\n")
    assert 'SYSTEM """Answer as a \\pirate."""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert "PARAMETER num_ctx 8192" in text
    assert "You are Qwen." in text  # its template says so where nobody says anything else


def test_a_fallback_template_stops_at_the_users_next_turn() -> None:
    tokenizer = tiny.tokenizer(chat=False)
    templates.choose(tokenizer)
    words = ollama.stop_words(tokenizer, ollama.shape_of(tokenizer))
    assert words == ["<|endoftext|>", "### Instruction:"]


def test_what_a_modelfile_cannot_say_is_left_out_and_told() -> None:
    text, notes = ollama.modelfile(tiny.tokenizer(), "m.gguf", 'Say """ often.', 0)
    assert "SYSTEM" not in text
    assert "left out" in notes[0]


def test_the_token_that_llama_cpp_puts_first_is_not_written_twice() -> None:
    from tokenizers import processors

    tokenizer = _tokenizer("gemma")
    assert 'TEMPLATE """<bos>' in ollama.modelfile(tokenizer, "m.gguf", None, 256)[0]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    assert "<bos>" not in ollama.modelfile(tokenizer, "m.gguf", None, 256)[0]


def test_a_beginning_that_also_begins_every_turn_stays_with_the_turns() -> None:
    tokenizer = _tokenizer("smollm2")
    tokenizer.bos_token = "<|im_start|>"
    shape = ollama.shape_of(tokenizer)
    assert shape is not None
    assert (shape.begin, shape.user[0]) == ("", "<|im_start|>user\n")


def test_the_modelfile_lies_beside_the_file(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run(system_prompt="Be a lighthouse keeper.")
    made = exporting.export(trained, tmp_path / "out", Options("q8_0", modelfile=True))
    text = (made.path / "Modelfile").read_text()
    assert text.startswith("FROM ./tuned-q8_0.gguf\n")
    assert (made.path / "tuned-q8_0.gguf").is_file()
    assert 'SYSTEM """Be a lighthouse keeper."""' in text
    assert "PARAMETER num_ctx 256" in text
    assert "lighthouse" not in (made.path / "README.md").read_text()
    assert "ollama create tuned" in (made.path / "README.md").read_text()
