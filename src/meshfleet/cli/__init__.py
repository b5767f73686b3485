"""The `meshfleet` command: parses, calls the floors below, prints; rules live elsewhere."""

from __future__ import annotations

import os
from typing import Final

from meshfleet.cli.output import complain, has_got_out, make_everything_printable
from meshfleet.errors import Invalid, MeshfleetError

__all__ = ["main"]

FAILED: Final = 1
BADLY_USED: Final = 2
INTERRUPTED: Final = 130


def main() -> int:
    """Run the command line; returns the exit code: 0, 1 for a refusal, 2 for bad use, 130 after a Ctrl-C."""
    try:
        make_everything_printable()
        code = _run()
        return code if has_got_out() else code or FAILED
    except KeyboardInterrupt:
        has_got_out()
        return INTERRUPTED


def _run() -> int:
    try:
        from meshfleet.cli.app import app

        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except MeshfleetError as error:
        from meshfleet.cli.wording import in_a_shell_s_words

        complain(in_a_shell_s_words(str(error)))
        return BADLY_USED if isinstance(error, Invalid) else FAILED
    except BrokenPipeError:
        return FAILED
    except MemoryError:
        complain("there is not enough memory for this; end other programs and try again")
        return FAILED
    except OSError as error:
        complain(_told(error))
        return FAILED
    return 0


def _told(error: OSError) -> str:
    what = os.strerror(error.errno).lower() if error.errno else str(error)
    return f"{os.fsdecode(error.filename)}: {what}" if isinstance(error.filename, str | bytes) else what
