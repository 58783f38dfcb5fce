"""Rows a second from a file to tokens: ftk next to `datasets.map` with the same tokenizer and the same rows.

    python benchmarks/data.py [--rows 20000] [--model smollm2] [--data FILE]

Each contestant runs in a process of its own with an empty cache, reads the same JSON Lines file, writes every row in
the model's chat template, tokenises it and marks what is learnt. `datasets.map` does it as its users write it: batched,
rendering prompt and whole conversation, the mask from the length of the prompt. A JSON line a contestant: seconds,
rows a second, peak memory; the last line has the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LENGTH = 512


def main() -> None:
    """Run every contestant, or be one."""
    options = _options()
    if options.contestant:
        print(json.dumps(CONTESTANTS[options.contestant](options.file, options.model)))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        count = _make(file, options.rows, options.data)
        found = {name: _run(name, file, options.model, Path(folder, name), count) for name in CONTESTANTS}
    ratio = found["ftk"]["rows_per_s"] / found["datasets.map"]["rows_per_s"]
    print(json.dumps({"rows": count, "bytes": found["ftk"]["bytes"], "ftk_against_datasets_map": round(ratio, 2)}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--data", help="rows to draw from; by default those of the samples")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    return parser.parse_args()


def _make(path: Path, rows: int, data: str | None) -> int:
    """Write `rows` different rows, drawn from a data set and numbered."""
    from ftk import load_dataset

    names = [data] if data else ["sample:chat", "sample:instruct", "sample:code", "sample:summarize"]
    drawn = [row for name in names for row in load_dataset(name).rows]
    choose = random.Random(0).choice
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            row = choose(drawn)
            record = {"prompt": f"{row.prompt} ({number})", "response": row.response}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return rows


def _run(name: str, file: Path, model: str, cache: Path, rows: int) -> dict[str, Any]:
    from ftk.models import sources

    folder = sources.fetch(sources.locate(model), lambda *_: None).path
    command = [sys.executable, __file__, "--contestant", name, "--file", str(file), "--model", str(folder)]
    environment = {
        **os.environ,
        "FTK_CACHE": str(cache),
        "HF_DATASETS_CACHE": str(cache),
        "TOKENIZERS_PARALLELISM": "true",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout.splitlines()[-1])
    figures = {
        "contestant": name,
        **figures,
        "rows_per_s": round(rows / figures["seconds"]),
        "bytes": file.stat().st_size,
    }
    print(json.dumps(figures), flush=True)
    return figures


def _ftk(file: str, model: str) -> dict[str, Any]:
    from ftk import load_dataset
    from ftk.data import tokens
    from ftk.data.batches import targets_of
    from ftk.data.encoding import Shape
    from ftk.models.tokenizers import find_tokenizer

    tokenizer = find_tokenizer(model)
    begin = time.perf_counter()
    dataset = load_dataset(file)
    read = time.perf_counter() - begin
    (encoded,) = tokens.tokenised([dataset.rows], tokenizer, Shape(LENGTH))
    return _figures(begin, read, encoded.tokens, targets_of(encoded.examples))


def _map(file: str, model: str) -> dict[str, Any]:
    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokenise(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        turns = [
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
            for prompt, response in zip(batch["prompt"], batch["response"], strict=True)
        ]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        asked = [tokenizer.apply_chat_template(row[:1], tokenize=False, add_generation_prompt=True) for row in turns]
        ids = tokenizer(whole, add_special_tokens=False, truncation=True, max_length=LENGTH)["input_ids"]
        before = tokenizer(asked, add_special_tokens=False)["input_ids"]
        labels = [[-100] * len(a) + b[len(a) :] for a, b in zip(before, ids, strict=True)]
        return {"input_ids": ids, "labels": labels}

    begin = time.perf_counter()
    rows = datasets.load_dataset("json", data_files=file, split="train")
    read = time.perf_counter() - begin
    made = rows.map(tokenise, batched=True, remove_columns=rows.column_names)
    figures = _figures(begin, read, 0, 0)
    counted = made.with_format("arrow")[:]
    figures["tokens"] = len(counted["input_ids"].combine_chunks().flatten())
    figures["learnt"] = sum(label >= 0 for label in counted["labels"].combine_chunks().flatten().to_pylist())
    return figures


def _figures(begin: float, read: float, tokens: int, learnt: int) -> dict[str, Any]:
    return {
        "seconds": round(time.perf_counter() - begin, 2),
        "read_s": round(read, 2),
        "peak_rss_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "tokens": tokens,
        "learnt": learnt,
    }


CONTESTANTS = {"ftk": _ftk, "datasets.map": _map}

if __name__ == "__main__":
    main()
