"""The ledger's file operations with a place to stand between any two; what is done there is each test's concern."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from meshfleet.ledger.files import Files

STEPS: Final = tuple(name for name, member in vars(Files).items() if callable(member) and not name.startswith("_"))
"""Every operation of the seam, those included that somebody may add to it."""

Step = Callable[..., Any]


class WatchedFiles(Files):
    """File operations that all pass through `around`."""

    def around(self, name: str, step: Step, *args: Any) -> Any:
        """Carry out one operation, of this name, by calling `step` with the arguments."""
        raise NotImplementedError(name)


class UnsyncedFiles(Files):
    """File operations that don't wait for the disk: what a sync changes, no other process can see."""

    def begin_sync(self, fd: int, offset: int) -> None:
        pass

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, folder: object) -> None:
        pass


def _watched(name: str) -> Step:
    def operation(self: WatchedFiles, *args: Any) -> Any:
        return self.around(name, getattr(super(WatchedFiles, self), name), *args)

    return operation


for _name in STEPS:
    setattr(WatchedFiles, _name, _watched(_name))
