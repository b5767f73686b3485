"""The `meshfleet` command: parses, calls the floors below, prints; rules live elsewhere."""

from __future__ import annotations

import sys

from meshfleet.errors import Invalid, MeshfleetError

__all__ = ["main"]


def main() -> int:
    """Run the command line; returns the exit code: 0, 1 for a refusal, 2 for bad use."""
    from meshfleet.cli.app import app

    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except MeshfleetError as error:
        print(f"meshfleet: {error}", file=sys.stderr)
        return 2 if isinstance(error, Invalid) else 1
    return 0
