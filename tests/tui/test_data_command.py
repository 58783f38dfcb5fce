"""`ftk data`: what it prints, what it writes, what it refuses and how."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk import load_dataset
from ftk_tui import cli, data_command
from tests import tiny

Folders = Callable[..., Path]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["data", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def rows(home: Path) -> str:
    """A file of rows with a copy, a secret, a hidden character and a long answer among them."""
    made = [
        *tiny.ROWS,
        tiny.ROWS[0],
        {"prompt": "What is the key?", "response": "It is AKIAIOSFODNN7EXAMPLE, of course."},
        {"prompt": "Who is\u200b there?", "response": "Nobody."},
        {"prompt": "Tell a long story.", "response": "And then they went on. " * 60},
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    return "rows.jsonl"


def test_inspect_tells_what_it_is_and_what_is_wrong(capsys: pytest.CaptureFixture[str], rows: str) -> None:
    code, out, _ = run(capsys, "inspect", rows)
    assert code == 0
    for part in (
        "rows.jsonl: JSON Lines, 20 rows",
        "prompts and responses (prompt = 'prompt', response = 'response'): the names of the columns",
        "20 rows with 40 turns: 18 to train on, 2 to measure with.",
        "! warning: copies of other rows: 1 row",
        "rows.jsonl, line 17",
        "To change that: keep one of each: --duplicates drop.",
        "what looks like",
        "rows.jsonl, line 18",
        "zero width space (1): 1 row",
        "rows.jsonl, line 19",
        "With --model NAME the lengths are in tokens",
        "0 errors, 3 warnings.",
    ):
        assert part in out
    assert "AKIA" not in out


def test_inspect_with_a_model_counts_its_tokens(
    capsys: pytest.CaptureFixture[str], rows: str, model_folder: Folders
) -> None:
    _, out, _ = run(
        capsys, "inspect", rows, "--model", str(model_folder()), "--max-length", "64", "--eval-fraction", "0"
    )
    for part in (
        "length in tokens",
        "of the rows fit into 64 tokens",
        "longer than 64 tokens: 1 row",
        "rows.jsonl, line 20",
        "ftk cuts them at the end.",
        "--long-rows drop",
        "Chat template: the model's own.",
    ):
        assert part in out
    _, out, _ = run(capsys, "inspect", rows, "--model", str(model_folder("gpt2", chat=False)), "--max-length", "999")
    assert "fit into 256 tokens" in out  # the model reads no more
    assert "Chat template: alpaca (the model has none of its own)." in out


def test_inspect_as_json_is_one_object(capsys: pytest.CaptureFixture[str], rows: str, model_folder: Folders) -> None:
    _, out, _ = run(capsys, "inspect", rows, "--json", "--model", str(model_folder()))
    found = json.loads(out)
    assert found["statistics"]["unit"] == "tokens"
    assert (found["statistics"]["train_rows"], found["statistics"]["eval_rows"]) == (18, 2)
    assert {finding["code"] for finding in found["findings"]} >= {"duplicates", "secrets", "hidden", "languages"}
    assert found["sources"][0]["kind"] == "JSON Lines"


def test_unreadable_rows_are_shown_and_end_with_one(capsys: pytest.CaptureFixture[str], rows: str) -> None:
    with Path(rows).open("a") as file:
        file.write('{"prompt": "a"\n{"prompt": "b", "response": null}\n')
    code, out, _ = run(capsys, "inspect", rows)
    assert code == 1
    assert "✗ error: cannot be read: 2 rows" in out
    assert "rows.jsonl, line 21, column" in out
    assert "--skip-bad 2" in out
    code, out, _ = run(capsys, "inspect", rows, "--skip-bad", "2")
    assert code == 0
    assert "ftk leaves them out." in out


def test_preview_and_rows_and_search(capsys: pytest.CaptureFixture[str], rows: str) -> None:
    code, out, _ = run(capsys, "preview", rows, "--rows", "2")
    assert code == 0
    assert "2  rows.jsonl, line 2" in out
    assert "3  rows.jsonl" not in out
    assert "About 20 rows in all." in out
    _, out, _ = run(capsys, "rows", rows)
    assert out.count("rows.jsonl, line") == 20
    assert "Who is\\u200b there?" in out
    _, out, _ = run(capsys, "rows", rows, "--search", "WINTER", "spring")
    assert {line.split("  ")[0] for line in out.splitlines() if "rows.jsonl" in line} == {"14"}
    code, out, err = run(capsys, "rows", rows, "--search", "zzz")
    assert (code, out) == (0, "")
    assert "No row holds that." in err
    listed = [json.loads(line) for line in run(capsys, "rows", rows, "--json")[1].splitlines()]
    assert [item["number"] for item in listed] == list(range(1, 21))


def test_faulty_rows_are_part_of_the_list(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    (home / "a.jsonl").write_text('{"prompt": "a", "response": "b"}\n{"prompt": "c"}\n')
    _, out, _ = run(capsys, "rows", "a.jsonl")
    assert "2  ✗ a.jsonl, line 2: the column 'response' is missing." in out
    code, _, err = run(capsys, "show", "a.jsonl", "--row", "2")
    assert code == 1
    assert "the column 'response' is missing" in err


def test_show_marks_what_is_learnt(capsys: pytest.CaptureFixture[str], rows: str, model_folder: Folders) -> None:
    model = str(model_folder())
    _, out, _ = run(capsys, "show", rows, "--row", "3", "--model", model)
    assert "<|im_start|>user\nWhat comes after three?<|im_end|>\n<|im_start|>assistant\n⟦After three comes four" in out
    assert "as everybody knows.<|im_end|>⟧" in out
    assert run(capsys, "show", rows, "--line", "3", "--model", model)[1] == out
    _, out, _ = run(capsys, "show", rows, "--row", "3", "--model", model, "--tokens")
    assert "yes     '<|im_end|>'" in out
    _, out, _ = run(capsys, "show", rows, "--row", "3", "--model", model, "--json")
    (example,) = json.loads(out)["examples"]
    assert [piece["learnt"] for piece in example["pieces"]] == [False, True]
    learnt = "".join(text for _, text, is_learnt in example["tokens"] if is_learnt)
    assert learnt == "After three comes four, as everybody knows.<|im_end|>"
    _, out, _ = run(capsys, "show", rows, "--row", "20", "--model", model, "--max-length", "40")
    assert "1 of them cut" in out
    _, out, _ = run(capsys, "show", rows, "--row", "3")
    assert out.startswith("3  rows.jsonl, line 3\nuser: What comes after three?\nassistant: After three")


def test_text_of_the_data_never_reaches_the_terminal_as_a_command(
    capsys: pytest.CaptureFixture[str], home: Path, model_folder: Folders
) -> None:
    evil = "\x1b]0;owned\x07[bold red]x[/] [@click=app.quit]y[/]"
    (home / "evil.jsonl").write_text(json.dumps({"prompt": f"a {evil}", "response": evil}) + "\n")
    for arguments in (
        ["preview", "evil.jsonl"],
        ["rows", "evil.jsonl"],
        ["show", "evil.jsonl", "--model", str(model_folder())],
        ["show", "evil.jsonl", "--model", str(model_folder()), "--tokens"],
    ):
        _, out, _ = run(capsys, *arguments)
        assert "\x1b]" not in out
        assert "\x07" not in out
    assert "[bold red]x[/] [@click=app.quit]y[/]" in run(capsys, "rows", "evil.jsonl")[1]


def test_convert_and_split_write_what_is_read_again(capsys: pytest.CaptureFixture[str], rows: str) -> None:
    before = [row.messages for row in load_dataset(rows).rows]
    for name in ("a.csv", "a.parquet", "a.json", "a.jsonl.gz"):
        code, out, _ = run(capsys, "convert", rows, name)
        assert code == 0
        assert f"{name}: 20 rows as prompt-completion" in out
        assert [row.messages for row in load_dataset(name).rows] == before
    content = Path("a.csv").read_bytes()
    code, _, err = run(capsys, "convert", rows, "a.csv", "--to", "messages")
    assert code == 2
    assert "nothing was written" in err
    assert Path("a.csv").read_bytes() == content
    assert run(capsys, "convert", rows, "a.csv", "--to", "messages", "--overwrite")[0] == 0
    assert [row.messages for row in load_dataset("a.csv").rows] == before
    _, out, _ = run(capsys, "split", rows, "train.jsonl", "held.jsonl", "--eval-fraction", "0.2", "--json")
    assert [json.loads(line)["rows"] for line in out.splitlines()] == [16, 4]
    both = [*load_dataset("train.jsonl").rows, *load_dataset("held.jsonl").rows]
    assert sorted(row.payload() for row in both) == sorted(row.payload() for row in load_dataset(rows).rows)


def test_convert_keeps_a_held_out_part_apart(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "convert", "sample:chat", "chat.csv.gz")
    assert "chat.heldout.csv.gz: 8 rows" in out
    again = load_dataset("*.csv.gz")
    assert (len(again.rows), len(again.held_out)) == (44, 8)
    assert data_command.held_out_name(Path("a/b.jsonl")) == Path("a/b.heldout.jsonl")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, ["required: ACTION", "ftk data --help"]),
        (["inspekt", "x"], 2, ["'inspekt' is not one of", "Did you mean 'inspect'?"]),
        (["inspect"], 2, ["required: SOURCE", "`ftk data inspect --help`"]),
        (["inspect", "rows.jsonl", "--colums", "a"], 2, ["'--colums'", "Did you mean '--columns'?"]),
        (["split", "rows.jsonl", "a.jsonl", "./a.jsonl"], 2, ["named twice", "nothing was written"]),
        (["inspect", "row.jsonl"], 1, ["'row.jsonl'", "Did you mean 'rows.jsonl'?"]),
        (["inspect", "rows.jsonl", "--columns", "prompt=Q,response=A"], 1, ["no column 'Q'", "prompt, response"]),
        (["inspect", "rows.jsonl", "--columns", "promt=Q"], 2, ["'promt=Q'", "Did you mean 'prompt'?"]),
        (["inspect", "rows.jsonl", "--max-length", "two"], 2, ["max_length: 'two'"]),
        (["show", "rows.jsonl", "--row", "21"], 1, ["no row 21", "last one is 20"]),
        (["show", "rows.jsonl", "--row", "1", "--line", "1"], 2, ["--row and --line"]),
        (["show", "rows.jsonl", "--tokens"], 2, ["Add --model NAME"]),
        (["convert", "rows.jsonl", "rows.xlsx"], 2, ["rows.xlsx", ".parquet"]),
        (
            ["convert", "rows.jsonl", "a.jsonl", "--to", "alpacca"],
            2,
            ["Did you mean 'alpaca'?", "ftk data convert"],
        ),
        (["split", "rows.jsonl", "a.jsonl", "b.jsonl", "--eval-fraction", "0"], 2, ["sets no row aside"]),
        (["inspect", "rows.jsonl", "--model", "./none"], 1, ["./none"]),
    ],
)
def test_wrong_usage_is_answered_with_what_to_do(
    capsys: pytest.CaptureFixture[str], rows: str, arguments: list[str], code: int, told: list[str]
) -> None:
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith("ftk: ")
    for part in told:
        assert part in err
    assert not list(Path().glob("a.*"))


def test_looking_at_data_imports_no_torch(rows: str) -> None:
    code = (
        "import sys, ftk_tui.cli as c\n"
        f"assert [c.main(['data', name, {rows!r}]) for name in ('inspect', 'preview', 'show', 'rows')] == [0] * 4\n"
        f"assert c.main(['data', 'convert', {rows!r}, 'out.parquet']) == 0\n"
        "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_terminal_gets_a_pager(rows: str) -> None:
    leader, follower = pty.openpty()
    program = [str(Path(sys.executable).with_name("ftk")), "data", "rows", rows]
    environment = {**os.environ, "PAGER": f"{sys.executable} -c 'import sys; print(len(sys.stdin.read().split()))'"}
    done = subprocess.run(program, stdin=follower, stdout=follower, env=environment, check=False, timeout=60)
    os.close(follower)
    assert done.returncode == 0
    assert int(os.read(leader, 1000).split()[0]) > 200
    os.close(leader)


def test_a_layout_that_the_second_file_cannot_be_in_leaves_neither(capsys: pytest.CaptureFixture[str]) -> None:
    turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user", "assistant")]
    rows = {"train": [{"messages": turns[:2]}], "test": [{"messages": turns}]}
    Path("set.json").write_text(json.dumps(rows), encoding="utf-8")
    code, _, err = run(capsys, "convert", "set.json", "a.jsonl", "--to", "prompt-completion")
    assert code == 1
    assert "cannot hold 4 turns" in err
    assert not list(Path().glob("a.*"))


def test_messages_hold_no_control_characters_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.csv").write_text("a\x9b31m,b,c\nx\u202ey,z,w\n", encoding="utf-8")
    code, _, err = run(capsys, "inspect", "x.csv")
    assert code == 1
    assert not {"\x9b", "\u202e", "\x1b"} & set(err)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_text_beyond_the_encoding_of_the_terminal_is_escaped(rows: str, encoding: str) -> None:
    Path("x.jsonl").write_text(json.dumps({"prompt": "\u4f60?", "response": "caf\u00e9"}) + "\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    program = [str(Path(sys.executable).with_name("ftk")), "data"]
    done = subprocess.run(
        [*program, "inspect", "x.jsonl", "--eval-fraction", "0"], env=environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    done = subprocess.run([*program, "rows", "x.jsonl"], env=environment, capture_output=True, check=False)
    assert b"\\u4f60?" in done.stdout
    done = subprocess.run([*program, "preview", "x.jsonl", "--json"], env=environment, capture_output=True, check=False)
    assert json.loads(done.stdout.decode("utf-8"))["messages"][0]["content"] == "\u4f60?"


def test_one_of_a_thing_is_said_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    Path("x.jsonl").write_text(json.dumps({"prompt": "a?", "response": "b"}) + "\nbad\n", encoding="utf-8")
    _, out, _ = run(capsys, "inspect", "x.jsonl", "--eval-fraction", "0")
    for part in ("JSON Lines, 1 row\n", "1 row with 2 turns", "1 error, 0 warnings.", "In a .jsonl file every line is"):
        assert part in out


def test_lines_are_broken_between_words_on_a_narrow_terminal(rows: str) -> None:
    Path("x.csv").write_text("foo,bar\n" + "hello there,hi my friend\n" * 3, encoding="utf-8")
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    for arguments in (["inspect", rows], ["inspect", "x.csv"]):
        said = on_terminal([str(Path(sys.executable).with_name("ftk")), "data", *arguments], environment)
        lines = [line.rstrip() for line in said.splitlines()]
        assert max(map(len, lines)) <= 60
        assert len(lines) > 5


def on_terminal(program: list[str], environment: dict[str, str]) -> str:
    """What a program leaves on a terminal of 60 columns, its escapes taken out."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with subprocess.Popen(program, stdin=follower, stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        said = b""
        with contextlib.suppress(OSError):  # what reading gives when the program has ended
            while part := os.read(leader, 10_000):
                said += part
    os.close(leader)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r\n", "\n")
    return "\n".join(line.rpartition("\r")[2] for line in plain.split("\n"))  # without what was written over
