"""What the children of the memory benchmark do, each in a process: make a model, estimate, train, ask fitcheck.

    PYTHON memory_jobs.py JOB.json

Prints the result as one line of JSON. The interpreter may be one that knows nothing of ftk, so beside a job's own
libraries only Python's are imported.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = dict[str, Any]
STEPS = 3
LARGE = ("mistral-7b", "llama3.1-8b")
"""Models of the catalogue that are estimated on every card."""
LARGE_SETTINGS: dict[str, Any] = {"batch_size": 2, "max_length": 2048, "gradient_checkpointing": True}
_ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _sizes(width: int, inner: int, layers: int, heads: int, keys: int, words: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": words,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": 2,
        "pad_token_id": 0,
        **more,
    }


MODELS: dict[str, dict[str, Any]] = {
    "llama-1m": {"model_type": "llama", **_sizes(128, 352, 3, 4, 4, 4096)},
    "llama-27m": {"model_type": "llama", **_sizes(512, 1376, 8, 8, 8, 4096)},
    "llama-105m": {"model_type": "llama", **_sizes(1024, 2816, 8, 16, 4, 16384)},
    "llama-350m": {"model_type": "llama", **_sizes(1536, 4096, 12, 24, 8, 32000)},
    "llama-1b": {"model_type": "llama", **_sizes(2048, 8192, 16, 32, 8, 32000)},
    "gpt2-124m": {"model_type": "gpt2", "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0},
    "qwen2-90m": {"model_type": "qwen2", **_sizes(896, 4864, 4, 14, 2, 32000)},
    "qwen3-180m": {"model_type": "qwen3", **_sizes(1024, 3072, 10, 16, 8, 32000, head_dim=128)},
    "gemma-90m": {"model_type": "gemma", **_sizes(512, 4096, 10, 4, 1, 32000, head_dim=256)},
    "gemma2-60m": {"model_type": "gemma2", **_sizes(576, 2304, 8, 4, 2, 32000, head_dim=128)},
    "gemma3-270m": {"model_type": "gemma3_text", **_sizes(640, 2048, 18, 4, 1, 262144, head_dim=256)},
    "mistral-50m": {"model_type": "mistral", **_sizes(768, 2048, 6, 12, 4, 8192, sliding_window=128)},
    "mixtral-50m": {"model_type": "mixtral", **_sizes(512, 1024, 4, 8, 4, 8192, num_local_experts=4)},
}
"""Configurations with random weights; the names say the architecture and about how many weights."""


def make(job: Job) -> dict[str, Any]:
    """Write a model with random weights and a tokenizer of a token a byte."""
    import random_model
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(MODELS[job["model"]])
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    torch.manual_seed(0)
    dtype = getattr(torch, job["settings"].get("precision", "float32"))
    AutoModelForCausalLM.from_config(config, dtype=dtype).save_pretrained(job["folder"])
    random_model.tokenizer().save_pretrained(job["folder"])
    return {}


def estimate(job: Job) -> dict[str, Any]:
    """The estimate for every configuration by trace, and by the formula for comparison."""
    import contestants

    from ftk import hardware, memory
    from ftk.memory.card import of_gpu

    gpus = hardware.detect().gpus
    device = of_gpu(gpus[0]) if job["device"] == "cuda" else "cpu"
    found = []
    for case in job["cases"]:
        targets = case["settings"].get("lora_targets")
        settings = memory.Settings(**{**case["settings"], "lora_targets": tuple(targets) if targets else None})
        model = {**MODELS[case["model"]], "dtype": settings.precision}  # as `make` writes it
        traced = memory.estimate(model, settings, device, trace=True)
        rough = memory.estimate(model, settings, device, trace=False)
        found.append({**traced.to_dict(), "formula": {"tensors": rough.tensors, "process": rough.process}})
    return {"cases": found, "versions": contestants.versions()}


def large(job: Job) -> dict[str, Any]:
    """7B and 8B with adapters on every card: what two rows of 2048 tokens take, and how many rows would fit."""
    from ftk import memory

    found = []
    for model in LARGE:
        for quantization in ("nf4", "none"):
            for card in memory.cards():
                precision = "bfloat16" if card.bfloat16 else "float16"
                settings = memory.Settings(quantization=quantization, precision=precision, **LARGE_SETTINGS)
                made = memory.estimate(model, settings, card, trace=True)
                rows = memory.largest_batch(model, settings, card, trace=True)
                found.append({**made.to_dict(), "model": model, "card": card.id, "rows": rows, "room": card.memory})
    return {"large": found}


def train(job: Job) -> dict[str, Any]:
    """Train as a program would, and tell the peak of the tensors or of the process in bytes."""
    from ftk import QuickTrainer

    watch = Watch() if job["what"] == "tensors" and job["device"] == "cpu" else None
    settings = {"precision": "float32", "quantization": "none", "lora_rank": 16, "gradient_checkpointing": False}
    settings |= job["settings"]
    settings |= {"max_steps": STEPS, "save_steps": STEPS, "eval_fraction": 0.0, "compare": [], "compile": False}
    trainer = QuickTrainer(
        job["model"], job["rows"], runs_dir=job["folder"], device=job["device"], optimizer="adamw", **settings
    )
    trainer.train([watch] if watch else [])
    return {"bytes": watch.peak if watch else _taken(job)}


def _taken(job: Job) -> int:
    from ftk import hardware

    if job["device"] == "cpu":
        return hardware.peak_process_memory()
    import torch

    if job["what"] == "tensors":
        return int(torch.cuda.max_memory_allocated())
    return hardware.gpu_memory_used() or 0  # torch gives nothing back to the driver, so the end is the peak


class Watch:
    """Listens to a run and finds the peak of torch's allocations on a processor, exactly.

    Where training begins, it adds up the storages of all tensors that there are; from there to the last step the
    profiler notes every block that torch's allocator gives out and takes back, inside of kernels too.
    """

    def __init__(self) -> None:
        self.peak = self._base = 0
        self._profiler: Any = None

    def __call__(self, event: Any) -> None:
        """Begin with the phase of training, end with the last step."""
        if event.kind == "phase" and event.name == "train" and self._profiler is None:
            self._begin()
        elif event.kind == "step" and event.step == event.total_steps:
            self._end()

    def _begin(self) -> None:
        import torch
        from torch.profiler import ProfilerActivity, profile

        gc.collect()
        storages = [thing.untyped_storage() for thing in gc.get_objects() if isinstance(thing, torch.Tensor)]
        self._base = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
        self._profiler = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profiler.__enter__()

    def _end(self) -> None:
        self._profiler.__exit__(None, None, None)
        events = self._profiler.profiler.kineto_results.events()
        alive = 0
        for _, size in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
            alive += size
            self.peak = max(self.peak, self._base + alive)


def fitcheck(job: Job) -> dict[str, Any]:
    """fitcheck-llm's figures in bytes for the same configurations, and for 7B and 8B on the cards that it knows."""
    from fitcheck.gpu_db import list_gpus

    known = dict(list_gpus())
    cases = [_asked(MODELS[case["model"]], case["settings"], None) for case in job["cases"]]
    large = []
    for entry in job["large"]:
        settings = {**LARGE_SETTINGS, "quantization": entry["quantization"], "precision": entry["precision"]}
        spec = known.get(entry["card"].replace("rtx", "") if entry["card"].startswith("rtx") else entry["card"])
        spec = spec or known.get(entry["card"])
        large.append(_asked(entry["values"], settings, spec) if spec else {"refused": "card not known"})
    return {"cases": cases, "large": large}


