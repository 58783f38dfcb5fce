"""A tokenizer as GGUF has it: tokens with kinds, merges or scores, the way text is split first, special tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...data import encoding, templates
from ...errors import ExportError

_NORMAL, _UNKNOWN, _CONTROL, _ADDED, _UNUSED, _BYTE = range(1, 7)
_LETTERS = r"[^\r\n\p{L}\p{N}]?"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SPLITS = {
    _SHORT + _LETTERS + r"\p{L}+|\p{N}{1,3}" + _REST: "llama-bpe",
    _SHORT + _LETTERS + r"\p{L}+|\p{N}" + _REST: "qwen2",
    f"{_LETTERS}{_UPPER}*{_LOWER}+|{_LETTERS}{_UPPER}+{_LOWER}*"
    + r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}
"""How text is split before merges are applied, and what llama.cpp calls that."""
_CONVERT = "Use --to merged, then llama.cpp's convert_hf_to_gguf.py."
_LOWEST = -1e6
"""The score of tokens that no merge makes."""


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer in GGUF's words.

    `model` is ``gpt2`` (merges of bytes) or ``llama`` (SentencePiece: scores); `pre` names the way of splitting;
    `tokens`, `kinds` and `scores` stand in the order of the ids.
    """

    model: str
    pre: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str] | None
    scores: list[float] | None
    space_first: bool


def read(tokenizer: Any, size: int) -> Vocabulary:
    """A tokenizer in GGUF's words.

    Args:
        tokenizer: A fast tokenizer of transformers.
        size: Rows of the model's embedding; ids without a token get a name that no text can hold.

    Raises:
        ExportError: the tokenizer is of a build that GGUF cannot say, or has more tokens than the model.

    """
    stored = json.loads(tokenizer.backend_tokenizer.to_str())
    if stored["model"].get("type") != "BPE":
        kind = stored["model"].get("type")
        raise ExportError(f"A tokenizer of the type {kind} cannot be written as GGUF by ftk.", hint=_CONVERT)
    by_id = {number: token for token, number in stored["model"]["vocab"].items()}
    added = dict(tokenizer.added_tokens_decoder)
    highest = max((*by_id, *added))
    if highest >= size:
        raise ExportError(f"The tokenizer has tokens up to {highest}, and the model only {size} rows for them.")
    sentencepiece = bool(stored["model"].get("byte_fallback"))
    tokens, kinds = [], []
    for number in range(size):
        token, kind = _token(number, by_id, added, tokenizer, sentencepiece=sentencepiece)
        tokens.append(token)
        kinds.append(kind)
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in stored["model"]["merges"]]
    if sentencepiece:
        ranks: dict[str, int] = {}
        for rank, (left, right) in enumerate(merges):
            ranks.setdefault(left + right, rank)
        scores = [-float(ranks[token]) if token in ranks else _LOWEST for token in tokens]
        return Vocabulary("llama", "default", tokens, kinds, None, scores, _space_first(stored))
    return Vocabulary("gpt2", _splitting(stored), tokens, kinds, [" ".join(merge) for merge in merges], None, False)


def _token(
    number: int, by_id: dict[int, str], added: dict[int, Any], tokenizer: Any, *, sentencepiece: bool
) -> tuple[str, int]:
    """The text and the kind of a token."""
    if number in added:
        token = str(added[number].content)
        if sentencepiece and token == tokenizer.unk_token:
            return token, _UNKNOWN
        if added[number].special:
            return token, _CONTROL
        return (token.replace("▁", " ") if sentencepiece else token), _ADDED
    if number not in by_id:
        return f"[PAD{number}]", _UNUSED
    token = by_id[number]
    if sentencepiece and token == tokenizer.unk_token:
        return token, _UNKNOWN
    is_byte = sentencepiece and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return token, _BYTE if is_byte else _NORMAL


def _space_first(stored: dict[str, Any]) -> bool:
    """Whether a space is put before a text, as Llama 2's tokenizer does and Gemma's does not."""
    normaliser = json.dumps(stored.get("normalizer"), ensure_ascii=False)
    splitter = stored.get("pre_tokenizer") or {}
    return '"Prepend"' in normaliser or splitter.get("prepend_scheme", "never") != "never"


def _splitting(stored: dict[str, Any]) -> str:
    """What llama.cpp calls the way in which a byte-level tokenizer splits text.

    Raises:
        ExportError: it is none that is known here; with a wrong one the model would read other tokens than it learnt.

    """
    parts = list(_flat(stored.get("pre_tokenizer"), "pretokenizers"))
    kinds = [part["type"] for part in parts]
    changed = [part["type"] for part in _flat(stored.get("normalizer"), "normalizers") if part["type"] != "NFC"]
    if not changed and kinds and kinds[-1] == "ByteLevel" and not parts[-1].get("add_prefix_space"):
        if kinds == ["ByteLevel"] and parts[0].get("use_regex", True):
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and parts[0].get("individual_digits") and parts[1].get("use_regex", True):
            return "smollm"
        splits = kinds == ["Split", "ByteLevel"] and not parts[1].get("use_regex", True)
        if splits and (name := _SPLITS.get(parts[0]["pattern"].get("Regex", ""))):
            return name
    raise ExportError(
        f"The tokenizer splits text in a way for which ftk knows no name in llama.cpp ({', '.join(kinds) or 'none'}).",
        hint=_CONVERT,
    )


def _flat(part: dict[str, Any] | None, below: str) -> Iterator[dict[str, Any]]:
    if part and part["type"] == "Sequence":
        for inner in part[below]:
            yield from _flat(inner, below)
    elif part:
        yield part


def write(writer: Any, vocabulary: Vocabulary, tokenizer: Any) -> None:
    """Add a tokenizer and its chat template to a GGUF file.

    Args:
        writer: A `gguf.GGUFWriter`.
        vocabulary: What `read` made of the tokenizer.
        tokenizer: The tokenizer.

    """
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.kinds)
    if vocabulary.merges is not None:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.scores is not None:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(vocabulary.space_first)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_unk_token_id, tokenizer.unk_token_id),
        (writer.add_pad_token_id, tokenizer.pad_token_id),
    ):
        if number is not None:
            add(int(number))
    ends = encoding.end_of_turn(tokenizer) if tokenizer.chat_template else []
    if len(ends) > 1:
        writer.add_eot_token_id(ends[-1])
    writer.add_add_bos_token(bool(templates.beginning(tokenizer)))
    writer.add_add_eos_token(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)
