"""A canary: tokens that are used to fetch a model are then looked for in everything that was written and printed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import cycle, product
from pathlib import Path

import pytest

from ftk import QuickTrainer, secrets
from ftk.config import build, field_names
from ftk.errors import ConfigError, FtkError
from ftk.events import Event, Step, Warned
from ftk_tui.cli import main
from tests import tiny
from tests.core.models.conftest import point_to
from tests.core.models.hub_server import HubServer, Repository

NAME = "someone/tiny-model"
OF_ENVIRONMENT = "canary.of.no.known.form.20251125"
OF_LOGIN = "hf_" + "CanaryBird" * 3 + "Seed"
CANARIES = (OF_ENVIRONMENT, OF_LOGIN)
Folder = Callable[..., Path]


def forms(secret: str) -> set[bytes]:
    """A secret as it may stand somewhere: as text, in wide characters, in base64."""
    plain = secret.encode()
    wide = secret.encode("utf-16-le")
    return {plain, wide, *(base64.b64encode(b"x" * shift + plain)[4:36] for shift in range(3))}


def leaks(*places: Path | str) -> list[str]:
    """Where a canary stands: in a text, or in a file of a folder."""
    found = []
    looked_for = {form for secret in CANARIES for form in forms(secret)}
    for place in places:
        files = [path for path in place.rglob("*") if path.is_file()] if isinstance(place, Path) else [place]
        for file in files:
            content = file.read_bytes() if isinstance(file, Path) else file.encode()
            name = os.fsencode(file) if isinstance(file, Path) else b""
            found += [f"{file}"[:200] for form in looked_for if form in content or form in name]
    return found


@pytest.fixture
def server(model_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub with one model, that wants a token."""
    made = HubServer()
    made.repositories[NAME] = Repository.of(model_folder())
    point_to(made.url, monkeypatch)
    yield made
    made.stop()


@pytest.fixture
def rows(home: Path) -> Path:
    path = home / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.ROWS))
    return path


