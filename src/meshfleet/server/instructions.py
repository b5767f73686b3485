"""What the server tells a model about itself when a session starts; OpenCode puts it into the system prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshfleet.mesh.identity import Identity

FOR_ORCHESTRATORS: Final = """\
Meshfleet runs fleets of independent OpenCode agents in parallel on this machine.
spawn_fleet starts one and returns at once; wait returns when agents have ended, with what they said, and \
collect_results gives all of it; fleet_status tells how they stand, agent_output what one is doing. cancel stops a \
fleet, resume has it go on. The agents hand work to each other with messages: with start 'on_message' one is dormant \
until a peer hands over, with after until others are complete, with wake it goes on when asked again; so a fleet runs \
itself, and you only wait. Messages meant for you are in get_inbox(agent_id="orchestrator").
Agents go on working when this session ends."""

HOW_TO_TALK: Final = """\
To hand work on: send_message to a peer's role or id ('*' for all, 'orchestrator' for who started you) with type \
handoff, question, result, alert or request_help; an answer has the correlation_id of what it answers.
To receive: wait_for_messages, which returns as soon as one is there (never sleep and look again); then ack_message \
once you have acted on it. get_inbox looks without waiting, receipt leaves a note, get_receipts shows who saw and acted.
whoami tells how your peers stand, and which of your messages reach nobody."""

_CONTROLS: Final = dict.fromkeys([*range(32), *range(127, 160)], " ")
_SHOWN_PEERS: Final = 50
"""More peers than this are counted, not listed: the text is paid for in every turn."""


def for_agent(identity: Identity) -> str:
    """Who the agent is, who its peers are, and which calls hand work on."""
    agent, peers = identity.agent, identity.peers
    lines = [
        f"You are {_on_one_line(agent['role'])}, agent {agent['id']} of fleet {agent['fleet_id']}.",
        "Peers:" if peers else "You have no peers.",
        *(f"- {_on_one_line(peer['role'])}: {peer['id']}" for peer in peers[:_SHOWN_PEERS]),
    ]
    if len(peers) > _SHOWN_PEERS:
        lines.append(f"- and {len(peers) - _SHOWN_PEERS} more; fleet_status lists them all")
    lines += [
        "You act as yourself only: leave out from_agent_id, agent_id and fleet_id.",
        HOW_TO_TALK,
    ]
    return "\n".join(lines)


def _on_one_line(text: str) -> str:
    """The text without line breaks, and without control characters, which a terminal or a log would obey."""
    return " ".join(text.translate(_CONTROLS).split())
