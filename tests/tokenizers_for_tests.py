"""Small tokenizers of every build that the catalogue's models have, trained in a moment."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from tests import chat_templates, tiny

KINDS = ("bytes", "metaspace", "legacy", "unigram", "characters")
ALPHABET = "".join(map(chr, range(32, 127))) + "\n\t\r\u00a0äßЖ漢字かな한éé́👍🏽👩\u200d💻𝔘\u200b\ufeff"
_BYTES = [f"<0x{number:02X}>" for number in range(256)]
_SPECIAL = ["<unk>", "<|endoftext|>"]


def _corpus() -> list[str]:
    texts = [value for row in tiny.ROWS for value in row.values()]
    return [*texts, "user assistant system [INST] [/INST] ### Instruction: ### Response:", "\n\n\n  \n", " \n a"] * 3


def _decoder() -> Any:
    from tokenizers import decoders

    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )


def _sentencepiece(kind: str) -> Any:
    """A byte-falling-back BPE without word boundaries, as Llama 2, Mistral and Gemma have.

    ``legacy`` puts a space before every stretch between added tokens, ``metaspace`` only before the text.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    if kind == "legacy":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    made.train_from_iterator(_corpus(), trainers.BpeTrainer(vocab_size=600, special_tokens=[*_SPECIAL, *_BYTES]))
    content = json.loads(made.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in _BYTES]
    content["decoder"] = json.loads(_decoder().__getstate__())
    return Tokenizer.from_str(json.dumps(content))


def _unigram() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=_SPECIAL, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(_corpus(), trainer)
    content = json.loads(made.to_str())
    content["model"]["vocab"] += [[byte, -20.0] for byte in _BYTES]
    content["model"]["byte_fallback"] = True
    content["decoder"] = json.loads(_decoder().__getstate__())
    return Tokenizer.from_str(json.dumps(content))


def _characters() -> Any:
    """A word-level model whose words are single characters."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    words = [*_SPECIAL, *dict.fromkeys(ALPHABET)]
    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return made


@cache
def _trained(kind: str) -> str:
    build = {"unigram": _unigram, "characters": _characters}.get(kind, lambda: _sentencepiece(kind))
    return str(build().to_str())


@cache
def tokenizer(kind: str, template: str) -> Any:
    """A tokenizer of a kind with the template of a family, or with a fallback (and then without a chat's tokens)."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    from ftk.data import templates

    if kind == "bytes":
        made = tiny.tokenizer(chat=False)
    else:
        base = Tokenizer.from_str(_trained(kind))
        made = PreTrainedTokenizerFast(tokenizer_object=base, eos_token="<|endoftext|>", unk_token="<unk>")
    if template in templates.TEMPLATES:
        templates.choose(made, template)  # type: ignore[arg-type]
        return made
    swallows = template == "phi3"  # its tokens take the white space after them
    made.add_special_tokens(
        {
            "additional_special_tokens": [
                AddedToken(t, rstrip=swallows, normalized=False) for t in chat_templates.SPECIAL
            ]
        }
    )
    made.chat_template = chat_templates.TEMPLATES[template]
    return made
