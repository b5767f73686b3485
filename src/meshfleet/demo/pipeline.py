"""The demo's pipeline: what Explorer, Analyst and Engineer are asked, and the scripts that play their model.

A script is written as straight-line steps; since a model keeps nothing between requests, the steps are gone
through anew for every request, fed with the results the conversation already holds. It knows only what
OpenCode sent. Serving it is scripted_model.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.demo.conversation import Call, Conversation, PastCall, Reply, Say

EXPLORER: Final = "Explorer"
ANALYST: Final = "Analyst"
ENGINEER: Final = "Engineer"
RESULT_FILE: Final = "FINDINGS.md"

#: OpenCode shows a tool of the MCP server `meshfleet` under this prefix.
TOOL_PREFIX: Final = "meshfleet_"
#: Seconds before an empty inbox is looked at again: at first soon, then less often, since each look costs
#: OpenCode a tenth of a second of processor.
EAGER_POLL_S: Final = 0.3
EAGER_POLLS: Final = 15
PATIENT_POLL_S: Final = 1.0
#: Looks at an empty inbox before a role gives up: about two and a half minutes.
MAX_POLLS: Final = 160

_IDENTITY: Final = re.compile(r"^\s*You are (.+), agent (\S+) of fleet (\S+)\.\s*$", re.MULTILINE)
_PEERS: Final = re.compile(r"^\s*Peers:\s*$((?:\n\s*- .+: \S+\s*$)*)", re.MULTILINE)
_PEER: Final = re.compile(r"^\s*- (.+): (\S+)\s*$", re.MULTILINE)
_WORKING_DIRECTORY: Final = re.compile(r"^\s*Working directory: (.+?)\s*$", re.MULTILINE)
_NUMBERED_LINE: Final = re.compile(r"^(\d+): (.*)$", re.MULTILINE)
_QUOTE: Final = re.compile(r"^(\S+), line (\d+): (.+)$", re.MULTILINE)

_HOW_TO_TALK: Final = """
How to talk: the instructions of the meshfleet server, in your system prompt, say your agent id, your fleet
id and the agent id of each peer. Send with meshfleet_send_message. To wait for a message, call
meshfleet_get_inbox with your agent id; while what you wait for is not there, run `sleep 3` in bash and look
again, up to 60 times. Make one call at a time. For every message you get: call meshfleet_receipt with action
"seen", then meshfleet_ack_message. Do not end before your last step."""

PROMPTS: Final[Mapping[str, str]] = {
    EXPLORER: f"""You are the Explorer. A small Python project lies in your working directory; its code
breaks a promise of its README.
1. Look at the directory with the read tool, then read README.md and till.py.
2. Send the Analyst one message of type "handoff": the line of README.md that makes the promise and the line
   of till.py that breaks it, each as `FILE, line NUMBER: TEXT`. Change no file yourself.
3. Wait for the Analyst's message of type "result", write its receipt and acknowledge it.
4. Check with meshfleet_get_receipts that the Analyst acknowledged your handoff; end by saying what came of
   it.
{_HOW_TO_TALK}
""",
    ANALYST: f"""You are the Analyst. You decide what is to be done about what the Explorer finds.
1. Wait for the Explorer's message of type "handoff", write its receipt and acknowledge it.
2. Send the Explorer a message of type "result" that says whether it is a bug and why; its correlation_id is
   the id of the Explorer's message.
3. Send the Engineer a message of type "handoff", with the same correlation_id: in which file which line is to
   be replaced by what, and the quoted promise that is the reason. Change no file yourself.
4. Wait for the Engineer's message of type "result", write its receipt and acknowledge it; end by saying what
   was done.
{_HOW_TO_TALK}
""",
    ENGINEER: f"""You are the Engineer. You do what the Analyst hands you, in your working directory.
1. Wait for the Analyst's message of type "handoff", write its receipt and acknowledge it.
2. Read the file it names, make the change with the edit tool, and write {RESULT_FILE} with the write tool:
   what was wrong, what you changed, and the Analyst's words as they came.
