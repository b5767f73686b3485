"""What can be refused, and how: the one family of errors every floor raises and the faces translate."""

from __future__ import annotations


class MeshfleetError(Exception):
    """A refusal with a text meant for the person or the model who asked: what is wrong, and what would be right."""


class NotFound(MeshfleetError):
    """The id names nothing the ledger holds."""


class Invalid(MeshfleetError):
    """An argument, a setting or a file's content is not what it has to be."""


class Conflict(MeshfleetError):
    """The request is well formed, but the state of the mesh forbids it."""


class Corrupt(MeshfleetError):
    """The ledger's bytes are damaged; nothing is written until somebody repairs them."""


class Busy(MeshfleetError):
    """Somebody else held a lock past the deadline; trying again later may work."""


class Unavailable(MeshfleetError):
    """Something outside the mesh is missing or refuses: a program, a permission, disk space."""
