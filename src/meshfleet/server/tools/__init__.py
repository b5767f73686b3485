"""The tools of the server, by name, in the order they are listed."""

from __future__ import annotations

from typing import Any, Final

from meshfleet.server.tool import Tool
from meshfleet.server.tools.agents import ATTACH_AGENT, ATTACH_PEER, LIST_AGENTS, SET_FLEET_TIMEOUT
from meshfleet.server.tools.course import AGENT_OUTPUT, CANCEL, RESUME
from meshfleet.server.tools.fleets import (
    COLLECT_RESULTS,
    FLEET_STATUS,
    LIST_FLEETS,
    PEERS_COLLECT_RESULTS,
    PEERS_FLEET_STATUS,
    SPAWN_FLEET,
    SPAWN_SUBFLEET,
)
from meshfleet.server.tools.health import GET_HEALTH, PING
from meshfleet.server.tools.messages import (
    ACK_AS_PEER,
    ACK_MESSAGE,
    GET_INBOX,
    GET_RECEIPTS,
    READ_INBOX,
    RECEIPT,
    RECEIPT_AS_PEER,
    SEND_AS_PEER,
    SEND_MESSAGE,
    SEND_MESSAGES,
    WAIT_AS_PEER,
    WAIT_FOR_MESSAGES,
    WHOAMI,
)
from meshfleet.server.tools.push import SUBSCRIBE_INBOX
from meshfleet.server.tools.routing import (
    RECORD_ROUTING_OUTCOME,
    REGISTER_CAPABILITY,
    REGISTER_OWN_CAPABILITY,
    ROUTE_WORK,
)
from meshfleet.server.tools.templates import (
    DELETE_FLEET_TEMPLATE,
    EXPORT_FLEET_TEMPLATE,
    GET_FLEET_TEMPLATE,
    IMPORT_FLEET_TEMPLATE,
    LIST_FLEET_TEMPLATE_VERSIONS,
    LIST_FLEET_TEMPLATES,
    SAVE_FLEET_TEMPLATE,
    SPAWN_FROM_TEMPLATE,
)
from meshfleet.server.tools.waiting import WAIT, WAIT_OF_PEER

TOOLS: Final[dict[str, Tool[Any]]] = {
    tool.name: tool
    for tool in (
        SPAWN_FLEET,
        FLEET_STATUS,
        LIST_FLEETS,
        WAIT,
        COLLECT_RESULTS,
        AGENT_OUTPUT,
        CANCEL,
        RESUME,
        SET_FLEET_TIMEOUT,
        ATTACH_AGENT,
        LIST_AGENTS,
        SEND_MESSAGE,
        SEND_MESSAGES,
        GET_INBOX,
        WAIT_FOR_MESSAGES,
        ACK_MESSAGE,
        RECEIPT,
        GET_RECEIPTS,
        SUBSCRIBE_INBOX,
        REGISTER_CAPABILITY,
        ROUTE_WORK,
        RECORD_ROUTING_OUTCOME,
        SAVE_FLEET_TEMPLATE,
        LIST_FLEET_TEMPLATES,
        LIST_FLEET_TEMPLATE_VERSIONS,
        GET_FLEET_TEMPLATE,
        DELETE_FLEET_TEMPLATE,
        EXPORT_FLEET_TEMPLATE,
        IMPORT_FLEET_TEMPLATE,
        SPAWN_FROM_TEMPLATE,
        GET_HEALTH,
        PING,
    )
}

FOR_AGENTS: Final[dict[str, Tool[Any]]] = {
    tool.name: tool
    for tool in (
        WHOAMI,
        SEND_AS_PEER,
        READ_INBOX,
        WAIT_AS_PEER,
        ACK_AS_PEER,
        RECEIPT_AS_PEER,
        GET_RECEIPTS,
        ROUTE_WORK,
        REGISTER_OWN_CAPABILITY,
        PEERS_FLEET_STATUS,
        PEERS_COLLECT_RESULTS,
        LIST_AGENTS,
        SPAWN_SUBFLEET,
        ATTACH_PEER,
        WAIT_OF_PEER,
        CANCEL,
    )
}
"""What a peer needs: an agent is only ever itself, hands on no more than it has, and pays for each word every turn."""


def offered_tools(*, in_agent_mode: bool) -> dict[str, Tool[Any]]:
    """The tools this face of the server offers: all of them, or in agent mode those a peer needs."""
    return dict(FOR_AGENTS if in_agent_mode else TOOLS)
