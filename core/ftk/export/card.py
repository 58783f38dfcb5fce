"""The model card: what a person who finds the model needs to know, and nothing that is only of this machine."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ..config import RunConfig
from ..evaluation import record
from ..evaluation.report import words
from ..events import Evaluation, Finished
from ..secrets import redact
from .source import Trained

_PRIVATE = {"model", "data", "eval_data", "columns", "system_prompt", "compare", "compare_tokens", "name", "device"}
"""Settings that say where something lies, hold text of the user's, or mean nothing elsewhere."""
_SPDX = {"Apache-2.0": "apache-2.0", "MIT": "mit"}
_HUB_LICENCES = {
    "Llama-2": "llama2", "Llama-3.1": "llama3.1", "Llama-3.2": "llama3.2", "Gemma": "gemma",
}  # fmt: skip
"""The Hub's names of licences."""
_PLAIN_NAME = re.compile(r"[\w.-]+/[\w.-]+|sample:\w+", re.ASCII)
_DEFAULTS = {key: field.default for section in RunConfig.sections for key, field in section.model_fields.items()}


def write(trained: Trained, kind: str, checks: list[str], *, repo: str | None = None, file: str = "") -> str:
    """The text of a README.md.

    Args:
        trained: What it is of.
        kind: ``adapter``, ``merged``, ``gguf`` or ``ollama``.
        checks: What was checked, in words.
        repo: Its id on the Hub, where it goes there.
        file: The name of the GGUF file.

    """
    parts = [
        _front_matter(trained, kind),
        f"# {trained.name}\n",
        _what(trained, kind),
        _use(trained, kind, repo or f"PATH/{trained.name}-{kind}", file),
        _training(trained),
        _results(trained),
        "## Checked\n\n" + "\n".join(f"- {check}" for check in checks) + "\n" if checks else "",
        "## Licence\n\n" + licence_note(trained) + "\n",
    ]
    return redact("\n".join(part for part in parts if part))


def licence_note(trained: Trained) -> str:
    """What the base model's licence means for what was trained from it."""
    entry = trained.entry
    if entry is None:
        base = trained.hub or "the base model"
        return (
            f"ftk does not know the licence of {base}. What was trained from it is bound by that licence: look it up."
        )
    gated = (
        " Its terms go with everything that is made from the model; read them there before you share this."
        if entry.gated or entry.license not in _SPDX
        else ""
    )
    return (
        f"The base model, {entry.name} (https://huggingface.co/{entry.hub}), is under the licence {entry.license}, "
        f"and so is what was trained from it.{gated} The training data may have terms of its own."
    )


def _front_matter(trained: Trained, kind: str) -> str:
    library = "peft" if kind == "adapter" else "gguf" if kind in ("gguf", "ollama") else "transformers"
    values: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation"}
    if trained.hub:
        values["base_model"] = trained.hub
        values["base_model_relation"] = "adapter" if kind == "adapter" else "finetune"
    if trained.entry:
        licence = trained.entry.license
        values["license"] = _SPDX.get(licence) or _HUB_LICENCES.get(licence) or "other"
        if values["license"] == "other":
            values["license_name"] = licence.lower()
    values["tags"] = ["ftk", "full" if trained.whole else "lora"]
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n"


def _what(trained: Trained, kind: str) -> str:
    base = (
        f"[{trained.hub}](https://huggingface.co/{trained.hub})" if trained.hub else "a base model that is not public"
    )
    revision = f", revision `{trained.revision}`" if trained.revision else ""
    what = {
        "adapter": f"A LoRA adapter for {base}{revision}.",
        "merged": f"A whole model, fine-tuned from {base}{revision}.",
    }.get(kind, f"A model for llama.cpp and Ollama (GGUF), fine-tuned from {base}{revision}.")
    when = f" It is the checkpoint of step {trained.step} of its run." if trained.step is not None else ""
    return f"{what}{when} Made with [ftk](https://pypi.org/project/llm-finetune-kit/), the LLM Finetune Kit.\n"


