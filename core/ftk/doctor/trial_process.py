"""The trials themselves: ``python -m ftk.doctor.trial_process NAME DEVICE`` prints what it found as a line of JSON."""

from __future__ import annotations

import json
import sys
import time
import traceback
from typing import Any


def try_torch(device: str) -> dict[str, Any]:
    """Multiply two matrices and look at the result."""
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        torch.zeros(1, device=device)  # says why
    a, b = torch.full((64, 64), 0.5, device=device), torch.eye(64, device=device)
    if not torch.equal(a @ b, a):
        raise ArithmeticError("a product of matrices is wrong")
    count = torch.cuda.device_count() if device != "cpu" else 0
    about = [torch.cuda.get_device_properties(index) for index in range(count)]
    return {
        "version": torch.__version__,
        "name": f"{device} ({about[0].name})" if about else "the CPU",
        "uuids": [str(getattr(card, "uuid", "")) for card in about],
        "threads": torch.get_num_threads(),
    }


def try_bitsandbytes(device: str) -> dict[str, Any]:
    """Quantise a small tensor to NF4 with double quantisation, as QLoRA does, and unpack it."""
    import bitsandbytes
    import torch
    from bitsandbytes import functional

    weights = torch.linspace(-1, 1, 64 * 64, device=device).reshape(64, 64)
    packed, state = functional.quantize_4bit(weights, blocksize=64, compress_statistics=True, quant_type="nf4")
    unpacked = functional.dequantize_4bit(packed, state)
    deviation = float((unpacked - weights).abs().mean() / weights.abs().mean())
    if packed.numel() * 2 != weights.numel() or not deviation < 0.15:
        raise ArithmeticError(f"what was unpacked is {deviation:.0%} off")
    return {"version": bitsandbytes.__version__, "deviation": deviation}


def try_compile(device: str) -> dict[str, Any]:
    """Compile a small function, forward and backward, and compare it with the plain one."""
    import torch

    def plain(values: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.silu(values) * values).sum()

    values = torch.linspace(-2, 2, 64, device=device, requires_grad=True)
    (expected,) = torch.autograd.grad(plain(values), values)
    began = time.monotonic()
    (found,) = torch.autograd.grad(torch.compile(plain)(values), values)
    if not torch.allclose(found, expected, atol=1e-4):
        raise ArithmeticError("compiled code computes something else")
    return {"seconds": time.monotonic() - began}


TRIALS = {"torch": try_torch, "bitsandbytes": try_bitsandbytes, "compile": try_compile}


def main(trial: str, device: str) -> None:
    """Print what a trial finds, or its error in a line."""
    try:
        told = TRIALS[trial](device)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the answer
        traceback.print_exc()
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = {"error": f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]}
    sys.stdout.write("\n" + json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
