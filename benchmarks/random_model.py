"""Make a Llama model of a given size with random weights, for measuring how cost grows where no model is at hand.

    python random_model.py FOLDER SIZE PRECISION

A script of its own, because the memory of making a model would count as that of whoever trains it afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SIZES = {"1M": (128, 3), "6M": (256, 6), "27M": (512, 8), "105M": (1024, 8), "350M": (1536, 12), "1B": (2048, 20)}
"""Width and number of layers for about so many weights; the head is tied to the embedding."""
VOCABULARY = 4096
"""Fewer words than a real model's, so that the layers and not the head are what grows."""
CONTEXT = 4096
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_TEMPLATE = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make(folder: Path, size: str, precision: str) -> None:
    """Write model and tokenizer as a plain model folder."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    width, layers = SIZES[size]
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=width * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=getattr(torch, precision)).save_pretrained(folder)
    tokenizer().save_pretrained(folder)


def tokenizer() -> Any:
    """A token a byte, so that the length of a row can be said exactly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=bytewise,
        pad_token=_SPECIAL[0],
        eos_token=_SPECIAL[2],
        additional_special_tokens=_SPECIAL[1:],
    )
    made.chat_template = _TEMPLATE
    return made


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
