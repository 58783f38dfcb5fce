"""Models of runs side by side: which are meant, what is loaded, what is asked, what is said where that is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk.errors import DataError, FtkError, ModelError, RunError, UsageError
from ftk.evaluation import in_memory, prompts, subjects
from ftk.evaluation.compare import Compared, Watcher, compare_subjects
from ftk.evaluation.generate import Prompt, Sampling, conversation, decoded, ends_of, generate, token_rows
from ftk.evaluation.subjects import Subject
from ftk.models import loading
from tests import tiny
from tests.core.evaluation.trained_runs import rows_file, train

Folder = Callable[..., Path]
ASKED = [Prompt(conversation(row["prompt"])) for row in tiny.ROWS[:5]]
SHORT = Sampling(12)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: Folder) -> Path:
    """The folder of two runs with adapters, one of another base, and one of all weights."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder, model_folder(), "first")
    train(folder, model_folder(), "second", seed=5, learning_rate=2e-2)
    train(folder, model_folder("gpt2", chat=False), "other", max_steps=4)
    train(folder, model_folder(), "whole", method="full", learning_rate=1e-2, max_steps=6)
    return folder / "runs"


@pytest.fixture
def runs(trained: Path, home: Path) -> Path:
    """The same, to be changed by a test."""
    target = home / "ftk_runs"
    shutil.copytree(trained, target)
    return target


class Heard(Watcher):
    """Keeps everything."""

    def __init__(self, *, side_by_side: bool = False) -> None:
        self.side_by_side = side_by_side
        self.remarks: list[str] = []
        self.order: list[str] = []
        self.texts: dict[tuple[str, int], str] = {}
        self.finished: list[Compared] = []

    def remark(self, text: str) -> None:
        self.remarks.append(text)

    def text(self, label: str, number: int, text: str) -> None:
        self.order.append(label)
        self.texts[label, number] = self.texts.get((label, number), "") + text

    def done(self, compared: Compared) -> None:
        self.finished.append(compared)


def texts(found: Sequence[Compared], label: str) -> list[str]:
    return [compared.answers[label].text for compared in found]


def alone(subject: Subject) -> list[str]:
    """What a subject answers when it is loaded by itself, by other means."""
    from peft import PeftModel

    if subject.whole:
        model = loading.find_and_load(str(subject.folder))
        return generate(model.model, model.tokenizer, ASKED, SHORT)
    base = loading.find_and_load(subject.config.model)
    model = base.model if subject.folder is None else PeftModel.from_pretrained(base.model, str(subject.folder))
    tokenizer = loading.load_tokenizer(loading.Source("", "folder", subject.run.trained, None, None))
    return generate(model, tokenizer, ASKED, SHORT)


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize(
    "names", [["first"], ["first", "second"], ["first@6", "12", "first"], ["first", "other"], ["whole", "first"]]
)
def test_every_model_answers_as_if_it_were_alone(runs: Path, names: list[str], side_by_side: bool) -> None:
    models = subjects.find(names)
    heard = Heard(side_by_side=side_by_side)
    found = compare_subjects(models, ASKED, SHORT, watcher=heard, batch_size=2)
    assert heard.finished == found
    assert [compared.number for compared in found] == list(range(len(ASKED)))
    for model in models:
        assert texts(found, model.label) == alone(model), model.label
        assert [heard.texts.get((model.label, number), "") for number in range(len(ASKED))] == texts(found, model.label)
    assert texts(found, models[0].label) != texts(found, models[-1].label)


def test_models_of_one_base_are_in_memory_together_and_take_turns(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda source, **options: loads.append(source.name) or load(source, **options))
    heard = Heard(side_by_side=True)
    compare_subjects(subjects.find(["first", "second", "first@6"]), ASKED, SHORT, watcher=heard)
    assert len(loads) == 1
    changes = sum(before != after for before, after in zip(heard.order, heard.order[1:], strict=False))
    assert changes > 5
    compare_subjects(subjects.find(["first", "whole"]), ASKED[:1], Sampling(2))
    assert len(loads) == 3


