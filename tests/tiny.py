"""Tiny real models for the tests: the architectures of the catalogue with about a hundred thousand weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

ARCHITECTURES = ("gpt2", "llama", "mistral", "phi3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

ROWS = [
    {"prompt": f"What comes after {word}?", "response": f"After {word} comes {following}, as everybody knows."}
    for word, following in [
        ("one", "two"), ("two", "three"), ("three", "four"), ("four", "five"), ("five", "six"), ("six", "seven"),
        ("seven", "eight"), ("eight", "nine"), ("nine", "ten"), ("ten", "eleven"), ("spring", "summer"),
        ("summer", "autumn"), ("autumn", "winter"), ("winter", "spring"), ("dawn", "day"), ("day", "dusk"),
    ]
]  # fmt: skip


@cache
def _tokenizer_json() -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    text = [value for row in ROWS for value in row.values()]
    tokenizer.train_from_iterator([*text, "user assistant system ### Instruction: ### Response:"], trainer)
    return tokenizer.to_str()


def tokenizer(*, chat: bool = True) -> Any:
    """A byte-level BPE tokenizer of 512 tokens, with a ChatML template or none."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json()),
        eos_token="<|im_end|>" if chat else "<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    made.chat_template = CHATML if chat else None
    return made


def config(architecture: str) -> Any:
    """The configuration of a tiny model."""
    from transformers import AutoConfig

    common = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    if architecture == "gpt2":
        return AutoConfig.for_model(
            "gpt2", vocab_size=512, n_positions=256, n_embd=48, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, **common,
        )  # fmt: skip
    return AutoConfig.for_model(
        architecture, vocab_size=512, hidden_size=48, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=12, max_position_embeddings=256, **common,
    )  # fmt: skip


def attention(architecture: str) -> str:
    """The attention that the architecture is loaded with: torch's fused one, but where scores are capped."""
    return "eager" if architecture == "gemma2" else "sdpa"


def model(architecture: str = "llama", seed: int = 0) -> Any:
    """A tiny model with random weights, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    made = AutoModelForCausalLM.from_config(config(architecture))
    made.eval()
    return made


def save(folder: Path, architecture: str = "llama", *, chat: bool = True, seed: int = 0) -> Path:
    """Write a tiny model with its tokenizer as a plain model folder."""
    model(architecture, seed).save_pretrained(folder)
    tokenizer(chat=chat).save_pretrained(folder)
    return folder
