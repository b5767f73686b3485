"""Which worker runs which tests, and in which order: `pytest -n` asks here.

The groups of pytest-xdist 3.8 are none under pytest 9.2: it notes them in names that pytest does not read any more. So
the names of the modules tell: what drives the real OpenCode is in a module called `test_real_*`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

if TYPE_CHECKING:
    import pytest

REAL: Final = "test_real_"
"""How the modules begin that drive the real OpenCode; all of them share one worker, one after the other."""
SINGLY: Final = frozenset(
    {
        "tests/cli/test_agents.py",
        "tests/cli/test_demo.py",
        "tests/ledger/test_crash_points.py",
        "tests/ledger/test_power_cuts.py",
        "tests/server/test_inspector.py",
        "tests/test_setup_opencode.py",
    }
)
"""The modules that take long and whose tests have nothing in common: each test goes where there is time for it."""


def module_of(nodeid: str) -> str:
    """The file that a test is in."""
    return nodeid.partition("::")[0]


def is_real(nodeid: str) -> bool:
    """True for a test of a module that drives the real OpenCode."""
    return PurePosixPath(module_of(nodeid)).name.startswith(REAL)


def share_of(nodeid: str) -> str:
    """What is run by one worker, together with this test: a module, whose fixtures are then made once."""
    if is_real(nodeid):
        return REAL
    return nodeid if module_of(nodeid) in SINGLY else module_of(nodeid)


def longest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The tests in the order in which the workers take them, so that both come to the end at about the same time."""
    items = list(items)
    slow = {module_of(item.nodeid) for item in items if item.get_closest_marker("slow")}

    def rank(item: pytest.Item) -> tuple[bool, bool, bool]:
        module = module_of(item.nodeid)
        return not is_real(item.nodeid), module not in slow, module not in SINGLY

    return sorted(items, key=rank)


class SharingModules(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a worker a whole module at a time, and every module of the real OpenCode to the first one."""

    def __init__(self, config: pytest.Config, log: object) -> None:
        # it would put first what has many tests, and they are the fast ones
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return share_of(nodeid)
