"""The paths a person names: made absolute once, and refused where they can't be those of a file."""

from __future__ import annotations

from pathlib import Path

from meshfleet.errors import Invalid, Unavailable


def working_folder() -> Path:
    """The folder the command was started in.

    Raises:
        Unavailable: It was removed meanwhile.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise Unavailable(f"the current folder can't be used ({error.strerror}); change to one that exists") from None


def named_file(path: Path) -> Path:
    """The absolute path of a file somebody named.

    Raises:
        Invalid: It can only be a folder.
        Unavailable: It is relative to a folder that was removed.
    """
    if path.name in {"", ".."}:
        raise Invalid(f"{path} is a folder; name a file")
    return path if path.is_absolute() else working_folder() / path


def without_dots(file: str) -> str:
    """The same path without the `..` that a person at a shell may well use."""
    path = Path(file)
    return str(path.parent.resolve() / path.name) if ".." in path.parts else file
