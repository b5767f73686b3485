"""`meshfleet template`: the tools for templates as commands; the rules are those of `meshfleet.mesh.templates`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from meshfleet.cli.completion import known
from meshfleet.cli.helping import Command, Group
from meshfleet.cli.output import printable, say
from meshfleet.cli.parameters import Json, TemplateName, TemplateVersion
from meshfleet.cli.paths import without_dots, working_folder
from meshfleet.cli.wording import fitted, terminal_width
from meshfleet.errors import Invalid
from meshfleet.mesh.texts import counted
from meshfleet.settings import Settings

if TYPE_CHECKING:
    from meshfleet.ledger import Ledger
    from meshfleet.mesh.specs import AgentSpec

STANDARD_INPUT: Final = "-"

app = typer.Typer(
    name="template",
    cls=Group,
    help="Keep fleets as templates, share them as files, and start them again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(cls=Command, name="list", short_help="Every version of every template")
def list_(*, as_json: Json = False) -> None:
    """Every version of every template."""
    from meshfleet.mesh.templates import list_fleet_templates

    with _ledger() as ledger:
        found = list_fleet_templates(ledger)
    _print(found, _table(found["templates"]), as_json=as_json)


@app.command(cls=Command, short_help="A template's agents with their prompts")
def show(name: TemplateName, version: TemplateVersion = None, *, as_json: Json = False) -> None:
    """A template's agents with their prompts."""
    from meshfleet.mesh.templates import get_fleet_template, specs_of_template

    with _ledger() as ledger:
        found = get_fleet_template(ledger, name, version)
    lines = () if as_json else _details(found["template"], specs_of_template(found["template"]))
    _print(found, lines, as_json=as_json)


@app.command(cls=Command, short_help="Save agents as a new version of a template")
def save(
    name: TemplateName,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="JSON: an array of {role, prompt, agent?, start?, after?, wake?}, or {agents, description}; "
            "- reads stdin.",
        ),
    ],
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """Save agents as a new version of a template."""
    from meshfleet.mesh.templates import TemplateDraft, save_fleet_template

    agents, described = _agents_from(file)
    draft = TemplateDraft(name, agents, described if description is None else description)
    with _ledger() as ledger:
        saved = save_fleet_template(ledger, draft)
    _print(saved, [f"saved {_sized(saved['template'])}"], as_json=as_json)


@app.command(cls=Command, short_help="Delete a version of a template, or all of it")
def delete(
    name: TemplateName,
    version: Annotated[
        int | None,
        typer.Option(
            "--version", metavar="N", min=1, help="One version; by default all.", autocompletion=known.versions
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Delete a version of a template, or all of it."""
    from meshfleet.mesh.templates import delete_fleet_template

    with _ledger() as ledger:
        gone = delete_fleet_template(ledger, name, version)
    _print(gone, [f"deleted {name}@v{number}" for number in gone["deleted"]], as_json=as_json)


@app.command(cls=Command, short_help="Write a template to a file that others can import")
def export(
    name: TemplateName,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to; only an exported template is replaced.")],
    version: TemplateVersion = None,
    *,
    as_json: Json = False,
) -> None:
    """Write a template to a file that others can import."""
    from meshfleet.mesh.template_files import export_fleet_template

    with _ledger() as ledger:
        written = export_fleet_template(ledger, name, without_dots(file), version, cwd=working_folder())
    _print(written, [f"wrote {name}@v{written['version']} to {written['file_path']}"], as_json=as_json)


@app.command(cls=Command, name="import", short_help="Save the template in a file")
def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What meshfleet template export wrote.")],
    rename: Annotated[
        str | None, typer.Option("--rename", metavar="NAME", help="Save it under this name, as a new version of it.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Save the template in a file; a name that is taken gets the time as a suffix."""
    from meshfleet.mesh.template_files import import_fleet_template

    with _ledger() as ledger:
        saved = import_fleet_template(ledger, without_dots(file), rename, cwd=working_folder())
    _print(saved, [f"imported {_sized(saved['template'])}"], as_json=as_json)


@app.command(cls=Command, short_help="Start a fleet of a template's agents in this folder")
def spawn(name: TemplateName, version: TemplateVersion = None, *, as_json: Json = False) -> None:
    """Start a fleet of a template's agents in this folder; where no server runs, this supervises them.

    Exit code: 0; 1 when it was refused, or the fleet ended here and failed.
    """
    from meshfleet.cli.spawning import spawn_template

    raise typer.Exit(spawn_template(name, version, as_json=as_json))


@contextmanager
def _ledger() -> Generator[Ledger]:
    from meshfleet.ledger import Ledger

    ledger = Ledger.from_settings(Settings.from_environ(os.environ))
    try:
        yield ledger
    finally:
        ledger.close()


def _agents_from(file: str) -> tuple[list[AgentSpec], str]:
    from meshfleet.mesh.template_files import LARGEST_FILE, read_agents_file, read_agents_json

    if file != STANDARD_INPUT:
        return read_agents_file(without_dots(file), cwd=working_folder())
    if sys.stdin is None:
        raise Invalid("standard input is closed; name a file to read the agents from")
    try:
        return read_agents_json(sys.stdin.buffer.read(LARGEST_FILE + 1))
    except Invalid as error:
        raise Invalid(f"standard input holds no agents: {error}") from None


def _print(found: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(found))
    else:
        for line in lines:
            say(printable(line))


def _sized(template: dict[str, Any]) -> str:
    return f"{template['name']}@v{template['version']}: {counted(len(template['agents']), 'agents')}"


def _table(templates: list[dict[str, Any]]) -> Iterable[str]:
    if not templates:
        return ["no templates yet; save one with meshfleet template save NAME FILE"]
    rows = [(_sized(template), _time(template), _first_line(template)) for template in templates]
    width = max(len(name) for name, _, _ in rows)
    columns = terminal_width()
    beginnings = [(f"{name:{width}}  {time}  ", printable(line)) for name, time, line in rows]
    return [
        (beginning + (line if columns is None else fitted(line, columns - len(beginning)))).rstrip()
        for beginning, line in beginnings
    ]


def _details(template: dict[str, Any], specs: list[AgentSpec]) -> Iterable[str]:
    yield f"{_sized(template)}, saved {_time(template)}"
    if template["description"]:
        yield str(template["description"])
    for spec in specs:
        premade = "" if spec.agent is None else f" (premade agent {spec.agent})"
        yield f"\n{spec.role}{premade}"
        yield "\n".join(f"  {line}".rstrip() for line in spec.prompt.splitlines())


def _time(template: dict[str, Any]) -> str:
    try:
        moment = datetime.fromtimestamp(template["created_at"] / 1000, UTC).astimezone()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):  # another program wrote it
        return "at an unknown time"
    return f"{moment:%Y-%m-%d %H:%M}"


def _first_line(template: dict[str, Any]) -> str:
    return next(iter(str(template["description"] or "").splitlines()), "")
