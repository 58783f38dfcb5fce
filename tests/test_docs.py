"""README and docs are true: every command in them runs, every link leads somewhere, the tables match the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ftk import recipes
from ftk.data.dataset import SAMPLES, load_dataset
from ftk.events import KINDS
from ftk_tui.cli import main
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_STAND_INS = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": "llama",
    "openai-community/gpt2": "gpt2",
    "mistralai/Mistral-7B-Instruct-v0.3": "mistral",
    "Qwen/Qwen3-0.6B": "qwen3",
}


def _blocks(kind: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(page.name, block) for block in re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)]
    return found


COMMANDS = [(page, line) for page, block in _blocks("sh") for line in block.splitlines() if line.strip()]
_NEEDS_MORE = re.compile(
    r"RUN_A|OTHER|@|NAME|NEW|new\.jsonl|https?:|[<>]|\.\.\.|--blind|--detach|--send|--embedding|q4_k_m|chat|serve"
)
"""In the lists of commands that explain: those that need a second run, a server, a person or a program of others."""
LISTED = [
    (page, line.split("  ")[0])
    for page, block in _blocks("text")
    for line in block.splitlines()
    if page in ("compare.md", "evaluation.md", "export.md", "runs.md") and re.match(r"ftk \w+ RUN", line)
    if not _NEEDS_MORE.search(line.split("  ")[0]) and not line.startswith(("ftk attach", "ftk resume"))
]


@pytest.fixture
def workplace(home: Path, model_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data, and a Hub cache in which tiny models stand in for those that the docs name."""
    cache = home / "hf_hub_cache"
    for hub, architecture in _STAND_INS.items():
        repository = cache / f"models--{hub.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        shutil.copytree(model_folder(architecture, chat=architecture != "gpt2"), repository / "snapshots" / ("0" * 40))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    (home / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    lines = [f'"{row["prompt"]}","{row["response"]}"' for row in tiny.ROWS]
    (home / "my.csv").write_text("\n".join(["prompt,response", *lines]) + "\n")
    questions = [f"{row['prompt']};{row['response']}" for row in tiny.ROWS]
    (home / "questions.csv").write_text("\n".join(["Q;A", *questions]) + "\n")
    recipes.save(recipes.load("gpt2").config, home / "my-recipe.yaml")
    return home


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for a finished run, which the first test that asks for it fills."""
    return tmp_path_factory.mktemp("finished") / "RUN"


@pytest.mark.parametrize(("page", "line"), [*COMMANDS, *LISTED])
def test_every_command_runs(
    page: str, line: str, workplace: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(line)
    assert program == "ftk", f"{page}: {line}"
    if arguments == ["resume", "RUN"]:
        arguments[1] = _stopped_run(workplace)
    elif "RUN" in arguments:
        _finished_run(workplace, finished)
        (workplace / "questions.txt").write_text("Who?\n")
        arguments += _BRIEFLY.get(arguments[0], [])
        if "hub" in arguments:
            arguments += ["--dry-run"]
    elif "--save-preset" in arguments:
        (workplace / "my-recipe.yaml").unlink()
    elif arguments[0].startswith("--") and "--dry-run" not in arguments:
        arguments += ["--max-steps", "2", "--compare-tokens", "4"]
    assert main(arguments) == 0, capsys.readouterr()


_BRIEFLY = {"compare": ["--max-tokens", "4"], "evaluate": ["--max-tokens", "4"], "bench": ["--max-tokens", "4"]}


def _finished_run(folder: Path, kept: Path) -> None:
    """The run that the docs call RUN; trained once."""
    target = folder / "ftk_runs" / "RUN"
    if not kept.exists():
        assert main(["--preset", "smollm2", "--max-steps", "2", "--compare", "none", "--name", "RUN"]) == 0
        shutil.copytree(target, kept)
    else:
        target.parent.mkdir()
        shutil.copytree(kept, target)


def _stopped_run(folder: Path) -> str:
    """A run that was stopped: here one whose journal lacks its end, as after kill -9."""
    assert main(["--preset", "smollm2", "--max-steps", "4", "--compare", "none", "--name", "stopped"]) == 0
    journal = folder / "ftk_runs" / "stopped" / "events.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '"finished"' not in line))
    return "stopped"


@pytest.mark.parametrize(("page", "code"), _blocks("python"))
def test_every_python_example_runs(page: str, code: str, workplace: Path) -> None:
    code = re.sub(r"max_steps=\d\d+", "max_steps=2", code)
    exec(compile(code, page, "exec"), {"__name__": "__example__"})
    assert (workplace / "ftk_runs").is_dir()


def test_the_two_commands_are_those_that_ci_runs() -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 and ".venv" in block for block in blocks)
    assert blocks[0].rstrip().endswith("ftk --preset smollm2")
    assert blocks[1].rstrip().endswith("pytest")
    run = (ROOT / ".ci" / "run").read_text()
    assert "command_of 1" in run
    assert "command_of 2" in run


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_settings_page_is_made_from_the_code() -> None:
    script = f"import runpy; print(runpy.run_path({str(ROOT / 'docs' / 'make_settings.py')!r})['settings'](), end='')"
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert (ROOT / "docs" / "settings.md").read_text() == made, "run: python docs/make_settings.py"


def test_the_pages_name_every_event_and_sample() -> None:
    runs, data = (ROOT / "docs" / "runs.md").read_text(), (ROOT / "docs" / "data.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in runs] == []
    for name in SAMPLES:
        sample = load_dataset(f"sample:{name}")
        (line,) = [line for line in data.splitlines() if line.startswith(f"| `sample:{name}`")]
        assert str(len(sample)) in line
        assert str(len(sample.held_out)) in line


def test_the_library_page_names_everything_public() -> None:
    import ftk

    page = (ROOT / "docs" / "library.md").read_text()
    missing = [name for name in ftk.__all__ if name not in page and name not in ("__version__", "RunConfig")]
    assert missing == []


def test_the_json_example_is_a_row_that_ftk_reads(tmp_path: Path) -> None:
    (block,) = [code for page, code in _blocks("json") if page == "data.md"]
    path = tmp_path / "example.jsonl"
    path.write_text(block)
    assert len(load_dataset(path)) == 1
