"""Things that are tried out, each in a process of its own: one that crashes or hangs is then a line and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import hardware
from .finding import Finding
from .graphics import look

SECONDS = {"torch": 60.0, "bitsandbytes": 90.0, "compile": 180.0}
"""How long a trial may take; importing torch from a cold network disk alone can take half a minute."""
_CHOOSE_TORCH = "Install a torch that fits: https://pytorch.org/get-started/locally/ makes the command."
_LOG = 4000
"""Characters of what a failed trial said that are kept: the end of it, where the cause stands."""
_under_way: set[subprocess.Popen[str]] = set()


def device() -> str:
    """The device that the trials use: the first card that torch was built for, else the CPU."""
    usable = hardware.torch_build().kind in ("cuda", "rocm") and look().gpus
    return "cuda" if usable else "cpu"


def torch() -> Iterator[Finding]:
    """Whether torch can be imported, sees the cards under the numbers that ftk knows, and computes on one."""
    where = device()
    told = attempt("torch", where)
    if "error" in told:
        text = f"torch does not compute on {where}: {told['error']}"
        yield Finding("torch", "failure", text, _mend_of_torch(told["error"]), told)
        return
    yield Finding("torch", "ok", f"torch {told['version']} multiplies matrices on {told['name']}", details=told)
    known = [gpu.uuid for gpu in look().gpus]
    seen = told.get("uuids", [])
    if (
        len(seen) == len(known) > 1
        and all(seen)
        and all(known)
        and [_bare(u) for u in seen] != [_bare(u) for u in known]
    ):
        text = "torch numbers the cards otherwise than the driver does"
        yield Finding("torch", "warning", text, "export CUDA_DEVICE_ORDER=PCI_BUS_ID", told)


def bitsandbytes() -> Iterator[Finding]:
    """Whether bitsandbytes quantises a small tensor to NF4 and unpacks it, on the device where training would be."""
    where = device()
    told = attempt("bitsandbytes", where)
    if "error" in told:
        text = f"bitsandbytes cannot quantise on {where}: {told['error']}"
        mend = "python -m pip install --upgrade bitsandbytes; until then use --quantization none."
        yield Finding("bitsandbytes", "failure", text, mend, told)
    else:
        text = f"{told['version']} quantises to NF4 on {where} and back, {told['deviation']:.1%} off on average"
        yield Finding("bitsandbytes", "ok", text, details=told)


def compiling() -> Iterator[Finding]:
    """Whether torch compiles a small function for the device; training goes on without, only slower."""
    where = device()
    if obstacle := hardware.compile_obstacle(where):
        mend = "Install a compiler, such as with: sudo apt install g++ (or the package build-essential)."
        text = f"layers are not compiled here: {obstacle}; training is slower without"
        yield Finding("compile", "warning", text, mend if "compiler" in obstacle else "", {"obstacle": obstacle})
        return
    told = attempt("compile", where)
    if "error" in told:
        text = f"compiling fails on {where}: {told['error']}; training is slower without"
        mend = "Use --compile false until it is mended; `ftk doctor --debug` shows what the compiler says."
        yield Finding("compile", "warning", text, mend, told)
    else:
        yield Finding("compile", "ok", f"torch compiled for {where} in {told['seconds']:.0f} s", details=told)


def attempt(trial: str, where: str, seconds: float | None = None) -> dict[str, Any]:
    """What a trial tells, or its ``error`` in a line.

    Args:
        trial: Its name in `trial_process`.
        where: The device, as torch names it.
        seconds: After how long it is given up; by default as `SECONDS` says.

    """
    limit = seconds or SECONDS[trial]
    with tempfile.TemporaryDirectory(prefix="ftk-doctor-", ignore_cleanup_errors=True) as folder:
        process = _start([sys.executable, "-P", "-m", f"{__package__}.trial_process", trial, where], Path(folder))
        _under_way.add(process)
        try:
            out, err = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return {"error": f"no end after {limit:g} s"}
        finally:
            _end(process)
            _under_way.discard(process)
    try:
        told = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        told = {"error": _last_words(process.returncode, err)}
    if not isinstance(told, dict):
        told = {"error": "an answer that nobody understands"}
    return {**told, "log": err[-_LOG:]} if "error" in told else told


def _start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    caches = {name: str(folder) for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}  # compile for real
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **caches, "TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONIOENCODING": "utf-8"},
        start_new_session=True,  # so that it can be ended with the compilers that it started
    )


def end_all() -> None:
    """End the trials that are under way."""
    for process in list(_under_way):
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (OSError, ProcessLookupError):
        return
    finally:
        process.poll()


def _last_words(code: int | None, err: str) -> str:
    if code is not None and code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    lines = [line for line in err.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else f"it ended with exit code {code} and said nothing"


def _mend_of_torch(error: str) -> str:
    if "no kernel image" in error:
        return f"This torch has no code for a card of that age. {_CHOOSE_TORCH}"
    if "out of memory" in error.lower():
        return "Other programs hold the card's memory: `nvidia-smi` shows which."
    if "undefined symbol" in error or "cannot open shared object" in error:
        return "Parts of torch do not belong together: install torch again, in an environment of its own."
    return _CHOOSE_TORCH


def _bare(uuid: str) -> str:
    return uuid.lower().removeprefix("gpu-")
