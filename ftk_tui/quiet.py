"""What the libraries are told before they are imported, so that they keep to themselves. Imports nothing heavy."""

from __future__ import annotations

import logging
import os
import warnings

from ftk.secrets import redact_logs

_LOGGERS = ("bitsandbytes", "transformers", "accelerate", "peft", "huggingface_hub", "torch")


def quiet_environment() -> None:
    """No progress bars, no data about use sent anywhere, and no secrets in logs; what matters comes as events."""
    redact_logs()
    for name in ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


def quiet_libraries(*, debug: bool) -> None:
    """Keep the libraries' progress bars and remarks off the terminal, and secrets out of those that --debug shows."""
    redact_logs()
    if debug:
        return
    quiet_environment()
    warnings.filterwarnings("ignore")
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
