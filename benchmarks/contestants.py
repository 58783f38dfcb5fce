"""The contestants of the training benchmark: each trains one recipe and prints what it measured as one line of JSON.

    PYTHON contestants.py JOB.json

Runs inside the interpreter of the contestant, which may know nothing of ftk: the job file says what to train, and
beside the contestant's own libraries only Python's are imported. `started` in the job is the clock of the moment when
the process was started.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

Job = dict[str, Any]
PACKAGES = ("torch", "transformers", "peft", "trl", "llamafactory", "bitsandbytes", "llm-finetune-kit")


class Clock:
    """Notes when training began and when each of its steps ended, with the tokens and the loss up to there."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.begun = started
        self.counts = False
        self.ends: list[float] = []
        self.tokens: list[int] = []
        self.losses: list[float] = []

    def begin(self) -> None:
        """Training begins now: all that follows is counted."""
        self.begun, self.counts = time.monotonic(), True

    def step(self) -> None:
        """A step has ended."""
        self.ends.append(time.monotonic())

    def figures(self, train_s: float | None = None) -> dict[str, Any]:
        """What the table is made of; `train_s` where the contestant measures its loop itself."""
        first, last = self.ends[0], self.ends[-1]
        whole = train_s if train_s is not None else last - self.begun
        return {
            "steps": len(self.ends),
            "tokens": self.tokens[-1],
            "train_s": round(whole, 3),
            "tokens_per_s": round((self.tokens[-1] - self.tokens[0]) / (last - first), 2),
            "tokens_per_s_with_first": round(self.tokens[-1] / whole, 2),
            "to_first_step_s": round(first - self.started, 2),
            "step_s": [round(b - a, 4) for a, b in zip(self.ends, self.ends[1:], strict=False)],
            "losses": [round(loss, 4) for loss in self.losses],
        }


def ftk(job: Job, quantization: str = "none") -> dict[str, Any]:
    """The library of this repository, as a program uses it."""
    from ftk import QuickTrainer

    clock, warnings = Clock(job["started"]), []

    def listen(event: Any) -> None:
        if event.kind == "phase" and event.name in ("compile", "train") and not clock.counts:
            clock.begin()  # compiling comes before the first step and counts as a part of training all the same
        elif event.kind == "step":
            clock.step()
            clock.tokens.append(event.tokens)
            clock.losses.append(event.loss)
        elif event.kind == "warning":
            warnings.append(event.message)

    trainer = QuickTrainer(job["model"], job["rows"], runs_dir=job["folder"], **_ftk_settings(job, quantization))
    trainer.train([listen])
    return {**clock.figures(), **_memory(), "warnings": warnings}


def _ftk_settings(job: Job, quantization: str) -> dict[str, Any]:
    recipe = job["recipe"]
    return {
        "method": "lora",
        "quantization": quantization,
        "precision": job["precision"],
        "device": job["device"],
        "compile": {"auto": "auto", "true": True, "false": False}[job["compile"]],
        "max_steps": job["steps"],
        "save_steps": job["steps"],  # the one checkpoint comes after the last step, outside of what is timed
        "eval_fraction": 0.0,
        "compare": [],
        "batch_size": recipe["batch"],
        "max_length": recipe["max_length"],
        "lora_rank": recipe["rank"],
        "lora_alpha": float(recipe["alpha"]),
        "learning_rate": recipe["learning_rate"],
        "schedule": "linear",
        "warmup_ratio": 0.0,
        "optimizer": "adamw",
        "gradient_checkpointing": recipe["gradient_checkpointing"],
        "seed": recipe["seed"],
    }


def trl(job: Job, nf4: bool = False) -> dict[str, Any]:
    """TRL's SFTTrainer on prompts with completions."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTTrainer

    turns = [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "completion": [{"role": "assistant", "content": row["response"]}],
        }
        for row in json.loads(Path(job["rows"]).read_text(encoding="utf-8"))
    ]
    clock = Clock(job["started"])
    arguments, adapter = _trl_settings(job)
    trainer = SFTTrainer(
        model=_trl_model(job, nf4),
        args=arguments,
        train_dataset=Dataset.from_list(turns),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=adapter,
        callbacks=[_trl_callback(clock, job["steps"])],
    )
    clock.begin()
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    clock.tokens = [int(entry["num_tokens"]) for entry in logged]
    clock.losses = [entry["loss"] for entry in logged]
    return {**clock.figures(), **_memory()}


def _trl_model(job: Job, nf4: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = getattr(torch, job["precision"])
    if not nf4:
        return AutoModelForCausalLM.from_pretrained(job["model"], dtype=dtype)
    quantised = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    place = {"": job["device"]}
    return AutoModelForCausalLM.from_pretrained(
        job["model"], dtype=dtype, quantization_config=quantised, device_map=place
    )


def _trl_settings(job: Job) -> tuple[Any, Any]:
    from peft import LoraConfig
    from trl import SFTConfig

    recipe = job["recipe"]
    arguments = SFTConfig(
        output_dir=job["folder"],
        max_steps=job["steps"],
        per_device_train_batch_size=recipe["batch"],
        max_length=recipe["max_length"],
        completion_only_loss=True,
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type="linear",
        bf16=job["precision"] == "bfloat16",
        use_cpu=job["device"] == "cpu",
        gradient_checkpointing=recipe["gradient_checkpointing"],
        seed=recipe["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to=[],
    )
    adapter = LoraConfig(
        r=recipe["rank"], lora_alpha=recipe["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return arguments, adapter


def _trl_callback(clock: Clock, steps: int) -> Any:
    import torch
    from transformers import TrainerCallback

    class Ticks(TrainerCallback):
        """Tells the clock of every step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """A GPU is waited for where the measured stretch begins and where it ends."""
            if torch.cuda.is_available() and state.global_step in (1, steps):
                torch.cuda.synchronize()
            clock.step()

    return Ticks()


