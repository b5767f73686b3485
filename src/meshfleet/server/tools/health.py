"""The tools that tell whether the server is well."""

from __future__ import annotations

from meshfleet.model import now_ms
from meshfleet.server.tool import NoArguments, Tool
from meshfleet.server.tools.schemas import TEXT, TIME, record

PING = Tool(
    name="ping",
    description="Whether the server answers: status 'ok' and its time.",
    arguments=NoArguments,
    result=record({"status": TEXT, "timestamp": TIME}),
    call=lambda _context, _arguments: {"status": "ok", "timestamp": now_ms()},
    for_agents=False,
    read_only=True,
)
