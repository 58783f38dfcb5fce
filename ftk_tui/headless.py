"""`ftk` without a screen: plan, train, report. Rich progress on a terminal, lines in a pipe, or JSON."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from ftk import autoconfig
from ftk.autoconfig import Plan
from ftk.config import RunConfig
from ftk.errors import EXIT_DONE, ModelError
from ftk.resume import prepare
from ftk.runner import Runner
from ftk.training.trainer import Trainer

from .displays import SilentDisplay, exit_code, suitable
from .meter import meter, reading
from .profile import Profile
from .quiet import quiet_libraries as quiet_libraries
from .signals import Signals
from .terminal import Screen, Terminal


def dry_run(settings: RunConfig, *, as_json: bool) -> int:
    """Print what would be done, with the reason for every choice and the time to expect."""
    from ftk import estimate

    plan = planned(settings, as_json=as_json, asks_hub=False)
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
    return carry_out(lambda: Trainer(planned(settings, as_json=as_json)), as_json=as_json, profile=profile)


def planned(settings: RunConfig, *, as_json: bool, asks_hub: bool = True) -> Plan:
    """Decide everything, and show how far reading the data is."""
    with meter(as_json=as_json) as tell:
        return autoconfig.plan(settings, reading(tell), asks_hub=asks_hub)


def resume(name: str | None, changes: Mapping[str, Any], *, override: bool, as_json: bool) -> int:
    """Go on with a run from its newest checkpoint; returns the exit code.

    Raises:
        FtkError: see `ftk.resume.prepare`.

    """

    def made() -> Trainer:
        with meter(as_json=as_json) as tell:
            found = prepare(name, changes, override=override, progress=reading(tell))
        return Trainer(found.plan, resume=found.run, remarks=found.remarks, override=found.override)

    return carry_out(made, as_json=as_json)


def carry_out(trainer: Callable[[], Trainer], *, as_json: bool, profile: bool = False) -> int:
    """Run to the end and show it, whatever becomes of the terminal; returns the exit code.

    Args:
        trainer: Plans the run: in here, so that a terminal may go away during that as well.
        as_json: Print the events as JSON lines.
        profile: Say at the end where the time went.

    Raises:
        FtkError: the run cannot begin, or failed.

    """
    with Terminal() as terminal:
        made = trainer()
        display = SilentDisplay() if int(os.environ.get("RANK", "0")) > 0 else suitable(as_json=as_json)
        times = Profile() if profile and not as_json else None  # in JSON every event has its time
        screen = Screen(display, terminal)
        runner = Runner(made, [screen, times] if times else [screen])
        with Signals(runner, screen) as signals:
            with screen:
                runner.start()
                signals.wait()
                result = runner.result()
            display.summary(result.ending)
            if times:
                times.show()
        return exit_code(result.ending)
