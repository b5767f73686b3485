"""`meshfleet inspect --events`: prints what happened, as lines for people or as the log has them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from meshfleet.cli.figures import iso_time
from meshfleet.cli.output import printable, say, write_out
from meshfleet.errors import NotFound
from meshfleet.ledger.event_lines import EventLine, EventReader

DONE: Final = 0
LOOK_INTERVAL_S: Final = 0.2
_BARE: Final = re.compile(r"[\w.:/*@+-]+")


def print_events(log: Path, count: int, *, follow: bool, as_json: bool) -> int:
    """Print the last events, and with `follow` those to come until a Ctrl-C; returns the exit code.

    Raises:
        NotFound: There is no event log, and it isn't to be waited for.
        Unavailable: It can't be read.
    """
    reader = EventReader(log)
    try:
        events = reader.last(count)
        if not (events or follow or reader.is_there):
            raise NotFound(f"there is no event log at {log}; set MESHFLEET_DATA_FILE to the ledger it lies beside")
        _print(events, as_json=as_json)
        while follow:
            time.sleep(LOOK_INTERVAL_S)
            _print(reader.new(), as_json=as_json)
    finally:
        reader.close()
    return DONE


def _print(events: Iterable[EventLine], *, as_json: bool) -> None:
    if as_json:
        write_out(event.raw + b"\n" for event in events)
    elif lines := [as_text(event) for event in events]:
        say(printable("\n".join(lines)))


def as_text(event: EventLine) -> str:
    """One event as a line: when, what, and its fields as `name=value`."""
    told = [iso_time(event.timestamp), event.name, *(f"{name}={_value(value)}" for name, value in event.fields.items())]
    return " ".join(told).replace("\n", "\\n")


def _value(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
