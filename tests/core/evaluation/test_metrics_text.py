"""Metrics of answers, against hand-worked cases and against sacrebleu."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftk.errors import UsageError
from ftk.evaluation.metrics import corpus, text
from ftk.evaluation.metrics.formats import Expectation, valid_json

THE_CAT = ("the cat sat on the mat", "the cat is on the mat")
POLICE = ("police kill the gunman", "police killed the gunman")  # of Lin's paper, section 3.1


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("The cat's 2nd mat, isn't_it?", ["the", "cat", "s", "2nd", "mat", "isn", "t", "it"]),
        ("ﬁne Äpfel ÉTÉ", ["fine", "äpfel", "été"]),
        ("e\u0301te\u0301", ["été"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("GPT4 在 2023", ["gpt4", "在", "2023"]),
        ("\u0301 ... --- \u200b", []),
        ("한국어 문장", ["한국어", "문장"]),
    ],
)
def test_words_are_found_in_every_script(written: str, words: list[str]) -> None:
    assert text.words(written) == words


def test_exact_match_looks_past_white_space_alone() -> None:
    assert text.exact_match(" a  b\n", "a b") == 1
    assert text.exact_match("e\u0301", "é") == 1
    assert text.exact_match("A b", "a b") == 0
    assert text.exact_match("a b.", "a b") == 0
    assert text.exact_match("", " ") == 1


def test_token_f1_by_hand() -> None:
    assert text.token_f1(*THE_CAT) == pytest.approx(5 / 6)  # 5 of 6 words on both sides: the, the, cat, on, mat
    assert text.token_f1("to be or not to be", "to be") == pytest.approx(2 * 2 / (6 + 2))
    assert text.token_f1("a a a", "a") == pytest.approx(2 * 1 / 4)
    assert text.token_f1("x", "y") == 0
    assert text.token_f1("", "something") == 0
    assert (text.token_f1("", ""), text.token_f1("!", "?")) == (1, 0)


def test_rouge_by_hand() -> None:
    assert text.rouge_n(*THE_CAT, 1) == pytest.approx(5 / 6)
    assert text.rouge_n(*THE_CAT, 2) == pytest.approx(3 / 5)  # the cat, on the, the mat
    assert text.rouge_l(*THE_CAT) == pytest.approx(5 / 6)  # the cat on the mat
    assert text.rouge_n(*POLICE, 1) == pytest.approx(3 / 4)
    assert text.rouge_n(*POLICE, 2) == pytest.approx(1 / 3)
    assert text.rouge_l(*POLICE) == pytest.approx(3 / 4)
    assert text.rouge_l("the gunman kill police", POLICE[1]) == pytest.approx(2 / 4)
    assert text.rouge_l("a b c d", "d c b a") == pytest.approx(1 / 4)
    assert text.rouge_l("", "a") == text.rouge_n("", "a", 1) == 0
    assert text.rouge_n("one", "one", 2) == 1  # no pair of words on either side: the texts are the same


def slow_subsequence(one: list[str], other: list[str]) -> int:
    """The textbook's table."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, mine in enumerate(one):
        for j, theirs in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if mine == theirs else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("abcde"), max_size=80), st.lists(st.sampled_from("abcde"), max_size=80))
def test_the_fast_subsequence_is_the_textbooks(one: list[str], other: list[str]) -> None:
    assert text.longest_common_subsequence(one, other) == slow_subsequence(one, other)


def sentences(seed: int, count: int = 12) -> tuple[list[str], list[str]]:
    """Answers and references that share some words."""
    pick = random.Random(seed)
    sentence = "the cat sat on a mat while it rained, and nobody came. 12 % of (all) cats don't care!"
    words = sentence.split()
    references = [" ".join(pick.choices(words, k=pick.randint(3, 15))) for _ in range(count)]
    answers = [" ".join(w for w in reference.split() if pick.random() > 0.25) for reference in references]
    answers[0], answers[1] = "", references[1]
    return answers, references


@pytest.mark.parametrize("seed", range(4))
def test_bleu_and_chrf_are_sacrebleus(seed: int) -> None:
    import sacrebleu

    answers, references = sentences(seed)
    bleu, chrf = corpus.bleu(answers, references), corpus.chrf(answers, references)
    assert bleu.total() == pytest.approx(sacrebleu.corpus_bleu(answers, [references]).score, rel=1e-12)
    assert chrf.total() == pytest.approx(sacrebleu.corpus_chrf(answers, [references]).score, rel=1e-12)
    twice = bleu.statistics[[2, 2, 3, 5, 5, 5]].sum(axis=0)  # rows drawn more than once are more rows
    drawn = [[side[row] for row in (2, 2, 3, 5, 5, 5)] for side in (answers, references)]
    assert float(bleu.value(twice)) == pytest.approx(sacrebleu.corpus_bleu(drawn[0], [drawn[1]]).score, rel=1e-12)


def test_bleu_by_hand() -> None:
    """Four words of five match, three pairs, two triples, one run of four; no brevity penalty."""
    found = corpus.bleu(["a b c d x"], ["a b c d e"]).total()
    assert found == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    assert corpus.bleu([], []).rows == 0


def test_repetition_counts_triples_that_came_before() -> None:
    assert text.repetition("a b c d e f") == 0
    assert text.repetition("a b c a b c") == pytest.approx(1 / 4)  # abc bca cab abc
    assert text.repetition("no " * 50) == pytest.approx(47 / 48)
    assert text.repetition("two words") == text.repetition("") == 0
    assert text.distinct("a b a b", 1) == pytest.approx(2 / 4)
    assert text.distinct("a b a b", 2) == pytest.approx(2 / 3)
    assert text.distinct("a", 2) is None


def test_an_answer_without_visible_text_is_empty() -> None:
    assert [text.empty(answer) for answer in ("", " \n", "\u200b\u2060", "\x00")] == [1, 1, 1, 1]
    assert text.empty(".") == 0


def test_formats_are_checked_as_asked() -> None:
    assert Expectation().checks() == {}
    checks = Expectation(json=True, regex=r"[A-C]\)?", words="2..4").checks()
    assert list(checks) == ["json", "regex", "length"]
    for answer in ('{"a": [1, null]}', "3", '"x"', " [] \n"):
        assert checks["json"](answer) == 1
    for answer in ("", "{'a': 1}", '{"a": 1,}', '{"a": 1} and more', "NaN", "[Infinity]", "[" * 100_000):
        assert valid_json(answer) == 0
    assert [checks["regex"](answer) for answer in ("B)", " A\n", "D", "A or B")] == [1, 1, 0, 0]
    assert [checks["length"]("w " * count) for count in (1, 2, 4, 5)] == [0, 1, 1, 0]
    assert Expectation(words="..3").checks()["length"]("") == 1
    assert Expectation(words="3..").checks()["length"]("a b c d") == 1


@pytest.mark.parametrize("wrong", ["", "..", "5", "9..3", "a..b", "-1..3"])
def test_a_range_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="no range of lengths"):
        Expectation(words=wrong)


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unterminated"):
        Expectation(regex="[a-z")
