"""The debate: a question to five peers who each speak for something else, and a proposal until all of them agree."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Mapping
from typing import Any, Final

from meshfleet.demo.conversation import Call, PastCall
from meshfleet.demo.observe import Observation
from meshfleet.demo.parts import (
    HOW_TO_TALK,
    MOST_WAITS,
    Briefing,
    GaveUp,
    Steps,
    acknowledge,
    ask,
    look,
    quote,
    receive,
    send,
    take,
)
from meshfleet.demo.patterns import Pattern, Step
from meshfleet.mesh.receipts import ACK
from meshfleet.model import EVERYONE, ORCHESTRATOR, MessageType, Start

MODERATOR: Final = "Moderator"
#: Who debates, what each speaks for, and the words that its evidence holds, which a scripted model looks for.
DEBATERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "Customer": ("those who pay", "README.md", " or more "),
    "Lawyer": ("what was promised", "README.md", " or more "),
    "Tester": ("what is checked", "check_till.py", "[60.00, 40.00]"),
    "Maintainer": ("how the code behaves today", "till.py", "if amount > "),
    "Accountant": ("what a discount costs", "till.py", "if amount > "),
}
QUESTION: Final = "What is an order of exactly 100.00 to cost? Answer with an amount, and with your evidence."
CONSENSUS: Final = "CONSENSUS"
_AGREED: Final = "AGREE"

_POSITION: Final = re.compile(r"^(\d+\.\d\d), because (.+)$")

_MODERATOR_PROMPT: Final = f"""You are the Moderator of a debate between {", ".join(DEBATERS)}, about the small Python
project in your working directory. Take no side, and change no file.
1. Send "*" a message of type "question": {QUESTION}
2. Wait until each of the {len(DEBATERS)} has answered with a "result"; the correlation_id of your question picks the
   answers out. Acknowledge each.
3. Weigh the evidence, not the number of voices. Send "*" a message of type "question" whose correlation_id is that of
   your first question: it begins with PROPOSAL, and gives the answer and the evidence that carries it.
4. Wait for a "result" from each that begins with {_AGREED} or with OBJECT; acknowledge each. Where one objects with
   better evidence, amend the proposal and send it in the same way, twice at most.
5. When all agree, send "orchestrator" a message of type "result" that begins with {CONSENSUS} and gives the answer,
   and end with the same; if they never do, let it begin with DISSENT and say who objects and why.
{HOW_TO_TALK}
"""


def _debater_prompt(role: str, speaks_for: str, evidence: str) -> str:
    return f"""You are the {role} in a debate about the small Python project in your working directory. You speak for
{speaks_for}; your evidence is in {evidence}. Change no file.
1. Wait for the Moderator's message of type "question" and acknowledge it. Read {evidence}.
2. Send the Moderator a message of type "result" with the question's id as correlation_id: `AMOUNT, because FILE, line
   NUMBER: TEXT`, as it follows from your evidence.
3. Wait for the Moderator's message that begins with PROPOSAL; the question's id as correlation_id picks it out.
   Acknowledge it. Answer it with a "result" whose correlation_id is the proposal's id: it begins with {_AGREED} where
   the proposal's evidence is at least as good as yours, also where it is not your answer; else with OBJECT, and why.
4. Where another PROPOSAL comes, do the same again. End by saying what you agreed to and what you gave up.
{HOW_TO_TALK}
"""


def _moderate(me: Briefing) -> Steps:
    question = yield from send(EVERYONE, "question", QUESTION)
    positions = yield from _answers(me, question)
    voices, evidence = Counter[str](), dict[str, str]()
    for payload in positions.values():
        position = _POSITION.match(payload)
        if position is None:
            raise GaveUp(f"that is no position: {payload}")
        voices[position[1]] += 1
        evidence.setdefault(position[1], position[2])
    amount, _ = voices.most_common(1)[0]
    words = f"an order of exactly 100.00 costs {amount}: {evidence[amount]}"
    proposal = yield from send(EVERYONE, "question", f"PROPOSAL: {words}", question)
    answers = yield from _answers(me, proposal)
    for role, answer in answers.items():
        if not answer.startswith(_AGREED):
            raise GaveUp(f"the {role} does not agree: {answer}")
    receipts = (yield from ask("get_receipts", {"message_id": proposal}))["receipts"]
    acknowledged = {receipt["agent_id"] for receipt in receipts if receipt["action"] == ACK}
    if acknowledged != set(me.peers.values()):
        raise GaveUp(f"my proposal was acknowledged by {len(acknowledged)} of {len(me.peers)}")
    outcome = f"{CONSENSUS} of {', '.join(me.peers)}: {words}"
    yield from send(ORCHESTRATOR, "result", outcome, question)
    return outcome


def _answers(me: Briefing, asked: str) -> Generator[Call, PastCall, dict[str, str]]:
    """What each peer answers to a message sent to all, by role; acknowledged as they come."""
    answers: dict[str, str] = {}
    for _ in range(MOST_WAITS + len(me.peers)):
        for message in (yield from look(asked)):
            yield from acknowledge(message)
            answers[me.role_of(message["from_agent_id"])] = message["payload"]
        if answers.keys() >= me.peers.keys():
            return {role: answers[role] for role in me.peers}
    raise GaveUp(f"no answer from {', '.join(me.peers.keys() - answers.keys())}")


def _debate(me: Briefing) -> Steps:
    _, file, words = DEBATERS[me.role]
    question = yield from take(me, MODERATOR, "question")
    evidence = quote(file, (yield Call("read", {"filePath": me.path(file)})), words)
    amount = "100.00" if " > " in evidence else "90.00"
    yield from send(MODERATOR, "result", f"{amount}, because {evidence}", question["id"])
    proposal = yield from receive(me, MODERATOR, "question", question["id"])
    answer = _verdict_on(proposal, amount)
    yield from send(MODERATOR, "result", answer, proposal["id"])
    return f"I said {amount}. My answer to the proposal: {answer}"


def _verdict_on(proposal: Mapping[str, Any], amount: str) -> str:
    """Agree with what quotes evidence, whatever the own position was."""
    if ", line " not in proposal["payload"]:
        return f"OBJECT: without evidence it stays at {amount}"
    if f"costs {amount}:" in proposal["payload"]:
        return f"{_AGREED}: {amount}, as I said"
    return f"{_AGREED}: I give up {amount}; how it is today is no reason for how it has to be"


def _flaw(seen: Observation, files: Mapping[str, str]) -> str | None:
    del files
    told = [message["payload"] for message in seen.messages if message["to_agent_id"] == ORCHESTRATOR]
    if not any(words.startswith(CONSENSUS) for words in told):
        return f"{MODERATOR}'s last message, which does not begin with {CONSENSUS}"
    return None


DEBATE: Final = Pattern(
    name="debate",
    agents=(
        {"role": MODERATOR, "prompt": _MODERATOR_PROMPT},
        *(
            {"role": role, "prompt": _debater_prompt(role, what, file), "start": str(Start.ON_MESSAGE)}
            for role, (what, file, _) in DEBATERS.items()
        ),
    ),
    parts={MODERATOR: _moderate, **dict.fromkeys(DEBATERS, _debate)},
    steps=(
        *(Step(MODERATOR, MessageType.QUESTION, role) for role in DEBATERS),
        *(Step(role, MessageType.RESULT, MODERATOR) for role in DEBATERS),
        Step(MODERATOR, MessageType.RESULT, ORCHESTRATOR),
    ),
    flaw=_flaw,
)
