"""What ends the dashboard: signals, and the loss of its terminal, which is given back as it was where there is one."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_STDIN: Final = 0
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
        with _told_when_the_terminal_is_gone():
            yield
    finally:
        signal.alarm(0)
        for which, handler in before.items():
            signal.signal(which, handler)


@contextmanager
def _told_when_the_terminal_is_gone() -> Generator[None]:
    """Have SIGHUP come also where the terminal is not the one of this process's session, or that signal is ignored.

    What is drawn then goes nowhere, and the loop would wait for ever for somebody to take it.
    """
    if not os.isatty(_STDIN):
        yield
        return
    reading, writing = os.pipe()
    watch = threading.Thread(target=_hang_up_with, args=(_STDIN, reading), daemon=True)
    watch.start()
    try:
        yield
    finally:
        os.close(writing)
        watch.join()
        os.close(reading)


def _hang_up_with(terminal: int, given_up: int) -> None:
    """Send this process SIGHUP once a terminal is gone, unless the other end of a pipe is closed before."""
    events = select.poll()
    events.register(terminal, 0)
    events.register(given_up, 0)
    if all(which != given_up for which, _ in events.poll()):
        # to the thread that may be waiting for the terminal, or it would not come to hear of it
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)
