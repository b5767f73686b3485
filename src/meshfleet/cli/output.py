"""What a command prints: its results on standard output, a failure as one line on stderr, whoever reads them or not."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from meshfleet.errors import Unavailable


class Interrupted(Exception):
    """A Ctrl-C that ends a command with a word to the person who pressed it."""


def make_everything_printable() -> None:
    """Have an escape printed for a character that the terminal's encoding has not, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a result, and have it out.

    Raises:
        BrokenPipeError: Nobody reads any more.
        Unavailable: It can't be written, or standard output is closed.
    """
    if sys.stdout is None:
        raise Unavailable("standard output is closed; send it somewhere")
    with _explained():
        print(text, flush=True)


def write_out(chunks: Iterable[bytes]) -> None:
    """Write bytes to standard output, all of them.

    Raises:
        BrokenPipeError: Nobody reads any more.
        Unavailable: They can't be written, or standard output is closed.
    """
    if sys.stdout is None:
        raise Unavailable("standard output is closed; name a file to write to")
    for chunk in chunks:
        with _explained():
            sys.stdout.buffer.write(chunk)
    with _explained():
        sys.stdout.buffer.flush()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise Unavailable(f"can't write to standard output: {why}; send it elsewhere") from None


def complain(error: object) -> None:
    """Print what went wrong as one line on stderr; where that can't be, the exit code has to do."""
    line = printable(str(error)).replace("\n", "\\n")
    note(f"meshfleet: {line}")


def note(line: str) -> None:
    """Print a line for a person on stderr, if it can be."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)


def leave_line() -> None:
    """Begin a new line after the `^C` that a terminal shows, so that neither a word nor the prompt stands behind it."""
    if sys.stderr is not None and sys.stderr.isatty():
        note("")


def has_got_out() -> bool:
    """Whether all that was printed was written; what was not is given up, so that nobody stumbles over it again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        _let_go_of_stdout()
        return False
    return True


def _let_go_of_stdout() -> None:
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def printable(text: str) -> str:
    """The text without what a terminal would obey or could not show."""
    return (
        text
        if text.isprintable()
        else "".join(char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text)
    )
