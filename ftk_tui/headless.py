"""`ftk` without a screen: plan, train, report. Rich progress on a terminal, lines in a pipe, or JSON."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import warnings
from types import FrameType

from ftk import autoconfig, recipes
from ftk.autoconfig import Plan
from ftk.config import RunConfig
from ftk.errors import EXIT_DONE, EXIT_FAILED, EXIT_RESUMABLE, ModelError, RunError
from ftk.events import Finished, Stopped
from ftk.runner import Runner
from ftk.runs import RunFolder
from ftk.training.trainer import RunResult, Trainer

from .displays import Display, JsonDisplay, PlainDisplay, RichDisplay, SilentDisplay
from .meter import meter, reading
from .profile import Profile


def quiet_libraries(*, debug: bool) -> None:
    """Keep the libraries' progress bars and remarks off the terminal; what matters comes as events."""
    if debug:
        return
    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.filterwarnings("ignore")
    for name in ("bitsandbytes", "transformers", "accelerate", "peft", "huggingface_hub", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)


def dry_run(settings: RunConfig, *, as_json: bool) -> int:
    """Print what would be done, with the reason for every choice and the time to expect."""
    from ftk import estimate

    plan = _planned(settings, as_json=as_json)
    try:
        time = estimate.for_plan(plan)
    except ModelError:  # a Hub that does not tell the model's size: everything else is known all the same
        time = None
    if as_json:
        estimated = dataclasses.asdict(time) if time else None
        print(json.dumps({"plan": plan.config.model_dump(), "reasons": plan.reasons, "estimate": estimated}))
        return EXIT_DONE
    from . import report

    report.plan(plan, time)
    return EXIT_DONE


def train(settings: RunConfig, *, as_json: bool, profile: bool = False) -> int:
    """Plan and train; returns the exit code."""
    return _carry_out(Trainer(_planned(settings, as_json=as_json)), as_json=as_json, profile=profile)


def _planned(settings: RunConfig, *, as_json: bool) -> Plan:
    with meter(as_json=as_json) as tell:
        return autoconfig.plan(settings, reading(tell))


def resume(name: str, *, as_json: bool) -> int:
    """Go on with a stopped run from its newest checkpoint; returns the exit code.

    Raises:
        RunError: there is no such run, it is finished, or its data changed.

    """
    run = RunFolder.open(name)
    if any(isinstance(event, Finished) for event in run.events()):
        raise RunError(f"The run {run.name!r} is finished.", hint=f"What it trained: {run.trained}")
    plan = _planned(recipes.load(str(run.config_file)).config, as_json=as_json)
    known = run.provenance().get("data", {}).get("sha256")
    if known != plan.dataset.fingerprint:
        raise RunError(
            f"The data of {run.name!r} ({plan.dataset.name}) changed since it was started.",
            hint="Put the old data back, or start a new run.",
        )
    return _carry_out(Trainer(plan, resume=run), as_json=as_json)


def _carry_out(trainer: Trainer, *, as_json: bool, profile: bool = False) -> int:
    display = _display(trainer.plan, as_json=as_json)
    times = Profile() if profile and not as_json else None  # in JSON every event has its time
    runner = Runner(trainer, [display, times] if times else [display])
    _handle_signals(runner, display)
    with display:
        runner.start()
        result = runner.result()
    display.summary(result)
    if times:
        times.show()
    return _exit_code(result)


def _display(plan: Plan, *, as_json: bool) -> Display:
    if int(os.environ.get("RANK", "0")) > 0:
        return SilentDisplay()
    if as_json:
        return JsonDisplay()
    screen = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
    return RichDisplay(plan) if screen else PlainDisplay(plan)


def _handle_signals(runner: Runner, display: Display) -> None:
    """First Ctrl-C or SIGTERM: save and stop. Second: leave at once, what is on disk stays."""
    asked: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        if len(asked) == 1:
            display.note(f"{name}: saving and stopping. Once more leaves at once.")
            runner.stop(name)
        else:
            display.close()
            os._exit(EXIT_FAILED)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def _exit_code(result: RunResult) -> int:
    if isinstance(result.ending, Stopped):
        return EXIT_RESUMABLE if result.ending.checkpoint else EXIT_FAILED
    return EXIT_DONE
