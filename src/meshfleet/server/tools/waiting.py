"""The tool that waits for agents to end, so that no model has to ask again and again."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final, Literal

from pydantic import Field

from meshfleet.ledger import View
from meshfleet.mesh.waiting import Endings, Until, endings_since, refuse_waiting_for_oneself
from meshfleet.server.tool import Arguments, Context, JsonObject, Tool
from meshfleet.server.tools.fleets import FleetId
from meshfleet.server.tools.schemas import FLAG, NUMBER, TEXT, array, record
from meshfleet.server.waits import Report

LONGEST_WAIT_MS: Final = 50_000
"""Clients give a call up after 60 s, unless told otherwise."""


WaitTime = Annotated[int, Field(default=LONGEST_WAIT_MS, description="In milliseconds", ge=1, le=LONGEST_WAIT_MS)]


class Wait(Arguments):
    """Arguments of wait."""

    fleet_id: FleetId
    until: Annotated[Literal["any", "all"], Field(description="Whether any agent is to end, or all")] = "all"
    timeout_ms: WaitTime
    cursor: Annotated[int, Field(description="Of the last answer", ge=0)] = 0


class WaitAsPeer(Arguments):
    """Arguments of wait as an agent has it."""

    fleet_id: Annotated[str | None, Field(description="Yours if left out")] = None
    until: Literal["any", "all"] = "all"
    timeout_ms: WaitTime
    cursor: Annotated[int, Field(description="Of the last answer", ge=0)] = 0


async def _wait(context: Context, arguments: Wait | WaitAsPeer, report: Report) -> JsonObject:
    until, fleet_id = Until(arguments.until), context.caller.in_fleet(arguments.fleet_id)
    found = await context.waits.look_until(
        context.ledger,
        fleet_id,
        partial(_looked_up, context.caller.agent_id, fleet_id, until, arguments.cursor),
        lambda found: found.is_what(until),
        arguments.timeout_ms,
        report=report,
        words=lambda found: f"{found.left} agents have not ended yet",
    )
    return found.as_result(timed_out=not found.is_what(until))


def _looked_up(caller_id: str | None, fleet_id: str, until: Until, cursor: int, view: View) -> Endings:
    if caller_id is not None:
        refuse_waiting_for_oneself(view, caller_id, fleet_id, until)
    return endings_since(view, fleet_id, cursor)


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

WAIT_OF_PEER = Tool(
    name="wait",
    description="Wait for agents of a fleet to end; returns those that did since cursor. When timed_out, call again.",
    arguments=WaitAsPeer,
    result=WAIT.result,
    wait=_wait,
    read_only=True,
)
