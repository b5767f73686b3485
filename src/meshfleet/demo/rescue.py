"""The rescue: a Fixer who is stuck calls a Rescuer, whom nothing is spent on until then, and wakes it once more."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Final

from meshfleet.demo.conversation import Call, PastCall
from meshfleet.demo.observe import Observation
from meshfleet.demo.parts import HOW_TO_TALK, Briefing, GaveUp, Steps, change, quote, receive, send, take
from meshfleet.demo.patterns import Pattern, Step
from meshfleet.demo.project import PROJECT_FILES
from meshfleet.model import ORCHESTRATOR, MessageType, Start

FIXER: Final = "Fixer"
RESCUER: Final = "Rescuer"

_CHECK: Final = "python3 check_till.py"
_KEPT: Final = "the till keeps its promise"
_LINE: Final = re.compile(r"^(till\.py), line (\d+): (.+)$", re.MULTILINE)
_ADVICE: Final = re.compile(r"^In (\S+), line \d+, replace\n {4}(.+)\nwith\n {4}(.+)\n")

PROMPTS: Final[Mapping[str, str]] = {
    FIXER: f"""You are the Fixer of the small Python project in your working directory. Read no file of it but till.py
and check_till.py; what the project is for, the Rescuer knows.
1. Run `{_CHECK}`. Read till.py.
2. The check and the code contradict each other, and you can't know which is right. Send the Rescuer a message of type
   "alert": the last line of what the check said, and the line of till.py it is about as `till.py, line NUMBER: TEXT`.
3. Wait for the Rescuer's message of type "result" and acknowledge it. Do what it says, and run the check again.
4. Send the Rescuer a message of type "request_help", with your alert's id as correlation_id: what you changed, what
   the check says now, and whether all of the promise is kept. Wait for the "result" and acknowledge it.
5. Send "orchestrator" a message of type "result" that begins with DONE: what was wrong, and what you changed. End with
   the same.
{HOW_TO_TALK}
""",
    RESCUER: f"""You are the Rescuer. The Fixer mends the small Python project in your working directory and calls you
when stuck. Change no file.
1. Wait for the Fixer's message and acknowledge it. Read README.md, and what else it takes to tell who is right.
2. Answer with a message of type "result" whose correlation_id is the id of the Fixer's message: in which file which
   line is to be replaced by what, and the words of README.md that are the reason; or, where the Fixer asks whether its
   change is good, whether the promise of README.md is kept now, after you have read the change.
3. End by saying what you advised. You need not wait: when the Fixer asks again, you go on from here.
{HOW_TO_TALK}
""",
}


def _fix(me: Briefing) -> Steps:
    said = yield from _check()
    code = yield Call("read", {"filePath": me.path("till.py")})
    line = quote("till.py", code, "if amount > ")
    alert = yield from send(RESCUER, "alert", f"{_CHECK} ends with: {said}\n{line}")
    advice = yield from receive(me, RESCUER, "result", alert)
    order = _ADVICE.match(advice["payload"])
    if order is None:
        raise GaveUp(f"the Rescuer's advice does not say what to replace: {advice['payload']}")
    name, old, new = order.groups()
    yield from change(me, name, old, new)
    said = yield from _check()
    words = f'changed {name} to "{new}"; {_CHECK} now ends with: {said}'
    request = yield from send(RESCUER, "request_help", f"I {words}\nIs all of the promise kept?", alert)
    verdict = yield from receive(me, RESCUER, "result", request)
    done = f"DONE: {words}; the Rescuer says: {verdict['payload']}"
    yield from send(ORCHESTRATOR, "result", done, alert)
    return done


def _check() -> Generator[Call, PastCall, str]:
    """Run the project's check; returns the last line of what it said."""
    past = yield Call("bash", {"command": _CHECK, "description": "Run the project's check"})
    lines = [line for line in (past.result or "").splitlines() if "AssertionError" in line or _KEPT in line]
    if not lines:
        raise GaveUp(f"{_CHECK} says neither yes nor no: {past.result}")
    return lines[-1].strip()


def _rescue(me: Briefing) -> Steps:
    message = yield from take(me, FIXER, "request_help" if me.earlier else "alert")
    if me.earlier:
        return (yield from _look_again(me, message["id"]))
    line = _LINE.search(message["payload"])
    if line is None:
        raise GaveUp(f"the Fixer's alert does not quote till.py: {message['payload']}")
    promise = quote("README.md", (yield Call("read", {"filePath": me.path("README.md")})), " or more ")
    advice = f"In {line[1]}, line {line[2]}, replace\n    {line[3]}\nwith\n    {line[3].replace(' > ', ' >= ')}\n"
    yield from send(FIXER, "result", f"{advice}because {promise}", message["id"])
    return f"I advised to keep {promise}"


def _look_again(me: Briefing, request: str) -> Steps:
    """Judge a change by the promise that was read in the turn before, which the session still holds."""
    readme = next((past for past in me.earlier if str(past.arguments.get("filePath", "")).endswith("README.md")), None)
    if readme is None:
        raise GaveUp("my session does not hold the README.md I read")
    promise = quote("README.md", readme, " or more ")
    code = yield Call("read", {"filePath": me.path("till.py")})
    verdict = f"it is kept: {quote('till.py', code, 'if amount >= ')} does what {promise} says"
    yield from send(FIXER, "result", verdict, request)
    return f"I looked again: {verdict}"


def _flaw(seen: Observation, files: Mapping[str, str]) -> str | None:
    del seen
    return None if files.get("till.py") != PROJECT_FILES["till.py"] else f"{FIXER}'s change: till.py is as it was"


RESCUE: Final = Pattern(
    name="rescue",
    agents=(
        {"role": FIXER, "prompt": PROMPTS[FIXER]},
        {"role": RESCUER, "prompt": PROMPTS[RESCUER], "start": str(Start.ON_MESSAGE), "wake": True},
    ),
    parts={FIXER: _fix, RESCUER: _rescue},
    steps=(
        Step(FIXER, MessageType.ALERT, RESCUER),
        Step(RESCUER, MessageType.RESULT, FIXER),
        Step(FIXER, MessageType.REQUEST_HELP, RESCUER),
        Step(FIXER, MessageType.RESULT, ORCHESTRATOR),
    ),
    flaw=_flaw,
)
