"""The prompts of the server: three ways for agents to work together, each filling in a call of spawn_fleet.

Longer ones, ready to run, are the templates in `examples/`; here a person says in a word what it is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mcp_types import Completion, GetPromptResult, Prompt, PromptArgument, PromptMessage, TextContent

from meshfleet.errors import Invalid
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import agents_as_json
from meshfleet.mesh.texts import checked_name, checked_text, shown
from meshfleet.server.resources import proposals

LONGEST_TASK: Final = 65_536
"""Bytes of a task; every agent's prompt holds it once."""
MOST_ROLES: Final = 8
"""Roles that may be named."""

_TALK: Final = """

How to work with your peers
- Your agent id, your fleet id and the id of each peer are in the meshfleet instructions of your system prompt. Use \
ids, not roles, in calls.
- To wait for a message, call get_inbox with your id. If it is not there yet, run `sleep 20` in bash and look again, \
90 times at most; then go on without it and say so in your answer.
- Act on a message first, then call ack_message for it.
- All of you work in the same folder: change only what your part needs, and read a file again before you edit it.
- Nobody can answer questions. Decide, and say what you assumed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A way of working together.

    Attributes:
        name: The prompt's name.
        title: The same for a person.
        description: What it is for.
        task: What the argument `task` has to say.
        roles: What the argument `roles` names.
        usual: The roles, where none are named.
        fewest: How many it takes at least.
        fleet: The agents, for a task and the roles.
    """

    name: str
    title: str
    description: str
    task: str
    roles: str
    usual: tuple[str, ...]
    fewest: int
    fleet: Callable[[str, Sequence[str]], list[AgentSpec]]


def listed() -> list[Prompt]:
    """The prompts as `prompts/list` tells of them."""
    return [
        Prompt(
            name=pattern.name,
            title=pattern.title,
            description=pattern.description,
            arguments=[
                PromptArgument(name="task", description=pattern.task, required=True),
                PromptArgument(
                    name="roles",
                    description=f"{pattern.roles}, separated by commas; '{', '.join(pattern.usual)}' if left out",
                    required=False,
                ),
            ],
        )
        for pattern in PATTERNS.values()
    ]


def filled_in(name: str, arguments: Mapping[str, str]) -> GetPromptResult:
    """A prompt's message, which has the model call spawn_fleet with the agents of the pattern.

    Raises:
        Invalid: There is no such prompt, or an argument is missing, unknown or can't be.
    """
    pattern = _pattern(name)
    for argument in arguments:
        if argument not in {"task", "roles"}:
            raise Invalid(f"{shown(argument)} is no argument of {name}, which takes task and roles")
    task = _checked_task(pattern, arguments.get("task"))
    agents = pattern.fleet(task, _checked_roles(pattern, arguments.get("roles")))
    call = json.dumps({"agents": agents_as_json(agents)}, ensure_ascii=False)
    text = (
        f"Call the meshfleet tool spawn_fleet once, with exactly these arguments:\n\n```json\n{call}\n```\n\n"
        "Then tell me the fleet_id. Follow the fleet with fleet_status; look into get_inbox with agent_id "
        "'orchestrator' now and then. When the fleet has ended, call collect_results and sum up what came out."
    )
    message = PromptMessage(role="user", content=TextContent(type="text", text=text))
    return GetPromptResult(description=pattern.description, messages=[message])


def complete(name: str, argument: str, typed: str) -> Completion:
    """What may be meant by the beginning of an argument: the usual roles.

    Raises:
        Invalid: There is no such prompt or argument.
    """
    pattern = _pattern(name)
    if argument not in {"task", "roles"}:
        raise Invalid(f"{shown(argument)} is no argument of {name}, which takes task and roles")
    return proposals([", ".join(pattern.usual)] if argument == "roles" else [], typed)


def _pipeline(task: str, roles: Sequence[str]) -> list[AgentSpec]:
    stations = " -> ".join(roles)
    return [
        AgentSpec(role, f"{_pipeline_part(place, roles)}\n\nThe pipeline: {stations}\nThe task:\n{task}{_TALK}")
        for place, role in enumerate(roles)
    ]


def _pipeline_part(place: int, roles: Sequence[str]) -> str:
    begin = (
        "Begin at once."
        if place == 0
        else f'Wait for the message of type "handoff" from {roles[place - 1]}; until then only read.'
    )
    end = (
        'Then send "orchestrator" a message of type "result" that says what came out, and end with the same.'
        if place == len(roles) - 1
        else f'Then send {roles[place + 1]} a message of type "handoff": what you did, what you found, which files '
        "matter, and what is left to do. End with the same."
    )
    return (
        f"You are {roles[place]}, station {place + 1} of {len(roles)} of a pipeline. Do the part of the task that is "
        f"yours by your name and place, and nothing of the others'. {begin} {end}"
    )


