"""`python -m meshfleet`: the same as the `meshfleet` command, which `meshfleet.cli` defines."""

from __future__ import annotations

import sys

from meshfleet.cli import main

if __name__ == "__main__":
    sys.exit(main())
