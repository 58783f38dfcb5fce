"""What the machine did while the run went on, in a bounded number of samples, for gauges and small charts."""

from __future__ import annotations

from dataclasses import dataclass, field

from ftk.events import Telemetry

_MOST = 2400
"""Samples that are kept: forty minutes at one a second, then at one in two, and so on."""


@dataclass
class Samples:
    """The samples of a run of this process, thinned out evenly when they become too many."""

    last: Telemetry | None = None
    """The newest one; None before the first, and for a run of another process."""
    kept: list[Telemetry] = field(default_factory=list)
    """Over the whole run, in order of time; always with the first."""
    version: int = 0
    """Counts the changes, so that a chart knows whether it has to be drawn again."""
    _every: int = 1
    _skipped: int = 0

    def take(self, sample: Telemetry) -> None:
        """Add a sample."""
        self.last = sample
        self.version += 1
        self._skipped += 1
        if self._skipped < self._every and self.kept:
            return
        self._skipped = 0
        self.kept.append(sample)
        if len(self.kept) > _MOST:
            del self.kept[1::2]
            self._every *= 2

    def course(self, name: str) -> tuple[list[float], list[float]]:
        """A figure of the samples over time.

        Args:
            name: A field of `Telemetry`.

        Returns:
            Seconds since the first sample, and the values; samples in which the figure is None are left out.

        """
        begin = self.kept[0].time if self.kept else 0.0
        pairs = [
            (sample.time - begin, float(value)) for sample in self.kept if (value := getattr(sample, name)) is not None
        ]
        return [time for time, _ in pairs], [value for _, value in pairs]
