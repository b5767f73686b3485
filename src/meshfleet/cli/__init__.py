"""The `meshfleet` command: parses, calls the floors below, prints; rules live elsewhere."""

from __future__ import annotations

import sys
from typing import Final

from meshfleet.errors import Invalid, MeshfleetError

__all__ = ["main"]

INTERRUPTED: Final = 130


def main() -> int:
    """Run the command line; returns the exit code: 0, 1 for a refusal, 2 for bad use."""
    try:
        from meshfleet.cli.app import app

        app()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except MeshfleetError as error:
        print(f"meshfleet: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    return 0
