"""What the telemetry sampler costs: `python benchmarks/telemetry.py [--seconds 60] [--device cuda]`.

Measures the processor time of a process that does nothing but sample once a second, after its imports and its first
sample, as a share of one core; and, of one sample alone, how long it takes. Run it on a machine with a card to see
what its driver takes. No torch is loaded.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import psutil

from ftk import hardware, telemetry
from ftk.events import Event


def main() -> None:
    """Measure, and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to sample")
    parser.add_argument("--device", default="cuda", help="the card to watch, or cpu")
    options = parser.parse_args()
    watch, process = hardware.Watch(options.device), psutil.Process()
    once = []
    for _ in range(50):
        began = time.process_time()
        telemetry.sample(watch, process)
        once.append(time.process_time() - began)
    watch.close()
    heard: list[Event] = []
    with telemetry.Sampler([heard.append], device=options.device) as sampler:
        while sampler.latest is None:
            time.sleep(0.01)
        cpu, wall = time.process_time(), time.monotonic()
        time.sleep(options.seconds)
        cpu, wall = time.process_time() - cpu, time.monotonic() - wall
    print(
        json.dumps(
            {
                "machine": hardware.detect().summary,
                "watched": sampler.latest.gpu or "no card",
                "seconds": round(wall, 1),
                "samples": len(heard),
                "share_of_a_core": round(cpu / wall, 5),
                "sample_ms": round(1000 * statistics.median(once), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
