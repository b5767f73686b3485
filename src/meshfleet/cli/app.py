"""The commands of `meshfleet`, a line or two each; what they do is imported when they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from meshfleet import __version__
from meshfleet.settings import Settings

app = typer.Typer(
    name="meshfleet",
    help="Fleets of independent OpenCode agents that work in parallel and hand work to each other.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"meshfleet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def serve() -> None:
    """Serve MCP over standard input and output; this is what OpenCode's configuration starts."""
    import anyio

    from meshfleet.server.serve import serve as serve_stdio

    anyio.run(serve_stdio, Settings.from_environ(os.environ), dict(os.environ), Path.cwd())


@app.command()
def demo(
    live: Annotated[bool, typer.Option("--live", help="Use your own OpenCode configuration and model.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; all else goes to stderr.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with the ledger and the project.")] = False,
) -> None:
    """Watch three real OpenCode agents hand work to each other; needs no key and no network."""
    from meshfleet.cli.demo import demo as run
    from meshfleet.demo.run import Options

    raise typer.Exit(run(Options(live=live, as_json=as_json, keep=keep), os.environ))
