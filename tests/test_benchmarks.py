"""The benchmarks: their arithmetic, who is skipped and why, the plot, and one real run of ftk's own contestant."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ftk.config import build
from ftk.events import Event, Phase, Step, Warned
from ftk.hardware import Gpu, Hardware

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def _module(name: str) -> ModuleType:
    if str(BENCHMARKS) not in sys.path:
        sys.path.append(str(BENCHMARKS))
    return importlib.import_module(name)


contestants, harness, plot = _module("contestants"), _module("harness"), _module("plot")
random_model, scaling, training = _module("random_model"), _module("scaling"), _module("training")
grouping = _module("grouping")


def _result(name: str, speed: float, memory: float, **more: Any) -> dict[str, Any]:
    return {
        "contestant": name,
        "ok": True,
        "tokens_per_s": speed,
        "tokens_per_s_with_first": speed / 2,
        "to_first_step_s": 30.0,
        "peak_rss_gb": memory,
        "busy_before": 0.0,
        **more,
    }


def _machine(*, bfloat16: bool, gpus: tuple[Gpu, ...] = ()) -> Hardware:
    return Hardware(cpu="a processor", cores=2, memory=1, memory_available=1, bfloat16=bfloat16, gpus=gpus)


# --- what a contestant says ---


def test_the_last_line_is_the_result_whatever_was_printed_before() -> None:
    found = harness.parse(0, 'loading\n{"loss": 1}\n{"contestant": "trl", "tokens_per_s": 5}\n', "a warning")
    assert found == {"ok": True, "contestant": "trl", "tokens_per_s": 5}


@pytest.mark.parametrize(("code", "output"), [(1, '{"tokens_per_s": 5}'), (0, ""), (0, "not JSON"), (0, "[1]")])
def test_a_contestant_that_failed_is_reported_with_the_end_of_its_errors(code: int, output: str) -> None:
    errors = "\n".join(f"line {number}" for number in range(100)) + "\nModuleNotFoundError: no peft"
    found = harness.parse(code, output, errors)
    assert not found["ok"]
    assert "ModuleNotFoundError: no peft" in found["error"]
    assert "line 5\n" not in found["error"]


def test_the_clock_leaves_out_the_first_step_and_counts_it() -> None:
    clock = contestants.Clock(started=100.0)
    clock.begun, clock.ends = 110.0, [120.0, 122.0, 125.0]
    clock.tokens, clock.losses = [400, 900, 1500], [2.0, 1.5, 1.00001]
    assert clock.figures() == {
        "steps": 3,
        "tokens": 1500,
        "train_s": 15.0,
        "tokens_per_s": 220.0,  # 1100 tokens in 5 s
        "tokens_per_s_with_first": 100.0,  # 1500 tokens in 15 s
        "to_first_step_s": 20.0,
        "step_s": [2.0, 3.0],
        "losses": [2.0, 1.5, 1.0],
    }
    assert clock.figures(train_s=30.0)["tokens_per_s_with_first"] == 50.0


def test_compiling_counts_as_a_part_of_ftks_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = {"s": 0.0}
    monkeypatch.setattr(contestants.time, "monotonic", lambda: now["s"])
    script = [
        (5.0, Phase(name="load")),
        (10.0, Phase(name="compile")),
        (40.0, Phase(name="train")),
        (42.0, _step(100, 2.0)),
        (44.0, _step(300, 1.5)),
        (45.0, Warned(code="x", message="a remark")),
    ]

    class Scripted:
        def __init__(self, model: str, data: str, **settings: Any) -> None:
            build({"model": model, "data": data, **{k: v for k, v in settings.items() if k != "runs_dir"}})

        def train(self, callbacks: list[Callable[[Event], None]]) -> None:
            for time, event in script:
                now["s"] = time
                callbacks[0](event)

    monkeypatch.setattr("ftk.QuickTrainer", Scripted, raising=False)
    job = {"started": 0.0, "model": "m", "rows": "r", "folder": str(tmp_path), "recipe": training.RECIPE, "steps": 2}
    found = contestants.ftk({**job, "precision": "float32", "device": "cpu", "compile": "true"})
    assert (found["train_s"], found["to_first_step_s"], found["tokens_per_s"]) == (34.0, 42.0, 100.0)
    assert (found["losses"], found["warnings"]) == ([2.0, 1.5], ["a remark"])


def _step(tokens: int, loss: float) -> Step:
    zeros = dict.fromkeys(("epoch", "learning_rate", "grad_norm", "tokens_per_s", "eta_s", "elapsed_s"), 0.0)
    return Step(step=1, total_steps=2, loss=loss, tokens=tokens, supervised_tokens=1, memory_bytes=1, **zeros)


def test_llamafactory_gets_the_model_declared_in_the_format_of_the_comparison(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "torch_dtype": "bfloat16"}))
    (model / "model.safetensors").write_bytes(b"weights")
    made = contestants._declared(model, tmp_path / "declared", "float32")
    assert json.loads((made / "config.json").read_text()) == {
        "model_type": "llama",
        "dtype": "float32",
        "torch_dtype": "float32",
    }
    assert (made / "model.safetensors").read_bytes() == b"weights"
    assert "bfloat16" in (model / "config.json").read_text()


# --- the arithmetic of the table ---


def test_ratios_compare_medians_with_the_peer_in_the_same_format() -> None:
    results = [
        *(_result("ftk", speed, 3.0 + speed / 1000) for speed in (400.0, 500.0, 450.0)),
        _result("ftk-nf4", 300.0, 2.0),
        _result("trl", 100.0, 6.0),
        _result("trl-nf4", 60.0, 5.0),
        _result("llamafactory", 150.0, 7.0),
        {"contestant": "trl", "ok": False, "error": "exit code 1", "busy_before": 0.0},
    ]
    lines = {line["contestant"]: line for line in training.summarise(results, 1000.0)}
    ftk, nf4 = lines["ftk"], lines["ftk-nf4"]
    assert (ftk["tokens_per_s"], ftk["tokens_per_s_min"], ftk["tokens_per_s_max"], ftk["runs"]) == (450, 400, 500, 3)
    assert ftk["to_trl"] == 4.5
    assert ftk["to_llamafactory"] == 3.0
    assert ftk["of_limit"] == 0.45
    assert ftk["memory_to_trl"] == pytest.approx(3.5 / 6.0)
    assert (nf4["to_trl"], nf4["memory_to_trl"]) == (5.0, 0.4)
    assert nf4["to_llamafactory"] is None  # no such contestant: a ratio to another format would say nothing
    assert (lines["trl"]["to_trl"], lines["trl"]["runs"]) == (1.0, 1)


def test_the_first_repeat_is_the_cold_start_and_gpu_memory_counts_where_there_is_some() -> None:
    results = [_result("ftk", 400.0, 3.0, to_first_step_s=s, peak_gpu_gb=1.5) for s in (40.0, 9.0, 11.0)]
    (line,) = training.summarise(results, None)
    assert (line["to_first_step_s"], line["to_first_step_warm_s"], line["peak_gb"]) == (40.0, 10.0, 1.5)
    assert line["to_trl"] is line["memory_to_trl"] is line["of_limit"] is None


def test_the_table_shows_what_there_is_and_a_dash_for_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    training.show(training.summarise([_result("ftk", 400.0, 3.0), _result("trl", 100.0, 6.0)], 800.0), 800.0, [4e11])
    shown = capsys.readouterr().out
    for text in ("ftk", "4.00", "50%", "3.00", "0.50", " - ", "800 tokens/s (0.400 TFLOP/s"):
        assert text in shown


def test_weights_are_counted_from_the_headers_alone(model_folder: Callable[..., Path]) -> None:
    from transformers import AutoModelForCausalLM

    folder = model_folder("llama")
    assert harness.weights_of(folder) == AutoModelForCausalLM.from_pretrained(folder).num_parameters()


def test_all_contestants_use_the_number_format_that_the_hardware_has() -> None:
    turing = Gpu(index=0, name="T4", memory_total=1, memory_used=0, capability=(7, 5), driver="1")
    assert harness.number_format("auto", _machine(bfloat16=True), "cpu") == "bfloat16"
    assert harness.number_format("auto", _machine(bfloat16=False), "cpu") == "float32"
    assert harness.number_format("auto", _machine(bfloat16=True, gpus=(turing,)), "cuda") == "float32"
    assert harness.number_format("bfloat16", _machine(bfloat16=False), "cpu") == "bfloat16"


def test_a_busy_machine_is_told_of() -> None:
    assert harness.disturbed([]) == harness.disturbed([{"busy_before": 0.05}]) == ""
    assert "up to 60%" in harness.disturbed([{"busy_before": 0.05}, {"busy_before": 0.6}])


# --- who takes part ---


def _asked(**changes: Any) -> argparse.Namespace:
    names = [entry.name for entry in training.ENTRIES]
    return argparse.Namespace(**{"only": names, "trl": None, "llamafactory": None, **changes})


def test_a_peer_that_is_not_there_is_skipped_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(python: str, modules: tuple[str, ...]) -> list[str]:
        return [module for module in modules if module in ("trl", "llamafactory")]

    monkeypatch.setattr(harness, "missing", missing)
    assert training.contestants(_asked()) == {"ftk": sys.executable, "ftk-nf4": sys.executable}
    shown = capsys.readouterr().out
    assert "trl-nf4 is skipped" in shown
    assert "pip install trl peft bitsandbytes`, then --trl DIR/bin/python" in shown
    assert "pip install llamafactory`, then --llamafactory DIR/bin/python" in shown


def test_what_an_interpreter_lacks_is_found_by_asking_it() -> None:
    assert harness.missing(sys.executable, ("json", "no_such_module_here")) == ["no_such_module_here"]
    assert harness.missing("/no/such/python", ("json",)) == ["json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "ftk,axolotl"], "no contestant axolotl"),
        (["--steps", "1"], "must be at least 2"),
        (["--model", "nowhere"], "ftk --preset smollm2"),
        (["--model", ".", "--data", "nowhere.json"], "--data FILE.json"),
    ],
)
def test_what_cannot_be_run_is_refused_with_what_to_do(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SystemExit):
        training.main(arguments)
    assert message in capsys.readouterr().err.replace("\n", " ")


def test_rows_of_alpaca_become_prompts_with_their_input(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hello.", "input": "", "output": "Hello."},
        {"instruction": "Name a colour.", "output": "Blue."},
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows * 200))
    read = training.alpaca_rows(file)
    assert len(read) == 400
    assert [row["prompt"] for row in read[:3]] == ["Add.\n1 and 2", "Say hello.", "Name a colour."]


# --- how cost grows ---


def test_one_thing_is_varied_at_a_time_up_to_the_largest_model() -> None:
    series = scaling.points("27M", "105M")
    base = scaling.Point("27M", 256, 8, 4)
    assert all(base in line for line in series.values())
    assert [point.size for point in series["size"]] == ["1M", "6M", "27M", "105M"]
    assert {(point.size, point.rank, point.batch) for point in series["length"]} == {("27M", 8, 4)}


@pytest.mark.parametrize("length", [128, 2048])
def test_random_rows_are_a_token_a_byte_and_reach_the_length(length: int) -> None:
    tokenizer = random_model.tokenizer()
    for row in scaling.random_rows(2, length):
        assert len(tokenizer(row["response"])["input_ids"]) == len(row["response"])
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
        assert len(tokenizer(tokenizer.apply_chat_template(turns, tokenize=False))["input_ids"]) >= length


def _series() -> dict[str, list[dict[str, Any]]]:
    def entry(point: Any, number: int) -> dict[str, Any]:
        cost = {"seconds_per_step": 0.2 * 2**number, "peak_gb": 0.6 + number, "tokens_per_s": 9.0, "weights": 10**7}
        return {"ok": number != 1, "length": point.length, "rank": point.rank, "batch": point.batch, **cost}

    found = scaling.points("6M", "27M").items()
    return {key: [entry(point, number) for number, point in enumerate(line)] for key, line in found}


def test_the_plot_is_well_formed_with_a_line_a_series() -> None:
    rows = scaling.panels(_series())
    tree = ET.fromstring(plot.draw(rows))
    space = {"svg": "http://www.w3.org/2000/svg"}
    lines = tree.findall(".//svg:polyline", space)
    assert len(lines) == 8
    assert len(lines[0].attrib["points"].split()) == len(scaling.LENGTHS) - 1  # the failed point is left out
    words = [text.text for text in tree.findall(".//svg:text", space)]
    assert {"tokens a row", "LoRA rank", "rows a step", "weights", "seconds a step", "peak GB"} <= set(words)
    width, height = float(tree.attrib["width"]), float(tree.attrib["height"])
    for line in lines:
        for place in line.attrib["points"].split():
            x, y = map(float, place.split(","))
            assert 0 < x < width
            assert 0 < y < height


def test_titles_are_escaped_and_a_single_point_is_drawn() -> None:
    (text,) = ET.fromstring(plot.draw([[plot.Panel("a < b & c", "x", "y", ((5.0, 5.0),))]])).iterfind(
        ".//{*}text[@class='title']"
    )
    assert text.text == "a < b & c"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([0.6, 3.2], [0.5, 1, 2, 5]), ([0.03, 40.0], [0.01, 0.1, 1, 10, 100]), ([5.0, 5.0], [5, 10]), ([10.0], [10, 20])],
)
def test_ticks_are_round_and_enclose_the_values(values: list[float], ticks: list[float]) -> None:
    assert plot.ticks_for(values) == pytest.approx(ticks)


def test_numbers_on_an_axis_are_short() -> None:
    numbers = (0.05, 1, 2048, 16_384, 1.05e6, 26.9e6, 348e6, 1.02e9)
    assert [plot.short(n) for n in numbers] == ["0.05", "1", "2048", "16k", "1.1M", "27M", "348M", "1B"]


# --- for real ---


@pytest.mark.slow
def test_ftk_takes_part_and_the_report_is_complete(model_folder: Callable[..., Path], tmp_path: Path) -> None:
    rows = [
        {"instruction": f"What comes after {number}?", "input": "", "output": f"After {number} comes {number + 1}."}
        for number in range(20)
    ]
    data, out = tmp_path / "rows.json", tmp_path / "report" / "out.json"
    data.write_text(json.dumps(rows))
    options = ["--only", "ftk", "--steps", "2", "--compile", "false", "--precision", "float32", "--device", "cpu"]
    model = str(model_folder("llama"))
    assert training.main([*options, "--model", model, "--data", str(data), "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    (result,) = report["results"]
    assert result["ok"]
    assert result["steps"] == 2
    assert len(result["losses"]) == 2
    assert 0 < result["tokens"] < 8 * 512
    assert result["train_s"] > 0
    assert result["peak_rss_gb"] > 0.1
    assert report["recipe"]["precision"] == "float32"
    assert {"python", "torch", "transformers", "peft"} <= set(report["versions"]["ftk"])
    assert report["hardware"]["cores"] >= 1
    assert report["limit_tokens_per_s"] == max(report["matmul_flops"]) / (4 * report["model"]["weights"])
    assert report["summary"][0]["of_limit"] > 0
    assert str(tmp_path) not in out.read_text()


def test_both_orders_of_rows_are_trained_from_the_same_beginning(
    model_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, out = tmp_path / "rows.jsonl", tmp_path / "out.json"
    lines = [{"prompt": f"Say {'no ' * (number % 9)}", "response": "Well, no."} for number in range(40)]
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    options = ["--model", str(model_folder()), "--data", str(data), "--rows", "40", "--steps", "8", "--seeds", "3,4"]
    assert grouping.main([*options, "--out", str(out)]) == 0
    *runs, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert [(run["seed"], run["order"]) for run in runs] == [
        (3, "grouped"), (3, "plain"), (4, "plain"), (4, "grouped"),
    ]  # fmt: skip
    by_seed = [{run["order"]: run["held_out"] for run in runs if run["seed"] == seed} for seed in (3, 4)]
    for losses in by_seed:
        assert losses["grouped"][0] == losses["plain"][0]
        assert losses["grouped"][-1] != losses["plain"][-1]
    last = [losses["grouped"][-1] - losses["plain"][-1] for losses in by_seed]
    assert summary["grouped_minus_plain"] == pytest.approx(sum(last) / 2, abs=2e-4)
    assert json.loads(out.read_text())["runs"] == runs
