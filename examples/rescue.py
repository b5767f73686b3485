"""Have an agent that is stuck call another, and wake it once more.

    python examples/rescue.py [--scripted] [--keep] [--json]

Its agents are in meshfleet.demo.rescue. Whoever starts it calls spawn_fleet and wait, nothing else.
"""

from __future__ import annotations

from meshfleet.cli.demo import show
from meshfleet.demo.rescue import RESCUE

if __name__ == "__main__":
    raise SystemExit(show(RESCUE))
