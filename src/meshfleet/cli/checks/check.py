"""What one look came to: well, doubtful or failed, and what to do about it."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import StrEnum

from meshfleet.errors import MeshfleetError


class Level(StrEnum):
    """How it stands: a warning lets agents work, a failure keeps them from it."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of what `meshfleet doctor` says.

    Attributes:
        id: What was looked at, stable over versions.
        level: How it stands.
        text: What was found.
        remedy: What to do; None where all is well.
    """

    id: str
    level: Level
    text: str
    remedy: str | None = None


def well(name: str, text: str) -> Check:
    """A look at which nothing was wrong."""
    return Check(name, Level.OK, text)


def warning(name: str, text: str, remedy: str) -> Check:
    """A look that found something that may be meant so."""
    return Check(name, Level.WARNING, text, remedy)


def failure(name: str, text: str, remedy: str) -> Check:
    """A look that found what keeps agents from working."""
    return Check(name, Level.FAILURE, text, remedy)


def refused(name: str, error: MeshfleetError, otherwise: str) -> Check:
    """A failure in an error's words, whose last part says what to do; `otherwise` does where it has no such part."""
    what, semicolon, remedy = str(error).rpartition("; ")
    return failure(name, what, remedy) if semicolon else failure(name, remedy, otherwise)


def reason(error: OSError) -> str:
    """What the operating system says, in lower case."""
    return os.strerror(error.errno or errno.EIO).lower()
