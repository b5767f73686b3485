"""The event log: one JSON line for each thing that happens, beside the ledger, for people and scripts to read.

It is a log, not the ledger: a line is written after the transaction it tells of, is not synced, and a line that can't
be written is no reason to fail what has already happened.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

from meshfleet.errors import Invalid
from meshfleet.ledger.files import PRIVATE_FILE
from meshfleet.ledger.jsontext import to_json
from meshfleet.model import now_ms

log = logging.getLogger(__name__)


class EventLog:
    """Appends events to an NDJSON file; several processes may, since a line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None
        self._mutex = threading.Lock()

    def append(self, event: str, /, **fields: Any) -> None:
        """Write `{event, timestamp, ...}`; `timestamp` is ms since the epoch."""
        try:
            line = to_json({"event": event, "timestamp": now_ms(), **fields}) + b"\n"
            with self._mutex:
                os.write(self._open(), line)
        except (OSError, Invalid) as error:
            log.warning("could not write to the event log %s: %s", self.path, error)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._mutex:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _open(self) -> int:
        if self._fd is None:
            # without waiting, should a named pipe lie there that nobody reads
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(self.path, flags, PRIVATE_FILE)
        return self._fd
