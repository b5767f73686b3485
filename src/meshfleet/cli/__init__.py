"""The `meshfleet` command: parses, calls the floors below, prints; rules live elsewhere."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final

from meshfleet.cli.output import (
    Interrupted,
    complain,
    has_got_out,
    leave_line,
    make_everything_printable,
    note,
    printable,
)
from meshfleet.errors import Invalid, MeshfleetError

__all__ = ["main"]

FAILED: Final = 1
BADLY_USED: Final = 2
INTERRUPTED: Final = 130
DEBUG: Final = "--debug"
A_SHELL_ASKS: Final = ["__complete", "--"]
"""What the scripts of `meshfleet completion` begin with; no command, whose parsing would make a Tab take longer."""
_LONGEST: Final = 200
"""Characters of an unforeseen error that are shown; it may quote a whole row."""


def main() -> int:
    """Run the command line; returns the exit code: 0, 1 for a refusal, 2 for bad use, 130 after a Ctrl-C."""
    try:
        make_everything_printable()
        code = _run()
        return code if has_got_out() else code or FAILED
    except KeyboardInterrupt:
        leave_line()
        has_got_out()
        return INTERRUPTED


def _run() -> int:
    try:
        return _command()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            leave_line()
        return end.code if isinstance(end.code, int) else FAILED
    except BrokenPipeError:
        return FAILED
    except Interrupted as told:
        leave_line()
        complain(told)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever fails is one line, also a bug or a row of another program
        _show_traceback()
        complain(_told(error))
        return BADLY_USED if isinstance(error, Invalid) else FAILED


def _command() -> int:
    if sys.argv[1:] == ["serve"]:
        # agents and their users wait for this one, which needs nothing of the others
        from meshfleet.cli.serve import serve

        serve()
        return 0
    from meshfleet.cli.app import app

    if sys.argv[1:3] == A_SHELL_ASKS:
        from meshfleet.cli.completion.answering import answer

        return answer(app, sys.argv[3:])
    app()
    return 0


def _told(error: Exception) -> str:
    match error:
        case MeshfleetError():
            from meshfleet.cli.wording import in_a_shell_s_words

            return in_a_shell_s_words(str(error))
        case MemoryError():
            return "there is not enough memory for this; end other programs and try again"
        case OSError():
            what = os.strerror(error.errno).lower() if error.errno else str(error)
            return f"{os.fsdecode(error.filename)}: {what}" if isinstance(error.filename, str | bytes) else what
        case _:
            what = f"{type(error).__name__}: {error}"
            what = what if len(what) <= _LONGEST else what[:_LONGEST] + "..."
            hint = f"meshfleet verify tells whether the ledger is sound, meshfleet {DEBUG} COMMAND where it happened"
            return f"this should not have happened: {what}; {hint}"


def _show_traceback() -> None:
    """Print what was being done when it failed, for whoever asked for that."""
    if DEBUG in sys.argv[1:]:
        note(printable(traceback.format_exc()).rstrip())
