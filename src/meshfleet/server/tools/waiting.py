"""The tool that waits for agents to end, so that no model has to ask again and again."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Final, Literal

import anyio
from anyio import to_thread
from pydantic import Field

from meshfleet.ledger import View
from meshfleet.mesh.waiting import Endings, Until, endings_since, refuse_waiting_for_oneself
from meshfleet.server.tool import Arguments, Context, JsonObject, Report, Tool
from meshfleet.server.tools.fleets import FleetId
from meshfleet.server.tools.schemas import FLAG, NUMBER, TEXT, array, record
from meshfleet.server.waits import LOOK_S

LONGEST_WAIT_MS: Final = 50_000
"""Clients give a call up after 60 s, unless told otherwise."""
PROGRESS_S: Final = 5.0


class Wait(Arguments):
    """Arguments of wait."""

    fleet_id: FleetId
    until: Annotated[Literal["any", "all"], Field(description="Whether any agent is to end, or all")] = "all"
    timeout_ms: Annotated[int, Field(description="In milliseconds", ge=1, le=LONGEST_WAIT_MS)] = LONGEST_WAIT_MS
    cursor: Annotated[int, Field(description="Of the last answer", ge=0)] = 0


async def _wait(context: Context, arguments: Wait, report: Report) -> JsonObject:
    until, began = Until(arguments.until), time.monotonic()
    deadline, next_report, seen = began + arguments.timeout_ms / 1000, began, -1
    query = partial(_looked_up, context.caller.agent_id, arguments)
    async with context.waits.one():
        while True:
            seq = await context.waits.seq(context.ledger)
            if seq != seen:
                found, seen = await to_thread.run_sync(context.ledger.read, query), seq
            now = time.monotonic()
            if found.is_what(until) or now >= deadline or context.waits.is_over:
                return found.as_result(timed_out=not found.is_what(until))
            if now >= next_report:
                next_report = now + PROGRESS_S
                await report(now - began, arguments.timeout_ms / 1000, f"{found.left} agents have not ended yet")
            await anyio.sleep(min(LOOK_S, deadline - now))


def _looked_up(caller_id: str | None, arguments: Wait, view: View) -> Endings:
    if caller_id is not None:
        refuse_waiting_for_oneself(view, caller_id, arguments.fleet_id, Until(arguments.until))
    return endings_since(view, arguments.fleet_id, arguments.cursor)


WAIT = Tool(
    name="wait",
    description=(
        "Wait for agents of a fleet to end. Returns those that did since cursor, with output or error, at the latest "
        "after timeout_ms; when timed_out or more is true, call again with the cursor returned."
    ),
    arguments=Wait,
    result=record(
        {
            "fleet_id": TEXT,
            "status": TEXT,
            "ended": array(record({"agent_id": TEXT, "role": TEXT, "status": TEXT}, {"output": TEXT, "error": TEXT})),
            "cursor": NUMBER,
            "more": FLAG,
            "timed_out": FLAG,
        }
    ),
    wait=_wait,
    read_only=True,
)
