"""The commands of `meshfleet`, a line or two each; what they do is imported when they are called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from meshfleet import __version__
from meshfleet.cli import parameters, template
from meshfleet.cli.clients import Client
from meshfleet.cli.completion import known
from meshfleet.cli.completion.shells import Shell
from meshfleet.cli.helping import Command, Group
from meshfleet.cli.inspect import inspect
from meshfleet.cli.output import say
from meshfleet.cli.paths import named_file, working_folder
from meshfleet.cli.spawn import spawn
from meshfleet.settings import Settings

STANDARD_OUTPUT: Final = "-"

app = typer.Typer(
    name="meshfleet",
    cls=Group,
    help="Fleets of independent OpenCode agents that work in parallel and hand work to each other.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        say(f"meshfleet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show with an error where it happened.")] = False,
) -> None:
    # main looks for --debug itself, since it is there that errors end
    del version, debug


@app.command(cls=Command, short_help="The MCP server; OpenCode starts it")
def serve() -> None:
    """Serve MCP over standard input and output; this is what OpenCode's configuration starts."""
    from meshfleet.cli.serve import serve as run

    run()


@app.command(cls=Command, short_help="Three real agents hand work to each other")
def demo(
    live: Annotated[bool, typer.Option("--live", help="Use your own OpenCode configuration and model.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder with the ledger and the project.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; all else goes to stderr.")] = False,
) -> None:
    """Watch three real OpenCode agents hand work to each other; needs no key and no network."""
    from meshfleet.cli.demo import demo as run

    raise typer.Exit(run(os.environ, live=live, as_json=as_json, keep=keep))


@app.command(cls=Command, short_help="Put the server into OpenCode's configuration")
def init(
    project: Annotated[bool, typer.Option("--project", help="The project's configuration, not yours.")] = False,
    client: Annotated[
        Client,
        typer.Option("--client", metavar="NAME", help="Whose configuration: opencode, claude-code, codex or generic."),
    ] = Client.OPENCODE,
    remove: Annotated[bool, typer.Option("--remove", help="Take the entry out again.")] = False,
    yes: parameters.Yes = False,
) -> None:
    """Put the server into the configuration of OpenCode or another client, after showing the change.

    For claude-code (without --project) and generic it prints what to do instead.
    """
    from meshfleet.cli.init import Options
    from meshfleet.cli.init import init as run

    raise typer.Exit(run(Options(client, project, remove, yes), os.environ, working_folder()))


@app.command(cls=Command, short_help="Look whether everything works, and what to do if not")
def doctor(as_json: parameters.Json = False) -> None:
    """Look whether everything is there that agents need, and say what to do where it is not.

    Exit code: 0; 1 when anything failed.
    """
    from meshfleet.cli.doctor import doctor as run

    raise typer.Exit(run(os.environ, working_folder(), as_json=as_json))


app.command(cls=Command, short_help="Start a fleet from a file or a template")(spawn)
app.command(cls=Command, short_help="What there is: fleets, agents, messages, events")(inspect)


@app.command(cls=Command, short_help="Look at fleets in the terminal, and act on them")
def dashboard(
    interval: Annotated[
        int, typer.Option("--interval", metavar="MS", min=100, max=3_600_000, help="Time between two looks, in ms.")
    ] = 1_000,
    read_only: Annotated[bool, typer.Option("--read-only", help="Only look: nothing can be done to a fleet.")] = False,
    once: Annotated[
        bool, typer.Option("--once", help="Print the same once, as text; so it is without terminal.")
    ] = False,
) -> None:
    """Look at fleets, agents, their output, messages and events as they are, cancel, resume and write to agents.

    Exit code: 0; 1 where there is only text to print and the ledger can't be read.
    """
    from meshfleet.cli.dashboard import dashboard as run

    raise typer.Exit(run(interval_ms=interval, read_only=read_only, as_text=once))


