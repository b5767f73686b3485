"""Templates: the agents of a fleet, kept under a name to be spawned again; every save is a new version.

Starting them is the business of `meshfleet.mesh.fleets`, files of templates that of `meshfleet.mesh.template_files`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger, Transaction, View
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.specs import AgentSpec, check_spec, order_of
from meshfleet.mesh.texts import checked_text, shown
from meshfleet.model import Row, Start, now_ms

MOST_AGENTS: Final = 32
"""Agents of a template."""
LONGEST_TEMPLATE_NAME: Final = 64
"""Characters of a template's name."""
TEMPLATE_NAME: Final = re.compile(rf"[a-z0-9_-]{{1,{LONGEST_TEMPLATE_NAME}}}")
"""What the whole of a template's name has to match."""
LONGEST_DESCRIPTION: Final = 65_536
"""Bytes of a template's description."""
LARGEST_TEMPLATE: Final = 1_048_576 - 16_384
"""Bytes of a template's agents and description as JSON; what a file has beside them still fits into 1 MiB."""

_AGENT_FIELDS: Final = ("role", "prompt", "agent", "start", "after", "wake")
_KNOWN_SHOWN: Final = 80
"""Characters of the versions there are that a refusal shows, the latest ones."""
_HIGHEST: Final = "highest_version"
"""Field of a row that outlived a newer version of its name: the number of that one, never to be given again."""
_DELETED: Final = "deleted_at"
"""Field of the row that keeps the number where no version is left; v0.9.0 sees a template without agents."""


@dataclass(frozen=True, slots=True)
class TemplateDraft:
    """A template that is to be saved.

    Attributes:
        name: 1 to 64 of a-z, 0-9, `_` and `-`.
        agents: The agents of its fleets, 1 to 32.
        description: What it is for.
    """

    name: str
    agents: Sequence[AgentSpec]
    description: str = ""


def save_fleet_template(ledger: Ledger, draft: TemplateDraft) -> dict[str, Any]:
    """Store a template as a new version of its name: one more than the highest there ever was.

    Raises:
        Invalid: The draft says what it can't; nothing is written.
    """
    _check_draft(draft)

    def rule(transaction: Transaction) -> Row:
        row = _add_version(transaction, draft)
        transaction.event(
            "template_saved", template=row["name"], version=row["version"], agent_count=len(row["agents"])
        )
        return row

    return {"template": ledger.transact(rule)}


def save_imported_template(
    ledger: Ledger, draft: TemplateDraft, *, rename: str | None = None, source: str
) -> dict[str, Any]:
    """Store a template that came from elsewhere; a name that is taken gets the time as a suffix.

    Args:
        ledger: Where it is written.
        draft: The template as it came.
        rename: The name to store it under instead, where it becomes one more version if there is one already.
        source: Where it came from, for the event log.

    Raises:
        Invalid: The draft or the new name can't be; nothing is written.
    """
    if rename is not None:
        check_template_name("rename", rename)
        draft = TemplateDraft(rename, draft.agents, draft.description)
    _check_draft(draft)

    def rule(transaction: Transaction) -> Row:
        name = draft.name if rename is not None else _free_name(transaction, draft.name)
        row = _add_version(transaction, TemplateDraft(name, draft.agents, draft.description))
        transaction.event("template_imported", template=name, version=row["version"], source=source)
        return row

    return {"template": ledger.transact(rule)}


def list_fleet_templates(ledger: Ledger) -> dict[str, Any]:
    """Every version of every template, by name and then by version."""

    def query(view: View) -> dict[str, Any]:
        rows = sorted(_standing(view), key=lambda row: (row["name"], row["version"]))
        return {"templates": [_told(row) for row in rows]}

    return ledger.read(query)


def get_fleet_template(ledger: Ledger, name: str, version: int | None = None) -> dict[str, Any]:
    """One version of a template; the latest without a number.

    Raises:
        NotFound: There is no such template, or no such version of it.
    """
    return ledger.read(lambda view: {"template": _told(_require_version(view, name, version))})


def list_fleet_template_versions(ledger: Ledger, name: str) -> dict[str, Any]:
    """Every version of one template, oldest first.

    Raises:
        NotFound: There is no such template.
    """
    return ledger.read(lambda view: {"name": name, "versions": [_told(row) for row in _require_template(view, name)]})


