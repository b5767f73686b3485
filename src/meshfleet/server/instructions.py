"""What the server tells a model about itself when a session starts; OpenCode puts it into the system prompt."""

from __future__ import annotations

from typing import Final

from meshfleet.mesh.identity import Identity

FOR_ORCHESTRATORS: Final = """\
Meshfleet runs fleets of independent OpenCode agents in parallel on this machine.
spawn_fleet starts one and returns at once; wait returns when agents have ended, with what they said, and \
collect_results gives all of it; fleet_status tells how they stand, agent_output what one is doing. cancel stops a \
fleet, resume has it go on. The agents hand work to each other with messages; those \
meant for you are in get_inbox(agent_id="orchestrator").
Agents go on working when this session ends."""

HOW_TO_TALK: Final = """\
To hand work on: send_message to a peer's id ('*' for all, 'orchestrator' for who started you) with type handoff, \
question, result, alert or request_help.
To receive: get_inbox; then ack_message once you have acted on a message. An empty inbox means nothing has come yet. \
receipt leaves a note such as 'seen'; get_receipts shows who saw and acted."""

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
        "Your id is your from_agent_id and agent_id in every call; you can act as yourself only.",
        HOW_TO_TALK,
    ]
    return "\n".join(lines)


def _on_one_line(text: str) -> str:
    """The text without line breaks, and without control characters, which a terminal or a log would obey."""
    return " ".join(text.translate(_CONTROLS).split())
