"""The optimiser over float32 masters of the adapter's weights, and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from ..config import RunConfig
from ..errors import TrainingError


class AdapterOptimizer:
    """AdamW on float32 copies of the trained weights.

    The adapter computes in the base's number format. bfloat16 has 8 bits of precision: an update of 2e-4 of a
    weight's size would be rounded away, so the updates are summed up in float32 and copied back after every
    step. Costs 8 bytes a trained weight, which for an adapter is next to nothing.

    Args:
        named: The trained weights of a model, by name; those of the matrices B may have a rate of their own (LoRA+,
            arXiv:2402.12354).
        config: Settings without any ``auto``.

    """

    def __init__(self, named: Iterable[tuple[str, torch.nn.Parameter]], config: RunConfig) -> None:
        named = list(named)
        self.parameters = [parameter for _, parameter in named]
        self.masters = [p if p.dtype == torch.float32 else p.detach().float().requires_grad_() for p in self.parameters]
        self._copied = [pair for pair in zip(self.parameters, self.masters, strict=True) if pair[0] is not pair[1]]
        ratios = [config.lora_b_ratio if ".lora_B." in name else 1.0 for name, _ in named]
        self.optimizer = _make(config.optimizer, self.masters, ratios, config)

    def collect(self) -> None:
        """Add the gradients of a micro-batch to the masters', in float32, and clear them."""
        for parameter, master in self._copied:
            if parameter.grad is not None and master.grad is None:
                master.grad = torch.zeros_like(master)
        found = [(master.grad, parameter.grad) for parameter, master in self._copied if parameter.grad is not None]
        if found:
            sums, grads = zip(*found, strict=True)
            torch._foreach_add_(list(sums), list(grads))
        for parameter, _ in self._copied:
            parameter.grad = None

    def clip(self, max_norm: float) -> torch.Tensor:
        """Scale the gradients down to `max_norm` and return the norm that they had."""
        return torch.nn.utils.clip_grad_norm_(self.masters, max_norm)

    def step(self, learning_rate: float) -> None:
        """Update the weights."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group["ratio"]
        self.optimizer.step()
        self.copy_to_model()

    def marks(self) -> list[int]:
        """What changes with the first thing that an update does to each of the weights.

        That is the count of its updates, in torch's optimisers a tensor whose changes torch counts.
        """
        steps = [self.optimizer.state.get(master, {}).get("step", 0) for master in self.masters]
        return [step._version if isinstance(step, torch.Tensor) else int(step) for step in steps]

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Write the masters into the model's weights, in a few launches on a GPU instead of one a weight."""
        if self._copied:
            parameters, masters = zip(*self._copied, strict=True)
            torch._foreach_copy_(list(parameters), list(masters))

    def clear(self) -> None:
        """Forget all gradients."""
        for tensor in (*self.parameters, *self.masters):
            tensor.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """Masters and moments as named tensors, for a checkpoint."""
        tensors = {f"master.{index}": master.detach() for index, master in enumerate(self.masters)}
        for index, master in enumerate(self.masters):
            for key, value in self.optimizer.state.get(master, {}).items():
                if not key.startswith("qmap"):  # a table that is the same for all weights of all runs
                    tensors[f"state.{index}.{key}"] = torch.as_tensor(value)
        return {key: tensor.contiguous() for key, tensor in tensors.items()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take up the masters and moments of a checkpoint.

        Raises:
            TrainingError: they belong to another adapter.

        """
        moments: dict[int, dict[str, torch.Tensor]] = {}
        try:
            for index, master in enumerate(self.masters):
                master.copy_(tensors[f"master.{index}"])
            for key, tensor in tensors.items():
                if key.startswith("state."):
                    _, number, name = key.split(".", 2)
                    moments.setdefault(int(number), {})[name] = tensor
            self._load_moments(moments)
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(f"The checkpoint does not fit this adapter: {error}.") from error
        self.copy_to_model()

    def _load_moments(self, moments: dict[int, dict[str, torch.Tensor]]) -> None:
        """Give every master its moments: by its own place, since in the groups the rate of LoRA+ decides the order."""
        places = {id(master): index for index, master in enumerate(self.masters)}
        groups = self.optimizer.param_groups
        if not hasattr(self.optimizer, "init_state"):
            order = [places[id(master)] for group in groups for master in group["params"]]
            state = {number: moments[index] for number, index in enumerate(order) if index in moments}
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": state, "param_groups": groups})
            return
        for at, group in enumerate(groups):  # bitsandbytes: only what it makes itself is paged
            for number, master in enumerate(group["params"]):
                if values := moments.get(places[id(master)]):
                    self.optimizer.init_state(group, master, at, number)
                    _take_over(self.optimizer.state[master], values)


def _take_over(state: dict[str, Any], values: dict[str, torch.Tensor]) -> None:
    """Bring what was saved of a master's moments into those that its optimiser has just made."""
    for key, value in values.items():
        if isinstance(state[key], torch.Tensor):
            state[key].copy_(value)
        else:
            state[key] = value.item()


def _make(name: str, parameters: list[torch.Tensor], ratios: list[float], config: RunConfig) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"lr": float(config.learning_rate), "betas": (0.9, 0.999), "eps": 1e-8}
    groups = [
        {
            "params": [parameter for parameter, its in zip(parameters, ratios, strict=True) if its == ratio],
            "weight_decay": config.weight_decay,
            "ratio": ratio,
        }
        for ratio in sorted(set(ratios))
    ]
    if name == "adamw":
        fused = parameters[0].device.type in ("cpu", "cuda")
        return torch.optim.AdamW(groups, fused=fused, **options)
    from bitsandbytes import optim

    kinds = {
        "adamw-8bit": optim.AdamW8bit,
        "paged-adamw": optim.PagedAdamW32bit,
        "paged-adamw-8bit": optim.PagedAdamW8bit,
    }
    made: torch.optim.Optimizer = kinds[name](groups, **options)
    return made


def learning_rate(step: int, total: int, config: RunConfig) -> float:
    """The learning rate of update `step` (from 0) of `total`.

    It rises linearly from zero over the warm-up, then follows the schedule; linear and cosine reach zero
    after the last step, as in transformers' schedules of the same names.
    """
    warmup, highest = warmup_steps(total, config), float(config.learning_rate)
    if step < warmup:
        return highest * step / max(1, warmup)
    progress = (step - warmup) / max(1, total - warmup)
    factor = {
        "linear": 1 - progress,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "constant": 1.0,
    }[config.schedule]
    return highest * max(0.0, factor)


def warmup_steps(total: int, config: RunConfig) -> int:
    """The steps in which the rate rises."""
    return math.ceil(total * config.warmup_ratio)
