"""Signals that end the dashboard: the terminal is given back as it was, as far as there still is one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_ENDED_BY: Final = 128
"""What a shell adds to a signal's number to make an exit code of it."""
_PATIENCE_S: Final = 5
"""How long the end may take; nobody takes what is drawn on a terminal that was closed, or one that is held."""


@contextmanager
def signals_that_end(leave: Callable[[int], None]) -> Generator[None]:
    """Have a signal that would end the process end the loop's work instead; a second one ends the process.

    Args:
        leave: What is called in the loop, with the exit code.
    """
    loop = asyncio.get_running_loop()

    def end(which: int, _: FrameType | None) -> None:
        signal.signal(which, signal.SIG_DFL)
        signal.alarm(_PATIENCE_S)
        loop.call_soon_threadsafe(leave, _ENDED_BY + which)

    # not by the loop's own means: a loop that waits for the terminal would never come to hear of it
    before = {which: signal.signal(which, end) for which in _ENDINGS}
    try:
        yield
    finally:
        signal.alarm(0)
        for which, handler in before.items():
            signal.signal(which, handler)
