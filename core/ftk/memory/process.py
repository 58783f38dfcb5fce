"""From what torch allocates to what the process takes: of the card, or of main memory."""

from __future__ import annotations

from dataclasses import replace

from .card import Card
from .models import Described
from .result import Breakdown
from .settings import BYTES
from .stages import Census
from .timeline import Peak

LIBRARIES = 515 * 2**20
"""Bytes of the interpreter with torch, transformers, peft and what they bring: the resident set of runs with the
smallest models less their tensors (Linux, torch 2.13 for CPU)."""
_LOADING = 440 * 2**20
"""The same when a model has just been loaded; peft and the kernels of training come later."""
_HOLES_BACK, _HOLES_TURN, _HOLES_LOSS = 1.3, 0.6, 0.1
"""Room that glibc's heap loses for each byte that passes through a layer's backward pass, before it, and in the loss.

The heap has no room for a block where the last one of the same size was, because torch asks for 64 bytes of alignment
and small objects have taken what was cut off. How often is chance: of 20 runs most lie within a third of this."""
_HOLES_KEPT = 0.88
"""How much of that where nothing is recomputed: there the most is taken before the backward pass cuts most up."""
_HOLES_PLAIN = 1.25
"""How many times as much on the plain path, whose padded rows and separate adapters take more blocks of more sizes."""
_HOLES_CARD = 0.7
"""Room that torch's CUDA allocator loses, for each byte that passes at the moment of the most: the profiles of
fitcheck-llm 0.3.1 say 0.58 to 0.85 after 26 runs on a T4 with plain attention. Not measured with ftk's loop."""
_COPIED_UP_TO = 512 << 20
"""Bytes up to which a checkpoint is copied to be written beside the training (`training.saver`)."""


def completed(made: Breakdown, model: Described, card: Card | None, census: Census, found: Peak) -> Breakdown:
    """The breakdown with what lies outside of torch's tensors."""
    made = replace(made, snapshot=_snapshot(made, census))
    if card:
        passing = made.loss + made.workspace - card.workspace
        return replace(made, context=card.context, fragmentation=int(_HOLES_CARD * passing))
    passed = found.passed
    back = passed.get("backward", 0) - (passed.get("forward", 0) if made.settings.gradient_checkpointing else 0)
    holes = _HOLES_BACK * max(0, back) + _HOLES_TURN * passed.get("turn", 0) + _HOLES_LOSS * passed.get("loss", 0)
    holes *= 1.0 if made.settings.gradient_checkpointing else _HOLES_KEPT
    holes *= 1.0 if made.settings.fast else _HOLES_PLAIN
    item = _in_file(model)
    originals = item * census.parameters
    mapped = item * census.packed  # the rest, embeddings and head, is used where it is in the file
    made = replace(made, context=LIBRARIES, fragmentation=int(holes), mapped=mapped)
    copied = made.settings.quantization != "none" or item != made.settings.item
    loaded = _LOADING + made.weights + made.unpacked + (originals if copied else 0)
    return replace(made, loading=max(0, loaded - made.process))


def _in_file(model: Described) -> int:
    """Bytes of a weight in the model's files: as the configuration says, else 16 bits as nearly everywhere."""
    stated = str(model.text.get("dtype") or model.text.get("torch_dtype") or model.values.get("dtype"))
    return BYTES.get(stated.removeprefix("torch."), 2)


def _snapshot(made: Breakdown, census: Census) -> int:
    """Main memory for a checkpoint's copy: what is trained, its masters and moments; a large one is not copied."""
    trained = sum(census.trained)
    size = made.settings.item * trained + 4 * trained + made.optimizer + made.paged
    return size if size <= _COPIED_UP_TO else 0
