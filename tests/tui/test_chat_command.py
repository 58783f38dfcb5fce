"""`ftk chat`: turns and commands, on a terminal and from a pipe; Ctrl-C, Ctrl-D, and text that is data."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ftk_tui import cli
from ftk_tui.asking import Shown
from ftk_tui.text import shown
from tests.core.evaluation.trained_runs import train
from tests.pseudo_terminal import PseudoTerminal, until

Folder = Callable[..., Path]
SHORT = ["--max-tokens", "12", "--temperature", "0"]
QUESTION = "What comes after one?"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: Folder) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, model_folder(), "mine", max_steps=30)
    return folder / "runs"


@pytest.fixture
def runs(trained: Path, home: Path) -> Path:
    target = home / "ftk_runs"
    shutil.copytree(trained, target)
    return target


@pytest.fixture
def talk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, runs: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Say some lines through a pipe; returns exit code, output, and what was told besides."""

    def said(lines: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        code = cli.main(["chat", *(arguments or ("mine", *SHORT))])
        return code, *capsys.readouterr()

    yield said


Talk = Callable[..., tuple[int, str, str]]


def test_from_a_pipe_every_line_is_a_turn_and_only_answers_come_out(talk: Talk) -> None:
    code, out, err = talk(f"{QUESTION}\n\n  {QUESTION}\n")
    assert code == 0
    first, second = out.splitlines()
    assert first == "After one comes two, as everybody knows." or first.startswith("After")
    assert second
    assert err == "" or "cut off" in err
    assert "\x1b" not in out


def test_base_and_tuned_take_turns_in_one_conversation(talk: Talk) -> None:
    code, out, _ = talk(f"{QUESTION}\n/base\n{QUESTION}\n/tuned\n/reset\n{QUESTION}\n", "mine", "--json", *SHORT)
    assert code == 0
    tuned, base, again = map(json.loads, out.splitlines())
    assert (tuned["model"], base["model"], again["model"]) == ("mine", "base", "mine")
    assert tuned["text"] == again["text"] != base["text"]
    assert base["prompt_tokens"] > tuned["prompt_tokens"] == again["prompt_tokens"]  # it read what was said before
    code, out, _ = talk(f"{QUESTION}\n", "mine", "--base", "--json", *SHORT)
    assert json.loads(out)["model"] == "base"


def test_commands_change_the_conversation(talk: Talk, home: Path) -> None:
    lines = [
        "/system Be brief.", QUESTION, "/save talk.jsonl", "/temperature 1.5", "/help", "/system", "//not a command",
        "/save talk.md", "/quit", "never said",
    ]  # fmt: skip
    code, out, err = talk("\n".join(lines))
    assert code == 0
    assert len(out.splitlines()) >= 2
    saved = json.loads((home / "talk.jsonl").read_text())["messages"]
    assert [turn["role"] for turn in saved] == ["system", "user", "assistant"]
    assert saved[0]["content"] == "Be brief."
    assert "/not a command" in (home / "talk.md").read_text()
    assert "never said" not in (home / "talk.md").read_text()
    for told in (
        "with that system message",
        "Saved in talk.jsonl",
        "Temperature 1.5",
        "/temperature X",
        "without a system",
    ):
        assert told in err


def test_the_system_message_of_the_run_is_used_unless_another_is_given(talk: Talk, runs: Path) -> None:
    config = runs / "mine" / "config.yaml"
    config.write_text(config.read_text().replace("system_prompt: null", "system_prompt: Be kind."))

    def length(*arguments: str) -> int:
        return int(json.loads(talk(f"{QUESTION}\n", "mine", "--json", *SHORT, *arguments)[1])["prompt_tokens"])

    with_runs, without, other = length(), length("--system", ""), length("--system", "Be very, very kind.")
    assert without < with_runs < other


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("/temprature 1\n", "Did you mean 'temperature'?"),
        ("/temperature hot\n", "'hot' is no number"),
        ("/temperature -1\n", "must be 0 or more"),
        ("/save\n", "needs a file"),
        ("/save talk.md\n", "Nothing was said"),
        ("/reset now\n", "takes no value"),
        ("seven " * 400 + "\n", "the model reads 256"),
    ],
)
def test_what_cannot_be_is_said(talk: Talk, lines: str, told: str) -> None:
    code, out, err = talk(lines)
    assert code in (1, 2)
    assert out == ""
    assert told in err
    assert "Traceback" not in err


def test_a_run_that_is_not_there_is_said(talk: Talk) -> None:
    code, _, err = talk("", "mien")
    assert code == 1
    assert "Did you mean 'mine'?" in err


def test_a_conversation_that_grew_too_long_loses_its_beginning_and_that_is_said(talk: Talk) -> None:
    code, _, err = talk(("seven " * 40 + "\n") * 5)
    assert code == 0
    assert "1 exchange at its beginning left out from here on" in err


def test_text_of_the_model_is_shown_and_not_sent(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk.evaluation.text_stream import TextStream

    monkeypatch.setattr(TextStream, "add", lambda self, token: "\x1b[2J[red]\u202e")
    code, out, _ = talk(f"{QUESTION}\n")
    assert code == 0
    assert out.startswith(r"\x1b[2J[red]\u202e")
    assert "\x1b" not in out


def test_parts_are_shown_as_the_whole_would_be() -> None:
    for text in ("👩\u200d💻 ok", "a\u200db", "می\u200cخواهم", "\u200d", "x\x1b[0m\u202ey", "é\n\t!"):
        for size in (1, 2, 3):
            safe = Shown()
            parts = [text[place : place + size] for place in range(0, len(text), size)]
            assert "".join(map(safe, parts)) == shown(text)


def test_on_a_terminal_one_talks_stops_an_answer_and_leaves(runs: Path) -> None:
    with PseudoTerminal(["chat", "mine", "--temperature", "0", "--max-tokens", "12"], {"NO_COLOR": "1"}) as terminal:
        until(lambda: "Ctrl-D leaves" in terminal.output)
        terminal.press(f"{QUESTION}\n")
        until(lambda: "After" in terminal.output.partition("mine> ")[2])
        terminal.press("/base\n")
        until(lambda: "base answers from here on" in terminal.output)
        terminal.press("\x03")
        until(lambda: terminal.output.count("Ctrl-D leaves") == 2)
        terminal.press("/nope\n")
        until(lambda: "There is no command /nope" in terminal.output)
        terminal.press("What comes\\\nafter two?\n")
        until(lambda: "cut off" in terminal.output.partition("base> ")[2])
        terminal.press("/save talk.jsonl\n")
        until(lambda: "Saved in talk.jsonl" in terminal.output)
        terminal.press("\x04")
        assert terminal.wait() == 0
    turns = json.loads(Path("talk.jsonl").read_text())["messages"]
    assert turns[2]["content"] == "What comes\nafter two?"
    assert "Traceback" not in terminal.output


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(runs: Path) -> None:
    with PseudoTerminal(["chat", "mine", "--base", "--temperature", "2", "--max-tokens", "240"]) as terminal:
        until(lambda: "Ctrl-D leaves" in terminal.output)
        terminal.press("one\n")
        until(lambda: len(terminal.output.partition("base> ")[2]) > 20)
        terminal.press("\x03")
        until(lambda: "(stopped)" in terminal.output)
        terminal.press("/quit\n")
        assert terminal.wait() == 0
    assert "Traceback" not in terminal.output
