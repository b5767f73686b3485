"""Have five agents who speak for different things agree on one answer.

    python examples/debate.py [--scripted] [--keep] [--json]

Its agents are in meshfleet.demo.debate. Whoever starts it calls spawn_fleet and wait, nothing else.
"""

from __future__ import annotations

from meshfleet.cli.demo import show
from meshfleet.demo.debate import DEBATE

if __name__ == "__main__":
    raise SystemExit(show(DEBATE))
