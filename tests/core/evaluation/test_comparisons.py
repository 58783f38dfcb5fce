"""Comparisons as they are kept and shown around: whole files, no text taken for markup, words that differ marked."""

from __future__ import annotations

import html.parser
import json
import re
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftk.errors import RunError, UsageError
from ftk.evaluation import comparisons, differences, render
from ftk.evaluation.compare import Compared
from ftk.evaluation.comparisons import Record, Verdict, chance, keep, read, record
from ftk.evaluation.generate import Answer, Prompt, Sampling, conversation
from ftk.evaluation.subjects import Subject
from ftk.runs import RunFolder
from tests.run_folders import make

NASTY = "<script>alert(1)</script> & \"quotes\" ``` [/b] # *x* <!-- \x1b[31m\u202e\x00 ]]> 'a' \u2028 </textarea>"


@pytest.fixture
def run(home: Path) -> RunFolder:
    return make(home / "ftk_runs", "mine")


def made(run: RunFolder, *texts: str, verdicts: tuple[Verdict, ...] = ()) -> Record:
    """A comparison in which base and tuned model give some answers by turns."""
    from ftk import recipes

    config = recipes.load(str(run.config_file)).config
    models = [Subject("base", run, config), Subject("mine", run, config, run.adapter)]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    found = [
        Compared(
            number,
            Prompt(conversation(f"Question {number} {NASTY}"), reference=NASTY, origin="f.jsonl, line 3"),
            {"base": Answer(base, 3, 5, "end"), "mine": Answer(tuned, 4, 5, "length")},
        )
        for number, (base, tuned) in enumerate(pairs)
    ]
    return record(models, Sampling(7, 0.5, seed=3), found, "f.jsonl, held out", notes=["a note"], verdicts=verdicts)


def test_what_is_kept_is_read_back(run: RunFolder) -> None:
    kept = made(
        run,
        "plain",
        NASTY,
        "a",
        "b",
        verdicts=(Verdict(0, "mine", ("mine", "base")), Verdict(1, None, ("base", "mine"))),
    )
    path = keep(run, kept)
    assert path.parent == run.path / "comparisons"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keep(run, kept) != path
    found = read(path)
    assert json.loads(json.dumps(kept.answers)) == found.answers
    assert found.answers[0]["answers"]["mine"] == {"text": NASTY, "tokens": 4, "ended": "length"}
    assert found.about["sampling"] == {
        "max_tokens": 7, "temperature": 0.5, "top_p": 1.0, "seed": 3, "top_k": 0, "repetition_penalty": 1.0,
    }  # fmt: skip
    assert [model["kind"] for model in found.about["models"]] == ["base", "adapter"]
    assert found.labels == ["base", "mine"]
    assert [verdict["better"] for verdict in found.verdicts] == ["mine", None]
    assert render.tally(found) == {"base": 0, "mine": 1, "no difference": 1}


def test_a_disk_that_takes_nothing_leaves_nothing_and_says_so(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    from ftk import files

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync_file", full)
    with pytest.raises(RunError, match="No space left"):
        keep(run, made(run, "a", "b"))
    assert list(comparisons.folder(run).iterdir()) == []
    with pytest.raises(UsageError, match="No space left"):
        render.write(made(run, "a", "b"), run.path / "page.html", title="t")
    assert not list(run.path.glob("*page*"))


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"kind": "comparison"}', '{"kind": "answers"}', "\x00", "[" * 99999]
)
def test_what_is_no_comparison_is_refused(run: RunFolder, content: str) -> None:
    path = run.path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(RunError, match="no comparison"):
        read(path)
    path.write_text('{"kind": "comparison", "format": 99}')
    with pytest.raises(RunError, match="later version"):
        read(path)


