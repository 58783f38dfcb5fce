"""The loss of rows: exact in windows of any length, whatever is computed together, and bounded in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk.data import templates
from ftk.data.encoding import Example
from ftk.data.rows import Row
from ftk.errors import DataError, ModelError
from ftk.evaluation import losses
from ftk.evaluation.losses import Measurable, RowLoss, measurable, need_tokens, plain, row_losses, windows
from tests import tiny


def example(marks: list[bool], origin: str = "made") -> Example:
    return Example(tuple(range(5, 5 + len(marks))), tuple(marks), origin)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(2, 20), st.integers(1, 20))
def test_windows_count_each_supervised_token_once_from_enough_before_it(
    marks: list[bool], length: int, most: int
) -> None:
    whole = example(marks)
    counted = []
    for window in windows(whole, length, most):
        begin = whole.tokens.index(window.tokens[0])
        assert whole.tokens[begin : begin + len(window)] == window.tokens
        assert len(window) <= length
        assert window.targets <= most
        places = [begin + place for place, counts in enumerate(window.supervised) if counts]
        for place in places:
            assert place - begin >= min(place, length // 2)  # half a window of context, or all that there is
        if len(whole) <= length:
            assert begin == 0
        counted += places
    assert counted == [place for place, counts in enumerate(marks) if counts and place > 0]


def reference(model: Any, examples: list[Example], length: int) -> float:
    """The summed loss in float64, each window by itself and each token from all logits."""
    total = 0.0
    for window in (window for one in examples for window in windows(one, length, 10**9)):
        with torch.no_grad():
            scores = model(torch.tensor([window.tokens])).logits[0].double().log_softmax(-1)
        for place in range(1, len(window)):
            if window.supervised[place]:
                total -= float(scores[place - 1, window.tokens[place]])
    return total


@pytest.fixture
def rows() -> Measurable:
    tokenizer = tiny.tokenizer()
    made = []
    for times, row in enumerate(tiny.ROWS[:6], 1):
        answer = {"role": "assistant", "content": row["response"] * times}
        made.append(Row(({"role": "user", "content": row["prompt"]}, answer), f"r{times}"))
    return measurable(made, tokenizer)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "qwen3"])
def test_every_row_has_the_loss_of_a_float64_reference(architecture: str, rows: Measurable) -> None:
    model = tiny.model(architecture).double()
    for context, batch in ((256, 4), (24, 1), (24, 7)):
        found = row_losses(model, 0, rows, context=context, batch_size=batch)
        for row, mine in zip(rows.rows, found, strict=True):
            assert mine.total == pytest.approx(reference(model, list(row), context), rel=1e-10)
            assert mine.tokens == sum(one.targets for one in row)


def test_a_cap_on_the_scores_changes_no_number(rows: Measurable, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model().double()
    expected = row_losses(model, 0, rows)
    largest = []
    forward = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda hidden: largest.append(len(hidden)) or forward(hidden))
    monkeypatch.setattr(losses, "_LOGITS", 4 * 512 * 64)
    capped = row_losses(model, 0, rows)
    assert max(largest) <= 64
    assert [row.total for row in capped] == pytest.approx([row.total for row in expected], rel=1e-12)


def test_a_full_memory_makes_batches_smaller_until_they_fit(rows: Measurable, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model().double()
    expected = row_losses(model, 0, rows)
    forward, sizes = model.forward, []

    def full(*args: Any, **kwargs: Any) -> Any:
        sizes.append(kwargs["input_ids"].numel())
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", full)
    limit = max(len(one) for row in rows.rows for one in row)
    found = row_losses(model, 0, rows, batch_size=8)
    assert max(sizes) > limit
    assert [row.total for row in found] == pytest.approx([row.total for row in expected], rel=1e-12)
    limit = 10
    with pytest.raises(ModelError, match="does not hold") as caught:
        row_losses(model, 0, rows)
    assert "--context" in str(caught.value)
    assert not model.lm_head._forward_pre_hooks


def test_other_errors_are_not_taken_for_a_full_memory(rows: Measurable, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        row_losses(model, 0, rows)


def test_a_damaged_model_is_named_and_not_measured(rows: Measurable) -> None:
    model = tiny.model()
    with torch.no_grad():
        model.lm_head.weight[7] = float("nan")
    with pytest.raises(ModelError, match="r1 is not a number"):
        row_losses(model, 0, rows)


def test_rows_without_anything_to_measure_are_left_out_and_counted() -> None:
    tokenizer = tiny.tokenizer()
    turns = ({"role": "user", "content": "one"}, {"role": "assistant", "content": "two"})
    unlearnt = (turns[0], {**turns[1], "weight": 0})
    found = measurable([Row(unlearnt, "a"), Row(turns, "b"), Row((), "c", "raw text")], tokenizer)
    assert (found.kept, found.left_out, len(found.rows)) == ((1, 2), 1, 2)
    nothing = measurable([Row(unlearnt, "a")], tokenizer)
    with pytest.raises(DataError, match="nothing to measure in x"):
        need_tokens(nothing, "x")
    assert row_losses(tiny.model(), 0, nothing) == []


def test_a_text_begins_with_the_token_that_the_model_wants() -> None:
    tokenizer = tiny.tokenizer()
    assert plain(["one two", "", "x"], tokenizer).kept[0] == 0
    without = plain(["one two"], tokenizer)
    assert without.tokens == len(tokenizer("one two")["input_ids"]) - 1
    from tokenizers import processors

    tokenizer.bos_token = "<|endoftext|>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "<|endoftext|> $A", None, [("<|endoftext|>", 0)]
    )
    assert templates.beginning(tokenizer) == [0]
    assert plain(["one two"], tokenizer).tokens == without.tokens + 1
    assert plain(["one two"], tokenizer).rows[0][0].tokens[0] == 0


def test_progress_is_told_and_may_cancel(rows: Measurable) -> None:
    seen: list[tuple[int, int]] = []
    row_losses(tiny.model(), 0, rows, batch_size=1, tell=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] >= 6
    model = tiny.model()

    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        row_losses(model, 0, rows, tell=cancel)
    assert not model.lm_head._forward_pre_hooks
    assert isinstance(row_losses(model, 0, rows)[0], RowLoss)