def test_an_ensemble_says_what_the_averaged_probabilities_say(runs: Path) -> None:
    models = subjects.with_ensemble(subjects.find(["first", "second"]), [3, 1])
    assert [model.label for model in models] == ["base", "first", "second", "ensemble"]
    found = compare_subjects(models, ASKED, SHORT, batch_size=2)
    assert texts(found, "ensemble") == by_hand(models, [0.75, 0.25])
    assert texts(found, "first") == alone(models[1])
    assert models[-1].to_dict()["members"] == {"first": 0.75, "second": 0.25}
    heavy = subjects.with_ensemble(subjects.find(["second", "first"]), [1, 1e9])
    asked = compare_subjects(heavy, ASKED, SHORT, watcher=Heard(side_by_side=True))
    assert texts(asked, "ensemble") == texts(asked, "first") == texts(found, "first") != texts(asked, "second")


@torch.no_grad()
def by_hand(models: Sequence[Subject], weights: Sequence[float]) -> list[str]:
    """The greedy answers of several adapters together, one prompt and one whole text at a time."""
    from peft import PeftModel

    copies = [
        PeftModel.from_pretrained(loading.find_and_load(model.config.model).model, str(model.folder)).eval()
        for model in models[1:3]
    ]
    tokenizer = loading.load_tokenizer(loading.Source("", "folder", models[1].run.trained, None, None))
    said = []
    for tokens in token_rows(tokenizer, ASKED):
        written: list[int] = []
        while len(written) < SHORT.max_tokens:
            ids = torch.tensor([tokens + written])
            parts = [model(input_ids=ids).logits[0, -1].softmax(-1) for model in copies]
            token = int(sum(weight * part for weight, part in zip(weights, parts, strict=True)).argmax())  # type: ignore[union-attr]
            if token in ends_of(copies[0], tokenizer):
                break
            written.append(token)
        said.append(decoded(tokenizer, written))
    return said


