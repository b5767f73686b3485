"""The tools that change the course of agents that were started, and that show what they do meanwhile."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meshfleet.agents.output import MOST_PAGE_BYTES, PAGE_BYTES, look_at
from meshfleet.mesh.cancelling import cancel, require_offspring
from meshfleet.mesh.lifecycle import require_agent
from meshfleet.mesh.resuming import resume
from meshfleet.server.tool import Arguments, Context, JsonObject, Tool
from meshfleet.server.tools.schemas import (
    FLAG,
    NUMBER,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TIME_OR_NULL,
    array,
    record,
)

ThisFleet = Annotated[str | None, Field(description="The whole fleet")]
ThisAgent = Annotated[str | None, Field(description="Or this one agent")]


class Cancel(Arguments):
    """Arguments of cancel."""

    fleet_id: ThisFleet = None
    agent_id: ThisAgent = None


class Resume(Arguments):
    """Arguments of resume."""

    fleet_id: ThisFleet = None
    agent_id: ThisAgent = None
    prompt: Annotated[str | None, Field(description="What to tell it; by default to go on where it left off")] = None
    fresh: Annotated[bool, Field(description="Begin a new session instead of continuing its own")] = False


class AgentOutput(Arguments):
    """Arguments of agent_output."""

    agent_id: Annotated[str, Field(description="Id of the agent")]
    attempt: Annotated[int | None, Field(description="Which attempt; the latest if left out", ge=1)] = None
    tail_bytes: Annotated[
        int, Field(description="About how much of it to read, in bytes", ge=1, le=MOST_PAGE_BYTES)
    ] = PAGE_BYTES
    cursor: Annotated[str | None, Field(description="Cursor of the last answer, to read on; the end if left out")] = (
        None
    )


def _cancel(context: Context, arguments: Cancel) -> JsonObject:
    caller_id, fleet_id, agent_id = context.caller.agent_id, arguments.fleet_id, arguments.agent_id
    if caller_id is not None and (fleet_id is None) != (agent_id is None):
        context.ledger.read(lambda view: require_offspring(view, caller_id, fleet_id=fleet_id, agent_id=agent_id))
    done = cancel(context.ledger, fleet_id=fleet_id, agent_id=agent_id)
    if context.supervisor is not None:
        context.supervisor.wake()
    return done.as_result()


def _resume(context: Context, arguments: Resume) -> JsonObject:
    supervisor = context.supervisor
    if supervisor is not None:
        supervisor.require_opencode()
    agent_ids = resume(
        context.ledger,
        fleet_id=arguments.fleet_id,
        agent_id=arguments.agent_id,
        prompt=arguments.prompt,
        fresh=arguments.fresh,
        supervisor=supervisor.row if supervisor else None,
    )
    if supervisor is not None:
        supervisor.wake()
    fleet_id = context.ledger.read(lambda view: require_agent(view, agent_ids[0]))["fleet_id"]
    return {"fleet_id": fleet_id, "agent_ids": agent_ids}


def _agent_output(context: Context, arguments: AgentOutput) -> JsonObject:
    size = arguments.tail_bytes
    seen = look_at(context.ledger, arguments.agent_id, attempt=arguments.attempt, cursor=arguments.cursor, size=size)
    return seen.as_result(size)


CANCEL = Tool(
    name="cancel",
    description=(
        "Stop a fleet, or one agent, and whatever they spawned: what waits ends at once, what runs is stopped with all "
        "its processes within seconds. A repeat is fine."
    ),
    arguments=Cancel,
    result=record({"cancelled": array(TEXT), "stopping": array(TEXT), "ended_before": array(TEXT)}),
    call=_cancel,
    idempotent=True,
    destructive=True,
)

RESUME = Tool(
    name="resume",
    description=(
        "Start agents again that failed, were interrupted or cancelled: one of them, or all such of a fleet. Each "
        "goes on in its own OpenCode session, knowing all it knew, unless fresh. The fleet runs again."
    ),
    arguments=Resume,
    result=record({"fleet_id": TEXT, "agent_ids": array(TEXT)}),
    call=_resume,
    open_world=True,
)

AGENT_OUTPUT = Tool(
    name="agent_output",
    description=(
        "What an agent says and does while it runs, or did: its words (text) and events such as tool calls. Shows the "
        "latest; with the cursor returned it reads on from there, into the next attempt too. For results use "
        "collect_results."
    ),
    arguments=AgentOutput,
    result=record(
        {
            "agent_id": TEXT,
            "attempt": NUMBER_OR_NULL,
            "status": TEXT,
            "events": array(
                record(
                    {"at": TIME_OR_NULL, "type": TEXT},
                    {
                        "text": TEXT,
                        "tool": TEXT,
                        "status": TEXT,
                        "title": TEXT,
                        "input": TEXT,
                        "error": TEXT,
                        "reason": TEXT,
                        "tokens": NUMBER,
                        "bytes": NUMBER,
                    },
                )
            ),
            "text": TEXT,
            "cursor": TEXT_OR_NULL,
            "more": FLAG,
        }
    ),
    call=_agent_output,
    read_only=True,
)
