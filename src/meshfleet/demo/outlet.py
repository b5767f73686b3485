"""Where a demo shows itself: it goes to its end in order, also when nobody reads it or the disk under it is full."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, Any

from rich.console import Console


class LastingStream:
    """A text stream that takes everything: what can't be written is dropped from then on, and the reason kept.

    Attributes:
        error: Why something could not be written; None while all could, or where its reader has left.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._is_lost = False
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        if not self._is_lost:
            try:
                self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Have out what was written."""
        if not self._is_lost:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _give_up(self, error: OSError) -> None:
        self._is_lost = True
        self.error = None if isinstance(error, BrokenPipeError) else error
        # what the stream still holds would fail once more when it is closed
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


def open_outlet(*, as_json: bool) -> tuple[Console, LastingStream]:
    """The console for a person, and standard output: two streams where the one is for JSON, else the same."""
    out, err = _lasting(sys.stdout), _lasting(sys.stderr)
    shown: Any = err if as_json else out
    return Console(file=shown, markup=False, emoji=False, highlight=False), out


def _lasting(stream: IO[str] | None) -> LastingStream:
    # a descriptor that was closed from the start has no stream
    return LastingStream(stream or open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123 - until the end
