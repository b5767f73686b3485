"""A process that waits for messages as a tool of the server does, and says of each time it woke when that was."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import anyio

from meshfleet.ledger import Ledger
from meshfleet.server.waits import Waits

PATIENCE_MS = 50_000


async def main(file: str, agent_id: str) -> None:
    """Print how many messages there are each time there are more, and when, in seconds of the system's clock."""
    ledger, waits, seen = Ledger(Path(file)), Waits(), 0

    async def tell_nobody(*_: object) -> None:
        """Nobody asked for progress."""

    print("ready", flush=True)
    while True:
        found = await waits.look_until(
            ledger,
            agent_id,
            lambda view: len(view.inbox(agent_id)),
            lambda count, seen=seen: count > seen,  # type: ignore[misc]
            PATIENCE_MS,
            report=tell_nobody,
            words=str,
        )
        if found > seen:
            print(found, time.monotonic(), flush=True)
        seen = found


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2])
