"""How the mesh is doing, in figures: what `get_health` reports."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any, Final

from meshfleet.errors import MeshfleetError
from meshfleet.ledger import Ledger, View
from meshfleet.mesh.inboxes import undeliverable
from meshfleet.model import SCHEMA_VERSION, now_ms
from meshfleet.settings import beside

TAIL_BYTES: Final = 64 * 1024
"""How much of the event log's end is read to find the last event."""
CHUNK_BYTES: Final = 1024 * 1024


def health(ledger: Ledger, started_at: int, problems: list[str]) -> dict[str, Any]:
    """Counts and sizes, and a status: `error` when the ledger can't be read, `degraded` when something else is amiss.

    Args:
        ledger: The ledger.
        started_at: When this process began to serve, in ms since the epoch.
        problems: What the caller knows to be amiss already.
    """
    status = "degraded" if problems else "ok"
    try:
        counts = ledger.read(_counts)
        version = counts.pop("schema_version")
    except MeshfleetError as error:
        status, problems, counts, version = "error", [str(error), *problems], _nothing(), SCHEMA_VERSION
    if version > SCHEMA_VERSION:
        status, problems = "degraded", [f"the ledger is of the newer schema {version} and only read", *problems]
    log = beside(ledger.data_file, "events.log")
    return {
        "status": status,
        "uptime_ms": now_ms() - started_at,
        **counts,
        "events": _lines_of(log),
        "ledger_bytes": ledger_bytes(ledger.data_file),
        "events_log_bytes": _size_of(log),
        "last_event_timestamp": _last_timestamp(log),
        "problems": problems,
    }


def _counts(view: View) -> dict[str, int]:
    counted = {table: view.count(table) for table in ("fleets", "agents", "messages", "capabilities")}
    lost = sum(1 for _ in undeliverable(view))
    return {**counted, "undeliverable": lost, "schema_version": view.schema_version}


def _nothing() -> dict[str, int]:
    return {"fleets": 0, "agents": 0, "messages": 0, "capabilities": 0, "undeliverable": 0}


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def ledger_bytes(data_file: Path) -> int:
    """The size of the snapshot and of the journal that continues it."""
    journals = data_file.parent.glob(glob.escape(beside(data_file, "journal").name) + ".*.ndjson")
    return _size_of(data_file) + sum(_size_of(path) for path in journals)


def _lines_of(path: Path) -> int:
    count = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                count += chunk.count(b"\n")
    except OSError:
        return 0
    return count


def _last_timestamp(path: Path) -> int | None:
    try:
        with path.open("rb") as file:
            file.seek(max(0, _size_of(path) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            timestamp = json.loads(line)["timestamp"]
        except (ValueError, TypeError, KeyError):
            continue
        return timestamp if isinstance(timestamp, int) else None
    return None