@pytest.fixture(params=CANARIES, ids=["environment", "login"])
def token(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the canaries, where it belongs."""
    if request.param == OF_ENVIRONMENT:
        monkeypatch.setenv("HF_TOKEN", request.param)
    else:
        (home / "hf_home").mkdir(exist_ok=True)
        (home / "hf_home" / "token").write_text(request.param)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(home / "hf_home" / "token"))
    secrets.look_again()
    return str(request.param)


def test_the_search_finds_what_it_looks_for(tmp_path: Path) -> None:
    for number, form in enumerate(forms(OF_LOGIN)):
        (tmp_path / f"{number}.bin").write_bytes(b"\0xy" + form + b"\0")
    assert len(leaks(tmp_path)) == len(forms(OF_LOGIN))
    encoded = base64.b64encode(f"user:{OF_ENVIRONMENT}".encode()).decode()
    assert leaks(f"Basic {encoded}", OF_ENVIRONMENT)
    assert not leaks("nothing here")


def test_a_model_that_a_token_fetched_is_trained_without_a_trace_of_it(
    server: HubServer, rows: Path, home: Path
) -> None:
    """The whole way, in a process of its own: look up, fetch, train, save, answer; and printed with --debug."""
    (home / "hf_home").mkdir()
    (home / "hf_home" / "token").write_text(OF_LOGIN)
    command = [
        sys.executable, "-m", "ftk_tui", "--model", NAME, "--data", str(rows), "--max-steps", "4", "--save-steps", "2",
        "--device", "cpu", "--precision", "float32", "--name", "canary", "--debug",
    ]  # fmt: skip
    environment = {**os.environ, "HF_ENDPOINT": server.url, "PYTHONPATH": str(Path(__file__).parents[2])}
    del environment["HF_HUB_CACHE"]  # below HF_HOME, beside the token
    seen = []
    for name, value in (("login", OF_LOGIN), ("environment", OF_ENVIRONMENT)):
        if name == "environment":
            environment["HF_TOKEN"] = value
            command[command.index("canary")] = "canary-2"
        server.requests.clear()
        if name == "login":  # only the look-up, which is quick
            done = subprocess.run(
                [*command, "--dry-run"], env=environment, capture_output=True, text=True, check=False, timeout=300
            )
        else:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        sent = {headers.get("authorization") for _, _, headers in server.requests}
        assert f"Bearer {value}" in sent
        seen += [done.stdout, done.stderr]
    assert len(list((home / "ftk_runs" / "canary-2" / "checkpoints").glob("step-*"))) == 2
    assert (home / "ftk_runs" / "canary-2" / "adapter" / "adapter_model.safetensors").is_file()
    assert (home / "hf_home" / "hub").is_dir()
    (home / "hf_home" / "token").unlink()  # the one place where it belongs
    assert leaks(home, *seen) == []


def test_nothing_that_a_refusing_hub_says_back_is_printed(
    server: HubServer, token: str, rows: Path, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    repository = server.repositories[NAME]
    repository.echoes = True
    arguments = ["--model", NAME, "--data", str(rows), "--device", "cpu"]
    flags = cycle((["--debug"], [], ["--json"]))
    shown = []
    for answer in product((401, 403, 500), ("GatedRepo", "RepoNotFound", "")):
        repository.info_error = answer
        assert main([*arguments, "--dry-run", *next(flags)]) == 1
        shown += list(capfd.readouterr())
    repository.info_error = None
    for status in (401, 403):  # anything above is asked for again and again
        repository.file_error = (status, "")
        assert main([*arguments, "--name", f"refused-{status}", *next(flags)]) == 1
        shown += list(capfd.readouterr())
    assert any(headers.get("authorization") == f"Bearer {token}" for _, _, headers in server.requests)
    text = "\n".join(shown)
    assert "Traceback" in text
    assert "401" in text
    assert leaks(*shown, home / "ftk_runs") == []


def test_what_a_library_puts_into_a_message_is_taken_out_of_the_journal(
    model_folder: Folder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", OF_ENVIRONMENT)
    secrets.look_again()
    told: list[Event] = []

    def broken(event: Event) -> None:
        if isinstance(event, Step):
            raise RuntimeError(f"GET https://me:{OF_ENVIRONMENT}@mirror/x: 403 for {OF_LOGIN}")

    trainer = QuickTrainer(
        str(model_folder()), tiny.ROWS, name="one", max_steps=1, device="cpu", precision="float32", compare=[]
    )
    result = trainer.train([broken, told.append])
    assert result.run is not None
    kept = [event for event in result.run.events() if isinstance(event, Warned)]
    assert "[redacted]" in next(event.message for event in kept if event.code == "listener")
    assert leaks(home / "ftk_runs") == []


@pytest.mark.parametrize("key", ["token", "hf_token", "api_key", "password"])
def test_no_setting_takes_a_secret(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        build({key: OF_LOGIN})
    assert key in str(refused.value)
    assert leaks(str(refused.value), repr(refused.value)) == []
    assert main([f"--{key.replace('_', '-')}", OF_LOGIN]) == 2
    assert leaks(*capfd.readouterr()) == []


def test_no_setting_is_named_as_if_it_took_one() -> None:
    words = {word for name in field_names() for word in name.split("_")}
    assert not words & {"token", "secret", "password", "key", "credentials", "auth", "login"}


def test_a_token_in_the_place_of_another_value_is_not_said_back() -> None:
    for values in ({"model": OF_LOGIN}, {"data": OF_LOGIN}, {"name": f"../{OF_LOGIN}"}, {"device": OF_LOGIN}):
        with pytest.raises(FtkError) as refused:
            QuickTrainer(**{"model": "smollm2", "data": "sample:chat", **values}).train()
        assert leaks(str(refused.value)) == []
