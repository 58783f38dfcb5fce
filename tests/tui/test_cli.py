"""The command line: what it offers, what it refuses and how, what it never does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ftk import __version__, catalog, config, recipes
from ftk_tui import cli, options, text


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def help_text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main([*arguments, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_help_lists_every_setting_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_text(capsys)
    for key in config.field_names():
        assert f"{options.flag(key)} " in shown
    for command in ("data", "models", "presets", "resume"):
        assert f"\n  {command} " in shown
        assert "usage: ftk" in help_text(capsys, command)
    for word in ("--preset", "--dry-run", "--save-preset", "--json", "Exit codes: 0 done, 1 failed, 2 wrong usage, 75"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], ["Nothing to do yet", "ftk --preset smollm2"]),
        (["--presett", "gpt2"], ["'--presett'", "Did you mean '--preset'?"]),
        (["trian"], ["Unknown command 'trian'"]),
        (["resum", "x"], ["Did you mean 'resume'?"]),
        (["--preset", "smolm2"], ["Did you mean 'smollm2'?"]),
        (["--learning-rate", "fast"], ["learning_rate: 'fast'"]),
        (["--learning-rate"], ["expected one argument", "ftk --help"]),
        (["--batch-size", "0"], ["batch_size: 0"]),
        (["--schedule", "cosin"], ["Did you mean 'cosine'?"]),
        (["--lora-targets", "q_proj,,v_proj"], ["lora_targets"]),
        (["--preset", "smollm2", "extra"], ["Unknown argument 'extra'"]),
        (["presets", "show"], ["Which preset?", "gpt2"]),
        (["presets", "lisst"], ["'lisst' is not one of list, show", "Did you mean 'list'?"]),
        (["resume"], ["No run in", "`ftk runs`"]),
        (["resume", "../../etc"], ["There is no run"]),
        (["--preset", "./none.yaml"], ["./none.yaml"]),
        (["--max", "3"], ["Unknown argument '--max'"]),
    ],
)
def test_wrong_usage_is_answered_with_what_to_do(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: list[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert code == (1 if arguments in (["resume"], ["resume", "../../etc"]) else 2)
    assert out == ""
    assert err.startswith("ftk: ")
    assert "Traceback" not in err
    for part in told:
        assert part in err


def test_debug_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "--preset", "none", "--debug")
    assert code == 2
    assert "Traceback" in err


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--learning-rate", "2e-4"], {"learning_rate": 2e-4}),
        (["--model", "7"], {"model": "7"}),
        (["--model", "1e-4", "--data", "true"], {"model": "1e-4", "data": "true"}),
        (["--eval-data", "null"], {"eval_data": None}),
        (["--lora-rank", "auto"], {"lora_rank": "auto"}),
        (["--lora-rank", "8"], {"lora_rank": 8}),
        (["--lora-targets", "q_proj, v_proj"], {"lora_targets": ["q_proj", "v_proj"]}),
        (["--compare", "one", "--compare", "2"], {"compare": ["one", "2"]}),
        (["--compare", "none"], {"compare": []}),
        (["--compare", "auto"], {"compare": "auto"}),
        (["--gradient-checkpointing", "true"], {"gradient_checkpointing": True}),
        (["--epochs", "2"], {"epochs": 2, "max_steps": None}),
        (["--epochs", "2", "--max-steps", "9"], {"epochs": 2, "max_steps": 9}),
        (["--name=-x"], {"name": "-x"}),
    ],
)
def test_words_become_the_values_of_settings(arguments: list[str], values: dict[str, object]) -> None:
    assert options.settings_from(cli._parser().parse_args(arguments)) == values


def test_flags_change_a_preset_and_are_saved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, "--preset", "gpt2", "--epochs", "2", "--lora-rank", "4", "--save-preset", "mine")
    assert code == 0
    assert "ftk --preset mine.yaml" in out
    saved = recipes.load("./mine.yaml").config
    packaged = recipes.load("gpt2").config
    assert saved == packaged.merged({"epochs": 2, "max_steps": None, "lora_rank": 4})
    before = (tmp_path / "mine.yaml").read_text()
    code, _, err = run(capsys, "--preset", "smollm2", "--save-preset", "mine.yaml")
    assert (code, (tmp_path / "mine.yaml").read_text()) == (2, before)
    assert "was not changed" in err


def test_models_are_listed_with_their_state(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(capsys, "models")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    for entry in catalog.models():
        assert entry.id in out
    assert "licence+token" in out
    assert "embedded" in out
    listed = [json.loads(line) for line in run(capsys, "models", "qwen", "--json")[1].splitlines()]
    assert {entry["family"] for entry in listed} == {"Qwen 2.5", "Qwen 3"}
    assert {entry["state"] for entry in listed} == {"download"}
    assert "No known model matches 'zzz'" in run(capsys, "models", "zzz")[1]


def test_presets_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "presets")
    assert all(name in out for name in recipes.available())
    listed = [json.loads(line) for line in run(capsys, "presets", "--json")[1].splitlines()]
    assert [entry["name"] for entry in listed] == list(recipes.available())
    assert run(capsys, "presets", "show", "gpt2")[1] == recipes.load("gpt2").text


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, ftk_tui.cli as c\n"
        "for a in (['--help'], ['--version']):\n"
        "    try: c.main(a)\n"
        "    except SystemExit: pass\n"
        "c.main(['presets'])\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'accelerate', 'numpy', 'textual'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import ftk; assert ftk.QuickTrainer and 'textual' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"ftk {__version__}" in done.stdout


@pytest.mark.parametrize("command", ["ftk", "finetune"])
def test_both_commands_are_installed(command: str) -> None:
    script = Path(sys.executable).with_name(command)
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert done.stdout == f"ftk {__version__}\n"


def test_a_reader_that_goes_away_leaves_no_traceback() -> None:
    script = Path(sys.executable).with_name("ftk")
    done = subprocess.run(f"{script} models | head -1", shell=True, capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_foreign_text_cannot_reach_the_terminal_as_commands() -> None:
    assert text.shown("a\x1b[31m\x07\u202eb\nc\td\ud83d") == "a\\x1b[31m\\x07\\u202eb\nc\td\\ud83d"
    family = "\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert text.shown(family) == family
    assert text.shown("pass\u200dword\u200c") == "pass\\u200dword\\u200c"
    assert text.shown("é 日本 \U0001f600 [bold]") == "é 日本 \U0001f600 [bold]"


def test_durations_and_sparklines() -> None:
    assert [text.clock(s) for s in (0, 41.6, 725, 11220, -3)] == ["0:00", "0:42", "12:05", "3:07:00", "0:00"]
    assert text.sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert text.sparkline([5, 5], 8) == "▁▁"
    assert text.sparkline([], 8) == text.sparkline([float("nan")], 8) == ""
    assert len(text.sparkline(list(range(1000)), 20)) == 20


def test_names_are_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = run(capsys, "models")
    assert all(f" {model.id} " in out for model in catalog.models())
    assert "…" not in out


def test_the_prompts_of_a_sample_are_not_asked_of_other_data(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Path("saved.yaml")
    for arguments, compare in (
        (["--data", "sample:code"], "auto"),
        (["--data", "sample:chat"], recipes.load("smollm2").config.compare),
        (["--data", "sample:code", "--compare", "Why?"], ["Why?"]),
    ):
        assert run(capsys, "--preset", "smollm2", *arguments, "--save-preset", str(saved))[0] == 0
        assert recipes.load(str(saved)).config.compare == compare
        saved.unlink()
