"""The commands of `meshfleet`, a line or two each; what they do is imported when they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from meshfleet import __version__
from meshfleet.cli import template
from meshfleet.cli.output import say
from meshfleet.cli.paths import named_file, working_folder
from meshfleet.settings import Settings

STANDARD_OUTPUT: Final = "-"

app = typer.Typer(
    name="meshfleet",
    help="Fleets of independent OpenCode agents that work in parallel and hand work to each other.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(template.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"meshfleet {__version__}")
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

    anyio.run(serve_stdio, Settings.from_environ(os.environ), dict(os.environ), working_folder())


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


_LedgerFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", readable=False, help="The ledger; by default the one of MESHFLEET_DATA_FILE."),
]


@app.command()
def verify(
    file: _LedgerFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a ledger against all the rules promise; changes nothing.

    Exit code: 0 clean, 1 errors, 2 no ledger to look at.
    """
    from meshfleet.cli.ledger import print_verification

    raise typer.Exit(print_verification(_ledger(file), as_json=as_json))


@app.command()
def repair(
    file: _LedgerFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """Mend a damaged ledger after showing what that means; every file that was damaged is kept."""
    from meshfleet.cli.ledger import repair_asking

    raise typer.Exit(repair_asking(_ledger(file), Settings.from_environ(os.environ), yes=yes))


@app.command()
def export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", readable=False, help="Where to; by default, and as -, standard output."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write the whole ledger as one JSON document that v0.9.0 can read."""
    from meshfleet.cli.ledger import export_to

    target = None if file is None or str(file) == STANDARD_OUTPUT else named_file(file)
    raise typer.Exit(export_to(target, Settings.from_environ(os.environ), force=force))


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="What meshfleet export wrote.")],
) -> None:
    """Read an exported ledger into an empty one."""
    from meshfleet.cli.ledger import import_from

    raise typer.Exit(import_from(named_file(file), Settings.from_environ(os.environ)))


def _ledger(file: Path | None) -> Path:
    return Settings.from_environ(os.environ).data_file if file is None else named_file(file)
