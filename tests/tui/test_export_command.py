"""`ftk export`, `ftk merge` and `ftk serve` as they are typed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.runs import RunFolder
from ftk_tui import export_command, merge_command, serve_command
from ftk_tui.cli import main
from tests.core.export import runs_for_tests
from tests.core.export.runs_for_tests import make


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base model."""
    return runs_for_tests.save_base(tmp_path_factory.mktemp("base") / "tiny", "llama")


@pytest.fixture
def run(base: Path, home: Path) -> Callable[..., RunFolder]:
    """Makes finished runs."""

    def made(name: str = "tuned", **settings: Any) -> RunFolder:
        return make(home / "ftk_runs", name, base, **settings)

    return made


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_gguf_file_and_what_was_checked_are_told(
    capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder], home: Path
) -> None:
    run()
    code, out, err = call(capsys, "export", "tuned", "--to", "gguf", "--type", "Q8_0")
    assert (code, err) == (0, "")
    assert out.startswith("exports/tuned-gguf-q8_0\n")
    assert "tuned-q8_0.gguf" in out
    assert "largest logit difference" in out
    assert (home / "exports" / "tuned-gguf-q8_0" / "tuned-q8_0.gguf").is_file()
    code, out, err = call(capsys, "export", "tuned", "--to", "gguf", "--type", "q8_0")
    assert (code, out) == (2, "")
    assert "exists and was not changed" in err
    assert call(capsys, "export", "tuned", "--to", "gguf", "--type", "q8_0", "--force")[0] == 0


def test_the_modelfile_comes_with_the_command_that_uses_it(
    capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder]
) -> None:
    run("Tuned")
    code, out, _ = call(capsys, "export", "Tuned", "--to", "ollama", "--out", "place")
    assert code == 0
    assert "Use it:  ollama create tuned -f place/Modelfile" in out


def test_json_is_events_and_one_result(capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder]) -> None:
    run()
    code, out, _ = call(capsys, "export", "tuned", "--to", "adapter", "--json")
    *events, result = map(json.loads, out.splitlines())
    assert code == 0
    assert {event["event"] for event in events} == {"phase"}
    assert result["kind"] == "adapter"
    assert {"name": "chat_template.jinja", "bytes": 155} in result["files"]
    assert Path(result["path"]).is_dir()


def test_a_dry_run_of_a_push(capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder]) -> None:
    run()
    code, out, err = call(capsys, "export", "tuned", "--to", "hub", "--repo", "me/x", "--what", "merged", "--dry-run")
    assert (code, err) == (0, "")
    assert out.startswith("Would send to me/x, private:\n")
    assert "model.safetensors" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "adapter", "--type", "f16"], "--type goes with --to gguf or ollama, not with --to adapter"),
        (["--to", "gguf", "--repo", "a/b"], "--repo goes with --to hub"),
        (["--to", "hub"], "--to hub needs a repository"),
        (["--to", "hub", "--repo", "a/b", "--out", "x"], "--out goes with"),
        (["--to", "gguff"], "Did you mean 'gguf'?"),
        ([], "--to"),
        (["--to", "gguf", "--type", "q99"], "no GGUF type 'q99'"),
    ],
)
def test_wrong_usage_of_export_is_told(
    capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder], arguments: list[str], told: str
) -> None:
    run()
    code, out, err = call(capsys, "export", "tuned", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert not Path("exports").exists()


def test_runs_are_merged_into_one(capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder]) -> None:
    run("a")
    run("b", seed=2)
    code, out, err = call(capsys, "merge", "a", "b", "--weights", "0.7,0.3", "--name", "both")
    assert (code, err) == (0, "")
    assert out == "both is combined from a, b.\nLook at it:  ftk runs show both\n"
    assert RunFolder.open("both").provenance()["combined"]["weights"] == [0.7, 0.3]
    code, out, _ = call(capsys, "runs", "show", "both")
    assert code == 0
    assert "combined from a, b" in out
    code, out, _ = call(capsys, "merge", "a", "both", "--json")
    assert json.loads(out.splitlines()[-1])["run"].startswith("tiny-")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a"], "takes two runs or more"),
        (["a", "b", "--weights", "a,b"], "is no list of numbers"),
        (["a", "b", "--weights", "1"], "2 runs take 2 weights"),
        (["a", "b", "--density", "0.5"], "--density goes with"),
        (["a", "b", "--method", "tied"], "Did you mean 'ties'?"),
    ],
)
def test_wrong_usage_of_merge_is_told(
    capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder], arguments: list[str], told: str
) -> None:
    run("a")
    run("b")
    code, out, err = call(capsys, "merge", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_the_command_for_vllm_is_printed(capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder]) -> None:
    run(provenance={"model": {"name": "smollm2", "source": "cache", "revision": None}})
    code, out, _ = call(capsys, "serve", "tuned", "--print-vllm", "--port", "9000")
    assert code == 0
    assert out.startswith("vllm serve HuggingFaceTB/SmolLM2-135M-Instruct --enable-lora")
    assert "--port 9000" in out
    assert "FROM vllm/vllm-openai" in call(capsys, "serve", "tuned", "--print-dockerfile")[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--port", "99999"], "--port must be between"),
        (["--max-concurrent", "0"], "--max-concurrent must be 1 or more"),
        (["--key-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE is empty"),
    ],
)
def test_wrong_usage_of_serve_is_told(
    capsys: pytest.CaptureFixture[str], run: Callable[..., RunFolder], arguments: list[str], told: str
) -> None:
    run()
    code, out, err = call(capsys, "serve", "tuned", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def test_a_server_runs_until_ctrl_c(run: Callable[..., RunFolder], base: Path) -> None:
    run()
    command = [sys.executable, "-m", "ftk_tui", "serve", "tuned", "--port", "0", "--key-env", "SERVE_KEY", "--json"]
    environment = {**os.environ, "SERVE_KEY": "secret", "CUDA_VISIBLE_DEVICES": ""}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        told = next(value for value in map(json.loads, process.stdout) if "url" in value)
        assert told["models"] == ["tuned", base.name]
        assert told["key"] is True
        connection = http.client.HTTPConnection(told["url"].removeprefix("http://").removesuffix("/v1"), timeout=60)
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4})
        headers = {"Content-Type": "application/json", "Authorization": "Bearer secret"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["usage"]["completion_tokens"] <= 4
        connection.close()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")


def test_the_commands_import_no_torch_before_they_need_it() -> None:
    code = (
        "import sys\n"
        "from ftk_tui import export_command, merge_command, serve_command\n"
        "for command in (export_command, merge_command, serve_command):\n"
        "    try:\n        command.main(['--help'])\n    except SystemExit:\n        pass\n"
        "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert all(command.main for command in (export_command, merge_command, serve_command))
