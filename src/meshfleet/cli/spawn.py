"""`meshfleet spawn`: its options; cli/spawning.py does it."""

from __future__ import annotations

from typing import Annotated

import typer

from meshfleet.cli.completion import known
from meshfleet.cli.parameters import Json, TemplateVersion

_Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE|TEMPLATE",
        help="A template's name, or a JSON file: an array of agents, what spawn_fleet takes, or an exported template; "
        "- reads standard input.",
        autocompletion=known.templates,
    ),
]
_Wait = Annotated[bool, typer.Option("--wait", help="Until it has ended: show how it gets on, and what came of it.")]
_Name = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="What to call the fleet.")]
_Model = Annotated[str | None, typer.Option("--model", metavar="PROVIDER/MODEL", help="Of agents that name none.")]
_TimeLimit = Annotated[
    float | None, typer.Option("--time-limit", metavar="S", help="Longest time of an attempt, in seconds.")
]
_Attempts = Annotated[int | None, typer.Option("--max-attempts", metavar="N", help="How often each agent is tried.")]
_Cost = Annotated[float | None, typer.Option("--max-cost", metavar="USD", help="Stop it once it has cost more.")]
_Tokens = Annotated[int | None, typer.Option("--max-tokens", metavar="N", help="Stop it once it has used more.")]
_AllowAll = Annotated[bool, typer.Option("--allow-all", help="Let agents do what OpenCode would ask you about.")]


def spawn(  # noqa: PLR0913, PLR0917 - the options of a command are its parameters
    source: _Source,
    wait: _Wait = False,
    version: TemplateVersion = None,
    name: _Name = None,
    model: _Model = None,
    time_limit: _TimeLimit = None,
    max_attempts: _Attempts = None,
    max_cost: _Cost = None,
    max_tokens: _Tokens = None,
    allow_all: _AllowAll = False,
    as_json: Json = False,
) -> None:
    """Start a fleet in this folder, without a model in the loop; where no server runs, this supervises it.

    Prints the id of the fleet, and with --wait what each agent said, once all have ended.

    Exit code: 0; 1 when it was refused, or the fleet has ended and failed; 2 for bad use, a file that holds no fleet
    included.
    """
    from meshfleet.cli.spawning import Wishes
    from meshfleet.cli.spawning import spawn as run

    wishes = Wishes(name, model, time_limit, max_attempts, max_cost, max_tokens, allow_all or None)
    raise typer.Exit(run(source, version, wishes, waits=wait, as_json=as_json))
