"""The tools that keep fleets as templates, move them between machines and start them again."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from meshfleet.mesh.template_files import export_fleet_template, import_fleet_template
from meshfleet.mesh.templates import (
    MOST_AGENTS,
    TEMPLATE_NAME,
    TemplateDraft,
    agents_as_json,
    delete_fleet_template,
    get_fleet_template,
    list_fleet_template_versions,
    list_fleet_templates,
    save_fleet_template,
    specs_of_template,
)
from meshfleet.server.tool import Arguments, Context, JsonObject, NoArguments, Tool
from meshfleet.server.tools.fleets import DescribedAgent, specs_of, start_fleet
from meshfleet.server.tools.schemas import FLAG, NUMBER, TEXT, TEXT_OR_NULL, TIME, array, record

# the rule refuses what a model does in spite of these, in words that say what would be right
_NAME_FORM = {"pattern": f"^{TEMPLATE_NAME.pattern}$"}
TemplateName = Annotated[str, Field(description="Name of the template")]
Version = Annotated[int | None, Field(description="Which version; the latest if left out", ge=1)]

TEMPLATE = record(
    {"name": TEXT, "agents": array({"type": "object"}), "version": NUMBER},
    {"description": TEXT_OR_NULL, "created_at": TIME},
)
SPEC = record(
    {
        "agents": array(
            record(
                {"role": TEXT, "prompt": TEXT},
                {"agent": TEXT, "start": TEXT, "after": array(TEXT), "wake": FLAG},
            )
        )
    }
)


class SaveFleetTemplate(Arguments):
    """Arguments of save_fleet_template."""

    name: Annotated[str, Field(description="Its name", json_schema_extra=_NAME_FORM)]
    agents: Annotated[
        list[DescribedAgent],
        Field(description="The agents, as for spawn_fleet", min_length=1, json_schema_extra={"maxItems": MOST_AGENTS}),
    ]
    description: Annotated[str | None, Field(description="What it is for")] = None


class OfTemplate(Arguments):
    """Arguments of tools about one template."""

    name: TemplateName


class OfTemplateVersion(Arguments):
    """Arguments of tools about one version of a template."""

    name: TemplateName
    version: Version = None


class DeleteFleetTemplate(Arguments):
    """Arguments of delete_fleet_template."""

    name: TemplateName
    version: Annotated[int | None, Field(description="Which version; all of them if left out", ge=1)] = None


class ExportFleetTemplate(Arguments):
    """Arguments of export_fleet_template."""

    name: TemplateName
    file_path: Annotated[str, Field(description="The file to write, absolute or relative to this folder")]
    version: Version = None


class ImportFleetTemplate(Arguments):
    """Arguments of import_fleet_template."""

    file_path: Annotated[str, Field(description="The file to read, absolute or relative to this folder")]
    rename: Annotated[
        str | None,
        Field(
            description="Name to save it under, a new version if that exists; its own if left out",
            json_schema_extra=_NAME_FORM,
        ),
    ] = None


class SpawnFromTemplate(Arguments):
    """Arguments of spawn_from_template."""

    name: TemplateName
    version: Version = None
    spawn: Annotated[bool, Field(description="Start the fleet too")] = False


def _save(context: Context, arguments: SaveFleetTemplate) -> JsonObject:
    draft = TemplateDraft(arguments.name, specs_of(arguments.agents), arguments.description or "")
    return save_fleet_template(context.ledger, draft)


def _export(context: Context, arguments: ExportFleetTemplate) -> JsonObject:
    name, file_path, version = arguments.name, arguments.file_path, arguments.version
    return export_fleet_template(context.ledger, name, file_path, version, cwd=context.cwd)


def _import(context: Context, arguments: ImportFleetTemplate) -> JsonObject:
    return import_fleet_template(context.ledger, arguments.file_path, arguments.rename, cwd=context.cwd)


def _spawn(context: Context, arguments: SpawnFromTemplate) -> JsonObject:
    template = get_fleet_template(context.ledger, arguments.name, arguments.version)["template"]
    specs = specs_of_template(template)
    spec = {"spec": {"agents": agents_as_json(specs)}}
    return spec | start_fleet(context, specs) if arguments.spawn else spec


SAVE_FLEET_TEMPLATE = Tool(
    name="save_fleet_template",
    description=(
        "Keep a fleet's agents under a name, to start them again later with spawn_from_template. Every save is a new "
        "version; none is overwritten."
    ),
    arguments=SaveFleetTemplate,
    result=record({"template": TEMPLATE}),
    call=_save,
)

LIST_FLEET_TEMPLATES = Tool(
    name="list_fleet_templates",
    description="Every version of every template with its agents, by name.",
    arguments=NoArguments,
    result=record({"templates": array(TEMPLATE)}),
    call=lambda context, _: list_fleet_templates(context.ledger),
    read_only=True,
)

GET_FLEET_TEMPLATE = Tool(
    name="get_fleet_template",
    description="One template: its description and its agents with their prompts.",
    arguments=OfTemplateVersion,
    result=record({"template": TEMPLATE}),
    call=lambda context, arguments: get_fleet_template(context.ledger, arguments.name, arguments.version),
    read_only=True,
)

LIST_FLEET_TEMPLATE_VERSIONS = Tool(
    name="list_fleet_template_versions",
    description="Every version of one template, oldest first.",
    arguments=OfTemplate,
    result=record({"name": TEXT, "versions": array(TEMPLATE)}),
    call=lambda context, arguments: list_fleet_template_versions(context.ledger, arguments.name),
    read_only=True,
)

DELETE_FLEET_TEMPLATE = Tool(
    name="delete_fleet_template",
    description=(
        "Delete a version of a template, or all of it. It can't be undone; fleets started from it go on. Returns the "
        "deleted versions, whose numbers are not used again."
    ),
    arguments=DeleteFleetTemplate,
    result=record({"name": TEXT, "deleted": array(NUMBER)}),
    call=lambda context, arguments: delete_fleet_template(context.ledger, arguments.name, arguments.version),
    destructive=True,
)

EXPORT_FLEET_TEMPLATE = Tool(
    name="export_fleet_template",
    description=(
        "Write a template to a JSON file, to share it or keep it with a project. Replaces nothing but another exported "
        "template."
    ),
    arguments=ExportFleetTemplate,
    result=record({"name": TEXT, "version": NUMBER, "file_path": TEXT}),
    call=_export,
)

IMPORT_FLEET_TEMPLATE = Tool(
    name="import_fleet_template",
    description=(
        "Read a template from a file that export_fleet_template wrote. A name that exists gets the time as a suffix; "
        "use the name in the result."
    ),
    arguments=ImportFleetTemplate,
    result=record({"template": TEMPLATE}),
    call=_import,
)

SPAWN_FROM_TEMPLATE = Tool(
    name="spawn_from_template",
    description=(
        "The agents of a template as spec, ready for spawn_fleet, to be looked at or changed first. With spawn true it "
        "also starts them and returns fleet_id and agent_ids, as spawn_fleet does."
    ),
    arguments=SpawnFromTemplate,
    result=record({"spec": SPEC}, {"fleet_id": TEXT, "agent_ids": array(TEXT)}),
    call=_spawn,
    open_world=True,
)
