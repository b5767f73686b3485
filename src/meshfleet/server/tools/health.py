"""The tools that tell whether the server and the mesh are well."""

from __future__ import annotations

from meshfleet.errors import Invalid, Unavailable
from meshfleet.mesh.health import health
from meshfleet.model import now_ms
from meshfleet.server.tool import Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.routing import router_of
from meshfleet.server.tools.schemas import NUMBER, TEXT, TIME, TIME_OR_NULL, array, record


def _get_health(context: Context, _: NoArguments) -> JsonObject:
    problems = []
    try:
        router_of(context)
    except Invalid as error:
        problems.append(str(error))
    if context.supervisor is not None:
        try:
            context.supervisor.require_opencode()
        except Unavailable as error:
            problems.append(str(error))
    return health(context.ledger, context.started_at, problems)


PING = Tool(
    name="ping",
    description="Whether the server answers: status 'ok' and its time.",
    arguments=NoArguments,
    result=record({"status": TEXT, "timestamp": TIME}),
    call=lambda _context, _arguments: {"status": "ok", "timestamp": now_ms()},
    read_only=True,
)

GET_HEALTH = Tool(
    name="get_health",
    description=(
        "How the mesh is doing: status (ok, degraded, error) with its problems in words, uptime, counts of rows, "
        "sizes of its files. For a look at one fleet use fleet_status."
    ),
    arguments=NoArguments,
    result=record(
        {
            "status": TEXT,
            "uptime_ms": NUMBER,
            "fleets": NUMBER,
            "agents": NUMBER,
            "messages": NUMBER,
            "capabilities": NUMBER,
            "undeliverable": {**NUMBER, "description": "messages that wait for agents which ended without seeing them"},
            "events": NUMBER,
            "ledger_bytes": NUMBER,
            "events_log_bytes": NUMBER,
            "last_event_timestamp": TIME_OR_NULL,
            "problems": array(TEXT),
        }
    ),
    call=_get_health,
    read_only=True,
)
