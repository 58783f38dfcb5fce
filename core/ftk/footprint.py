"""How much memory training takes, by formula."""

from __future__ import annotations

from .catalog import CatalogModel

_BYTES_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
_CONTEXT = 0.5 * 2**30
_MARGIN = 1.1


def memory(
    model: CatalogModel, *, quantized: bool, batch: int, length: int, checkpointing: bool, full: bool = False
) -> int:
    """Bytes of GPU memory that training a catalogue model takes, by formula.

    Weights (NF4 with double quantisation: 4 bits, 8 bits a block of 64 and 32 bits a 256 blocks; embeddings
    and head stay in 16 bits), adapter (or, if `full`, every weight) with float32 masters, gradients and AdamW's
    moments (18 bytes a trained weight), activations in 16 bits, logits of all positions in 16 and 32 bits with their
    gradient, 0.5 GiB for the CUDA context and 10 % for fragmentation. Worked out, not measured.
    """
    embedding = model.vocabulary * model.hidden * (1 if model.tied else 2)
    blocks = model.weights - embedding
    weights = embedding * 2 + blocks * (_BYTES_NF4 if quantized else 2)
    attention = (model.heads + model.kv_heads) * model.head_dim
    widths = model.layers * (2 * (model.hidden + attention) + 3 * (model.hidden + model.intermediate))
    trained = 16 * model.weights if full else 18 * model.lora.rank * widths  # 16: its own 2 are counted already
    tokens = batch * length
    layer = tokens * 2 * (10 * model.hidden + 3 * attention + 4 * model.intermediate)
    kept = model.layers * tokens * 2 * model.hidden + layer if checkpointing else model.layers * layer
    logits = tokens * model.vocabulary * 10
    return int((weights + trained + kept + logits) * _MARGIN + _CONTEXT)
