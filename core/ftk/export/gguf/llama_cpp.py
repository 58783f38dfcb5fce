"""llama.cpp where this machine has it: its quantisations, and its own opinion of a file that ftk wrote.

It is looked for as the program ``llama-quantize`` (in a folder that is given, or on the PATH), and as the Python
package llama-cpp-python, which carries the same code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...errors import ExportError

QUANTISATIONS = (
    "q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m", "q5_0", "q5_1", "q5_k_s", "q5_k_m",
    "q6_k", "iq3_xxs", "iq3_s", "iq3_m", "iq4_nl", "iq4_xs",
)  # fmt: skip
"""What llama.cpp quantises to without samples of text."""

_PROGRAM = "llama-quantize"
_BELOW = ("", "bin", "build/bin")
_HINT = (
    "Put llama.cpp's llama-quantize on the PATH or say where it is built (--llama-cpp FOLDER), or `pip install "
    "llama-cpp-python`. Without it ftk writes f32, f16, bf16 and q8_0."
)


def quantiser(folder: str | None = None) -> Callable[[Path, Path, str], None]:
    """What turns a 16-bit file into one of `QUANTISATIONS`: called with the two files and the name.

    Args:
        folder: Where llama.cpp was built; the PATH and llama-cpp-python are looked at otherwise.

    Raises:
        ExportError: this machine has none.

    """
    if folder:
        for below in _BELOW:
            program = Path(folder).expanduser() / below / _PROGRAM
            if os.access(program, os.X_OK) and program.is_file():
                return lambda source, made, kind: _run(program, source, made, kind)
        raise ExportError(f"There is no program {_PROGRAM} in {folder}.", hint=_HINT)
    if found := shutil.which(_PROGRAM):
        return lambda source, made, kind: _run(Path(found), source, made, kind)
    if installed():
        return _with_package
    raise ExportError("This quantisation is made by llama.cpp, which was not found.", hint=_HINT)


def installed() -> bool:
    """Whether llama-cpp-python is there."""
    return find_spec("llama_cpp") is not None


def _run(program: Path, source: Path, made: Path, kind: str) -> None:
    done = subprocess.run(
        [str(program), str(source), str(made), kind.upper()],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode or not made.is_file():
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()] or ["it gave no reason"]
        raise ExportError(f"{program} failed (exit code {done.returncode}): {lines[-1][:200]}")


@cache
def _silenced() -> Any:
    """Keep llama.cpp from writing to the terminal; what is returned has to live as long as it may try."""
    import llama_cpp

    @llama_cpp.llama_log_callback
    def silent(level: int, text: bytes, user_data: Any) -> None:
        """Nothing."""

    llama_cpp.llama_log_set(silent, None)
    return silent


def _with_package(source: Path, made: Path, kind: str) -> None:
    import llama_cpp

    _silenced()
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    failed = llama_cpp.llama_model_quantize(str(source).encode(), str(made).encode(), options)
    if failed or not made.is_file():
        raise ExportError(f"llama.cpp could not quantise {source.name} to {kind}.")


class Opinion:
    """A GGUF file in llama.cpp itself.

    Args:
        path: The file.
        context: Tokens that will be asked at once at most.

    Raises:
        ExportError: llama.cpp does not load it.

    """

    def __init__(self, path: Path, context: int = 256) -> None:
        from llama_cpp import Llama

        _silenced()
        try:
            self._model: Any = Llama(str(path), n_ctx=context, n_gpu_layers=0, logits_all=True, verbose=False)
        except (ValueError, RuntimeError, AssertionError) as error:
            raise ExportError(f"llama.cpp does not load {path.name}: {str(error)[:200]}") from error

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, with special tokens recognised and none added."""
        return list(self._model.tokenize(text.encode(), add_bos=False, special=True))

    def logits(self, rows: Sequence[Sequence[int]]) -> list[Any]:
        """The logits at every place of some rows of tokens, as float32 tensors."""
        import numpy
        import torch

        found = []
        for row in rows:
            self._model.reset()
            self._model.eval(list(row))
            found.append(torch.from_numpy(numpy.array(self._model.scores[: len(row)], dtype=numpy.float32)))
        return found

    def close(self) -> None:
        """Give its memory back."""
        self._model.close()
