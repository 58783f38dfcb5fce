"""Liger's kernels: asked for by name, never without a GPU, and missed with words. The kernels need a GPU to run."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from ftk.errors import UsageError
from ftk.models import liger
from tests import tiny


def test_the_kernels_of_the_architecture_are_put_in_without_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    package = SimpleNamespace(apply_liger_kernel_to_qwen3=lambda **options: calls.append(options))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", package)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace(transformers=package))  # type: ignore[arg-type]
    model = tiny.model("qwen3")
    liger.apply(model)
    assert calls == [{"model": model, "cross_entropy": False, "fused_linear_cross_entropy": False}]


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(UsageError) as caught:
        liger.apply(tiny.model())
    assert "llm-finetune-kit[liger]" in (caught.value.hint or "")


def test_an_architecture_without_kernels_is_refused() -> None:
    with pytest.raises(UsageError, match="gpt2"):
        liger.apply(tiny.model("gpt2"))
