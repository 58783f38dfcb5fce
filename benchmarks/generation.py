"""Answers to fifty prompts: ftk in batches next to a plain loop of `model.generate`, one prompt at a time.

    python benchmarks/generation.py [--model smollm2] [--prompts 50] [--max-tokens 64] [--batch-size 32] [--repeats 3]

Both answer the same prompts greedily with the same model in the same process, by turns, so that whatever else the
machine does meets both. A JSON line a repeat, with seconds of the clock and of the processor and the tokens written;
the last line has the ratios of the seconds (loop / ftk: lowest, median, highest), how many answers are the same token
for token, and how busy the machine was with something else before each repeat.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

SAMPLES = ("chat", "instruct", "code", "summarize", "translate")

Answers = list[list[int]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print what was found."""
    options = _options(arguments)
    import psutil
    import torch

    from ftk import load_model
    from ftk.evaluation.generate import token_rows

    model, tokenizer, info = load_model(options.model, precision=options.precision, device=options.device)
    prompts = fitting(asked(options.prompts), model, tokenizer, options.max_tokens)
    rows = token_rows(tokenizer, prompts)
    ways: dict[str, Callable[[], Answers]] = {
        "loop": lambda: loop(model, tokenizer, rows, options.max_tokens),
        "ftk": lambda: batched(model, tokenizer, prompts, options.max_tokens, options.batch_size),
    }
    for warm_up in (lambda: loop(model, tokenizer, rows[:1], 4), lambda: batched(model, tokenizer, prompts[:2], 4, 2)):
        warm_up()
    ratios, busy, found = [], [], dict[str, Answers]()
    for number in range(options.repeats):
        psutil.cpu_percent()
        busy.append(psutil.cpu_percent(0.5) / 100)
        seconds = {}
        for name in sorted(ways, reverse=number % 2 == 1):  # who is first changes
            seconds[name], processor, found[name] = timed(ways[name], model)
            written = sum(map(len, found[name]))
            line = {"repeat": number + 1, "way": name, "seconds": round(seconds[name], 2)}
            print(json.dumps({**line, "processor_s": round(processor, 2), "tokens": written}), flush=True)
        ratios.append(seconds["loop"] / seconds["ftk"])
    same = sum(one == other for one, other in zip(found["loop"], found["ftk"], strict=True))
    lowest, highest = min(ratios), max(ratios)
    summary = {
        "model": info.name, "precision": info.precision, "device": info.device, "threads": torch.get_num_threads(),
        "prompts": len(rows), "prompt_tokens": sum(map(len, rows)), "max_tokens": options.max_tokens,
        "batch_size": options.batch_size, "same_answers": same, "busy_before": [round(part, 2) for part in busy],
        "times_as_fast": [round(ratio, 2) for ratio in (lowest, statistics.median(ratios), highest)],
    }  # fmt: skip
    print(json.dumps(summary))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args(arguments)


def asked(count: int) -> list[Any]:
    """Prompts of the samples, of each as many, as long as there are: held-out rows first."""
    from ftk import load_sample_dataset
    from ftk.evaluation.generate import Prompt

    parts = [[*sample.held_out, *sample.rows] for sample in map(load_sample_dataset, SAMPLES)]
    rows = [part[place] for place in range(max(map(len, parts))) for part in parts if place < len(part)]
    return [Prompt(row.messages[:-1]) for row in rows[:count]]


def fitting(prompts: Sequence[Any], model: Any, tokenizer: Any, max_tokens: int) -> list[Any]:
    """Those of some prompts that leave the model room for a whole answer, so that both ways write the same."""
    from ftk.evaluation.generate import context_of, token_rows

    room = (context_of(model) or 1 << 30) - max_tokens
    return [prompt for prompt, row in zip(prompts, token_rows(tokenizer, prompts), strict=True) if len(row) <= room]


def loop(model: Any, tokenizer: Any, rows: Sequence[list[int]], max_tokens: int) -> Answers:
    """What everybody writes first: `model.generate`, a prompt at a time."""
    import torch
    from transformers import GenerationConfig

    from ftk.evaluation.generate import ends_of

    ends = ends_of(model, tokenizer)
    config = GenerationConfig(
        max_new_tokens=max_tokens, do_sample=False, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    found = []
    for row in rows:
        ids = torch.tensor([row], device=model.device)
        out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        new = out[0, len(row) :].tolist()
        found.append(next((new[:place] for place, token in enumerate(new) if token in ends), new))
    return found


def batched(model: Any, tokenizer: Any, prompts: Sequence[Any], max_tokens: int, batch_size: int) -> Answers:
    """The same with ftk, as tokens."""
    from ftk.evaluation.generate import Generation, Sampling

    work = Generation(model, tokenizer, prompts, Sampling(max_tokens), batch_size=batch_size)
    work.run()
    return work.tokens


def timed(action: Callable[[], Answers], model: Any) -> tuple[float, float, Answers]:
    """Seconds of the clock, of this process on the processor, and what was answered."""
    import torch

    def finish() -> None:
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    finish()
    begin, processor = time.monotonic(), time.process_time()
    found = action()
    finish()
    return time.monotonic() - begin, time.process_time() - processor, found


if __name__ == "__main__":
    main()
