"""`make bench`: prints what the main operations cost, beside their floor."""

from __future__ import annotations

import argparse
import platform
import sys

from benchmark.sends import measure_sends
from meshfleet.settings import Durability


def main() -> int:
    """Run the benchmarks and print a table."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few messages: shows that it runs, not how fast")
    messages = 500 if parser.parse_args().quick else 10_000
    print(f"{platform.platform()}, Python {platform.python_version()}, {messages} sends in one process")
    print(f"{'durability':<12}{'seconds':>10}{'per send':>12}{'floor':>10}{'ratio':>8}")
    for durability in (Durability.PROCESS, Durability.POWER):
        timing = measure_sends(messages, durability)
        print(
            f"{durability:<12}{timing.seconds:>10.3f}{timing.seconds / messages * 1e6:>9.1f} us"
            f"{timing.floor_seconds:>10.3f}{timing.ratio:>8.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
