"""The tools by which agents talk to each other and leave a witnessed trail."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from meshfleet.mesh.messages import Draft, get_inbox, send_message
from meshfleet.mesh.receipts import ack_message, get_receipts, write_receipt
from meshfleet.server.tool import Arguments, Context, JsonObject, Tool
from meshfleet.server.tools.fleets import FleetId
from meshfleet.server.tools.schemas import FLAG, MESSAGE, RECEIPT_ROW, TEXT, array, record

SelfId = Annotated[str, Field(description="Your own id: an agent's id, or 'orchestrator'")]
MessageId = Annotated[str, Field(description="Id of the message")]


class SendMessage(Arguments):
    """Arguments of send_message."""

    from_agent_id: Annotated[str, Field(description="Your own id, or the name you go by as orchestrator")]
    to_agent_id: Annotated[
        str, Field(description="Id of an agent of the fleet, 'orchestrator', or '*' for every other agent")
    ]
    fleet_id: FleetId
    type: Annotated[
        Literal["handoff", "question", "result", "alert", "request_help"],
        Field(description="What it asks of the recipient"),
    ]
    payload: Annotated[str, Field(description="The text, at most 65,536 bytes")]
    correlation_id: Annotated[str | None, Field(description="Id of the message this one answers")] = None


class GetInbox(Arguments):
    """Arguments of get_inbox."""

    agent_id: SelfId
    since: Annotated[int | None, Field(description="Only messages after this time, ms since the epoch", ge=0)] = None


class AckMessage(Arguments):
    """Arguments of ack_message."""

    agent_id: SelfId
    message_id: MessageId


class WriteReceipt(Arguments):
    """Arguments of receipt."""

    agent_id: SelfId
    message_id: MessageId
    action: Annotated[str, Field(description="What was done, e.g. 'seen', 'r-ack', 'retracted'; not 'ack'")]
    note: Annotated[str | None, Field(description="A remark")] = None


class OfMessage(Arguments):
    """Arguments of get_receipts."""

    message_id: MessageId


def _send_message(context: Context, arguments: SendMessage) -> JsonObject:
    context.caller.acting_as("from_agent_id", arguments.from_agent_id)
    return send_message(context.ledger, Draft(**arguments.model_dump()))


def _get_inbox(context: Context, arguments: GetInbox) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    return get_inbox(context.ledger, agent_id, arguments.since)


def _ack_message(context: Context, arguments: AckMessage) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    return ack_message(context.ledger, agent_id, arguments.message_id)


def _write_receipt(context: Context, arguments: WriteReceipt) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    return write_receipt(context.ledger, agent_id, arguments.message_id, arguments.action, arguments.note)


SEND_MESSAGE = Tool(
    name="send_message",
    description=(
        "Hand work, a question, a result or an alert to another agent of the fleet. It waits in the recipient's "
        "inbox until acknowledged."
    ),
    arguments=SendMessage,
    result=record({"message_id": TEXT, "recipients": array(TEXT)}),
    call=_send_message,
)

GET_INBOX = Tool(
    name="get_inbox",
    description=(
        "The messages that wait for you, oldest first. They stay until ack_message takes them out; an empty list "
        "means nothing has come yet."
    ),
    arguments=GetInbox,
    result=record({"messages": array(MESSAGE)}),
    call=_get_inbox,
    read_only=True,
)

ACK_MESSAGE = Tool(
    name="ack_message",
    description=(
        "Say that you have acted on a message sent to you: writes an 'ack' receipt and takes it out of your inbox. "
        "A repeat is fine; ok is false, with the reason, when you were not sent it."
    ),
    arguments=AckMessage,
    result=record({"ok": FLAG}, {"reason": TEXT}),
    call=_ack_message,
    idempotent=True,
)

RECEIPT = Tool(
    name="receipt",
    description=(
        "Leave a witnessed note on a message without taking it out of the inbox. The first receipt of a kind stands; "
        "a repeat returns it."
    ),
    arguments=WriteReceipt,
    result=record({"receipt": RECEIPT_ROW}),
    call=_write_receipt,
    idempotent=True,
)

GET_RECEIPTS = Tool(
    name="get_receipts",
    description="A message's witnessed trail: who did what about it and when, oldest first.",
    arguments=OfMessage,
    result=record({"receipts": array(RECEIPT_ROW)}),
    call=lambda context, arguments: get_receipts(context.ledger, arguments.message_id),
    read_only=True,
)