def llamafactory(job: Job) -> dict[str, Any]:
    """LLaMA-Factory's command, watched from outside: a step has ended when its line is in the log."""
    folder = Path(job["folder"])
    columns = {"prompt": "prompt", "response": "response"}
    described = {"rows": {"file_name": job["rows"], "columns": columns}}
    (folder / "dataset_info.json").write_text(json.dumps(described))
    config = folder / "recipe.yaml"  # which JSON is too; LLaMA-Factory 0.9.5 fails on files that are named so
    model = _declared(Path(job["model"]), folder / "model", job["precision"])
    config.write_text(json.dumps(_llamafactory_settings(job, model)))
    clock = Clock(time.monotonic())
    command = [sys.executable, "-m", "llamafactory.cli", "train", str(config)]
    process = subprocess.Popen(command, stdout=sys.stderr, cwd=folder)
    _watch(process, folder / "out" / "trainer_log.jsonl", clock, job["steps"])
    if process.returncode:
        raise SystemExit(f"LLaMA-Factory ended with code {process.returncode}.")
    state = json.loads((folder / "out" / "trainer_state.json").read_text())["log_history"]
    logged = [entry for entry in state if "loss" in entry]
    clock.tokens = [int(entry["num_input_tokens_seen"]) for entry in logged]
    clock.losses = [entry["loss"] for entry in logged]
    runtime = next(entry["train_runtime"] for entry in reversed(state) if "train_runtime" in entry)
    return {**clock.figures(runtime), **_memory(children=True), **_llamafactory_gpu(folder / "out")}


def _declared(model: Path, folder: Path, precision: str) -> Path:
    """The same model, declared to be of this format: LLaMA-Factory loads what the model's configuration says.

    A model in bfloat16 would else be computed so even where bfloat16 is not asked for and emulated, many times
    slower.
    """
    folder.mkdir()
    for file in model.iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    (folder / "config.json").write_text(json.dumps({**config, "dtype": precision, "torch_dtype": precision}))
    return folder


def _llamafactory_settings(job: Job, model: Path) -> dict[str, Any]:
    recipe = job["recipe"]
    return {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "model_name_or_path": str(model),
        "dataset_dir": job["folder"],
        "dataset": "rows",  # without a `template` the model's own is taken
        "output_dir": str(Path(job["folder"], "out")),
        "max_steps": job["steps"],
        "per_device_train_batch_size": recipe["batch"],
        "gradient_accumulation_steps": 1,
        "cutoff_len": recipe["max_length"],
        "lora_rank": recipe["rank"],
        "lora_alpha": recipe["alpha"],
        "lora_target": "all",
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": "linear",
        "bf16": job["precision"] == "bfloat16",
        "use_cpu": job["device"] == "cpu",
        "disable_gradient_checkpointing": not recipe["gradient_checkpointing"],  # it recomputes unless told not to
        "include_num_input_tokens_seen": "non_padding",
        "seed": recipe["seed"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }


def _watch(process: subprocess.Popen[bytes], log: Path, clock: Clock, steps: int) -> None:
    """Note the time of every new line of the log until the process ends; lines after the last step are summaries."""
    running = True
    while running:
        running = process.poll() is None  # asked before the log is read, so that its last line is not missed
        lines = log.read_bytes().count(b"\n") if log.exists() else 0
        while len(clock.ends) < min(lines, steps):
            clock.step()
        time.sleep(0.01)


def _llamafactory_gpu(out: Path) -> dict[str, float]:
    """The peak of GPU memory that the log tells (in GiB, with RECORD_VRAM), in GB."""
    entries = [json.loads(line) for line in (out / "trainer_log.jsonl").read_text().splitlines()]
    peaks = [entry["vram_allocated"] for entry in entries if entry.get("vram_allocated")]
    return {"peak_gpu_gb": round(max(peaks) * 2**30 / 1e9, 3)} if peaks else {}


def limit(job: Job) -> dict[str, Any]:
    """No contestant but the machine: how fast it multiplies matrices, in the best of some short stretches."""
    from ftk.estimate import matmul_rate

    return {"flops": max(matmul_rate(job["device"], job["precision"], seconds=0.5) for _ in range(6))}


def _memory(children: bool = False) -> dict[str, float]:
    """The peak of main memory in GB, of this process or of the largest one it started, and of GPU memory."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF).ru_maxrss
    found = {"peak_rss_gb": round(peak * (1 if platform.system() == "Darwin" else 1024) / 1e9, 3)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["peak_gpu_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
    return found


def versions() -> dict[str, str]:
    """What is installed of the packages that matter."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


CONTESTANTS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "ftk": ftk,
    "ftk-nf4": lambda job: ftk(job, "nf4"),
    "trl": trl,
    "trl-nf4": lambda job: trl(job, nf4=True),
    "llamafactory": llamafactory,
    "limit": limit,
}


def main() -> None:
    """Be the contestant that the job names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    figures = CONTESTANTS[job["contestant"]](job)
    print(json.dumps({"contestant": job["contestant"], **figures, "versions": versions()}), flush=True)


if __name__ == "__main__":
    main()