3. Send the Analyst a message of type "result" that says what you changed; its correlation_id is that of the
   Analyst's message. Then end by saying what you did.
{_HOW_TO_TALK}
""",
}


def fleet_agents() -> list[dict[str, str]]:
    """The `agents` argument of spawn_fleet: the three roles with their prompts."""
    return [{"role": role, "prompt": prompt} for role, prompt in PROMPTS.items()]


@dataclass(frozen=True, slots=True)
class Briefing:
    """Who the model is told it is; `peers` has agent ids by role."""

    role: str
    agent_id: str
    fleet_id: str
    peers: Mapping[str, str]
    working_directory: str

    @classmethod
    def from_system_prompt(cls, system: str) -> Briefing | None:
        """What OpenCode and meshfleet's instructions say in it; None where meshfleet says nothing."""
        identity = _IDENTITY.search(system)
        if identity is None:
            return None
        peers = _PEERS.search(system)
        directory = _WORKING_DIRECTORY.search(system)
        return cls(
            role=identity[1],
            agent_id=identity[2],
            fleet_id=identity[3],
            peers=dict(_PEER.findall(peers[1])) if peers else {},
            working_directory=directory[1] if directory else ".",
        )

    def peer(self, role: str) -> str:
        """The agent id of that role; gives up where there is no such peer."""
        if role not in self.peers:
            raise GaveUp(f"there is no {role} among my peers, only {', '.join(self.peers) or 'nobody'}")
        return self.peers[role]


class GaveUp(Exception):
    """A role can't go on; its text becomes the agent's last words."""


#: Yields each next call, is sent that call's result, returns the last words.
Steps = Generator[Call, PastCall, str]


def play_pipeline(conversation: Conversation) -> Reply:
    """What the role named in the system prompt does next; another role says that it has no part here."""
    briefing = Briefing.from_system_prompt(conversation.system)
    if briefing is None:
        return Say("I give up: no meshfleet server told me who I am.")
    role = ROLES.get(briefing.role)
    if role is None:
        return Say(f"I have no part for the role {briefing.role}.")
    return follow(role(briefing), conversation)


def follow(steps: Steps, conversation: Conversation) -> Reply:
    """The first step of which the conversation holds no result yet, or the last words."""
    try:
        wanted = next(steps)
        for past in conversation.calls_of_turn:
            if past.tool != wanted.tool:
                return Say(f"I give up: I called {wanted.tool} and got {past.tool}: {past.result}")
            wanted = steps.send(past)
    except StopIteration as end:
        return Say(str(end.value))
    except GaveUp as reason:
        return Say(f"I give up: {reason}")
    if wanted.tool not in conversation.tools:
        return Say(f"I give up: I need {wanted.tool}, which is not among my tools")
    return wanted


def _explore(me: Briefing) -> Steps:
    listing = yield Call("read", {"filePath": me.working_directory}, saying="Let me look at the project.")
    for name in ("README.md", "till.py"):
        if name not in (listing.result or "").split():
            raise GaveUp(f"{me.working_directory} holds no {name}: {listing.result}")
    readme = yield Call("read", {"filePath": f"{me.working_directory}/README.md"})
    code = yield Call("read", {"filePath": f"{me.working_directory}/till.py"})
    findings = "\n".join((_quote("README.md", readme, " or more "), _quote("till.py", code, "if amount > ")))
    handoff = yield from _send(me, ANALYST, "handoff", findings)
    answer = yield from _receive(me, ANALYST, "result")
    receipts = (yield from _ask("get_receipts", {"message_id": handoff}))["receipts"]
    if not any(r["action"] == "ack" and r["agent_id"] == me.peer(ANALYST) for r in receipts):
        raise GaveUp(f"the Analyst answered without acknowledging my handoff {handoff}")
    return f"The Analyst took my findings and says: {answer['payload']}"


def _analyse(me: Briefing) -> Steps:
    message = yield from _receive(me, EXPLORER, "handoff")
    quotes = {quote[1]: quote for quote in _QUOTE.finditer(message["payload"])}
    if set(quotes) != {"README.md", "till.py"}:
        raise GaveUp(f"the Explorer's handoff does not quote README.md and till.py: {message['payload']}")
    promise, line = quotes["README.md"], quotes["till.py"]
    verdict = f'a bug: "{line[3]}" leaves out the very amount that {promise[1]} promises: "{promise[3]}"'
    yield from _send(me, EXPLORER, "result", verdict, message["id"])
    order = (
        f"In {line[1]}, line {line[2]}, replace\n    {line[3]}\nwith\n    {line[3].replace(' > ', ' >= ')}\n"
        f'because {promise[1]}, line {promise[2]}, says: "{promise[3]}"'
    )
    yield from _send(me, ENGINEER, "handoff", order, message["id"])
    done = yield from _receive(me, ENGINEER, "result")
    return f"I found {verdict}\nThe Engineer reports: {done['payload']}"


