"""What `meshfleet spawn` starts: the fleet in a file or a template, checked as what spawn_fleet is given."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from meshfleet.cli.paths import without_dots, working_folder
from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.specs import AgentSpec, FleetOptions
from meshfleet.mesh.template_files import LARGEST_FILE, exported_agents, read_json, read_json_file
from meshfleet.mesh.templates import TEMPLATE_NAME, get_fleet_template, specs_of_template
from meshfleet.mesh.texts import shown
from meshfleet.server.refusals import wrong_arguments
from meshfleet.server.tools.fleets import SpawnFleet, SpawnSubfleet, options_of, specs_of

STANDARD_INPUT: Final = "-"


@dataclass(frozen=True, slots=True)
class AskedFleet:
    """A fleet that somebody wants started.

    Attributes:
        specs: Its agents.
        options: What holds for it.
    """

    specs: list[AgentSpec]
    options: FleetOptions


def asked_fleet(ledger: Ledger, source: str, version: int | None, *, by_agent: bool) -> AskedFleet:
    """The fleet a person names: `-`, the name of a template that there is, or else a file.

    Args:
        ledger: Where templates are.
        source: What it is named by.
        version: Of the template, else the latest; then it can be nothing else.
        by_agent: Whether an agent asks, whose fleet may do no more than itself.

    Raises:
        Invalid: What is there is no fleet.
        NotFound: Nothing is there.
        Unavailable: It can't be read.
    """
    if source == STANDARD_INPUT and version is None:
        return _fleet_on_stdin(by_agent=by_agent)
    if version is not None or _is_template(ledger, source):
        template = get_fleet_template(ledger, source, version)["template"]
        return AskedFleet(specs_of_template(template), FleetOptions())
    path = without_dots(source)
    try:
        value = read_json_file(path, cwd=working_folder())
    except NotFound:
        hint = "; meshfleet template list lists the templates" if TEMPLATE_NAME.fullmatch(source) else ""
        raise NotFound(f"{shown(source)} is neither a template nor a file{hint}") from None
    try:
        return fleet_in(value, by_agent=by_agent)
    except Invalid as error:
        raise Invalid(f"{shown(path)} holds no fleet: {error}") from None


def fleet_in(value: object, *, by_agent: bool) -> AskedFleet:
    """The fleet in a JSON value: spawn_fleet's arguments, its agents alone, or an exported template.

    A folder of an agent may be relative to this one, and a description is for those who read the file.

    Raises:
        Invalid: There is none.
    """
    exported = exported_agents(value)
    if exported is not None:
        return AskedFleet(exported, FleetOptions())
    if isinstance(value, list):
        value = {"agents": value}
    if not isinstance(value, dict):
        raise Invalid(f"it is {shown(value)}; it has to be an array of agents, or an object with agents")
    asked = {name: given for name, given in value.items() if name != "description"}
    if isinstance(asked.get("agents"), list):
        asked["agents"] = [_in_this_folder(agent) for agent in asked["agents"]]
    form: type[SpawnFleet | SpawnSubfleet] = SpawnSubfleet if by_agent else SpawnFleet
    try:
        arguments = form.model_validate(asked)
    except ValidationError as error:
        raise Invalid(wrong_arguments("a fleet", [*form.model_fields], error)) from None
    return AskedFleet(specs_of(arguments.agents), options_of(arguments))


def _fleet_on_stdin(*, by_agent: bool) -> AskedFleet:
    if sys.stdin is None:
        raise Invalid("standard input is closed; name a file or a template")
    try:
        return fleet_in(read_json(sys.stdin.buffer.read(LARGEST_FILE + 1)), by_agent=by_agent)
    except Invalid as error:
        raise Invalid(f"standard input holds no fleet: {error}") from None


def _is_template(ledger: Ledger, name: str) -> bool:
    if TEMPLATE_NAME.fullmatch(name) is None:
        return False
    try:
        get_fleet_template(ledger, name)
    except NotFound:
        return False
    return True


def _in_this_folder(agent: Any) -> Any:
    folder = agent.get("cwd") if isinstance(agent, dict) else None
    if not isinstance(folder, str) or not folder or Path(folder).is_absolute():
        return agent
    return {**agent, "cwd": os.path.normpath(working_folder() / folder)}