@pytest.mark.parametrize(
    ("names", "weights", "told"),
    [
        (["first"], [], "two runs"),
        (["first", "other"], [], "on one base model"),
        (["first", "whole"], [], "on one base model"),
        (["first", "second"], [1.0], "takes 2 weights"),
        (["first", "second"], [1.0, 0.0], "above 0"),
        (["first", "second"], [1.0, float("nan")], "above 0"),
    ],
)
def test_what_is_no_ensemble_is_said(runs: Path, names: list[str], weights: list[float], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        subjects.with_ensemble(subjects.find(names), weights)


def test_the_same_is_drawn_for_all_models(runs: Path) -> None:
    (runs / "twin").mkdir()
    shutil.copytree(runs / "first", runs / "twin", dirs_exist_ok=True)
    drawn = Sampling(16, temperature=1.2, seed=3)
    found = compare_subjects(subjects.find(["first", "twin"]), ASKED, drawn, batch_size=2)
    assert texts(found, "first") == texts(found, "twin") != texts(found, "base")
    again = compare_subjects(subjects.find(["twin"], base=False), ASKED, drawn, batch_size=8)
    assert texts(again, "twin") == texts(found, "twin")


def test_a_stop_keeps_what_was_answered(runs: Path) -> None:
    heard = Heard()
    found = compare_subjects(
        subjects.find(["first"]), ASKED, Sampling(30), watcher=heard, batch_size=1,
        stop=lambda: len(heard.order) > 150,
    )  # fmt: skip
    assert found == heard.finished
    assert all(answer.tokens for compared in found for answer in compared.answers.values())
    assert compare_subjects(subjects.find(["first"]), ASKED, SHORT, stop=lambda: True) == []


def test_a_prompt_that_is_too_long_is_passed_over(runs: Path) -> None:
    first, second = compare_subjects(subjects.find(["first"]), [Prompt(text="one " * 400), ASKED[0]], SHORT)
    assert {answer.reason for answer in first.answers.values()} == {"no room"}
    assert all(answer.tokens for answer in second.answers.values())


def test_what_a_name_means(runs: Path) -> None:
    base, first, checkpoint = subjects.find(["first", "step-000006"])
    assert [base.label, first.label, checkpoint.label] == ["base", "first", "first@6"]
    assert (base.folder, first.folder) == (None, runs / "first" / "adapter")
    assert checkpoint.folder == runs / "first" / "checkpoints" / "step-000006" / "adapter"
    labels = [subject.label for subject in subjects.find([str(runs / "first"), "other", "whole@6"])]
    assert labels == ["base", "base of other", "first", "other", "whole@6"]
    shutil.copytree(runs / "second", runs / "6")
    assert [subject.label for subject in subjects.find(["first", "6"])] == ["base", "first", "6"]
    shutil.copytree(runs / "first", runs.parent / "elsewhere" / "first")
    (_, one, two) = subjects.find(["first", str(runs.parent / "elsewhere" / "first")])
    assert one.label == "first"
    assert two.label == f"first in {runs.parent / 'elsewhere'}"


@pytest.mark.parametrize(
    ("names", "kind", "told"),
    [
        (["frist"], RunError, "Did you mean 'first'?"),
        (["first", "frist"], RunError, "Did you mean 'first'?"),
        (["first@7"], RunError, "no checkpoint of step 7"),
        (["first", "99"], RunError, "first@6, first@12"),
        (["first", "first"], UsageError, "named twice"),
        (["../first"], RunError, "There is no run"),
        ([], UsageError, "Which run"),
    ],
)
def test_what_is_not_there_is_said(runs: Path, names: list[str], kind: type[FtkError], told: str) -> None:
    with pytest.raises(kind) as raised:
        subjects.find(names)
    assert told in str(raised.value)


def test_a_run_without_a_result_offers_its_checkpoints(runs: Path) -> None:
    shutil.rmtree(runs / "first" / "adapter")
    with pytest.raises(RunError, match="has no result") as raised:
        subjects.find(["first"])
    assert "first@6, first@12" in str(raised.value)
    assert "ftk resume first" in str(raised.value)
    assert compare_subjects(subjects.find(["first@12"]), ASKED[:1], SHORT)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 0xFF
    path.write_bytes(data)


def _with_weights(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import load_file, save_file

    save_file(change(load_file(path)), path)


def _nan(weights: dict[str, Any]) -> dict[str, Any]:
    next(iter(weights.values())).view(-1)[0] = float("nan")
    return weights


WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.mark.parametrize(
    ("name", "file", "damage", "told"),
    [
        ("first", WEIGHTS, _cut, ["is damaged", "first@6, first@12"]),
        ("first", WEIGHTS, Path.unlink, ["incomplete", "adapter_model.safetensors is missing"]),
        ("first", WEIGHTS, lambda path: path.write_bytes(b""), ["is damaged"]),
        ("first", WEIGHTS, lambda path: _with_weights(path, _nan), ["damaged", "holds what is not a number"]),
        ("first", WEIGHTS, lambda path: _with_weights(path, lambda w: dict(list(w.items())[1:])), ["lacks", "(1 such"]),
        ("first", WEIGHTS, lambda path: _with_weights(path, lambda w: {**w, "more": torch.ones(1)}), ["no place for"]),
        ("first", "adapter/adapter_config.json", lambda path: path.write_text("{"), ["is damaged"]),
        ("first", "adapter/adapter_config.json", lambda path: path.write_text("[]"), ["no JSON object"]),
        ("first", "adapter/adapter_config.json", Path.unlink, ["adapter_config.json is missing"]),
        ("first@6", "checkpoints/step-000006/" + WEIGHTS, _flip, ["not those of its manifest", "first@12"]),
        ("whole", "model/model.safetensors", Path.unlink, ["holds no weights"]),
        ("whole", "model/model.safetensors", _cut, ["could not be loaded"]),
        ("whole", "model/model.safetensors", lambda path: _with_weights(path, _nan), ["not finite numbers"]),
        (
            "whole",
            "model/tokenizer.json",
            lambda path: [p.unlink() for p in path.parent.glob("tok*")],
            ["no tokenizer"],
        ),
    ],
)
def test_what_is_damaged_is_said(
    runs: Path, name: str, file: str, damage: Callable[[Path], Any], told: list[str]
) -> None:
    damage(runs / name.partition("@")[0] / file)
    (_, subject) = subjects.find([name])
    with pytest.raises(ModelError) as raised:
        in_memory.load([subject])
    for part in told:
        assert part in str(raised.value)
    assert "Traceback" not in str(raised.value)


def _moved(runs: Path, home: Path, model: Path) -> Path:
    """Let the run name a base model in a folder of this test."""
    target = home / "my-model"
    shutil.copytree(model, target)
    for file in ("config.yaml", "run.json", "adapter/adapter_config.json"):
        path = runs / "first" / file
        path.write_text(path.read_text().replace(str(model), str(target)))
    return target


def test_a_base_that_is_gone_is_said_and_may_be_named(runs: Path, home: Path, model_folder: Folder) -> None:
    target = _moved(runs, home, model_folder())
    expected = texts(compare_subjects(subjects.find(["first"]), ASKED, SHORT), "first")
    target.rename(home / "moved")
    with pytest.raises(ModelError, match="The base model of 'first' is gone") as raised:
        in_memory.load(subjects.find(["first"]))
    assert str(target) in str(raised.value)
    assert "--model PATH" in str(raised.value)
    models = subjects.find(["first"], model=str(home / "moved"))
    assert texts(compare_subjects(models, ASKED, SHORT), "first") == expected


def test_another_base_of_the_same_shape_is_refused(runs: Path, home: Path, model_folder: Folder) -> None:
    target = _moved(runs, home, model_folder())
    shutil.rmtree(target)
    tiny.save(target, seed=1)
    with pytest.raises(ModelError, match="is not the model that 'first' was trained on"):
        in_memory.load(subjects.find(["first"]))


def test_another_base_of_another_shape_is_refused(runs: Path, home: Path, model_folder: Folder) -> None:
    target = _moved(runs, home, model_folder())
    shutil.rmtree(target)
    shutil.copytree(model_folder("gpt2"), target)
    shutil.rmtree(runs / "first" / "checkpoints")  # which would know it by its mark
    with pytest.raises(ModelError, match="does not fit its base"):
        in_memory.load(subjects.find(["first"]))


def test_a_missing_tokenizer_is_replaced_by_that_of_the_base_and_told(runs: Path, model_folder: Folder) -> None:
    expected = texts(compare_subjects(subjects.find(["other"]), ASKED, SHORT), "other")
    for path in (runs / "other" / "adapter").iterdir():
        if not path.name.startswith("adapter_"):
            path.unlink()
    heard = Heard()
    found = compare_subjects(subjects.find(["other"]), ASKED, SHORT, watcher=heard)
    assert texts(found, "other") == expected  # with the template that the run chose, which the base lacks
    assert "no tokenizer that can be read" in heard.remarks[0]


def test_a_device_that_is_not_here_is_replaced_and_told(runs: Path) -> None:
    path = runs / "first" / "config.yaml"
    path.write_text(path.read_text().replace("device: cpu", "device: cuda:7"))
    heard = Heard()
    found = compare_subjects(subjects.find(["first"]), ASKED[:1], SHORT, watcher=heard)
    assert found
    assert heard.remarks == ["cuda:7 is not here; cpu takes its place."] or torch.cuda.device_count() > 7
    with pytest.raises(UsageError, match="--device cuda:99"):
        in_memory.load(subjects.find(["first"]), device="cuda:99")
    with pytest.raises(UsageError, match="'gpu' is not accepted"):
        in_memory.load(subjects.find(["first"]), device="gpu")


def _run(runs: Path, name: str = "first") -> tuple[Any, Any]:
    (subject,) = subjects.find([name], base=False)
    return subject.run, subject.config


def _asked(found: prompts.Chosen) -> set[str]:
    return {prompt.asked for prompt in found.prompts}


def test_held_out_rows_are_asked_and_never_training_rows(runs: Path) -> None:
    from ftk.data.dataset import load_dataset
    from ftk.data.split import split

    run, config = _run(runs)
    found = prompts.held_out(run, config, 100)
    parts = split(load_dataset(config.data), config.eval_fraction, seed=config.seed)
    assert _asked(found) == {row.prompt for row in parts.held_out}
    assert not _asked(found) & {row.prompt for row in parts.train}
    assert {prompt.reference for prompt in found.prompts} == {row.response for row in parts.held_out}
    assert len(prompts.held_out(run, config, 2).prompts) == 2
    assert prompts.held_out(run, config, 100) == found
    assert "line" in found.prompts[0].origin


def test_planted_training_rows_are_never_asked(home: Path, model_folder: Folder) -> None:
    """Rows to measure with among which are training rows, word for word and with another answer."""
    data = rows_file(home)
    new = {"prompt": "What comes after tea?", "response": "Supper."}
    planted = [tiny.ROWS[0], {**tiny.ROWS[1], "response": "I do not know."}, new, new]
    aside = home / "aside.jsonl"
    aside.write_text("".join(json.dumps(row) + "\n" for row in planted))
    train(home, model_folder(), "planted", data=data, eval_data=str(aside), max_steps=1)
    run, config = _run(home / "runs", str(home / "runs" / "planted"))
    found = prompts.held_out(run, config, 100)
    # the first is held out because the run did not train on it; the second asks what a training row asks
    assert _asked(found) == {tiny.ROWS[0]["prompt"], new["prompt"]}
    assert found.notes == ("1 of 3 held-out rows ask what training rows ask, and were left out.",)


def test_changed_rows_are_refused_because_nobody_knows_which_were_seen(runs: Path, home: Path) -> None:
    run, config = _run(runs)
    changed = home / "changed.jsonl"
    changed.write_text(Path(config.data).read_text() + json.dumps({"prompt": "new", "response": "row"}) + "\n")
    with pytest.raises(RunError, match="not those that 'first' was trained on") as raised:
        prompts.held_out(run, config.merged({"data": str(changed)}), 3)
    assert "--prompts" in str(raised.value)


def test_where_nothing_was_held_out_that_is_said(runs: Path, home: Path, model_folder: Folder) -> None:
    run, config = _run(runs)
    with pytest.raises(DataError, match="held no rows back"):
        prompts.held_out(run, config.merged({"eval_fraction": 0.0}))
    train(home, model_folder(), "memory", data=list(tiny.ROWS), max_steps=1)
    run, config = _run(home / "runs", str(home / "runs" / "memory"))
    with pytest.raises(RunError, match="given as Python objects"):
        prompts.held_out(run, config)
    from ftk import load_dataset

    assert prompts.held_out(run, config, dataset=load_dataset(list(tiny.ROWS))).prompts


def test_raw_texts_are_begun_and_their_rest_is_the_reference() -> None:
    from ftk.data.rows import Row

    prompt = prompts.of_row(Row((), "f, line 1", "one two three four five"))
    assert (prompt.text, prompt.reference) == ("one two", "three four five")
    assert prompts.of_row(Row((), "", "word")).text == "word"


@pytest.mark.parametrize(
    ("name", "text", "asked", "references"),
    [
        ("p.txt", "one\n\n  two  \r\nthree", ["one", "two", "three"], [None] * 3),
        ("p.txt", "\ufeffGrüße\u2028und 🙂", ["Grüße\u2028und 🙂"], [None]),
        ("p.jsonl", '{"prompt": "one"}\n{"prompt": "two", "response": "2"}', ["one", "two"], [None, "2"]),
        ("p", '{"messages": [{"role": "user", "content": "hi"}]}', ["hi"], [None]),
        ("p", '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}', ["a"], ["b"]),
        ("p.txt", "[1] is no JSON", ["[1] is no JSON"], [None]),
    ],
)
def test_prompts_are_read_from_text_and_json_lines(
    home: Path, name: str, text: str, asked: list[str], references: list[str | None]
) -> None:
    (home / name).write_text(text, encoding="utf-8", newline="")
    found = prompts.from_file(str(home / name), "Be brief.")
    assert [prompt.asked for prompt in found.prompts] == asked
    assert [prompt.reference for prompt in found.prompts] == references
    assert all(prompt.messages[0] == {"role": "system", "content": "Be brief."} for prompt in found.prompts)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "there are no prompts"),
        (b"\n \n", "there are no prompts"),
        (b"caf\xe9", "byte 4 is not UTF-8"),
        (b'{"prompt": "a"}\n{"prompt": ', "line 2: is no JSON"),
        (b'{"prompt": "a"}\n\n[1]', "line 3: expected an object, found a list"),
        (b'{"prompt": " "}', "line 1: holds no 'prompt'"),
        (b'{"prompt": 3}', "line 1: holds no 'prompt'"),
        (b'{"prompt": "a", "response": 3}', "'response' must be text, found a number"),
        (b'{"messages": [{"role": "king", "content": "a"}]}', "line 1, message 1"),
        (b'{"messages": [{"role": "user"}]}', "line 1, message 1"),
        (b'{"messages": [{"role": "system", "content": "a"}]}', "nothing to answer"),
        (b'{"messages": [{"role": "assistant", "content": "a"}]}', "nothing to answer"),
        (b"[" * 100_000 + b"\n", "prompts"),
    ],
)
def test_what_is_no_prompt_is_said_with_its_line(home: Path, content: bytes, told: str) -> None:
    path = home / "p.jsonl"
    path.write_bytes(content)
    if content.startswith(b"[["):
        told = "line 1: is no JSON"
    with pytest.raises(DataError, match=r"p\.jsonl") as raised:
        prompts.from_file(str(path))
    assert told in str(raised.value)
    with pytest.raises(DataError, match="could not be read"):
        prompts.from_file(str(home / "none.txt"))
    with pytest.raises(DataError, match="could not be read"):
        prompts.from_file(str(home))
