"""Arguments and options that several commands have: the same name means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from meshfleet.cli.completion import known

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
Fleet = Annotated[
    str,
    typer.Argument(
        metavar="FLEET", help="A fleet's id; a beginning that only it has will do.", autocompletion=known.fleets
    ),
]
Agent = Annotated[
    str,
    typer.Argument(
        metavar="AGENT", help="An agent's id; a beginning that only it has will do.", autocompletion=known.agents
    ),
]
LedgerFile = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", readable=False, help="The ledger; by default that of MESHFLEET_DATA_FILE."),
]
TemplateName = Annotated[
    str, typer.Argument(metavar="NAME", help="The template's name.", autocompletion=known.templates)
]
TemplateVersion = Annotated[
    int | None,
    typer.Option(
        "--version",
        metavar="N",
        min=1,
        help="Which version of the template; by default the latest.",
        autocompletion=known.versions,
    ),
]

_ID = "The id of a fleet or an agent; a beginning that only it has will do."
Cancellable = Annotated[str, typer.Argument(metavar="ID", help=_ID, autocompletion=known.at_work)]
Resumable = Annotated[str, typer.Argument(metavar="ID", help=_ID, autocompletion=known.resumable)]