def delete_fleet_template(ledger: Ledger, name: str, version: int | None = None) -> dict[str, Any]:
    """Remove one version of a template, or all without a number; returns which. Their numbers never come back.

    Raises:
        NotFound: There is no such template, or no such version of it.
    """

    def rule(transaction: Transaction) -> list[int]:
        versions = _require_template(transaction, name)
        gone = versions if version is None else [_require_version(transaction, name, version)]
        highest = _highest_version(transaction, name)
        for row in gone:
            transaction.drop("templates", _key(name, row["version"]))
        _keep_number(transaction, name, highest)
        numbers = [row["version"] for row in gone]
        transaction.event("template_deleted", template=name, versions=numbers)
        return numbers

    return {"name": name, "deleted": ledger.transact(rule)}


def specs_of_template(template: Row) -> list[AgentSpec]:
    """The agents of a stored template, ready to be spawned.

    Raises:
        Invalid: Another program stored agents that can't be.
    """
    try:
        specs = read_agents(template["agents"])
        _check_agents(specs)
    except Invalid as error:
        raise Invalid(
            f"name is {shown(template['name'])}, whose version {template['version']} is damaged: {error}; save it anew"
        ) from None
    return specs


def specs_of_fleet(view: View, fleet_id: str) -> list[AgentSpec]:
    """The agents of a fleet that is there, as a template keeps them: without models, folders and variables.

    Raises:
        NotFound: There is no such fleet.
    """
    require_fleet(view, fleet_id)
    agents = view.agents_of(fleet_id)
    roles = {agent["id"]: agent["role"] for agent in agents}
    return [
        AgentSpec(
            agent["role"],
            agent["prompt"],
            agent.get("agent_file"),
            start=agent.get("start", Start.NOW),
            after=tuple(roles[before] for before in agent.get("after", ()) if before in roles),
            wake=agent.get("wake") is True,
        )
        for agent in agents
    ]


def is_standing(template: Row) -> bool:
    """Whether a row is a version there is; one of another program may have a number that is none."""
    return type(template["version"]) is int and _DELETED not in template


def read_agents(value: object) -> list[AgentSpec]:
    """The agents in a JSON value from outside: an array of `{role, prompt, agent?}`.

    Raises:
        Invalid: It has another form.
    """
    if not isinstance(value, list):
        raise Invalid(f"agents is {shown(value)}; it has to be an array")
    _check_count(len(value))
    return [_read_agent(f"agents[{place}]", agent) for place, agent in enumerate(value)]


def agents_as_json(specs: Iterable[AgentSpec]) -> list[Row]:
    """The agents as a template's row, a file and spawn_fleet have them."""
    return [_as_json(spec) for spec in specs]


def _as_json(spec: AgentSpec) -> Row:
    row: Row = {"role": spec.role, "prompt": spec.prompt}
    if spec.agent is not None:
        row["agent"] = spec.agent
    if spec.start != Start.NOW:
        row["start"] = str(spec.start)
    if spec.after:
        row["after"] = list(spec.after)
    return row | ({"wake": True} if spec.wake else {})


def check_template_name(argument: str, name: str) -> None:
    """Refuse a name no template can have.

    Raises:
        Invalid: It is not 1 to 64 of a-z, 0-9, `_` and `-`.
    """
    if not TEMPLATE_NAME.fullmatch(name):
        raise Invalid(
            f"{argument} is {shown(name)}; it has to be 1 to {LONGEST_TEMPLATE_NAME} of a-z, 0-9, '_' and '-'"
        )


def _check_draft(draft: TemplateDraft) -> None:
    check_template_name("name", draft.name)
    checked_text("description", draft.description, LONGEST_DESCRIPTION)
    _check_agents(draft.agents)
    told = [agents_as_json(draft.agents), draft.description]
    size = len(json.dumps(told, ensure_ascii=False).encode())
    if size > LARGEST_TEMPLATE:
        raise Invalid(
            f"agents has, with the description, {size} bytes as JSON; at most {LARGEST_TEMPLATE} are possible: let the "
            "prompts name files to read"
        )


def _check_agents(specs: Sequence[AgentSpec]) -> None:
    _check_count(len(specs))
    for place, spec in enumerate(specs):
        check_spec(spec, f"agents[{place}].")
    order_of(specs)


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST_AGENTS:
        raise Invalid(f"agents has {count} entries; a template has 1 to {MOST_AGENTS} agents")


