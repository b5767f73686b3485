"""The tools by which agents talk to each other and leave a witnessed trail."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from anyio import to_thread
from pydantic import Field

from meshfleet.mesh.identity import whoami
from meshfleet.mesh.inboxes import Wanted, get_inbox, note_seen, waiting
from meshfleet.mesh.messages import MOST_AT_ONCE, Draft, send_message, send_messages
from meshfleet.mesh.receipts import ack_message, get_receipts, write_receipt
from meshfleet.model import Row
from meshfleet.server.tool import Arguments, Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.fleets import FleetId
from meshfleet.server.tools.schemas import FLAG, MESSAGE, NUMBER, RECEIPT_ROW, TEXT, array, record
from meshfleet.server.tools.waiting import WaitTime
from meshfleet.server.waits import Report

SelfId = Annotated[str, Field(description="Your own id: an agent's id, or 'orchestrator'")]
MessageId = Annotated[str, Field(description="Id of the message")]
Kind = Literal["handoff", "question", "result", "alert", "request_help"]
Since = Annotated[int | None, Field(description="Only messages after this time, ms since the epoch", ge=0)]
Thread = Annotated[str | None, Field(description="Only the message with this id and its answers")]
OneKind = Annotated[Kind | None, Field(description="Only messages of this type")]
Limit = Annotated[int | None, Field(description="Only so many, the oldest", ge=1)]
Answered = Annotated[str | None, Field(description="Id of the message this one answers")]
SendKey = Annotated[str | None, Field(description="A name for it: a repeat sends nothing twice")]
Itself = str | None
"""What an agent may leave out, since it can only be one thing: its own."""


class SendMessage(Arguments):
    """Arguments of send_message."""

    from_agent_id: Annotated[str, Field(description="Your own id, or the name you go by as orchestrator")]
    to_agent_id: Annotated[
        str, Field(description="Id or role of an agent, 'orchestrator', or '*' for every other agent")
    ]
    fleet_id: FleetId
    type: Annotated[Kind, Field(description="What it asks of the recipient")]
    payload: Annotated[str, Field(description="The text, at most 65,536 bytes")]
    correlation_id: Answered = None
    idempotency_key: SendKey = None


class OneOfSeveral(Arguments):
    """One of the messages of send_messages."""

    from_agent_id: str
    to_agent_id: str
    fleet_id: str
    type: str
    payload: str
    correlation_id: str | None = None
    idempotency_key: str | None = None


class SendMessages(Arguments):
    """Arguments of send_messages."""

    messages: Annotated[
        list[OneOfSeveral],
        Field(
            description="Each as send_message takes it",
            min_length=1,
            json_schema_extra={"maxItems": MOST_AT_ONCE},
        ),
    ]


class SendAsPeer(Arguments):
    """Arguments of send_message as an agent has it."""

    to_agent_id: Annotated[str, Field(description="A peer's role or id, 'orchestrator', or '*' for all")]
    type: Kind
    payload: str
    correlation_id: Answered = None
    idempotency_key: SendKey = None
    from_agent_id: Itself = None
    fleet_id: Itself = None


class GetInbox(Arguments):
    """Arguments of get_inbox."""

    agent_id: SelfId
    since: Since = None
    correlation_id: Thread = None
    type: OneKind = None
    limit: Limit = None


class ReadInbox(Arguments):
    """Arguments of get_inbox as an agent has it."""

    since: Since = None
    correlation_id: Thread = None
    type: Kind | None = None
    limit: Annotated[int | None, Field(ge=1)] = None
    agent_id: Itself = None


class WaitForMessages(Arguments):
    """Arguments of wait_for_messages."""

    agent_id: SelfId
    timeout_ms: WaitTime
    since: Since = None
    correlation_id: Thread = None


class WaitAsPeer(Arguments):
    """Arguments of wait_for_messages as an agent has it."""

    timeout_ms: WaitTime
    since: Since = None
    correlation_id: Thread = None
    agent_id: Itself = None


class AckMessage(Arguments):
    """Arguments of ack_message."""

    agent_id: SelfId
    message_id: MessageId


class AckAsPeer(Arguments):
    """Arguments of ack_message as an agent has it."""

    message_id: str
    agent_id: Itself = None


class WriteReceipt(Arguments):
    """Arguments of receipt."""

    agent_id: SelfId
    message_id: MessageId
    action: Annotated[str, Field(description="What was done, e.g. 'seen', 'r-ack', 'retracted'; not 'ack'")]
    note: Annotated[str | None, Field(description="A remark")] = None


class ReceiptAsPeer(Arguments):
    """Arguments of receipt as an agent has it."""

    message_id: str
    action: Annotated[str, Field(description="E.g. 'started', 'retracted'; not 'ack'")]
    note: str | None = None
    agent_id: Itself = None


class OfMessage(Arguments):
    """Arguments of get_receipts."""

    message_id: MessageId


def _whoami(context: Context, _: NoArguments) -> JsonObject:
    return whoami(context.ledger, context.caller.acting_as("agent_id", None))


def _send_message(context: Context, arguments: SendMessage | SendAsPeer) -> JsonObject:
    sender = context.caller.acting_as("from_agent_id", arguments.from_agent_id)
    own = {"from_agent_id": sender, "fleet_id": context.caller.in_fleet(arguments.fleet_id)}
    # the supervisor is not woken for the few that call somebody: that would cost every message more than the rest of it
    return send_message(context.ledger, Draft(**arguments.model_dump() | own))


def _send_messages(context: Context, arguments: SendMessages) -> JsonObject:
    drafts = [Draft(**message.__dict__) for message in arguments.messages]
    return {"messages": send_messages(context.ledger, drafts)}


def _get_inbox(context: Context, arguments: GetInbox | ReadInbox) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    messages = get_inbox(context.ledger, Wanted(**arguments.model_dump() | {"agent_id": agent_id}))
    _witness(context, messages)
    return {"messages": messages}


async def _wait_for_messages(context: Context, arguments: WaitForMessages | WaitAsPeer, report: Report) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    wanted = Wanted(agent_id, arguments.since, arguments.correlation_id)
    wanted.check()
    messages = await context.waits.look_until(
        context.ledger,
        agent_id,
        lambda view: waiting(view, wanted),
        bool,
        arguments.timeout_ms,
        report=report,
        words=lambda _: "no message has come yet",
    )
    await to_thread.run_sync(_witness, context, messages)
    return {"messages": messages, "timed_out": not messages}


def _witness(context: Context, messages: list[Row]) -> None:
    """Have it noted that an agent has seen messages; an orchestrator only looks."""
    if context.caller.agent_id is not None:
        note_seen(context.ledger, context.caller.agent_id, messages)


def _ack_message(context: Context, arguments: AckMessage | AckAsPeer) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    return ack_message(context.ledger, agent_id, arguments.message_id)


def _write_receipt(context: Context, arguments: WriteReceipt | ReceiptAsPeer) -> JsonObject:
    agent_id = context.caller.acting_as("agent_id", arguments.agent_id)
    return write_receipt(context.ledger, agent_id, arguments.message_id, arguments.action, arguments.note)


_PEER: Final = record({"agent_id": TEXT, "role": TEXT, "status": TEXT, "skills": array(TEXT)})
_LOST: Final = record({"message_id": TEXT, "to_agent_id": TEXT, "role": TEXT, "status": TEXT})

WHOAMI = Tool(
    name="whoami",
    description=(
        "Your id, role and fleet, your peers and how they stand, how many messages wait for you, and which of yours "
        "reach nobody."
    ),
    arguments=NoArguments,
    result=record(
        {"agent_id": TEXT, "role": TEXT, "fleet_id": TEXT, "peers": array(_PEER), "unread": NUMBER},
        {"more_peers": NUMBER, "undeliverable": array(_LOST), "more_undeliverable": NUMBER},
    ),
    call=_whoami,
    read_only=True,
)

SEND_MESSAGE = Tool(
    name="send_message",
    description=(
        "Hand work, a question, a result or an alert to another agent. It waits in its inbox until "
        "acknowledged; it starts one spawned with start 'on_message' and wakes one with wake. A warning says who won't "
        "read it."
    ),
    arguments=SendMessage,
    result=record({"message_id": TEXT, "recipients": array(TEXT)}, {"warning": TEXT}),
    call=_send_message,
)

SEND_AS_PEER = Tool(
    name="send_message",
    description="Hand work, a question, a result or an alert to a peer. A warning says who won't read it.",
    arguments=SendAsPeer,
    result=SEND_MESSAGE.result,
    call=_send_message,
)

SEND_MESSAGES = Tool(
    name="send_messages",
    description="Send many messages at once, all or none.",
    arguments=SendMessages,
    result=record({"messages": array(SEND_MESSAGE.result)}),
    call=_send_messages,
)

GET_INBOX = Tool(
    name="get_inbox",
    description=("The messages that wait for you, oldest first. They stay until ack_message takes them out."),
    arguments=GetInbox,
    result=record({"messages": array(MESSAGE)}),
    call=_get_inbox,
    read_only=True,
)

READ_INBOX = Tool(
    name="get_inbox",
    description="The messages that wait for you, oldest first; they stay until ack_message. See wait_for_messages.",
    arguments=ReadInbox,
    result=GET_INBOX.result,
    call=_get_inbox,
    idempotent=True,
)

WAIT_FOR_MESSAGES = Tool(
    name="wait_for_messages",
    description=(
        "Wait until a message is there; returns all that wait, oldest first. When timed_out is true, call again."
    ),
    arguments=WaitForMessages,
    result=record({"messages": array(MESSAGE), "timed_out": FLAG}),
    wait=_wait_for_messages,
    read_only=True,
)

WAIT_AS_PEER = Tool(
    name="wait_for_messages",
    description="Wait for a message; returns all that wait as soon as there is one. When timed_out, call again.",
    arguments=WaitAsPeer,
    result=WAIT_FOR_MESSAGES.result,
    wait=_wait_for_messages,
    idempotent=True,
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

ACK_AS_PEER = Tool(
    name="ack_message",
    description="Say that you have acted on a message, which takes it out of your inbox. A repeat is fine.",
    arguments=AckAsPeer,
    result=ACK_MESSAGE.result,
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

RECEIPT_AS_PEER = Tool(
    name="receipt",
    description="Leave a witnessed note on a message; it stays in the inbox.",
    arguments=ReceiptAsPeer,
    result=RECEIPT.result,
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
