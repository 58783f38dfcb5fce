"""What a run tells, in words: for the lines of a terminal and the log of the app."""

from __future__ import annotations

from ftk.events import CheckpointSaved, Evaluation, Event, Finished, Paused, Proceeded, Started, Warned
from ftk.hardware import gib

PHASES = {
    "import": "Loading the libraries",
    "download": "Downloading",
    "convert": "Converting",
    "load": "Loading the model",
    "quantise": "Loading and quantising the model",
    "prepare": "Preparing the data",
    "check": "Checking the data",
    "adapter": "Putting the adapter on",
    "compile": "Compiling the layers",
    "train": "Training",
    "save": "Saving",
    "compare": "Asking base and tuned model",
}
"""The phases of a run, as people read them."""


def told(event: Event) -> str:
    """An event other than a step or a phase in one line; empty where there is nothing to say."""
    if isinstance(event, Started):
        begin = f", on from step {event.resumed_from}" if event.resumed_from else ""
        return f"Run {event.run}: {event.model} on {event.data}{begin}  ({event.folder})"
    if isinstance(event, Evaluation):
        return f"held-out loss {event.loss:.4f} (perplexity {event.perplexity:.2f}) after step {event.step}"
    if isinstance(event, CheckpointSaved):
        return f"checkpoint at step {event.step} ({gib(event.bytes)}, {event.seconds:.1f} s)"
    if isinstance(event, Warned):
        return f"Warning: {event.message} {event.hint}".rstrip()
    if isinstance(event, Paused):
        return f"Paused after step {event.step}."
    if isinstance(event, Proceeded):
        return f"Going on after step {event.step}."
    if isinstance(event, Finished) and event.reason:
        return f"Stopped early: {event.reason}."
    return ""