def _read_agent(place: str, value: object) -> AgentSpec:
    if not isinstance(value, dict):
        raise Invalid(f"{place} is {shown(value)}; it has to be an object")
    for key in value:
        if key not in _AGENT_FIELDS:
            raise Invalid(f"{place} has the unknown key {shown(key)}; an agent has {', '.join(_AGENT_FIELDS)}")
    for field in ("role", "prompt"):
        if field not in value:
            raise Invalid(f"{place}.{field} is missing; every agent needs one")
    for field in ("role", "prompt", "agent", "start"):
        text = value.get(field, "")
        if not (isinstance(text, str) or (text is None and field == "agent")):
            raise Invalid(f"{place}.{field} is {shown(text)}; it has to be a string")
    after, wake = value.get("after", []), value.get("wake", False)
    if not (isinstance(after, list) and all(isinstance(role, str) for role in after)):
        raise Invalid(f"{place}.after is {shown(after)}; it has to be an array of roles")
    if not isinstance(wake, bool):
        raise Invalid(f"{place}.wake is {shown(wake)}; it has to be true or false")
    start = value.get("start", Start.NOW)
    return AgentSpec(value["role"], value["prompt"], value.get("agent"), start=start, after=tuple(after), wake=wake)


def _key(name: str, version: int) -> str:
    return f"{name}@v{version}"


def _told(row: Row) -> Row:
    """A row as callers see it, whoever wrote it."""
    told = {field: value for field, value in row.items() if field != _HIGHEST}
    told.setdefault("description", "")
    return told


def _standing(view: View) -> Iterable[Row]:
    return filter(is_standing, view.rows("templates"))


def _require_template(view: View, name: str) -> list[Row]:
    versions = sorted((row for row in _standing(view) if row["name"] == name), key=lambda row: row["version"])
    if not versions:
        raise NotFound(f"name {shown(name)} is no template; list_fleet_templates lists them")
    return versions


def _require_version(view: View, name: str, version: int | None) -> Row:
    versions = _require_template(view, name)
    if version is None:
        return versions[-1]
    for row in versions:
        if row["version"] == version:
            return row
    known = ", ".join(str(row["version"]) for row in versions)
    those = "its only version is" if len(versions) == 1 else "its versions are"
    raise NotFound(f"version {shown(version)} of {shown(name)} does not exist; {those} {_shortened(known)}")


def _shortened(known: str) -> str:
    return known if len(known) <= _KNOWN_SHOWN else f"... {known[-_KNOWN_SHOWN:].partition(' ')[2]}"


def _highest_version(view: View, name: str) -> int:
    """The highest number the name ever had; 0 when it never had one."""
    rows = [row for row in view.rows("templates") if row["name"] == name and type(row["version"]) is int]
    return max((max(row["version"], row.get(_HIGHEST, 0)) for row in rows), default=0)


def _add_version(transaction: Transaction, draft: TemplateDraft) -> Row:
    highest = _highest_version(transaction, draft.name)
    last = transaction.get("templates", _key(draft.name, highest))
    if last is not None and _DELETED in last:
        transaction.drop("templates", _key(draft.name, highest))
    row: Row = {
        "name": draft.name,
        "description": draft.description,
        "agents": agents_as_json(draft.agents),
        "created_at": now_ms(),
        "version": highest + 1,
    }
    transaction.put("templates", _key(draft.name, highest + 1), row)
    return row


def _keep_number(transaction: Transaction, name: str, highest: int) -> None:
    """Have the ledger remember the highest number of a name whose newest version may just have been dropped.

    The newest version that is left carries it, so that v0.9.0 goes on seeing that one as the latest; only where none
    is left a row without agents does.
    """
    if _highest_version(transaction, name) == highest:
        return
    left = [row for row in _standing(transaction) if row["name"] == name]
    if left:
        newest = max(left, key=lambda row: row["version"])
        transaction.put("templates", _key(name, newest["version"]), {**newest, _HIGHEST: highest})
    else:
        now = now_ms()
        row = {"name": name, "description": "deleted", "agents": [], "created_at": now, "version": highest}
        transaction.put("templates", _key(name, highest), {**row, _DELETED: now})


def _free_name(view: View, name: str) -> str:
    """The name, or if it is taken the name with the time as a suffix, cut to what a name may have."""
    taken = {row["name"] for row in _standing(view)}
    now, free = now_ms(), name
    while free in taken:
        moment = datetime.fromtimestamp(now // 1000, UTC)
        suffix = f"-{moment:%Y-%m-%dt%H-%M-%S}-{now % 1000:03}z"
        free = name[: LONGEST_TEMPLATE_NAME - len(suffix)] + suffix
        now += 1
    return free
