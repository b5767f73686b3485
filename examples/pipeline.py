"""Have three agents hand work on, of whom only the first is started.

    python examples/pipeline.py [--scripted] [--keep] [--json]

Its agents are in meshfleet.demo.pipeline. Whoever starts it calls spawn_fleet and wait, nothing else.
"""

from __future__ import annotations

from meshfleet.cli.demo import show
from meshfleet.demo.pipeline import PIPELINE

if __name__ == "__main__":
    raise SystemExit(show(PIPELINE))
