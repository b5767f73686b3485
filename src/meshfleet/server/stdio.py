"""Standard input and output, claimed for the protocol: whatever else reads or prints can't reach them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from meshfleet.errors import Unavailable

_STDIN, _STDOUT, _STDERR = range(3)
_claim: Final = threading.Lock()


@contextmanager
def claimed_stdio() -> Generator[tuple[int, int]]:
    """Give private duplicates of stdin and stdout.

    Meanwhile fd 0 is the null device and fd 1 is stderr, so that no print and no child process reaches the
    wire; both are restored on exit. Raises RuntimeError if this process serves its stdio already, Unavailable
    if it was started with one of them closed.
    """
    if not _claim.acquire(blocking=False):
        raise RuntimeError("stdin and stdout are served already; leave the other claimed_stdio() first")
    with ExitStack() as undo:
        undo.callback(_claim.release)
        _require_stdio()
        wire_in = os.dup(_STDIN)
        undo.callback(os.close, wire_in)
        wire_out = os.dup(_STDOUT)
        undo.callback(os.close, wire_out)
        null = os.open(os.devnull, os.O_RDWR)
        undo.callback(os.close, null)
        os.dup2(null, _STDIN)
        undo.callback(os.dup2, wire_in, _STDIN)
        os.dup2(null if sys.__stderr__ is None else _STDERR, _STDOUT)
        undo.callback(os.dup2, wire_out, _STDOUT)
        undo.callback(_flush_stdout)  # what was printed before or meanwhile is no protocol either
        yield wire_in, wire_out


def _require_stdio() -> None:
    # a descriptor that was closed at the start may belong to the event loop by now: only Python still knows
    for name, stream in (("stdin", sys.__stdin__), ("stdout", sys.__stdout__)):
        if stream is None:
            raise Unavailable(f"{name} is closed; start the server with both stdin and stdout connected to its client")


def _flush_stdout() -> None:
    with suppress(OSError, ValueError, AttributeError):  # gone, closed, or None
        sys.stdout.flush()