def _engineer(me: Briefing) -> Steps:
    message = yield from _receive(me, ANALYST, "handoff")
    order = re.match(r"In (\S+), line (\d+), replace\n {4}(.+)\nwith\n {4}(.+)\nbecause ", message["payload"])
    if order is None:
        raise GaveUp(f"the Analyst's handoff does not say what to replace: {message['payload']}")
    name, number, old, new = order.groups()
    path = f"{me.working_directory}/{name}"
    before = yield Call("read", {"filePath": path})
    if old not in (before.result or ""):
        raise GaveUp(f"{name} does not hold the line {old!r}: {before.result}")
    edited = yield Call("edit", {"filePath": path, "oldString": old, "newString": new})
    if "success" not in (edited.result or ""):
        raise GaveUp(f"the change of {name} failed: {edited.result}")
    report = f"# Findings\n\nChanged {name}, line {number}, as the Analyst asked:\n\n{message['payload']}\n"
    wrote = yield Call("write", {"filePath": f"{me.working_directory}/{RESULT_FILE}", "content": report})
    if "success" not in (wrote.result or ""):
        raise GaveUp(f"{RESULT_FILE} could not be written: {wrote.result}")
    words = f'changed {name}, line {number}, to "{new}", and wrote {RESULT_FILE}'
    yield from _send(me, ANALYST, "result", words, message.get("correlation_id") or message["id"])
    return f"I {words}."


ROLES: Final[Mapping[str, Callable[[Briefing], Steps]]] = {
    EXPLORER: _explore,
    ANALYST: _analyse,
    ENGINEER: _engineer,
}


def _quote(name: str, read: PastCall, words: str) -> str:
    """`NAME, line N: TEXT` of the first line with these words in what OpenCode's read tool showed."""
    for number, text in _NUMBERED_LINE.findall(read.result or ""):
        if words in text:
            return f"{name}, line {number}: {text.strip()}"
    raise GaveUp(f"no line of {name} holds {words!r}: {read.result}")


def _ask(tool: str, arguments: Mapping[str, Any], after_s: float = 0.0) -> Generator[Call, PastCall, dict[str, Any]]:
    """Call a tool of meshfleet; gives up unless the result is a JSON object without an error."""
    past = yield Call(TOOL_PREFIX + tool, arguments, after_s)
    answer = past.result_json()
    if not isinstance(answer, dict) or "error" in answer:
        raise GaveUp(f"{tool} answered: {past.result}")
    return answer


def _send(
    me: Briefing, role: str, kind: str, payload: str, correlation_id: str | None = None
) -> Generator[Call, PastCall, str]:
    """Send a message to the peer of that role; returns its id."""
    arguments = {
        "from_agent_id": me.agent_id,
        "to_agent_id": me.peer(role),
        "fleet_id": me.fleet_id,
        "type": kind,
        "payload": payload,
    }
    if correlation_id is not None:
        arguments["correlation_id"] = correlation_id
    answer = yield from _ask("send_message", arguments)
    return str(answer["message_id"])


def _receive(me: Briefing, role: str, kind: str) -> Generator[Call, PastCall, dict[str, Any]]:
    """Wait for the message of that kind from the peer of that role, note that it was seen, acknowledge it."""
    for polls in range(MAX_POLLS):
        pause = 0.0 if polls == 0 else EAGER_POLL_S if polls < EAGER_POLLS else PATIENT_POLL_S
        inbox = yield from _ask("get_inbox", {"agent_id": me.agent_id}, pause)
        for message in inbox["messages"]:
            if message["type"] == kind and message["from_agent_id"] == me.peer(role):
                yield from _acknowledge(me, message["id"])
                return dict(message)
    raise GaveUp(f"no {kind} from the {role} after {MAX_POLLS} looks into my inbox")


def _acknowledge(me: Briefing, message_id: str) -> Generator[Call, PastCall, None]:
    yield from _ask("receipt", {"agent_id": me.agent_id, "message_id": message_id, "action": "seen"})
    answer = yield from _ask("ack_message", {"agent_id": me.agent_id, "message_id": message_id})
    if answer.get("ok") is not True:
        raise GaveUp(f"ack_message refused {message_id}: {answer}")
