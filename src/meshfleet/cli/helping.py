"""How the help of a command looks: its arguments by their names alone, and examples at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperArgument, TyperCommand, TyperGroup

from meshfleet.cli.examples import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterable


class Command(TyperCommand):
    """A command, without the signs and Python types that typer tells of arguments beside their names."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The options and arguments of the usage line."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece[1:-1] if piece.startswith("{") else piece for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, each with its help."""
        params = self.get_params(ctx)
        arguments = [(str(one.metavar), one.help or "") for one in params if isinstance(one, TyperArgument)]
        records = (one.get_help_record(ctx) for one in params if not isinstance(one, TyperArgument))
        _write(formatter, "Arguments", arguments)
        _write(formatter, "Options", (record for record in records if record is not None))

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write(formatter, "Examples", EXAMPLES.get(_path(ctx), ()))


class Group(TyperGroup):
    """A group of commands, whose examples are written like those of a command."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples."""
        _write(formatter, "Examples", EXAMPLES.get(_path(ctx), ()))


def _path(ctx: Any) -> str:
    """A command's name with that of its group: `template list`."""
    above = [] if ctx.parent is None else [_path(ctx.parent), ctx.info_name]
    return " ".join(filter(None, above))


def _write(formatter: Any, heading: str, rows: Iterable[tuple[str, str]]) -> None:
    rows = list(rows)
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=_widest(rows), col_spacing=2)


def _widest(rows: list[tuple[str, str]]) -> int:
    return max(len(name) for name, _ in rows)
