"""What may go wrong: damaged adapters, another base, no tokenizer, no room, a base that is gone."""

from __future__ import annotations

import errno
import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ftk.errors import ExportError, FtkError, ModelError, RunError
from ftk.export import adapter, combine, merged, source, target
from ftk.export.gguf import exporting
from ftk.export.source import Trained
from tests import tiny

from . import runs_for_tests

_Usage = namedtuple("_Usage", "total used free")


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def exports() -> list[Callable[[Trained, Path], Any]]:
    return [adapter.export, merged.export, exporting.export]


def refused(trained: Trained, tmp_path: Path, told: str, kind: type[FtkError] = ModelError) -> FtkError:
    """See that every export refuses with the same words, leaves nothing and does not touch the run."""
    before = everything(trained.run.path)
    error: FtkError | None = None
    for export in exports():
        with pytest.raises(kind, match=told) as caught:
            export(trained, tmp_path / "place" / "out")
        error = caught.value
    assert not (tmp_path / "place").exists() or list((tmp_path / "place").iterdir()) == []
    assert everything(trained.run.path) == before
    assert error is not None
    return error


def test_a_cut_adapter(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run()
    path = trained.folder / source.WEIGHTS
    path.write_bytes(path.read_bytes()[:5000])
    assert "--checkpoint" in str(refused(trained, tmp_path, "is damaged"))


def test_an_adapter_with_numbers_that_are_none(run: Callable[..., Trained], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    trained = run()
    path = trained.folder / source.WEIGHTS
    weights = load_file(path)
    first = sorted(weights)[0]
    weights[first][0, 0] = float("nan")
    save_file(weights, path)
    refused(trained, tmp_path, "not finite")


def test_an_adapter_that_lacks_a_part_or_has_one_too_many(run: Callable[..., Trained], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    trained = run()
    path = trained.folder / source.WEIGHTS
    weights = load_file(path)
    first = sorted(weights)[0]
    save_file({name: weight for name, weight in weights.items() if name != first}, path)
    refused(trained, tmp_path, "lacks weights")
    save_file({**weights, first.replace("layers.0", "layers.9"): weights[first].clone()}, path)
    refused(trained, tmp_path, "this model has no")


def test_an_adapter_of_a_model_of_another_shape(
    run: Callable[..., Trained], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    trained = run()
    text = trained.run.config_file.read_text().replace(str(bases("llama")), str(bases("gpt2")))
    trained.run.config_file.write_text(text)
    refused(source.find("tuned"), tmp_path, "does not fit this model")


def test_another_base_of_the_same_shape(run: Callable[..., Trained], tmp_path: Path) -> None:
    from ftk.export import loading
    from ftk.models.fingerprint import fingerprint

    trained = run()
    mark = fingerprint(loading.load_base(trained).model)
    runs_for_tests.checkpoint(trained.run, 6, base=mark)
    adapter.export(trained, tmp_path / "same")
    text = trained.run.config_file.read_text()
    other = tiny.save(tmp_path / "other", "llama", seed=5)
    trained.run.config_file.write_text(text.replace(trained.config.model, str(other)))
    refused(source.find("tuned"), tmp_path, "not the one that 'tuned' was trained on")


def test_a_base_that_is_gone(run: Callable[..., Trained], tmp_path: Path) -> None:
    trained = run()
    moved = tmp_path / "base"
    shutil.copytree(trained.config.model, moved)
    for path in (trained.run.config_file, trained.folder / "adapter_config.json"):
        path.write_text(path.read_text().replace(trained.config.model, str(moved)))
    adapter.export(source.find("tuned"), tmp_path / "fine")
    shutil.rmtree(moved)
    error = refused(source.find("tuned"), tmp_path, "The base model of 'tuned' cannot be had")
    assert str(moved) in str(error)


def test_a_missing_tokenizer(run: Callable[..., Trained]) -> None:
    trained = run()
    (trained.folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="holds no tokenizer") as caught:
        source.find("tuned")
    assert "Copy tokenizer.json" in str(caught.value)


@pytest.mark.parametrize("name", ["adapter_config.json", source.WEIGHTS])
def test_a_missing_file(run: Callable[..., Trained], name: str) -> None:
    trained = run()
    (trained.folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} is missing"):
        source.find("tuned")


def test_a_damaged_configuration(run: Callable[..., Trained]) -> None:
    trained = run()
    for text in ("{", "[]", "\x00"):
        (trained.folder / "adapter_config.json").write_text(text)
        with pytest.raises(ModelError, match="is damaged"):
            source.find("tuned")


def test_a_run_without_a_result_offers_its_checkpoints(run: Callable[..., Trained]) -> None:
    trained = run()
    runs_for_tests.checkpoint(trained.run, 4)
    runs_for_tests.checkpoint(trained.run, 12)
    shutil.rmtree(trained.folder)
    with pytest.raises(ExportError, match="no result yet") as caught:
        source.find("tuned")
    assert "--checkpoint 4, 12" in str(caught.value)
    assert source.find("tuned", 12).folder.is_dir()
    with pytest.raises(ExportError, match="no checkpoint of step 5"):
        source.find("tuned", 5)
    with (trained.run.checkpoints / "step-000004" / "adapter" / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ExportError, match="step 4 is damaged"):
        source.find("tuned", 4)
    with pytest.raises(RunError, match="There is no run"):
        source.find("nobody")


def test_a_disk_without_room_is_seen_before_anything_is_written(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: _Usage(1 << 40, 1 << 40, 60 << 20))
    error = refused(run(), tmp_path, "needs about .* MiB, and 60 MiB are free there", ExportError)
    assert "--out" in str(error)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = run()
    kept = merged.export(trained, tmp_path / "kept")
    before = everything(kept.path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(target, "mark", full)
    error = refused(trained, tmp_path, "No space left on device", ExportError)
    assert "Free some room" in str(error)
    with pytest.raises(ExportError, match="No space left"):
        merged.export(trained, kept.path, force=True)
    assert everything(kept.path) == before  # an earlier export stays until the new one is complete
    assert [path.name for path in tmp_path.iterdir() if "kept" in path.name] == ["kept"]


def test_the_words_of_a_library_that_hides_the_systems_error(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError
    from transformers import PreTrainedModel

    def full(self: object, *_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", full)
    with pytest.raises(ExportError, match="No space left") as caught:
        merged.export(run(), tmp_path / "out")
    assert "Free some room" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_real_full_disk_while_a_gguf_file_is_written(
    run: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource
    import signal

    trained = run()
    exporting.export(trained, tmp_path / "fine")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr("ftk.export.target.need_room", lambda folder, size: None)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(ExportError, match="could not be written"):
            exporting.export(trained, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_a_place_that_cannot_be_written(run: Callable[..., Trained], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="could not be written"):
        adapter.export(run(), tmp_path / "file" / "out")


def test_a_combination_that_cannot_be_written_leaves_no_run(
    run: Callable[..., Trained], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = run(name="one"), run(name="two", seed=2)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ftk.training.trained.write", full)
    with pytest.raises(ExportError, match="No space left"):
        combine.combine([one, two], combine.Recipe(name="both"))
    assert sorted(path.name for path in (home / "ftk_runs").iterdir()) == ["one", "two"]
    assert json.loads((one.run.path / "run.json").read_text())["format"] == 1
