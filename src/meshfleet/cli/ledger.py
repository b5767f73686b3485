"""`meshfleet verify`, `repair`, `export` and `import`: looking at a ledger's files, mending and moving them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from meshfleet.cli.asking import agreed
from meshfleet.cli.output import complain, printable, say, write_out
from meshfleet.cli.paths import named_file
from meshfleet.cli.wording import counted_rows, headed, terminal_width
from meshfleet.errors import Busy, MeshfleetError, NotFound
from meshfleet.ledger import Ledger
from meshfleet.ledger.exchange import read_exported, write_exported
from meshfleet.ledger.files import Files
from meshfleet.ledger.repair import repair
from meshfleet.ledger.salvage import Damage, salvage
from meshfleet.ledger.state import State
from meshfleet.mesh.texts import counted
from meshfleet.mesh.verify import Report, Severity, verify
from meshfleet.settings import Settings

CLEAN: Final = 0
ERRORS: Final = 1
NOT_A_LEDGER: Final = 2


def print_verification(data_file: Path, *, as_json: bool) -> int:
    """Verify a ledger and print what was found; returns the exit code: 0 clean, 1 errors, 2 no ledger to look at."""
    try:
        report = verify(data_file)
    except MeshfleetError as error:
        complain(error)
        if as_json:
            say(json.dumps({"version": 1, "ledger": str(data_file), "ok": False, "error": str(error)}))
        return NOT_A_LEDGER
    say(_as_json(report) if as_json else printable(_as_text(report)))
    return CLEAN if report.clean else ERRORS


def repair_asking(data_file: Path, settings: Settings, *, yes: bool) -> int:
    """Show what is damaged and what repairing it will do, ask, and do it; returns the exit code."""
    try:
        found = salvage(data_file)
    except NotFound as error:
        complain(error)
        return NOT_A_LEDGER
    if not found.damages:
        say(printable(f"{data_file} is not damaged; nothing to do"))
        _tell_of_contradictions(data_file, settings)
        return CLEAN
    say(printable("\n".join(_plan(data_file, found.damages, found.seq))))
    if not yes and not agreed("repair", "do it?"):
        say("nothing was done")
        return ERRORS
    _, kept = repair(data_file, found.damages, lock_timeout_ms=settings.lock_timeout_ms)
    say(printable("\n".join(["repaired; what was there is kept in", *(f"  {path}" for path in kept)])))
    _tell_of_contradictions(data_file, settings)
    return CLEAN


def export_to(target: Path | None, settings: Settings, *, force: bool) -> int:
    """Write the whole ledger as one JSON document, to a file or, without one, to standard output."""
    if Files().identify(settings.data_file) is None:
        raise NotFound(f"there is no ledger at {settings.data_file}; set MESHFLEET_DATA_FILE to one")
    ledger = Ledger.from_settings(settings)
    try:
        chunks = ledger.export()
        if target is None:
            write_out(chunks)
        else:
            path = named_file(target)
            write_exported(path, chunks, settings.data_file, replace=force)
            # counted in the file: a server may have written to the ledger meanwhile
            say(printable(f"wrote {target}: {_rows_of(read_exported(path)[0])}"))
    finally:
        ledger.close()
    return CLEAN


def import_from(source: Path, settings: Settings) -> int:
    """Read an exported ledger into an empty one."""
    state, missing = read_exported(source)
    if missing:
        complain(missing)
    ledger = Ledger.from_settings(settings)
    try:
        ledger.fill(state)
    finally:
        ledger.close()
    say(printable(f"imported into {settings.data_file}: {_rows_of(state)}"))
    return CLEAN


def _rows_of(state: State) -> str:
    return counted_rows({name: len(table) for name, table in state.tables.items()})


def _tell_of_contradictions(data_file: Path, settings: Settings) -> None:
    """Say that files which are whole may hold rows that contradict each other."""
    try:
        left = sum(finding.severity is Severity.ERROR for finding in verify(data_file).findings)
    except Busy:  # verify, which is named below, will say so when it is run
        return
    if left:
        file = "" if data_file == settings.data_file else f" {shlex.quote(str(data_file))}"
        verb, them = ("is", "it") if left == 1 else ("are", "them")
        say(printable(f"{counted(left, 'contradictions')} {verb} left; meshfleet verify{file} lists {them}"))


def _plan(data_file: Path, damages: list[Damage], seq: int) -> Iterable[str]:
    yield f"{data_file} is damaged:"
    for damage in damages:
        yield f"  {damage.where}: {damage.what}"
    lossy = sum(not damage.lossless for damage in damages)
    yield "repairing it will"
    yield "  keep a copy of each file as it is (.corrupt-<time>)"
    yield f"  write a new snapshot of everything that still checks out, up to transaction {seq}"
    if lossy:
        yield f"  leave out what can't be read: {lossy} of the places above (the copies keep the bytes)"
    else:
        yield "  lose nothing that was acknowledged"


def _as_json(report: Report) -> str:
    return json.dumps(
        {
            "version": 1,
            "ledger": str(report.data_file),
            "ok": report.clean,
            "seq": report.seq,
            "rows": report.rows,
            "findings": [asdict(finding) for finding in report.findings],
        }
    )


def _as_text(report: Report) -> str:
    rows = f"{counted_rows(report.rows)}, transaction {report.seq}"
    lines = headed(str(report.data_file), rows, terminal_width())
    for finding in report.findings:
        lines.append(f"{finding.severity}  {finding.id}  {finding.where}: {finding.what}")
        lines.append(f"       next: {finding.next_step}")
    errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
    warnings = len(report.findings) - errors
    lines.append("clean" if not report.findings else f"{counted(errors, 'errors')}, {counted(warnings, 'warnings')}")
    return "\n".join(lines)
