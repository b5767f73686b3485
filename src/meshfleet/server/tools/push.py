"""The tool that hands out the address of an inbox's event stream."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from meshfleet.errors import Unavailable
from meshfleet.server.tool import Arguments, Context, JsonObject, Tool
from meshfleet.server.tools.schemas import TEXT, record

_HOW_TO_READ: Final = (
    "Read stream_url as server-sent events, e.g. curl -N '{url}'. What waits in the inbox comes first, then each "
    "message as it arrives: event 'message', data {{type, message_id, from_agent_id, payload, timestamp}}, where "
    "payload is the JSON text of {{type, payload}}. Event 'ack' says that a message was acknowledged. Reading takes "
    "nothing out of the inbox; ack_message does. Come back with Last-Event-ID and nothing is missed. Whoever has the "
    "URL can read the inbox; it is good until this server ends."
)


class SubscribeInbox(Arguments):
    """Arguments of subscribe_inbox."""

    agent_id: Annotated[str, Field(description="Whose inbox: an agent's id, or 'orchestrator'")]


def _subscribe_inbox(context: Context, arguments: SubscribeInbox) -> JsonObject:
    if context.push is None:
        raise Unavailable("this server has no streams; ask the one of the session that started the fleet")
    url = context.push.subscribe(arguments.agent_id)
    return {"agent_id": arguments.agent_id, "stream_url": url, "instructions": _HOW_TO_READ.format(url=url)}


SUBSCRIBE_INBOX = Tool(
    name="subscribe_inbox",
    description=(
        "The URL of a live event stream (SSE) of an inbox, for a script or program that is to act as messages arrive. "
        "You can't read a stream yourself: use get_inbox."
    ),
    arguments=SubscribeInbox,
    result=record({"agent_id": TEXT, "stream_url": TEXT, "instructions": TEXT}),
    call=_subscribe_inbox,
    in_thread=True,
    idempotent=True,
)
