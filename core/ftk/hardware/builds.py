"""What the installed torch was built for, read from its files: importing it would take a second."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class TorchBuild:
    """What torch was built for; `toolkit` is the version of CUDA or ROCm, such as (13, 0), `version` torch's own."""

    kind: Literal["missing", "cpu", "cuda", "rocm", "xpu"]
    version: str = ""
    toolkit: tuple[int, int] | None = None


@cache
def torch_build() -> TorchBuild:
    """What the installed torch was built for; ``missing`` where there is none."""
    try:
        spec = importlib.util.find_spec("torch")
    except (ImportError, ValueError):  # a torch that is half there, or something else in its place
        spec = None
    if spec is None or spec.origin is None:
        return TorchBuild("missing")
    return read_build(Path(spec.origin).with_name("version.py"))


def read_build(path: Path) -> TorchBuild:
    """What a torch was built for, by its ``version.py``, which is read and not run."""
    try:
        values = dict(_assigned(ast.parse(path.read_text(encoding="utf-8"))))
    except (OSError, SyntaxError, ValueError):
        values = {}
    version = str(values.get("__version__") or "")
    for key, kind in (("cuda", "cuda"), ("hip", "rocm"), ("xpu", "xpu")):
        if values.get(key):
            return TorchBuild(kind, version, _pair(str(values[key])))  # type: ignore[arg-type]
    return TorchBuild("cpu", version)


def _assigned(tree: ast.Module) -> list[tuple[str, Any]]:
    found = []
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant):
            found += [(target.id, value.value) for target in targets if isinstance(target, ast.Name)]
    return found


def _pair(text: str) -> tuple[int, int] | None:
    parts = text.split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit() else None