class Page(html.parser.HTMLParser):
    """The text of a page and of its marked parts, and every element in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.marked: dict[str, list[str]] = {"del": [], "ins": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._inside = tag if tag in self.marked else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._inside:
            self.marked[self._inside].append(data)


def test_the_page_marks_the_words_that_differ_and_nothing_of_a_model_is_markup(run: RunFolder) -> None:
    text = render.html(made(run, "I do not know where it is.", "I know where it went.", NASTY, NASTY + " more"), NASTY)
    page = Page(text)
    assert [part.strip() for part in page.marked["del"]] == ["do not", "is"]
    assert [part.strip() for part in page.marked["ins"]] == ["went", "more"]
    assert not {"script", "img", "link", "iframe", "b", "textarea"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "default-src 'none'" in text
    assert page.text.count("<script>alert(1)</script>") >= 6  # shown as it is
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", text)
    assert r"\x1b[31m\u202e\x00" in page.text
    assert "cut off" in page.text
    assert "f.jsonl, line 3" in page.text
    assert "temperature 0.5" in page.text


def test_markdown_keeps_every_text_in_a_block_of_its_own(run: RunFolder) -> None:
    longer = "```\n````\n# no heading\n"
    text = render.markdown(made(run, NASTY, longer), NASTY)
    fences: list[str] = []
    outside = []
    for line in text.splitlines():
        match = re.match(r"(`{3,})(text)?$", line)
        if match and not fences and match[2]:
            fences.append(match[1])
        elif match and fences and not match[2] and line == fences[-1]:
            fences.pop()
        elif not fences:
            outside.append(line)
    assert fences == []
    assert "`````text" in text
    assert [line for line in outside if line.startswith("#")] == [
        line for line in outside if line.startswith(("# ", "## Prompt"))
    ]
    assert "<script>" not in "\n".join(outside)
    assert "no heading" not in "\n".join(outside)


def test_a_page_is_written_once_and_replaced_only_by_force(run: RunFolder, home: Path) -> None:
    comparison = made(run, "a", "b")
    target = home / "page.HTML"
    render.write(comparison, target, title="t")
    before = target.read_text()
    with pytest.raises(UsageError, match="was not changed"):
        render.write(comparison, target, title="another")
    assert target.read_text() == before
    render.write(comparison, target, title="another", force=True)
    assert "another" in target.read_text()
    assert render.write(comparison, home / "page.md", title="t").read_text().startswith("# t\n")
    for wrong, told in ((home / "page.pdf", "no format"), (home / "none" / "a.md", "no folder"), (home, "no format")):
        with pytest.raises(UsageError, match=told):
            render.write(comparison, wrong, title="t", force=True)
    (home / "folder.md").mkdir()
    with pytest.raises(UsageError, match="exists"):
        render.write(comparison, home / "folder.md", title="t", force=True)


@given(one=st.text(max_size=60), other=st.text(max_size=60))
def test_the_stretches_joined_are_the_texts_and_equal_ones_match(one: str, other: str) -> None:
    left, right = differences.compare(one, other)
    assert "".join(part.text for part in left) == one
    assert "".join(part.text for part in right) == other
    shared = ["".join("".join(part.text for part in side if not part.differs).split()) for side in (left, right)]
    assert shared[0] == shared[1]
    assert (one == other) == (not any(part.differs for part in (*left, *right)))


def test_differences_are_words_and_white_space_between_them_is_no_gap() -> None:
    left, right = differences.compare("Your parcel is on its way.", "Your order has left, it is on its way!")
    assert [part.text for part in left if part.differs] == ["parcel", "."]
    assert [part.text for part in right if part.differs] == ["order has left, it", "!"]
    assert differences.likeness("a b", "a b") == 1.0
    assert differences.likeness("", "") == 1.0
    assert differences.likeness("a b", "c d") == 0.0
    assert 0.4 < differences.likeness("a b c d", "a b x y") < 0.6


def test_chance_is_that_of_a_fair_coin() -> None:
    assert chance(0, 0) == 1.0
    assert chance(3, 3) == 1.0
    assert chance(5, 0) == chance(0, 5) == 2 / 32
    assert chance(8, 1) == pytest.approx(2 * (1 + 9) / 512)
