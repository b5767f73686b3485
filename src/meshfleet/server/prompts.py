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
from meshfleet.model import Start
from meshfleet.server.resources import proposals

LONGEST_TASK: Final = 65_536
"""Bytes of a task; every agent's prompt holds it once."""
MOST_ROLES: Final = 8
"""Roles that may be named."""

_TALK: Final = """

How to work with your peers
- Who your peers are is in the meshfleet instructions of your system prompt; in calls their roles are enough.
- To wait for a message, call wait_for_messages, and again while timed_out is true, 40 times at most; then go on \
without it and say so in your answer. Never sleep and look again.
- What started or woke you stands at the end of your prompt. Act on a message first, then call ack_message for it.
- All of you work in the same folder: change only what your part needs, and read a file again before you edit it.
- Nobody else can answer questions. Decide, and say what you assumed."""


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
        "Then call wait with its fleet_id, and again while timed_out is true: the fleet runs itself, and needs nothing "
        "of you meanwhile. When it has ended, call collect_results and sum up what came out."
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
        AgentSpec(
            role,
            f"{_pipeline_part(place, roles)}\n\nThe pipeline: {stations}\nThe task:\n{task}{_TALK}",
            start=Start.NOW if place == 0 else Start.ON_MESSAGE,
            wake=place < len(roles) - 1,
        )
        for place, role in enumerate(roles)
    ]


def _pipeline_part(place: int, roles: Sequence[str]) -> str:
    before = roles[place - 1]
    begin = (
        "Begin at once."
        if place == 0
        else f'You begin with the message of type "handoff" from {before}, which started you. Where it leaves open '
        f'what you can\'t read off, send {before} a message of type "question" and wait for the answer.'
    )
    end = (
        'Then send "orchestrator" a message of type "result" that says what came out, and end with the same.'
        if place == len(roles) - 1
        else f'Then send {roles[place + 1]} a message of type "handoff": what you did, what you found, which files '
        "matter, and what is left to do. End with the same; don't wait. A question of a later station wakes you: "
        'answer it with type "result", its id as correlation_id.'
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
            f"1. Send your case to {_listed([other for other in roles if other != role])} as a message of type "
            '"result": at most five points, each with its evidence.\n'
            "2. Wait for the cases of the others. Answer the strongest point of each with a message of type "
            '"result" to its author, its id as correlation_id; grant what is right.\n'
            "3. Wait for their answers to your case, then end with CLOSING: your case with its evidence, what stands, "
            "what you granted. The Judge is given your last words, and nothing else.\n"
            '4. A question of the Judge wakes you: answer it with type "result", its id as correlation_id, and end '
            f"with your CLOSING as it stands then.\n\nThe question:\n{task}{_TALK}",
            wake=True,
        )
        for role in roles
    ]
    judge = AgentSpec(
        "Judge",
        f"You are the Judge of a debate of {sides}. Take no side and change nothing.\n"
        f"1. You are started when all {len(roles)} have ended; what each of them said last is at the end of your "
        "prompt. Check yourself what the case hangs on.\n"
        '2. Where evidence is missing, send its author a message of type "question", which wakes it, and wait for '
        "the answer. One question to each, at most.\n"
        '3. Decide. Send "orchestrator" a message of type "result": the decision, the reasons that carried it, the '
        f"best point against it, and what would change it. End with the same.\n\nThe question:\n{task}{_TALK}",
        after=tuple(roles),
    )
    return [*debaters, judge]


def _listed(roles: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(roles[:-1]), roles[-1])))


def _rescue(task: str, roles: Sequence[str]) -> list[AgentSpec]:
    workers = [
        AgentSpec(
            role,
            f"You are {role}. Do the part of the task that is yours by your name. A Rescuer comes when you call.\n"
            "1. Work until it is done, and check that it is.\n"
            "2. You are stuck when two attempts at the same thing did not help. Then send the Rescuer a message of "
            'type "request_help": what you tried, what happened word for word, what you believe. Wait for the '
            "answer with the request's id as correlation_id, and do what it says or write back what stands against "
            "it.\n"
            '3. At the end send "orchestrator" a message of type "result": what you did and what is left. '
            f"End with the same.\n\nThe task:\n{task}{_TALK}",
        )
        for role in roles
    ]
    rescuer = AgentSpec(
        "Rescuer",
        f"You are the Rescuer of {', '.join(roles)}. You are started when one of them is stuck, and woken when one is "
        "again.\n"
        '1. Take each message of type "request_help" at the end of your prompt. Reproduce the trouble, doubt what '
        'the sender believes, and narrow it down. Answer with type "result" and the request\'s id as '
        "correlation_id: the cause, the evidence, and what to do. Leave no request unanswered.\n"
        "2. Change nothing yourself. End by saying who was stuck on what, and why; don't wait for more."
        f"\n\nThe task:\n{task}{_TALK}",
        start=Start.ON_MESSAGE,
        wake=True,
    )
    return [*workers, rescuer]


PATTERNS: Final[dict[str, Pattern]] = {
    pattern.name: pattern
    for pattern in (
        Pattern(
            name="pipeline",
            title="Pipeline",
            description="Agents work one after the other; each is started by what the one before hands over.",
            task="What is to be done, complete in itself",
            roles="The stations in order, 2 to 8",
            usual=("Explorer", "Analyst", "Engineer"),
            fewest=2,
            fleet=_pipeline,
        ),
        Pattern(
            name="debate",
            title="Debate",
            description="Agents argue for different positions and answer each other; then a Judge starts and decides.",
            task="The question to decide, with what has to be known about it",
            roles="The positions or the debaters who hold them, 2 to 8",
            usual=("Advocate", "Skeptic"),
            fewest=2,
            fleet=_debate,
        ),
        Pattern(
            name="rescue",
            title="Rescue",
            description="Agents work side by side; a Rescuer starts once one of them is stuck.",
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
