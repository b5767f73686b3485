"""`meshfleet init`: the server's entry in the configuration of OpenCode, or of another client, put in or taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from meshfleet.cli.asking import agreed
from meshfleet.cli.clients import Client
from meshfleet.cli.colours import coloured
from meshfleet.cli.output import printable, say
from meshfleet.cli.setup.clients import FORMATS, NAME, Format, file_for_entry, files_of, printed_for, text_of
from meshfleet.cli.setup.files import one_at_a_time, read_whole, remove_empty, replace_whole, require_unchanged
from meshfleet.cli.setup.installation import server_command
from meshfleet.cli.setup.originals import Original, Originals, state_folder
from meshfleet.errors import Invalid

T = TypeVar("T")

DONE: Final = 0
NOT_DONE: Final = 1
_LINES_AROUND: Final = 1
"""Lines of the file that a shown change has before and after it; more could show a key."""
_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}
_AFTERWARDS: Final = {
    Client.OPENCODE: "OpenCode reads it when it starts; meshfleet doctor looks whether all of it works",
    Client.CLAUDE_CODE: "Claude Code reads it when it starts, and asks whether you trust it",
    Client.CODEX: "Codex reads it when it starts",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for.

    Attributes:
        client: Whose configuration.
        in_project: Whether the project's, not the user's.
        remove: Whether the entry is to go.
        yes: Whether nobody needs to be asked.
    """

    client: Client
    in_project: bool
    remove: bool
    yes: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a file.

    Attributes:
        path: The file.
        before: What it holds; None where there is none.
        after: What it is to hold; None where it is to go.
        original: What taking the entry out is to give back; None where that stays as it is known.
        is_removal: Whether it takes the entry out, after which there is nothing left to give back.
    """

    path: Path
    before: bytes | None
    after: bytes | None
    original: Original | None = None
    is_removal: bool = False


def init(options: Options, environ: Mapping[str, str], folder: Path) -> int:
    """Show what will change, ask, and do it; returns the exit code: 0, also where nothing had to be done.

    Raises:
        MeshfleetError: It can't be done; no file has changed.
    """
    files = files_of(options.client, environ, folder if options.in_project else None)
    if not files:
        return _print_instead(options, environ)
    state = state_folder(environ)
    originals = Originals(state)
    changes = _removals(options, files, originals) if options.remove else _entries(options, files, originals, environ)
    if not changes:
        return DONE
    for change in changes:
        _show(change)
    if not options.yes and not agreed("init", "change it?"):
        say("nothing was changed")
        return NOT_DONE
    with one_at_a_time(state):
        for change in changes:
            _carry_out(change, originals)
        originals.tidy()
    if not options.remove:
        say(_AFTERWARDS[options.client])
    return DONE


def _print_instead(options: Options, environ: Mapping[str, str]) -> int:
    """Tell what to do where no file is written here."""
    if options.client is Client.GENERIC and options.in_project:
        raise Invalid(
            "generic is no client with projects; leave --project out, and put what is printed where yours looks"
        )
    if not options.remove:
        say(printed_for(options.client, server_command(environ)))
        return DONE
    if options.client is Client.GENERIC:
        raise Invalid("meshfleet init wrote nothing for a generic client; take the entry out where you put it")
    say(f"claude mcp remove --scope user {NAME}")
    return DONE


def _entries(options: Options, files: list[Path], originals: Originals, environ: Mapping[str, str]) -> list[Change]:
    """The change that puts the entry in; none where it is there."""
    form, path = FORMATS[options.client], file_for_entry(options.client, files)
    before = read_whole(path)
    text = text_of(path, before)
    command = server_command(environ)
    after = _named(path, partial(form.put, text, command)).encode()
    if after == before:
        say(printable(f"{path} has the entry already; nothing to do"))
        return []
    if not (text.strip() and form.has_entry(text)):
        return [Change(path, before, after, Original.of_file(path, before))]
    original = originals.of(path, before)
    return [Change(path, before, after, original if original and original.is_current else None)]


def _removals(options: Options, files: list[Path], originals: Originals) -> list[Change]:
    """The changes that take the entry out, of each file that holds it."""
    form = FORMATS[options.client]
    changes = []
    for path in files:
        before = read_whole(path)
        text = text_of(path, before)
        if before is None or not text.strip() or not _named(path, partial(form.has_entry, text)):
            continue
        after = _without_entry(form, path, before, originals.of(path, before))
        changes.append(Change(path, before, after, is_removal=True))
    if not changes:
        where = printable(str(files[-1] if len(files) == 1 else files[0].parent))
        say(f"there is no entry of {NAME} in {where}; nothing to do")
    return changes


def _without_entry(form: Format, path: Path, before: bytes, original: Original | None) -> bytes | None:
    """What a file holds without the entry: what it held before where nobody has changed it since; None for no file."""
    if original is not None and original.is_current:
        return original.data
    # of an object that was made for the entry nothing stays, of one that was there the brackets do
    was_there = original is None or (original.data is not None and form.has_servers(text_of(path, original.data)))
    return form.drop(text_of(path, before), with_servers=not was_there).encode()


def _carry_out(change: Change, originals: Originals) -> None:
    path = change.path
    require_unchanged(path, change.before)
    if change.after is not None and change.original is not None:
        # first, so that what was there is kept whatever happens in between
        originals.keep(path, change.after, change.original)
    replace_whole(path, change.before, change.after)
    if change.is_removal:
        known = originals.of(path, None)
        if change.after is None and known is not None:
            remove_empty(known.made)
        originals.forget(path)
    say(printable(f"removed {path}" if change.after is None else f"wrote {path}"))


def _show(change: Change) -> None:
    """Print a change, in colours on a terminal that may have them."""
    what = "will be removed" if change.after is None else "will be made" if change.before is None else "will change"
    say(printable(f"{change.path} {what}:"))
    for line in _lines_of(change):
        say(coloured(f"  {line}", _STYLES.get(line[:1], "")))


def _lines_of(change: Change) -> Iterator[str]:
    before, after = (_lines(data) for data in (change.before, change.after))
    diff = unified_diff(before, after, lineterm="", n=_LINES_AROUND)
    for number, line in enumerate(diff):
        if number > 1:  # the first two name files
            yield printable(line)


def _lines(data: bytes | None) -> list[str]:
    return (data or b"").decode(errors="replace").removeprefix("\ufeff").splitlines()


def _named(path: Path, call: Callable[[], T]) -> T:
    """What a call says; where it refuses a text, the file's name comes first."""
    try:
        return call()
    except Invalid as error:
        raise Invalid(f"{path}: {error}; nothing was changed") from None