@app.command(cls=Command, short_help="Wait until a fleet has ended")
def wait(
    fleet: parameters.Fleet,
    for_any: Annotated[bool, typer.Option("--any", help="Only until the next of its agents has ended.")] = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="S", min=0, help="Longest time to wait, in seconds.")
    ] = None,
    as_json: parameters.Json = False,
) -> None:
    """Wait until a fleet has ended, and print what its agents came to.

    Exit code: 0 it is complete, or with --any an agent has ended; 1 it failed, or time ran out.
    """
    from meshfleet.cli.agents import wait as run

    raise typer.Exit(run(fleet, for_any=for_any, timeout_s=timeout, as_json=as_json))


@app.command(cls=Command, short_help="What an agent says and does")
def logs(
    agent: parameters.Agent,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the agent has ended.")] = False,
    attempt: Annotated[
        int | None,
        typer.Option(
            "--attempt",
            metavar="N",
            min=1,
            help="One attempt; else all since it was resumed or woken.",
            autocompletion=known.attempts,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as OpenCode wrote it, one a line.")] = False,
) -> None:
    """Print what an agent says and does, or did."""
    from meshfleet.cli.agents import logs as run

    raise typer.Exit(run(agent, follow=follow, attempt=attempt, as_json=as_json))


@app.command(cls=Command, short_help="Stop a fleet or an agent, with all its processes")
def cancel(which: parameters.Cancellable, as_json: parameters.Json = False) -> None:
    """Stop a fleet or an agent, and whatever they spawned; returns once nothing of it runs."""
    from meshfleet.cli.agents import cancel as run

    raise typer.Exit(run(which, as_json=as_json))


@app.command(cls=Command, short_help="Have agents go on that failed or were stopped")
def resume(
    which: parameters.Resumable,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="What to tell it.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new session instead of continuing its own.")] = False,
    as_json: parameters.Json = False,
) -> None:
    """Have agents go on that failed, were interrupted or cancelled; where no server runs, this supervises them.

    Exit code: 0; 1 when it was refused, or the fleet ended here and failed.
    """
    from meshfleet.cli.agents import resume as run

    raise typer.Exit(run(which, prompt, fresh=fresh, as_json=as_json))


app.add_typer(template.app, short_help="Fleets to keep, share and start again")


@app.command(cls=Command, short_help="Check a ledger; changes nothing")
def verify(file: parameters.LedgerFile = None, as_json: parameters.Json = False) -> None:
    """Check a ledger against all the rules promise; changes nothing.

    Exit code: 0 clean, 1 errors, 2 no ledger to look at.
    """
    from meshfleet.cli.ledger import print_verification

    raise typer.Exit(print_verification(_ledger(file), as_json=as_json))


@app.command(cls=Command, short_help="Mend a damaged ledger, after asking")
def repair(file: parameters.LedgerFile = None, yes: parameters.Yes = False) -> None:
    """Mend a damaged ledger after showing what that means; every file that was damaged is kept."""
    from meshfleet.cli.ledger import repair_asking

    raise typer.Exit(repair_asking(_ledger(file), Settings.from_environ(os.environ), yes=yes))


@app.command(cls=Command, short_help="Write the ledger as one JSON file")
def export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", readable=False, help="Where to; by default, and as -, standard output."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write the whole ledger as one JSON document that v0.9.0 can read."""
    from meshfleet.cli.ledger import export_to

    target = None if str(file) == STANDARD_OUTPUT else file
    raise typer.Exit(export_to(target, Settings.from_environ(os.environ), force=force))


@app.command(cls=Command, name="import", short_help="Read an export into an empty ledger")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="What meshfleet export wrote.")],
) -> None:
    """Read an exported ledger into an empty one."""
    from meshfleet.cli.ledger import import_from

    raise typer.Exit(import_from(named_file(file), Settings.from_environ(os.environ)))


@app.command(cls=Command, short_help="Have your shell complete commands and ids")
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> None:
    """Print a script that has your shell complete commands, options, ids and templates at a Tab."""
    from meshfleet.cli.completion.shells import script_for

    say(script_for(shell).rstrip("\n"))


def _ledger(file: Path | None) -> Path:
    return Settings.from_environ(os.environ).data_file if file is None else named_file(file)
