"""`ftk evaluate`: what training brought, in numbers, each with how sure it is."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftk.errors import EXIT_DONE, UsageError

from .asking import Loading, add_place
from .parsing import command_parser

if TYPE_CHECKING:
    from ftk.evaluation.evaluating import Wanted

_DESCRIPTION = """\
Measure base and tuned model on held-out rows: loss and perplexity, answers against references, overfitting and
forgetting; each with an interval, and whether base and tuned differ by more than noise.

  ftk evaluate RUN                             everything that needs no other model
  ftk evaluate RUN@100 --answers 0             a checkpoint; losses alone, in a fraction of the time
  ftk evaluate RUN --data new.jsonl            rows of your own
  ftk evaluate RUN --expect json --embedding minilm
  ftk evaluate RUN --judge http://127.0.0.1:8000/v1 --judge-model NAME
"""

_PHASES = {
    "loss": "Measuring the loss:",
    "answer": "Answering:",
    "embed": "Comparing meanings",
    "judge": "Asking the judge",
    "tasks": "Running tasks:",
}


def main(arguments: Sequence[str]) -> int:
    """Run `ftk evaluate`; returns the exit code."""
    options = _parser().parse_args(arguments)
    _check(options)
    from . import headless

    headless.quiet_libraries(debug=options.debug)
    loading = Loading()

    def progress(phase: str, detail: str, done: float | None, total: float | None) -> None:
        loading(_PHASES.get(phase, phase), detail, done, total)

    with loading.shown():
        from ftk.evaluation import record, subjects
        from ftk.evaluation.evaluating import evaluate_run
        from ftk.evaluation.report.gathered import newest_with_result

        name = options.run or str(newest_with_result().path)
        run = subjects.find([name], base=False, model=options.model)[0].run
        found = evaluate_run(name, _wanted(options), data=options.data, name=options.name, progress=progress)
    path = record.folder(run) / f"{found.name}.json"
    if options.json:
        print(json.dumps({**found.to_dict(), "path": str(path)}))
        return EXIT_DONE
    from . import evaluate_report

    evaluate_report.show(found, run.name, path)
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("evaluate", _DESCRIPTION)
    parser.add_argument("run", metavar="RUN", nargs="?", help="a run, or a checkpoint of it (RUN@STEP) [the newest]")
    parser.add_argument("--name", metavar="NAME", help="What the evaluation is called [date and time].")
    what = parser.add_argument_group("What is measured")
    what.add_argument("--data", metavar="FILE", help="Other rows; those that the run was trained on are left out.")
    what.add_argument("--rows", type=int, default=1000, metavar="N", help="Held-out rows at most [1000].")
    what.add_argument("--answers", type=int, default=50, metavar="N", help="Of these, rows to answer; 0: none [50].")
    what.add_argument("--expect", choices=("json",), metavar="json", help="Answers shall be valid JSON.")
    what.add_argument("--expect-regex", metavar="PATTERN", help="Answers shall match it from beginning to end.")
    what.add_argument("--expect-words", metavar="MIN..MAX", help="Answers shall have so many words.")
    what.add_argument(
        "--embedding",
        metavar="NAME",
        help="Semantic score by a folder, hub id, or minilm (English, 84 MB, in a wheel).",
    )
    what.add_argument("--tasks", metavar="A,B", help="Tasks of lm-evaluation-harness (the extra `harness`).")
    what.add_argument("--task-limit", type=int, metavar="N", help="Questions of a task at most.")
    _add_judge(parser)
    _add_how(parser)
    return parser


def _add_judge(parser: argparse.ArgumentParser) -> None:
    judge = parser.add_argument_group("A model as judge")
    judge.add_argument("--judge", metavar="URL", help="An OpenAI-compatible address: http://127.0.0.1:8000/v1")
    judge.add_argument("--judge-model", metavar="NAME", help="The model's name there.")
    judge.add_argument(
        "--judge-key-variable", default="FTK_JUDGE_KEY", metavar="NAME",
        help="The environment variable that holds its key [FTK_JUDGE_KEY].",
    )  # fmt: skip
    judge.add_argument("--judge-timeout", type=float, default=60.0, metavar="S", help="Seconds to wait for it [60].")


def _add_how(parser: argparse.ArgumentParser) -> None:
    how = parser.add_argument_group("How it is measured")
    how.add_argument(
        "--max-tokens", type=int, metavar="N", help="Longest answer [the longest reference and a quarter]."
    )
    how.add_argument("--temperature", type=float, default=0.0, metavar="X", help="0 takes the likeliest token [0].")
    how.add_argument("--top-p", type=float, default=1.0, metavar="X", help="Draw from the likeliest of this sum [1].")
    how.add_argument("--seed", type=int, default=0, metavar="N", help="Fixes what is drawn [0].")
    how.add_argument("--resamples", type=int, default=2000, metavar="N", help="Draws for the intervals [2000].")
    how.add_argument("--context", type=int, metavar="N", help="Tokens read at once [the model's, at most 4096].")
    how.add_argument("--batch-size", type=int, default=4, metavar="N", help="Longest rows computed at once [4].")
    add_place(how)


def _check(options: argparse.Namespace) -> None:
    """Refuse what makes no sense before anything is loaded."""
    least = {"rows": 1, "answers": 0, "task_limit": 1, "max_tokens": 1, "resamples": 100, "context": 8, "batch_size": 1}
    for name, bound in least.items():
        value = getattr(options, name)
        if value is not None and value < bound:
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag}: {value} is not accepted: must be {bound} or more.")
    if not options.judge_timeout > 0:
        raise UsageError("--judge-timeout must be above 0.")
    if bool(options.judge) != bool(options.judge_model):
        raise UsageError("A judge takes both --judge URL and --judge-model NAME.")
    needs_answers = {"--judge": options.judge, "--embedding": options.embedding, "--expect": options.expect,
                     "--expect-regex": options.expect_regex, "--expect-words": options.expect_words}  # fmt: skip
    given = [flag for flag, value in needs_answers.items() if value]
    if given and not options.answers:
        raise UsageError(f"{given[0]} is about answers, and --answers 0 asks for none.", hint="Leave one of them out.")


def _wanted(options: argparse.Namespace) -> Wanted:
    from ftk.evaluation.evaluating import Wanted
    from ftk.evaluation.metrics.chat_client import ChatServer
    from ftk.evaluation.metrics.confidence import Confidence
    from ftk.evaluation.metrics.formats import Expectation
    from ftk.evaluation.sampling import Sampling

    chosen: dict[str, Any] = {"max_tokens": options.max_tokens} if options.max_tokens else {}
    judge = None
    if options.judge:
        judge = ChatServer(
            options.judge, options.judge_model, options.judge_key_variable, timeout=options.judge_timeout
        )
    return Wanted(
        rows=options.rows,
        answers=options.answers,
        sampling=Sampling(**chosen, temperature=options.temperature, top_p=options.top_p, seed=options.seed),
        fit_length=not options.max_tokens,
        expected=Expectation(options.expect == "json", options.expect_regex, options.expect_words),
        embedding=options.embedding,
        judge=judge,
        tasks=tuple(task.strip() for task in (options.tasks or "").split(",") if task.strip()),
        task_limit=options.task_limit,
        confidence=Confidence(resamples=options.resamples, seed=options.seed),
        context=options.context,
        batch_size=options.batch_size,
        device=options.device,
        model=options.model,
    )