def _asked(values: dict[str, Any], settings: dict[str, Any], spec: Any) -> dict[str, Any]:
    """What fitcheck says of a configuration: bytes of the tensors and of the whole, or why it refuses."""
    from fitcheck.config_parser import ModelConfig, _count_params, _parse_fields, _reject_unsupported
    from fitcheck.estimator import TrainingConfig
    from fitcheck.estimator import estimate as ask
    from fitcheck.gpu_db import GpuSpec

    try:
        _reject_unsupported(values, "model")
        fields = _parse_fields(values)
        full = settings.get("method") == "full"
        training = TrainingConfig(
            precision={"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}[settings.get("precision", "float32")],
            quantization=settings.get("quantization", "none"),
            double_quant=settings.get("quantization") == "nf4",
            batch_size=settings["batch_size"],
            seq_len=settings["max_length"],
            lora_rank=None if full else settings.get("lora_rank", 16),
            lora_targets=list(settings.get("lora_targets") or _ALL),
            grad_checkpoint=settings.get("gradient_checkpointing", False),
            flash_attn=True,
        )
        sizes = {key: getattr(fields, key) for key in vars(fields)}
        model = ModelConfig(name="model", num_params=_count_params(fields), **sizes)
        report = ask(model, training, spec or GpuSpec("any", 2**30, 2**30))
    except (ValueError, TypeError) as error:
        return {"refused": " ".join(str(error).split())[:160]}
    tensors = report.total_mib - report.overhead_mib
    return {"tensors": int(tensors * 2**20), "process": int(report.total_mib * 2**20), "rows": report.max_batch_size}


JOBS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "make": make,
    "estimate": estimate,
    "large": large,
    "train": train,
    "fitcheck": fitcheck,
}


def main() -> None:
    """Do the job that the file says."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(JOBS[job["job"]](job)), flush=True)


if __name__ == "__main__":
    main()
