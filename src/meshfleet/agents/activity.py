"""Whether a running attempt does anything: its event stream grows, or its processes use the processor."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from meshfleet.agents.process import ProcessEntry, ProcessIdentity

IDLE_SHARE: Final = 0.05
"""Which part of a core is still nothing: an OpenCode that hangs uses 2 %."""
SILENT_AFTER_S: Final = 60.0
"""After how long without a sign of life people are told of it."""
SAMPLES_A_WINDOW: Final = 30


class Activity:
    """What is seen of one attempt over time.

    Args:
        started: When it began, in seconds of the clock that all times here are of.
    """

    def __init__(self, started: float) -> None:
        self.memory = 0
        self.peak_memory = 0
        self.started = started
        self.last_growth = started
        self._written = 0
        self._cpu_s = 0.0
        self._cpu_of: dict[ProcessIdentity, float] = {}
        self._samples: deque[tuple[float, float]] = deque([(started, 0.0)])

    def see_written(self, now: float, written: int) -> None:
        """Take in how many bytes it has written by now."""
        if written != self._written:
            self._written = written
            self.last_growth = now

    def see_processes(self, now: float, entries: Iterable[ProcessEntry], window_s: float) -> None:
        """Take in what its processes have used by now.

        Args:
            now: The time.
            entries: Its living processes.
            window_s: Over how many seconds it will be asked whether it was idle, at most.
        """
        cpu_of = {entry.identity: entry.cpu_s for entry in entries}
        self._cpu_s += sum(max(0.0, used - self._cpu_of.get(process, 0.0)) for process, used in cpu_of.items())
        self._cpu_of = cpu_of
        self.memory = sum(entry.memory for entry in entries)
        self.peak_memory = max(self.peak_memory, self.memory)
        pause = max(window_s, SILENT_AFTER_S) / SAMPLES_A_WINDOW
        if now - self._samples[-1][0] >= min(pause, SILENT_AFTER_S / 4):
            self._samples.append((now, self._cpu_s))
        oldest = now - max(window_s, SILENT_AFTER_S)
        while len(self._samples) > 1 and self._samples[1][0] <= oldest:
            self._samples.popleft()

    def was_idle_for(self, seconds: float, now: float) -> bool:
        """Whether it has neither written nor used a twentieth of a core for so long."""
        if now - self.last_growth < seconds:
            return False
        then, used = next(
            (sample for sample in reversed(self._samples) if sample[0] <= now - seconds), self._samples[0]
        )
        return now - then >= seconds and self._cpu_s - used < IDLE_SHARE * (now - then)

    def silent_since(self, now: float) -> float | None:
        """Since when it is silent, once that is worth telling; None while it shows signs of life."""
        return self.last_growth if self.was_idle_for(SILENT_AFTER_S, now) else None
