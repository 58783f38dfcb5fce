"""Adapters combined: the sum is exact, the result is a run like any other, what does not belong together is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk import run_list
from ftk.errors import ExportError, UsageError
from ftk.events import Finished, Started
from ftk.export import combine, loading, merged, source
from ftk.export.combine import Recipe
from ftk.export.source import Trained


def added(trained: Trained) -> dict[str, Any]:
    """What an adapter adds to each weight of its base."""
    model = loading.load(trained).model
    return {
        name: module.get_delta_weight("default").detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


@pytest.mark.parametrize("settings", [{}, {"lora_rslora": True}])
def test_linear_is_the_weighted_sum_whatever_the_ranks(run: Callable[..., Trained], settings: dict[str, Any]) -> None:
    import torch

    one, two = run(name="one", **settings), run(name="two", seed=2, lora_rank=6, lora_alpha=3.0)
    made = combine.combine([one, two], Recipe(weights=[0.7, -0.3], name="both"))
    a, b, both = added(one), added(two), added(source.find("both"))
    assert set(both) == set(a) == set(b)
    for name in a:
        torch.testing.assert_close(both[name], 0.7 * a[name] - 0.3 * b[name], rtol=1e-4, atol=1e-6)
    assert (made.run.name, made.notes) == ("both", [])
    assert source.find("both").config.lora_rank == 10


def test_the_result_is_a_run_like_any_other(run: Callable[..., Trained], tmp_path: Path) -> None:
    parts = [run(name="one"), run(name="two", seed=2)]
    run_folder = combine.combine(parts, Recipe(name="both")).run
    assert run_folder.state() == "finished"
    started, finished = list(run_folder.history())
    assert isinstance(started, Started)
    assert isinstance(finished, Finished)
    assert finished.reason == "combined from one, two"
    assert not run_folder.resumable
    summary = run_list.summary(run_folder)
    assert (summary.state, summary.model) == ("finished", parts[0].config.model)
    told = run_folder.provenance()["combined"]
    assert (told["runs"], told["weights"], told["method"]) == (["one", "two"], [0.5, 0.5], "linear")
    trained = source.find("both")
    assert merged.export(trained, tmp_path / "out").path.is_dir()
    assert "combined from | one, two (linear)" in (tmp_path / "out" / "README.md").read_text()
    again = combine.combine([trained, parts[0]], Recipe(name="third")).run
    assert again.state() == "finished"


@pytest.mark.parametrize("method", ["ties", "dare", "dare-ties"])
def test_the_other_methods_leave_numbers_out_by_the_seed(run: Callable[..., Trained], method: Any) -> None:
    parts = [run(name="one"), run(name="two", seed=2)]
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        combine.combine(parts, Recipe(method=method, density=0.5, seed=seed, name=name))
        results.append(added(source.find(name)))
    a, b, c = results
    assert all(bool((a[name] == b[name]).all()) for name in a)
    assert any(not bool((a[name] == c[name]).all()) for name in a) is (method != "ties")  # which draws nothing
    whole = added(parts[0])
    assert any(not bool((a[name] == whole[name]).all()) for name in a)


def test_gpt2_and_4_bits_are_combined_as_well(run: Callable[..., Trained]) -> None:
    for architecture, settings in (("gpt2", {}), ("llama", {"quantization": "nf4"})):
        parts = [run(architecture, name=f"{architecture}{n}", seed=n, **settings) for n in (1, 2)]
        made = combine.combine(parts, Recipe(name=f"both-{architecture}"))
        assert source.find(made.run.name).config.quantization == settings.get("quantization", "none")


def test_runs_of_other_bases_are_refused(run: Callable[..., Trained], home: Path) -> None:
    with pytest.raises(ExportError, match=r"'one' was trained on .*, and 'two' on"):
        combine.combine([run(name="one"), run("gpt2", name="two")], Recipe(name="both"))
    assert not (home / "ftk_runs" / "both").exists()


def test_kinds_that_do_not_add_up_are_refused(run: Callable[..., Trained], home: Path) -> None:
    one = run(name="one")
    with pytest.raises(ExportError, match="DoRA"):
        combine.combine([one, run(name="dora", lora_dora=True)], Recipe(name="both"))
    with pytest.raises(ExportError, match="needs adapters of one rank; these have 4, 6") as caught:
        combine.combine([one, run(name="wide", lora_rank=6)], Recipe(method="ties", name="both"))
    assert "linear" in str(caught.value)
    with pytest.raises(ExportError, match="trained every weight"):
        combine.combine([one, run(name="whole", method="full")], Recipe(name="both"))
    assert not (home / "ftk_runs" / "both").exists()


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (Recipe(weights=[1.0]), "2 runs take 2 weights"),
        (Recipe(weights=[0.0, 0.0]), "not all 0"),
        (Recipe(weights=[1.0, float("nan")]), "numbers"),
        (Recipe(method="ties", density=0.0), "density"),
        (Recipe(method="mean"), "no method 'mean'"),  # type: ignore[arg-type]
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(run: Callable[..., Trained], recipe: Recipe, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        combine.combine([run(name="one"), run(name="two")], recipe)
    with pytest.raises(UsageError, match="two runs or more"):
        combine.combine([source.find("one")], Recipe())


def test_an_existing_name_is_not_taken(run: Callable[..., Trained]) -> None:
    parts = [run(name="one"), run(name="two")]
    before = (parts[0].run.path / "run.json").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        combine.combine(parts, Recipe(name="one"))
    assert (parts[0].run.path / "run.json").read_bytes() == before
