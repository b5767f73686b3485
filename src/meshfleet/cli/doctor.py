"""`meshfleet doctor`: everything that has to be so for agents to work, looked at one after the other, with remedies."""

from __future__ import annotations

import json
import platform
import signal
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

import psutil

from meshfleet import __version__
from meshfleet.cli.checks.check import Check, Level, refused, well
from meshfleet.cli.checks.ledger import look_at_ledger
from meshfleet.cli.checks.machine import look_at_machine
from meshfleet.cli.checks.opencode import look_at_opencode
from meshfleet.cli.colours import coloured
from meshfleet.cli.output import printable, say
from meshfleet.cli.wording import terminal_width
from meshfleet.errors import Invalid
from meshfleet.mesh.texts import counted
from meshfleet.settings import Settings

VERSION: Final = 1
HEALTHY: Final = 0
ILL: Final = 1
_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}
_MARGIN: Final = " " * 24
"""The columns of level and id."""
_NARROWEST: Final = 20


def doctor(environ: Mapping[str, str], folder: Path, *, as_json: bool) -> int:
    """Look at everything and print each line as soon as it is known; returns the exit code: 1 for any failure."""
    found = []
    with _ending_its_children():
        for check in _look(environ, folder):
            found.append(check)
            if not as_json:
                say("\n".join(_lines(check, terminal_width())))
    failures, warnings = (sum(check.level is level for check in found) for level in (Level.FAILURE, Level.WARNING))
    if as_json:
        checks = [asdict(check) for check in found]
        say(json.dumps({"version": VERSION, "ok": not failures, "checks": checks}))
    elif failures or warnings:
        say(f"{counted(failures, 'failures')}, {counted(warnings, 'warnings')}")
    else:
        say("all is well")
    return ILL if failures else HEALTHY


@contextmanager
def _ending_its_children() -> Iterator[None]:
    """Have a SIGTERM, or the end of the terminal, end what was started to look at, too."""

    def end(number: int, _: object) -> None:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # it has ended meanwhile
                child.kill()
        raise SystemExit(128 + number)

    # as nohup has it, what is ignored stays so
    wanted = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _look(environ: Mapping[str, str], folder: Path) -> Iterator[Check]:
    where = Path(__file__).parents[1]
    yield well("meshfleet", f"{__version__} on Python {platform.python_version()}, {where}")
    try:
        settings = Settings.from_environ(environ)
    except Invalid as error:
        yield refused("settings", error, "correct it or unset it")
        settings = None
    yield from look_at_opencode(environ, folder)
    if settings is not None:
        yield from look_at_ledger(settings)
        yield from look_at_machine(settings)


def _lines(check: Check, width: int | None) -> Iterator[str]:
    beginning = f"{coloured(f'{check.level:7}', _STYLES[check.level])}  {check.id:13}  "
    first, *rest = _broken(check.text, width)
    yield beginning + first
    for line in rest:
        yield _MARGIN + line
    if check.remedy is not None:
        for line in _broken(f"next: {check.remedy}", width):
            yield _MARGIN + line


def _broken(text: str, width: int | None) -> list[str]:
    """A text in lines that leave room for the margin; whole where it goes to no terminal."""
    if width is None:
        return [printable(text).replace("\n", "\\n")]
    room = max(width - len(_MARGIN), _NARROWEST)
    return textwrap.wrap(printable(text), room, break_long_words=False, break_on_hyphens=False) or [""]