def _use(trained: Trained, kind: str, place: str, file: str) -> str:
    if kind == "ollama":
        name = trained.name.lower()
        return f"## Use\n\n```sh\nollama create {name} -f Modelfile\nollama run {name}\n```\n"
    if kind == "gguf":
        return f"## Use\n\n```sh\nllama-cli -m {file}\n```\n\nor in LM Studio, or `from llama_cpp import Llama`.\n"
    load = (
        f'from peft import AutoPeftModelForCausalLM\n\nmodel = AutoPeftModelForCausalLM.from_pretrained("{place}")'
        if kind == "adapter"
        else f'from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained("{place}")'
    )
    return (
        f"## Use\n\n```python\nfrom transformers import AutoTokenizer\n{load}\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{place}")\n'
        'messages = [{"role": "user", "content": "..."}]\n'
        'inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", '
        "return_dict=True)\nprint(tokenizer.decode(model.generate(**inputs, max_new_tokens=160)[0]))\n```\n"
    )


def _training(trained: Trained) -> str:
    rows = [f"| data | {_data(trained)} |"]
    given = trained.config.model_dump()
    method = {key: given[key] for key in ("method", "quantization", "precision")}
    for key, value in {**method, **given}.items():
        if key in _PRIVATE or value is None or (value == _DEFAULTS[key] and key not in method):
            continue
        rows.append(f"| {key} | {', '.join(map(str, value)) if isinstance(value, list) else value} |")
    combined = trained.provenance.get("combined")
    if isinstance(combined, dict):
        rows.append(f"| combined from | {', '.join(map(str, combined.get('runs', [])))} ({combined.get('method')}) |")
    found = trained.provenance.get("packages")
    versions = found if isinstance(found, dict) else {}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    return "## Training\n\n| setting | value |\n|---|---|\n" + "\n".join(rows) + f"\n\nWith {listed}.\n"


def _data(trained: Trained) -> str:
    """What the training data was, without a path or a name that is only the user's."""
    found = trained.provenance.get("data")
    data = found if isinstance(found, dict) else {}
    name = str(data.get("name") or "")
    kind = name if _PLAIN_NAME.fullmatch(name) and not name.startswith((".", "/")) else "a data set that is not public"
    rows = f", {data['rows']:,} rows" if isinstance(data.get("rows"), int) else ""
    digest = f", SHA-256 {str(data['sha256'])[:16]}…" if data.get("sha256") else ""
    return f"{kind}{rows}{digest}"


def _results(trained: Trained) -> str:
    rows: list[str] = []
    for event in trained.run.history():
        if isinstance(event, Evaluation) and (trained.step is None or event.step <= trained.step):
            rows.append(f"| {event.step} | {event.loss:.4f} | {event.perplexity:.2f} |")
    finished = next((event for event in trained.run.history() if isinstance(event, Finished)), None)
    text = ""
    if rows:
        text = "| step | held-out loss | perplexity |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    if finished and trained.step is None and finished.train_loss is not None:
        text += f"\nTraining loss at the end: {finished.train_loss:.4f}; {finished.tokens:,} tokens were seen.\n"
    text += _evaluation(trained)
    return f"## Results\n\n{text}" if text else ""


def _evaluation(trained: Trained) -> str:
    """The scores of the newest evaluation, where it was of this very model; no text of the data is in them."""
    found, _ = record.newest(trained.run)
    label = trained.run.name if trained.step is None else f"{trained.run.name}@{trained.step}"
    about = found.about.get("run") if found else None
    if found is None or not isinstance(about, dict) or about.get("model") != label:
        return ""
    rows = [
        f"| {' | '.join((*cells, sign))} |"
        for measure, (*cells, sign) in zip(found.measures, words.score_rows(found.measures), strict=True)
        if measure.tuned.value is not None and "|" not in measure.key
    ]
    if not rows:
        return ""
    return (
        f"\nMeasured by `ftk evaluate` on {found.rows} held-out rows, {found.answered} answered; in brackets 95 % "
        "intervals, ↑ higher is better, ↓ lower is better.\n\n| metric | base | tuned | difference | |\n"
        f"|---|---|---|---|---|\n{chr(10).join(rows)}\n"
    )
