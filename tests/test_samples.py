"""The sample sets: every row a good example of its task, held-out rows apart, code that does what it says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from itertools import product
from types import ModuleType

import pytest

from ftk import load_dataset, load_sample_dataset
from ftk.data.dataset import SAMPLES
from ftk.data.rows import Row

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_large_enough_and_its_parts_are_apart(name: str) -> None:
    data = load_sample_dataset(name)
    assert len(data.rows) >= 20
    assert len(data.held_out) >= 5
    prompts = [row.prompt.lower().strip() for row in (*data.rows, *data.held_out)]
    responses = [row.response for row in (*data.rows, *data.held_out)]
    assert len(set(prompts)) == len(prompts)
    assert len(set(responses)) == len(responses)
    assert load_dataset(f"sample:{name}") == data


@pytest.mark.parametrize("name", SAMPLES)
def test_texts_are_clean(name: str) -> None:
    data = load_sample_dataset(name)
    for row in (*data.rows, *data.held_out):
        for message in row.messages:
            content = message["content"]
            assert content == content.strip()
            assert not re.search(r"[^\S\n]+$|\u200b|\ufeff|\t|\ufffd", content, re.MULTILINE), content


def rows(name: str) -> list[Row]:
    data = load_sample_dataset(name)
    return [*data.rows, *data.held_out]


@pytest.mark.parametrize("row", rows("chat"), ids=lambda row: row.prompt[:40])
def test_support_answers_have_title_steps_and_an_offer(row: Row) -> None:
    title, *rest = row.response.split("\n\n")
    assert re.fullmatch(r"\*\*[^*]+\*\*", title)
    steps = [line for line in row.response.splitlines() if re.match(r"\d+\. ", line)]
    assert [int(step.split(".")[0]) for step in steps] == list(range(1, len(steps) + 1))
    assert len(steps) >= 2
    assert any(part.startswith("**Good to know:**") for part in rest)
    assert rest[-1].startswith("Need more help?")


@pytest.mark.parametrize("subject", ["password", "open", "order|parcel"])
def test_the_usual_questions_are_among_them(subject: str) -> None:
    assert sum(bool(re.search(subject, row.prompt.lower())) for row in rows("chat")) >= 2


@pytest.mark.parametrize("row", rows("instruct"), ids=lambda row: row.prompt[:40])
def test_code_runs_and_prints_what_its_comments_say(row: Row) -> None:
    blocks = BLOCK.findall(row.response)
    assert len(blocks) == 1
    assert "**Why:**" in row.response
    done = subprocess.run([sys.executable, "-"], input=blocks[0], capture_output=True, text=True, check=False)
    promised = [match[1] for line in blocks[0].splitlines() if (match := re.search(r"(?:^|\s)# (.+)$", line))]
    assert (done.stdout + done.stderr).splitlines() == promised


@pytest.mark.parametrize("row", rows("code"), ids=lambda row: row.prompt[:40])
def test_code_does_what_its_own_assertions_say(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = BLOCK.findall(row.response)
    tree = ast.parse(block)
    assert sum(isinstance(node, ast.Assert) for node in tree.body) >= 3
    made = next(node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    assert ast.get_docstring(made)
    assert "\n\n**Cost:** " in row.response
    module = ModuleType("sample")
    monkeypatch.setitem(sys.modules, "sample", module)  # where dataclasses look for their annotations
    exec(compile(block, "sample", "exec"), module.__dict__)


@pytest.mark.parametrize("row", rows("summarize"), ids=lambda row: row.response[14:54])
def test_a_summary_is_short_and_has_no_number_that_its_text_has_not(row: Row) -> None:
    first, *points = row.response.split("\n")
    assert re.fullmatch(r"\*\*In short:\*\* [^\n]+\.", first)
    assert points[0] == ""
    assert len(points) == 4
    assert all(re.fullmatch(r"- .+\.", point) for point in points[1:])
    assert len(row.response) < len(row.prompt) / 2
    assert set(re.findall(r"\d[\d.,]*\d|\d", row.response)) <= set(re.findall(r"\d[\d.,]*\d|\d", row.prompt))


@pytest.mark.parametrize("row", rows("translate"), ids=lambda row: row.prompt[:40])
def test_a_translation_has_the_length_of_its_text_and_other_words(row: Row) -> None:
    _, text = row.prompt.split("\n\n")
    assert 0.5 < len(row.response) / len(text) < 2
    assert len(set(_words(text)) & set(_words(row.response))) <= 2


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _triples(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return set(zip(words, words[1:], words[2:], strict=False))


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_held_out_is_nearly_a_row_to_train_on(name: str) -> None:
    data = load_sample_dataset(name)
    for row, other in product(data.rows, data.held_out):
        for mine, theirs in ((row.prompt, other.prompt), (row.response, other.response)):
            one, two = _triples(mine), _triples(theirs)
            assert len(one & two) <= 0.4 * len(one | two), (mine, theirs)
