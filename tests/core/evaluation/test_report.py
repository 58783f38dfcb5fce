"""The report of a run: everything in it, nothing that runs or loads, whatever the data hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ftk.errors import RunError, UsageError
from ftk.evaluation import record
from ftk.evaluation.report import make_report, markdown, plot
from ftk.evaluation.report.gathered import Course, gather
from ftk.evaluation.report.page import page
from ftk.runs import RunFolder
from tests import run_folders
from tests.core.evaluation.reported_runs import HOSTILE, comparison, evaluated, full
from tests.run_folders import STOPPED, finished, started, step

SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")


@pytest.fixture
def runs(home: Path) -> Path:
    return home / "ftk_runs"


class Read(HTMLParser):
    """Reads a page: its texts, its tags with their attributes, and whether they are closed."""

    VOID = ("meta", "br", "hr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def said(self) -> str:
        return "\n".join(self.texts)


def test_a_page_tells_everything(runs: Path) -> None:
    run = full(runs)
    path = make_report("shop")
    assert path == run.path / "report.html"
    read = Read(path.read_text())
    assert read.open == []
    for told in (
        "shop", "Held-out loss 3.0000 before, 1.5000 after (-50%).", "gpt2 (abc123)", "rows.jsonl, 240 rows",
        "finished, step 100 of 100", "held-out loss ↓", "exact match ↑", "16.7 %", "▲ better, by more than noise",
        "≈ no more than noise", "24 of 90 held-out rows were measured.", "95 % intervals", "Where is my parcel?",
        "It is on its way.", "I am a model.", "On its way.", "(empty)", "The judge preferred: tuned.", "learning_rate",
        "0.001", "Tesla T4", "8.0 GiB", "2.13.0", "pip install llm-finetune-kit==0.1.0", "cd" * 32,
        "ftk --preset runs/shop/config.yaml", "ftk evaluate r --max-tokens 99 --expect json --expect-regex 'a b'",
        "240", "learnt by heart", "+8.3 pp",
    ):  # fmt: skip
        assert told in read.said, told
    assert read.said.count("Mend it.") == 1  # a warning that was told twice
    assert "Old prompt?" not in read.said
    assert run.config_file.read_text().splitlines()[5] in read.said


def test_text_of_data_is_never_markup(runs: Path) -> None:
    full(runs)
    text = make_report("shop").read_text()
    read = Read(text)
    assert not {"script", "img", "iframe", "object", "link", "a", "form", "base", "image", "use"} & {
        tag for tag, _ in read.tags
    }
    for _, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href", "xlink:href")]
        assert not [value for name, value in attributes.items() if name == "style" and value]
    assert read.said.count(SHOWN) >= 6  # prompt, reference, base, warning, processor, reason
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_page_needs_no_network_and_no_script(runs: Path) -> None:
    full(runs)
    text = make_report("shop").read_text()
    style = text.split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|expression", style)
    assert "prefers-color-scheme: dark" in style
    policy = next(attributes for tag, attributes in Read(text).tags if attributes.get("http-equiv"))
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"(src|href)=|https?://(?!evil\.example)", text.replace(style, ""))


def test_the_same_folder_gives_the_same_page(runs: Path) -> None:
    full(runs)
    assert make_report("shop").read_text() == make_report("shop").read_text()


def test_markdown_holds_texts_as_they_are(runs: Path, home: Path) -> None:
    full(runs)
    text = make_report("shop", home / "card.md").read_text()
    lines = text.splitlines()
    assert lines[0] == "# shop"
    assert "| metric | base | tuned | difference | verdict |" in lines
    assert any(line.startswith("| exact match ↑ |") for line in lines)
    outside, fence = [], ""
    for line in lines:
        mark = re.match(r"(`{3,})(\w*)$", line)
        if mark and not fence:
            fence = mark[1]
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence
    rest = "\n".join(outside)
    assert "alert" in rest  # of the warning, the processor and the reason
    assert "<script" not in re.sub(r"\\.", "", rest)
    assert not re.search(r"(?<!\\)\]\(", rest)
    assert sum(line.endswith(SHOWN) for line in lines) == 3
    assert all(line.count("|") - line.count(r"\|") == 6 for line in outside if line.startswith("| exact"))


def test_a_fence_is_longer_than_what_it_holds() -> None:
    assert markdown.fenced("a\n````\nb")[0] == "`````text"
    assert markdown.inline("a_b*c|d\n<e>") == r"a\_b\*c\|d \<e\>"
    assert markdown.inline("held-out: 1.5 (+3)") == "held-out: 1.5 (+3)"
    assert [markdown.inline(text) for text in ("# a", "- b", "+ c", "1. d")] == [r"\# a", r"\- b", r"\+ c", r"1\. d"]
    assert markdown.inline("https://x.example") == r"https\://x.example"


def test_a_run_without_anything_has_a_report_too(runs: Path) -> None:
    run_folders.make(runs, "bare")
    read = Read(make_report("bare").read_text())
    assert "Nothing was measured yet." in read.said
    assert "The journal tells no loss." in read.said
    assert "ftk evaluate bare" in read.said
    assert "svg" not in {tag for tag, _ in read.tags}
    text = make_report("bare", runs / "bare.md").read_text()
    assert "Not evaluated yet: `ftk evaluate bare`" in text


def test_a_run_that_goes_on_can_be_reported(runs: Path) -> None:
    run_folders.make(runs, "going", started(), step(1, 3.0), step(2, 2.5), STOPPED)
    read = Read(make_report("going").read_text())
    assert "Training loss 2.5000 at the end; nothing was held out" in read.said
    assert "stopped, step 42 of 100: Ctrl-C" in read.said


def test_the_examples_are_the_best_that_there_are(runs: Path) -> None:
    run = full(runs)
    facts = gather(run)
    assert (facts.examples[0].prompt, len(facts.examples)) == ("Where is my parcel?", 2)
    assert len(gather(run, 1).examples) == 1
    shutil.rmtree(run.path / "evaluations")
    assert [one.prompt for one in gather(run).examples] == ["Old prompt?"]
    comparison(run, "20260101-000000")
    comparison(run, "20260102-000000")
    comparison(run, "20260103-000000", tuned="other")
    (run.path / "comparisons" / "20260104-000000.jsonl").write_text('{"kind": "comparison"')
    facts = gather(run)
    assert [(one.base, one.tuned) for one in facts.examples] == [("base said", "mine said 20260102-000000")]
    assert facts.examples_from == "the newest comparison"
    assert len(facts.problems) == 1
    assert "20260104-000000.jsonl could not be read" in Read(page(facts)).said


def test_the_newest_evaluation_is_shown_and_damaged_ones_are_told(runs: Path) -> None:
    run = full(runs)
    later = evaluated("a-later", notes=("The later one.",))
    record.write(run, replace(later, about={**later.about, "created": "2026-02-02T00:00:00+0000"}))
    (run.path / "evaluations" / "z.json").write_text("{")
    said = Read(make_report("shop").read_text()).said
    assert "The later one." in said
    assert "24 of 90" not in said
    assert "z.json" in said


def test_a_damaged_journal_and_settings_are_no_obstacle(runs: Path) -> None:
    run = full(runs)
    with run.journal_file.open("a") as file:
        file.write('{"event": "step", "loss": NaN}\n{"event": "evaluation", "step": 1, "loss": null}\ntorn')
    run.config_file.write_text("learning_rate: [")
    said = Read(make_report("shop").read_text()).said
    assert "Held-out loss 3.0000 before" in said
    assert "config.yaml" in said
    run.provenance_file.write_text("{")
    with pytest.raises(RunError):
        make_report("shop")


def test_secrets_and_the_home_folder_stay_at_home(runs: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SOME_TOKEN", "canary-0123456789")
    run_folders.make(runs, "secret", started(), finished(), data=f"{home}/data/canary-0123456789.jsonl")
    for name in ("a.html", "a.md"):
        text = make_report("secret", home / name).read_text()
        assert "canary-0123456789" not in text
        assert str(home) not in text
        assert "~/data" in text.replace("\\", "")


def test_a_file_that_is_there_is_not_replaced_unasked(runs: Path, home: Path) -> None:
    full(runs)
    target = home / "new" / "page.html"
    assert make_report("shop", target) == target
    before = target.read_text()
    target.write_text("mine")
    with pytest.raises(UsageError, match="was not changed"):
        make_report("shop", target)
    assert target.read_text() == "mine"
    assert make_report("shop", target, overwrite=True).read_text() == before
    with pytest.raises(UsageError, match=r"ends with \.html or \.md"):
        make_report("shop", home / "page.pdf")
    assert make_report("shop").read_text() == make_report("shop").read_text()  # the run's own page is its to replace


def test_the_newest_run_with_a_result_is_meant_by_default(runs: Path) -> None:
    with pytest.raises(RunError, match="No run here has a result"):
        make_report()
    full(runs, "old")
    full(runs, "new")
    run_folders.make(runs, "unfinished", started(), step(1))
    assert make_report().parent.name == "new"


def test_a_report_needs_no_torch(runs: Path) -> None:
    full(runs)
    code = (
        "import sys\nfrom ftk_tui.cli import main\n"
        "assert main(['report', 'shop']) == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'datasets'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("report.html")


def numbers(drawing: str, kind: str) -> list[tuple[float, float]]:
    """The points of a curve."""
    found = re.search(rf'points="([^"]*)" class="{kind}"', drawing)
    assert found
    return [tuple(map(float, point.split(","))) for point in found[1].split()]  # type: ignore[misc]


def drawn(course: Course) -> str:
    from xml.etree import ElementTree

    made = plot.loss_plot(course)
    assert made is not None
    return ElementTree.tostring(made, encoding="unicode", method="html")


def test_a_plot_shows_the_course_inside_of_its_frame() -> None:
    train = [(step, 4 - step / 500) for step in range(1, 1001)]
    drawing = drawn(Course(train, [(0, 4.2), (500, 3.1), (1000, 2.4)]))
    curve, held = numbers(drawing, "train"), numbers(drawing, "held")
    assert len(curve) == 240
    assert len(held) == 3
    assert [x for x, _ in curve] == sorted(x for x, _ in curve)
    assert [y for _, y in curve] == sorted(y for _, y in curve)  # down the page, as the loss falls
    assert all(0 <= x <= plot.WIDTH and 0 <= y <= plot.HEIGHT for x, y in [*curve, *held])
    assert drawing.count("<circle") == 3
    assert "Training loss from 3.998 at step 1 to 2.000 at step 1000." in drawing
    for tick in ("4.5", "2", "400", "1000"):
        assert f">{tick}</text>" in drawing


def test_a_plot_of_little_or_odd_numbers_is_drawn_too() -> None:
    assert plot.loss_plot(Course()) is None
    assert plot.loss_plot(Course([(1, float("nan"))], [(0, float("inf"))])) is None
    assert drawn(Course([(1, 2.0)])).count("<circle") == 1
    assert "nan" not in drawn(Course([(1, 2.0), (2, 2.0)], [(0, 2.0)]))
    assert drawn(Course([], [(7, 1.0)])).count("<circle") == 1
    spike = [(step, 2.0 if step != 50 else 1e9) for step in range(1, 301)]
    assert all(y >= 0 for _, y in numbers(drawn(Course(spike)), "band"))
    assert max(float(tick) for tick in re.findall(r"end\">([\d.e+]+)<", drawn(Course(spike)))) < 10


def test_thinned_curves_keep_means_and_extremes() -> None:
    points = [(float(n), float(n % 10)) for n in range(1, 101)]
    assert plot.thinned(points, 10) == [(10.0 * (n + 1), 4.5, 0.0, 9.0) for n in range(10)]
    assert plot.thinned(points[:2], 10) == [(1.0, 1.0, 1.0, 1.0), (2.0, 2.0, 2.0, 2.0)]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (1.1, 1.9, [1, 1.2, 1.4, 1.6, 1.8, 2]), (3, 3, [3]), (0.001, 0.0021, None)],
)
def test_ticks_are_round_numbers_around_the_range(low: float, high: float, ticks: list[float] | None) -> None:
    found = plot.ticks(low, high, 5)
    assert found == ticks or (ticks is None and found[0] <= low and found[-1] >= high and len(found) < 9)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to open the page with")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_the_page(runs: Path, home: Path, dark: bool) -> None:
    run: RunFolder = full(runs)
    path, picture = make_report("shop"), home / "page.png"
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,3200",
        f"--user-data-dir={home / 'profile'}", *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        f"--screenshot={picture}", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert picture.is_file(), done.stderr[-2000:]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture.stat().st_size > 30_000  # a blank page of that size is a few kilobytes
    assert run.name == "shop"
