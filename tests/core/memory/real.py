"""Real training steps on tiny models, watched: what they keep, and what torch's allocator gave out at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from ftk.data.encoding import Example
from ftk.memory import Settings
from ftk.memory.hollow import run_config
from ftk.models.loading import LoadedModel, ModelInfo
from ftk.training import passes, trained
from ftk.training.optim import AdapterOptimizer


def examples(settings: Settings) -> list[Example]:
    """Rows of the longest length, all learnt; where they are padded, one is shorter, so that there is a mask."""
    lengths = [settings.max_length] * settings.batch_size
    if not settings.fast:
        lengths[-1] -= 1
    return [Example(tuple(range(1, length + 1)), (True,) * length, "") for length in lengths]


class Step:
    """A model made trainable as a run does it, with its pass and optimiser.

    Args:
        model: A transformers model.
        settings: What is trained, and how.

    """

    def __init__(self, model: Any, settings: Settings) -> None:
        self.settings = settings
        config = run_config(settings).merged({"optimizer": "adamw", "learning_rate": 1e-3, "fast": settings.fast})
        info = ModelInfo("", "", model.config.model_type, 0, 0, 0, "none", "float32", "cpu", "", None)
        self.model = trained.make_trainable(LoadedModel(model, None, info), (), config, fresh=False)
        self.model.train()
        named = ((name, parameter) for name, parameter in self.model.named_parameters() if parameter.requires_grad)
        self.optimizer = AdapterOptimizer(named, config)
        self.run = passes.choose(self.model, 0, torch.device("cpu"), config, lambda _: None)
        self.batch = self.run.batch(examples(settings))

    def __call__(self) -> None:
        """One update."""
        self.run.backward(self.batch, 1.0 / self.batch.targets)
        self.optimizer.collect()
        self.optimizer.clip(1.0)
        self.optimizer.step(1e-3)
        self.optimizer.clear()

    def standing(self) -> int:
        """Bytes of all that outlives a step: weights, adapters, masters, moments, weights kept unpacked."""
        tensors = [*self.model.parameters(), *self.model.buffers(), *self.optimizer.masters]
        tensors += [value for state in self.optimizer.optimizer.state.values() for value in state.values()]
        for parameter in self.model.parameters():
            tensors += state_tensors(parameter)
        for layer in getattr(self.run, "_layers", []):
            tensors += [layer._ftk_weight] if layer._ftk_weight is not None else []
        return unique_bytes(tensors)

    def kept(self) -> int:
        """Bytes that the forward pass keeps for the backward pass, without the weights."""
        seen: dict[int, int] = {}
        known = {tensor.untyped_storage().data_ptr() for tensor in self._known()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in known:
                seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = self.run.summed_loss(self.batch)
        assert loss.requires_grad
        return sum(seen.values())

    def _known(self) -> list[torch.Tensor]:
        layers = getattr(self.run, "_layers", [])
        unpacked = [layer._ftk_weight for layer in layers if layer._ftk_weight is not None]
        batch = [part for part in vars(self.batch).values() if isinstance(part, torch.Tensor)]
        return [*self.model.parameters(), *self.model.buffers(), *unpacked, *batch]

    def peak(self) -> int:
        """Bytes that torch gave out at most during a step, the standing ones included, by its own profiler."""
        self()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
            self()
        blocks = [(e.start_ns(), e.nbytes()) for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
        alive = most = 0
        for _, size in sorted(blocks):
            alive += size
            most = max(most, alive)
        batch = sum(part.nbytes for part in vars(self.batch).values() if isinstance(part, torch.Tensor))
        return self.standing() + most + batch


def state_tensors(parameter: Any) -> list[torch.Tensor]:
    """What a 4-bit weight keeps beside itself."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return []
    return [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]


def unique_bytes(tensors: Sequence[torch.Tensor]) -> int:
    """The bytes of the storages of some tensors, each once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
