"""What a file held before an entry was put into it, kept so that taking the entry out gives back the very bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshfleet.cli.setup.files import LOCK_NAME, read_whole, remove_empty, replace_whole
from meshfleet.errors import Invalid

VERSION: Final = 1


def state_folder(environ: Mapping[str, str]) -> Path:
    """Meshfleet's own folder for what it remembers of files it edited."""
    home = Path(environ.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path raises for a missing home
    return Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "meshfleet" / "init"


@dataclass(frozen=True, slots=True)
class Original:
    """What a file held before.

    Attributes:
        data: Its bytes; None where there was no file.
        is_current: Whether the file is still as it was left, so that these bytes may be put back.
        made: The folders that were made for it, the innermost first.
    """

    data: bytes | None
    is_current: bool = True
    made: tuple[Path, ...] = ()

    @classmethod
    def of_file(cls, path: Path, data: bytes | None) -> Original:
        """That of a file that is about to be written for the first time."""
        return cls(data, made=tuple(folder for folder in path.parents if not folder.exists()))


class Originals:
    """The originals of edited files.

    Args:
        folder: Where they are kept, for their owner alone: a configuration may hold keys.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, path: Path, written: bytes | None) -> Original | None:
        """The original of a file that now holds these bytes; None where none is kept."""
        try:
            kept = json.loads(read_whole(self._note(path)) or b"null")
            if kept["version"] != VERSION:
                return None
            original = kept["original"]
            data = None if original is None else base64.b64decode(original, validate=True)
            made = tuple(Path(os.fsdecode(base64.b64decode(folder, validate=True))) for folder in kept.get("made", ()))
            return Original(data, written is not None and kept["written"] == _digest(written), made)
        except (Invalid, KeyError, TypeError, ValueError):
            return None  # somebody else's, or cut short: as if nothing were kept

    def keep(self, path: Path, written: bytes, original: Original) -> None:
        """Remember what a file held before these bytes were written."""
        data = None if original.data is None else base64.b64encode(original.data).decode()
        note = {"version": VERSION, "file": os.fsencode(path).decode(errors="replace")}
        made = [base64.b64encode(os.fsencode(folder)).decode() for folder in original.made]
        text = json.dumps({**note, "written": _digest(written), "original": data, "made": made})
        replace_whole(self._note(path), read_whole(self._note(path)), text.encode(), private=True)

    def forget(self, path: Path) -> None:
        """Drop what is remembered of a file."""
        self._note(path).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove all there is to remember with, where nothing is remembered; for whoever edits, one at a time."""
        # who waits to edit finds the lock gone, and makes it anew
        if {each.name for each in self._folder.iterdir()} <= {LOCK_NAME}:
            (self._folder / LOCK_NAME).unlink(missing_ok=True)
            remove_empty([self._folder, self._folder.parent])

    def _note(self, path: Path) -> Path:
        name = hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()
        return self._folder / f"{name[:32]}.json"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