def _debate(task: str, roles: Sequence[str]) -> list[AgentSpec]:
    sides = ", ".join(roles)
    debaters = [
        AgentSpec(
            role,
            f"You are {role} in a debate of {sides}; the Judge decides. Argue the position that is yours by your name, "
            "as strongly as facts allow: look them up in this folder where it is about it, change nothing.\n"
            '1. Send "*" your case as a message of type "result": at most five points, each with its evidence.\n'
            "2. Read the cases of the others. Answer the strongest point of each with a message of type "
            '"question" or "result" to its author; grant what is right.\n'
            '3. Send the Judge a message of type "result" that begins with CLOSING: what stands, what you '
            f"granted. End with the same.\n\nThe question:\n{task}{_TALK}",
        )
        for role in roles
    ]
    judge = AgentSpec(
        "Judge",
        f"You are the Judge of a debate of {sides}. Take no side and change nothing.\n"
        '1. Read the cases as they come. Where evidence is missing, send its author a message of type "question"; '
        "check yourself what you can.\n"
        f"2. Wait for a message that begins with CLOSING from each of the {len(roles)}.\n"
        '3. Decide. Send "orchestrator" a message of type "result": the decision, the reasons that carried it, the '
        f"best point against it, and what would change it. End with the same.\n\nThe question:\n{task}{_TALK}",
    )
    return [*debaters, judge]


def _rescue(task: str, roles: Sequence[str]) -> list[AgentSpec]:
    workers = [
        AgentSpec(
            role,
            f"You are {role}. Do the part of the task that is yours by your name. A Rescuer stands by.\n"
            "1. Work until it is done, and check that it is.\n"
            "2. You are stuck when two attempts at the same thing did not help. Then send the Rescuer a message of "
            'type "request_help": what you tried, what happened word for word, what you believe. Go on with '
            "something else until the answer is in your inbox, and do what it says or write back what stands "
            "against it.\n"
            '3. At the end send "*" a message of type "result" that begins with DONE: what you did and what is left. '
            f"End with the same.\n\nThe task:\n{task}{_TALK}",
        )
        for role in roles
    ]
    rescuer = AgentSpec(
        "Rescuer",
        f"You are the Rescuer of {', '.join(roles)}. Do nothing of the task yourself until one of them is stuck.\n"
        "1. While you wait, read what the task is about. Change nothing.\n"
        '2. Leave a receipt "seen" on each message of type "request_help" at once. Reproduce the trouble, doubt what '
        'the sender believes, and narrow it down. Answer with type "result" and the request\'s id as '
        "correlation_id: the cause, the evidence, and what to do. Leave no request unanswered.\n"
        f"3. You are done when each of the {len(roles)} has sent a message that begins with DONE. Then send "
        '"orchestrator" a message of type "result": who was stuck on what, and why. End with the same.'
        f"\n\nThe task:\n{task}{_TALK}",
    )
    return [*workers, rescuer]


PATTERNS: Final[dict[str, Pattern]] = {
    pattern.name: pattern
    for pattern in (
        Pattern(
            name="pipeline",
            title="Pipeline",
            description="Agents work one after the other; each hands its findings to the next.",
            task="What is to be done, complete in itself",
            roles="The stations in order, 2 to 8",
            usual=("Explorer", "Analyst", "Engineer"),
            fewest=2,
            fleet=_pipeline,
        ),
        Pattern(
            name="debate",
            title="Debate",
            description="Agents argue for different positions, answer each other, and a Judge decides.",
            task="The question to decide, with what has to be known about it",
            roles="The positions or the debaters who hold them, 2 to 8",
            usual=("Advocate", "Skeptic"),
            fewest=2,
            fleet=_debate,
        ),
        Pattern(
            name="rescue",
            title="Rescue",
            description="Agents work side by side; a Rescuer steps in where one of them is stuck.",
            task="What is to be done, complete in itself",
            roles="Who does the work, 1 to 8",
            usual=("Fixer", "Second Fixer"),
            fewest=1,
            fleet=_rescue,
        ),
    )
}
_OWN_ROLES: Final = {"debate": "Judge", "rescue": "Rescuer"}
"""Who is part of a pattern anyway."""


def _pattern(name: str) -> Pattern:
    pattern = PATTERNS.get(name)
    if pattern is None:
        raise Invalid(f"there is no prompt {shown(name)}; there are {', '.join(PATTERNS)}")
    return pattern


def _checked_task(pattern: Pattern, task: str | None) -> str:
    if task is None:
        raise Invalid(f"task is missing; {pattern.name} needs it")
    if not task.strip():
        raise Invalid("task is blank; it has to say what the agents are to do")
    return checked_text("task", task, LONGEST_TASK).strip()


def _checked_roles(pattern: Pattern, given: str | None) -> list[str]:
    if given is None or not given.strip():
        return list(pattern.usual)
    roles = [role.strip() for role in given.split(",")]
    if not pattern.fewest <= len(roles) <= MOST_ROLES:
        raise Invalid(f"roles names {len(roles)}; {pattern.name} takes {pattern.fewest} to {MOST_ROLES}, by commas")
    for role in roles:
        if not role:
            raise Invalid("roles has nothing between two commas; leave one of them out")
        checked_name("roles", role)
        if roles.count(role) > 1 or role == _OWN_ROLES.get(pattern.name):
            raise Invalid(f"roles names {shown(role)} twice, or it is part of {pattern.name} anyway; name others")
    return roles
