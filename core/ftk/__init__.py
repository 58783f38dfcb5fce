"""ftk, the LLM Finetune Kit: fine-tune a language model on your own examples.

    from ftk import QuickTrainer
    trainer = QuickTrainer("smollm2", "sample:chat", max_steps=100)
    trainer.train()

Importing this package loads neither torch nor transformers: a name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from .api import ProgressCallback as ProgressCallback
    from .api import QuickTrainer as QuickTrainer
    from .api import SimpleTrainer as SimpleTrainer
    from .api import get_available_models as get_available_models
    from .api import load_model as load_model
    from .config import RunConfig as RunConfig
    from .data.dataset import load_dataset as load_dataset
    from .data.dataset import load_sample_dataset as load_sample_dataset
    from .data.inspection import inspect_dataset as inspect_dataset
    from .data.prepare import prepare_dataset as prepare_dataset
    from .data.statistics import get_dataset_stats as get_dataset_stats
    from .errors import FtkError as FtkError
    from .estimate import estimate_training_time as estimate_training_time
    from .evaluation.compare import compare_models as compare_models
    from .evaluation.evaluating import evaluate_run as evaluate_run
    from .evaluation.measure import calculate_perplexity as calculate_perplexity
    from .evaluation.measure import evaluate_model as evaluate_model
    from .evaluation.report.making import make_report as make_report
    from .evaluation.speed import benchmark_speed as benchmark_speed

_HOMES = {
    "FtkError": "errors",
    "ProgressCallback": "api",
    "QuickTrainer": "api",
    "RunConfig": "config",
    "SimpleTrainer": "api",
    "benchmark_speed": "evaluation.speed",
    "calculate_perplexity": "evaluation.measure",
    "compare_models": "evaluation.compare",
    "estimate_training_time": "estimate",
    "evaluate_model": "evaluation.measure",
    "evaluate_run": "evaluation.evaluating",
    "get_available_models": "api",
    "get_dataset_stats": "data.statistics",
    "inspect_dataset": "data.inspection",
    "load_dataset": "data.dataset",
    "load_model": "api",
    "load_sample_dataset": "data.dataset",
    "make_report": "evaluation.report.making",
    "prepare_dataset": "data.prepare",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ftk' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
