"""The pipeline: Explorer, Analyst and Engineer, each started by what it is handed or, in the demo, all at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from meshfleet.demo.conversation import Call
from meshfleet.demo.observe import Observation
from meshfleet.demo.parts import HOW_TO_TALK, Briefing, GaveUp, Steps, ask, change, quote, receive, send, take
from meshfleet.demo.patterns import Pattern, Step, holds_the_words_of
from meshfleet.model import MessageType, Start

EXPLORER: Final = "Explorer"
ANALYST: Final = "Analyst"
ENGINEER: Final = "Engineer"
RESULT_FILE: Final = "FINDINGS.md"

_QUOTE: Final = re.compile(r"^(\S+), line (\d+): (.+)$", re.MULTILINE)

PROMPTS: Final[Mapping[str, str]] = {
    EXPLORER: f"""You are the Explorer. A small Python project lies in your working directory; its code
breaks a promise of its README.
1. Look at the directory with the read tool, then read README.md and till.py.
2. Send the Analyst one message of type "handoff": the line of README.md that makes the promise and the line
   of till.py that breaks it, each as `FILE, line NUMBER: TEXT`. Change no file yourself.
3. Wait for the Analyst's message of type "result" and acknowledge it.
4. Check with meshfleet_get_receipts that the Analyst acknowledged your handoff; end by saying what came of
   it.
{HOW_TO_TALK}
""",
    ANALYST: f"""You are the Analyst. You decide what is to be done about what the Explorer finds.
1. Wait for the Explorer's message of type "handoff" and acknowledge it.
2. Send the Explorer a message of type "result" that says whether it is a bug and why; its correlation_id is
   the id of the Explorer's message.
3. Send the Engineer a message of type "handoff", with the same correlation_id: in which file which line is to
   be replaced by what, and the quoted promise that is the reason. Change no file yourself.
4. Wait for the Engineer's message of type "result" and acknowledge it; end by saying what was done.
{HOW_TO_TALK}
""",
    ENGINEER: f"""You are the Engineer. You do what the Analyst hands you, in your working directory.
1. Wait for the Analyst's message of type "handoff" and acknowledge it.
2. Read the file it names, make the change with the edit tool, and write {RESULT_FILE} with the write tool:
   what was wrong, what you changed, and the Analyst's words as they came.
3. Send the Analyst a message of type "result" that says what you changed; its correlation_id is that of the
   Analyst's message. Then end by saying what you did.
{HOW_TO_TALK}
""",
}


def _explore(me: Briefing) -> Steps:
    listing = yield Call("read", {"filePath": me.working_directory}, saying="Let me look at the project.")
    for name in ("README.md", "till.py"):
        if name not in (listing.result or "").split():
            raise GaveUp(f"{me.working_directory} holds no {name}: {listing.result}")
    readme = yield Call("read", {"filePath": me.path("README.md")})
    code = yield Call("read", {"filePath": me.path("till.py")})
    findings = "\n".join((quote("README.md", readme, " or more "), quote("till.py", code, "if amount > ")))
    handoff = yield from send(ANALYST, "handoff", findings)
    answer = yield from receive(me, ANALYST, "result", handoff)
    receipts = (yield from ask("get_receipts", {"message_id": handoff}))["receipts"]
    if not any(r["action"] == "ack" and r["agent_id"] == me.peer(ANALYST) for r in receipts):
        raise GaveUp(f"the Analyst answered without acknowledging my handoff {handoff}")
    return f"The Analyst took my findings and says: {answer['payload']}"


def _analyse(me: Briefing) -> Steps:
    message = yield from take(me, EXPLORER, "handoff")
    quotes = {found[1]: found for found in _QUOTE.finditer(message["payload"])}
    if set(quotes) != {"README.md", "till.py"}:
        raise GaveUp(f"the Explorer's handoff does not quote README.md and till.py: {message['payload']}")
    promise, line = quotes["README.md"], quotes["till.py"]
    verdict = f'a bug: "{line[3]}" leaves out the very amount that {promise[1]} promises: "{promise[3]}"'
    yield from send(EXPLORER, "result", verdict, message["id"])
    order = (
        f"In {line[1]}, line {line[2]}, replace\n    {line[3]}\nwith\n    {line[3].replace(' > ', ' >= ')}\n"
        f'because {promise[1]}, line {promise[2]}, says: "{promise[3]}"'
    )
    yield from send(ENGINEER, "handoff", order, message["id"])
    done = yield from receive(me, ENGINEER, "result", message["id"])
    return f"I found {verdict}\nThe Engineer reports: {done['payload']}"


def _engineer(me: Briefing) -> Steps:
    message = yield from take(me, ANALYST, "handoff")
    order = re.match(r"In (\S+), line (\d+), replace\n {4}(.+)\nwith\n {4}(.+)\nbecause ", message["payload"])
    if order is None:
        raise GaveUp(f"the Analyst's handoff does not say what to replace: {message['payload']}")
    name, number, old, new = order.groups()
    yield from change(me, name, old, new)
    report = f"# Findings\n\nChanged {name}, line {number}, as the Analyst asked:\n\n{message['payload']}\n"
    wrote = yield Call("write", {"filePath": me.path(RESULT_FILE), "content": report})
    if "success" not in (wrote.result or ""):
        raise GaveUp(f"{RESULT_FILE} could not be written: {wrote.result}")
    words = f'changed {name}, line {number}, to "{new}", and wrote {RESULT_FILE}'
    yield from send(ANALYST, "result", words, message.get("correlation_id") or message["id"])
    return f"I {words}."


_ORDER: Final = Step(ANALYST, MessageType.HANDOFF, ENGINEER)


def _flaw(seen: Observation, files: Mapping[str, str]) -> str | None:
    findings = files.get(RESULT_FILE)
    if findings is None:
        return f"{ENGINEER}'s file: there is no {RESULT_FILE} in the project"
    orders = [message["payload"] for message in seen.messages if _ORDER.is_taken_by(seen, message)]
    if not any(holds_the_words_of(order, findings) for order in orders):
        return f"{ENGINEER}'s file: {RESULT_FILE} does not hold the words of {_ORDER}"
    return None


PIPELINE: Final = Pattern(
    name="pipeline",
    agents=(
        {"role": EXPLORER, "prompt": PROMPTS[EXPLORER]},
        {"role": ANALYST, "prompt": PROMPTS[ANALYST], "start": str(Start.ON_MESSAGE)},
        {"role": ENGINEER, "prompt": PROMPTS[ENGINEER], "start": str(Start.ON_MESSAGE)},
    ),
    parts={EXPLORER: _explore, ANALYST: _analyse, ENGINEER: _engineer},
    steps=(
        Step(EXPLORER, MessageType.HANDOFF, ANALYST),
        Step(ANALYST, MessageType.RESULT, EXPLORER),
        _ORDER,
        Step(ENGINEER, MessageType.RESULT, ANALYST),
    ),
    flaw=_flaw,
)

#: The same with all three at once: more to look at, and sooner over where there are cores for it.
DEMO: Final = replace(PIPELINE, agents=tuple({"role": role, "prompt": prompt} for role, prompt in PROMPTS.items()))
