"""What is done under faults in `operations`, and what must hold after any of them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from ftk import files
from ftk.events import CheckpointSaved, Event, Warned
from ftk.runs import Journal, RunFolder
from tests import tiny

from .operations import Scenario, Writing

OLD, NEW = "the old content\n" * 40, "something new\n" * 50


def _left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if ".staging-" in path.name]


# --- single files and folders -------------------------------------------------------------------------------------


def _write_text(folder: Path) -> None:
    files.write_atomic(folder / "a" / "file", NEW)


def _write_staged_file(folder: Path) -> None:
    (folder / "a").mkdir(exist_ok=True)
    with files.staged_file(folder / "a" / "file") as staging, staging.open("w", encoding="utf-8") as file:
        file.write(NEW)


def _old_file(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "file").write_text(OLD)


def _file_check(before: str | None) -> Any:
    def check(folder: Path, done: bool) -> Iterator[str]:
        path = folder / "a" / "file"
        found = path.read_text() if path.exists() else None
        if found != NEW and (done or found != before):
            yield f"the file holds {found!r:.40}"
        files.write_atomic(path, OLD)
        if path.read_text() != OLD:
            yield "it cannot be written any more"
        if left := [entry.name for entry in path.parent.iterdir() if entry != path]:
            yield f"left over: {left}"

    return check


def _write_folder(folder: Path) -> None:
    with files.staged_dir(folder / "b" / "result") as staging:
        (staging / "one").write_text(NEW)
        (staging / "sub").mkdir()
        (staging / "sub" / "two").write_text(NEW)


def _folder_check(folder: Path, done: bool) -> Iterator[str]:
    target = folder / "b" / "result"
    if target.exists() or done:
        if {str(path.relative_to(target)) for path in target.rglob("*")} != {"one", "sub", "sub/two"}:
            yield "the folder is not whole"
        elif {(target / name).read_text() for name in ("one", "sub/two")} != {NEW}:
            yield "the files are not whole"
        shutil.rmtree(target)
    _write_folder(folder)
    if left := _left_over(folder):
        yield f"left over: {left}"


# --- the journal --------------------------------------------------------------------------------------------------


def _event(number: int) -> Event:
    if number % 3 == 2:
        return CheckpointSaved(step=number, path=f"/runs/ä/{number}", bytes=number, seconds=0.1, time=number)
    return Warned(code="numbered", message=f"event {number} " + "x" * 50, time=number)


def _begun_journal(folder: Path) -> None:
    journal = Journal(RunFolder(folder))
    for number in range(3):
        journal(_event(number))
    journal.close()


def _torn_journal(folder: Path) -> None:
    _begun_journal(folder)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(_event(99).to_json().encode()[:50])


def _go_on(folder: Path) -> None:
    """Write five more; note down which of them were said to be written; the disk has room again after each."""
    journal = Journal(RunFolder(folder))
    failed: OSError | None = None
    for number in range(3, 8):
        try:
            journal(_event(number))
            _note(folder, number)
        except OSError as error:
            failed = error
        if isinstance(journal._file, Writing):
            journal._file.room_again()
    journal.close()
    if failed:
        raise failed


def _note(folder: Path, number: int) -> None:
    """With calls that no fault is put into."""
    fd = _open(folder / "written", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, f"{number}\n".encode())
    os.close(fd)


_open = os.open  # the real one, also while another stands in its place


def _journal_check(folder: Path, done: bool) -> Iterator[str]:
    told = folder / "written"
    written = [int(line) for line in told.read_text().split()] if told.exists() else []
    journal = Journal(RunFolder(folder))
    journal(_event(8))
    journal.close()
    found = list(RunFolder(folder).events())
    numbers = [int(event.time) for event in found]
    if found != [_event(number) for number in numbers]:
        yield "an event is not what was written"
    if numbers != sorted(set(numbers)):
        yield f"the order is {numbers}"
    if missing := ({0, 1, 2, 8} | set(written)) - set(numbers):
        yield f"lost: {missing}"
    if done and numbers != list(range(9)):
        yield f"only {numbers}"
    if list(RunFolder(folder).history()) != found:
        yield "the history is another"


# --- checkpoints --------------------------------------------------------------------------------------------------


_turn = count()


@cache
def _model() -> tuple[Any, Any]:
    from ftk.models import adapters

    model = adapters.add(tiny.model("llama"), rank=2, alpha=4.0, dropout=0.0, targets=adapters.default_targets("llama"))
    return model, tiny.tokenizer()


def _snapshot(step: int) -> Any:
    import torch

    from ftk.training import checkpoint

    model, _ = _model()
    weights = {name: torch.full_like(p, step) for name, p in model.named_parameters() if p.requires_grad}
    tensors = {"moments": torch.full((8,), float(step)), "random.torch": torch.zeros(8, dtype=torch.uint8)}
    losses = {"last_loss": 10.0 - step, "best_loss": 10.0 - step, "evaluated": step}
    return checkpoint.Snapshot(model, weights, tensors, checkpoint.Progress(step=step, **losses))


def _save(folder: Path, step: int, keep: int = 2) -> None:
    from ftk.training import checkpoint

    checkpoint.write(folder / "checkpoints", _model()[1], _snapshot(step))
    checkpoint.rotate(folder / "checkpoints", keep)


def _saved(*steps: int, damaged: int = 0) -> Any:
    def prepare(folder: Path) -> None:
        for step in steps:
            _save(folder, step)
        if damaged:
            (folder / "checkpoints" / f"step-{damaged:06d}" / "state.json").write_text("{")

    return prepare


def _checkpoint_check(new: int, old: int | None, keep: int = 2) -> Any:
    def check(folder: Path, done: bool) -> Iterator[str]:
        from ftk.training import checkpoint

        parent = folder / "checkpoints"
        newest, _ = checkpoint.newest(parent)
        if newest is None:
            if done or old is not None:
                yield "no checkpoint is left"
        else:
            step = int(newest.name.rsplit("-", 1)[1])
            if step != new and (done or step != old):
                yield f"the newest is {step}"
            yield from _content(newest, step)
        if next(_turn) % 5:  # that another one can be saved is shown now and then, which saves half of the time
            with files.staged_dir(parent / "other"):
                pass
            (parent / "other").rmdir()
        else:
            _save(folder, new + 5, keep)
            newest, damaged = checkpoint.newest(parent)
            if newest is None or newest.name != f"step-{new + 5:06d}" or damaged:
                yield f"the next one is {newest}, damaged {damaged}"
        checkpoint.rotate(parent, keep)
        if left := _left_over(folder):
            yield f"left over: {left}"
        if len(kept := list(parent.iterdir())) > keep:
            yield f"kept: {[path.name for path in kept]}"

    return check


def _content(path: Path, step: int) -> Iterator[str]:
    from safetensors.torch import load_file

    from ftk.training import checkpoint

    if checkpoint.read_progress(path).step != step:
        yield f"{path.name} is of another step"
    for file in ("optimizer.safetensors", "adapter/adapter_model.safetensors"):
        tensors = load_file(path / file)
        if {float(value) for name, t in tensors.items() if "random" not in name for value in t.unique()} != {step}:
            yield f"{path.name}/{file} holds other numbers"
    for file in ("adapter/adapter_config.json", "adapter/tokenizer.json", "adapter/tokenizer_config.json"):
        json.loads((path / file).read_text())


def _write_result(folder: Path) -> None:
    from ftk.training import trained

    trained.write(*_model(), folder / "adapter")


def _result_check(folder: Path, done: bool) -> Iterator[str]:
    from safetensors.torch import load_file

    if done or (folder / "adapter").exists():
        load_file(folder / "adapter" / "adapter_model.safetensors")
        json.loads((folder / "adapter" / "tokenizer.json").read_text())
    _write_result(folder)
    if left := _left_over(folder):
        yield f"left over: {left}"


def _other_result(folder: Path) -> None:
    """The same again, told apart by a number in its configuration."""
    from ftk.training import trained

    model, tokenizer = _model()
    config = model.peft_config["default"]
    before, config.lora_alpha = config.lora_alpha, 5.0
    try:
        trained.write(model, tokenizer, folder / "adapter")
    finally:
        config.lora_alpha = before


def _other_result_check(folder: Path, done: bool) -> Iterator[str]:
    if not (folder / "adapter").exists():
        yield "no result is left"
    else:
        alpha = json.loads((folder / "adapter" / "adapter_config.json").read_text())["lora_alpha"]
        if alpha != 5.0 and (done or alpha != 4.0):
            yield f"the result is another, with {alpha}"
    yield from _result_check(folder, done)


SCENARIOS = {
    "a new file": Scenario(lambda folder: None, _write_text, _file_check(None)),
    "a file replaced": Scenario(_old_file, _write_text, _file_check(OLD)),
    "a new staged file": Scenario(lambda folder: None, _write_staged_file, _file_check(None)),
    "a staged file replaced": Scenario(_old_file, _write_staged_file, _file_check(OLD)),
    "a new folder": Scenario(lambda folder: None, _write_folder, _folder_check),
    "a journal": Scenario(_begun_journal, _go_on, _journal_check),
    "a torn journal": Scenario(_torn_journal, _go_on, _journal_check),
    "a checkpoint that is there already": Scenario(_saved(1), lambda f: _save(f, 1), _checkpoint_check(1, 1)),
    "the first result": Scenario(lambda folder: None, _write_result, _result_check, ("kill",)),
    "the first checkpoint": Scenario(
        lambda folder: None, lambda f: _save(f, 1), _checkpoint_check(1, None), ("on", "kill")
    ),
    "a result in the place of another": Scenario(_write_result, _other_result, _other_result_check, ("once",)),
    "a checkpoint in the place of a damaged one": Scenario(
        _saved(1, 2, damaged=2), lambda f: _save(f, 2), _checkpoint_check(2, 1), ("kill",)
    ),
    "the next checkpoint": Scenario(_saved(1, 2), lambda f: _save(f, 3), _checkpoint_check(3, 2), ("once", "kill")),
}
