"""`ftk evaluate`: a table for people, JSON for programs, refusals before anything is loaded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.evaluation.metrics.semantic import Embedder
from ftk_tui import cli
from tests.core.evaluation.chat_server import Heard, Reply, serving
from tests.core.evaluation.test_metrics_semantic import bert
from tests.core.evaluation.trained_runs import copied, train

QUICK = ["--max-tokens", "6", "--resamples", "200"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, model_folder: Callable[..., Path]) -> Path:
    """A trained run."""
    return train(tmp_path_factory.mktemp("evaluated"), model_folder(), "shop", max_steps=30, save_steps=15)


@pytest.fixture
def run(shop: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    return copied(shop, monkeypatch, home)


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["evaluate", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("columns", ["80", "140"])
def test_people_get_a_table_and_what_it_says(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, out, err = called(capsys, *QUICK)
    assert code == 0, err
    lines = out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert any(re.match(r"held-out loss ↓ +\d\.\d{3}", line) for line in lines)
    perplexity = next(line for line in lines if line.startswith("perplexity"))
    assert perplexity.count("[") == (3 if columns == "140" else 1)
    assert ("more than noise" in perplexity) == (columns == "140")
    for told in (
        "exact match",
        "ROUGE-L",
        "chrF",
        "repetition",
        "empty answers",
        "On neutral text",
        "fewer than 10 rows",
    ):
        assert told in " ".join(out.split())
    (kept,) = (run / "evaluations").glob("*.json")
    assert f"ftk_runs/shop/evaluations/{kept.name}" in out
    assert "ftk report shop" in out
    assert cli.main(["report", "shop"]) == 0
    assert "What comes after" in (run / "report.html").read_text()


def test_where_there_are_no_numbers_it_is_said_once(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (home / "one.jsonl").write_text(json.dumps({"prompt": "What comes after noon?", "response": "Dusk."}) + "\n")
    code, out, err = called(capsys, "shop", "--data", "one.jsonl", *QUICK)
    assert code == 0, err
    assert out.count("No numbers: one row is too few to measure with.") == 1
    assert re.search(r"^held-out loss ↓ +– +– +–", out, re.MULTILINE)
    assert "1 held-out row of one.jsonl" in out
    assert max(map(len, out.splitlines())) <= 80


def test_programs_get_everything(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "shop@15", "--json", "--answers", "0", "--name", "early", "--rows", "3")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    assert found["path"] == str(run / "evaluations" / "early.json")
    assert (found["rows"], found["answered"], found["about"]["run"]["model"]) == (3, 0, "shop@15")
    assert [measure["key"] for measure in found["measures"]] == ["loss", "perplexity"]
    kept = json.loads((run / "evaluations" / "early.json").read_text())
    assert {key: kept[key] for key in ("measures", "notes")} == {key: found[key] for key in ("measures", "notes")}
    assert any("3 of 4 held-out rows" in note for note in found["notes"])


def test_every_extra_is_measured_where_it_is_asked_for(
    run: Path, capsys: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "canary-key-0123456789")
    folder = bert(home / "bert", positions=64)
    texts: list[str] = []
    similar = Embedder.similarities
    monkeypatch.setattr(Embedder, "similarities", lambda self, *rest: texts.extend(rest[0]) or similar(self, *rest))

    def judge(request: Heard) -> Reply:
        return Reply("[[A]]" if len(texts) else "[[C]]")

    with serving(judge) as server:
        code, out, err = called(
            capsys, "shop", *QUICK, "--json", "--expect", "json", "--expect-regex", r"\w.*", "--expect-words", "1..9",
            "--embedding", str(folder), "--judge", server.url, "--judge-model", "m", "--judge-key-variable", "MY_KEY",
        )  # fmt: skip
        assert code == 0, err
        assert all(heard.headers["Authorization"] == "Bearer canary-key-0123456789" for heard in server.heard)
        assert len(server.heard) == 1 + 2 * sum(one["base"] != one["tuned"] for one in json.loads(out)["examples"])
    found = json.loads(out)
    values = {measure["key"]: measure["tuned"]["value"] for measure in found["measures"]}
    assert (values["json"], values["judged"]) == (0, 0.5)  # a judge that takes the first answer decides nothing
    assert 0 <= values["semantic"] <= 100
    assert {"regex", "length"} <= set(values)
    assert {one["judged"] for one in found["examples"]} == {"undecided"}
    assert found["about"]["settings"]["judge"] == {"url": server.url, "model": "m"}
    assert not [path for path in run.rglob("*") if path.is_file() and b"canary-key" in path.read_bytes()]
    assert "canary-key" not in out + err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none"], "There is no run"),
        (["shop@7"], "no checkpoint of step 7"),
        (["shop", "--rows", "0"], "--rows: 0"),
        (["shop", "--answers", "-1"], "--answers: -1"),
        (["shop", "--resamples", "3"], "--resamples: 3"),
        (["shop", "--judge", "http://127.0.0.1:9/v1"], "--judge-model NAME"),
        (["shop", "--judge", "nowhere", "--judge-model", "m"], "no address of a server"),
        (["shop", "--judge", "http://k:secret1@h/v1", "--judge-model", "m"], "must not hold a key"),
        (["shop", "--expect", "xml"], "'xml' is not one of json"),
        (["shop", "--expect-regex", "["], "cannot be read"),
        (["shop", "--expect-words", "five"], "no range of lengths"),
        (["shop", "--expect", "json", "--answers", "0"], "--answers 0 asks for none"),
        (["shop", "--temperature", "-1"], "temperature"),
        (["shop", "--name", "a/b"], "cannot name an evaluation"),
        (["shop", "--data", "none.jsonl"], "none.jsonl"),
        (["shop", "--embedding", "no such model"], "no such file or folder"),
        (["shop", "--judge", "http://127.0.0.1:9/v1", "--judge-model", "m", "--judge-timeout", "0"], "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_costs_anything(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], told: str
) -> None:
    from ftk.evaluation import in_memory

    monkeypatch.setattr(in_memory, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    code, out, err = called(capsys, *arguments)
    assert code in (1, 2)
    assert out == ""
    assert told in err
    assert "secret1" not in err
    assert not (run / "evaluations").exists()


def test_a_judge_that_is_not_there_is_told_before_models_are_loaded(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftk.evaluation import in_memory

    monkeypatch.setattr(in_memory, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    with serving(lambda request: Reply(status=401)) as server:
        code, _, err = called(capsys, "shop", "--judge", server.url, "--judge-model", "m")
    assert code == 1
    assert "export FTK_JUDGE_KEY" in err


def test_the_extra_for_tasks_is_named(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    code, _, err = called(capsys, "shop", "--tasks", "arc_easy")
    assert code == 2
    assert "llm-finetune-kit[harness]" in err
