"""What the word that is being typed may become, by the commands themselves: commands, options, and their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from meshfleet.cli.completion.known import Offer

_FILE: Final = "FILE"
"""What the metavar of an argument holds that may be a file."""
_SPLIT_OFF: Final = "="
"""bash makes a word of its own of what is between an option and its value."""
_HELP: Final[Offer] = ("--help", "Show this message and exit.")


@dataclass(frozen=True, slots=True)
class Offers:
    """What a word may become.

    Attributes:
        words: The words, with what they mean.
        or_files: Whether it may be a file as well.
    """

    words: list[Offer]
    or_files: bool = False


def offers_for(command: object, words: Sequence[str], begun: str) -> Offers:
    """What the word that is begun may become.

    Args:
        command: The whole command.
        words: Those before it, without the program's name.
        begun: The word, as far as it is there.
    """
    line = _Line(command)
    for word in words:
        if word != _SPLIT_OFF and not line.take(word):
            return Offers([])
    return line.offers(begun)


@dataclass(slots=True)
class _Line:
    """A command line as far as it has been read."""

    command: Any
    """A command or a group; the classes behind typer's have no public names in all of its versions."""
    params: dict[str, Any] = field(default_factory=dict)
    """What was given, by the names of the parameters."""
    waiting: TyperOption | None = None
    """The option whose value comes next."""
    options_ended: bool = False
    arguments: int = 0

    def take(self, word: str) -> bool:
        """Read the next word; False where nothing sensible can follow it."""
        if self.waiting is not None:
            self.params[str(self.waiting.name)], self.waiting = word, None
        elif word == "--" and not self.options_ended:
            self.options_ended = True
        elif self._is_option(word):
            name, is_whole, value = word.partition("=")
            option = next((one for one in self._options() if name in one.opts), None)
            if option is not None and not option.is_flag and not is_whole:
                self.waiting = option
            elif option is not None:
                self.params[str(option.name)] = value or True
        elif isinstance(self.command, TyperGroup):
            self.command, self.params = self.command.commands.get(word), {}
            return self.command is not None
        else:
            argument = self._argument()
            if argument is not None:
                self.params[str(argument.name)] = word
            self.arguments += 1
        return True

    def offers(self, begun: str) -> Offers:
        """What the next word may become."""
        if self.waiting is not None:
            return self._values(self.waiting, begun)
        if self._is_option(begun):
            return self._of_options(begun)
        if isinstance(self.command, TyperGroup):
            commands = ((name, one.short_help or "") for name, one in self.command.commands.items() if not one.hidden)
            return Offers(_beginning_with(begun, commands))
        argument = self._argument()
        return Offers([]) if argument is None else self._values(argument, begun)

    def _is_option(self, word: str) -> bool:
        return word.startswith("-") and word != "-" and not self.options_ended

    def _options(self) -> Iterator[TyperOption]:
        return (one for one in self.command.params if isinstance(one, TyperOption))

    def _argument(self) -> TyperArgument | None:
        """The argument whose turn it is."""
        arguments = [one for one in self.command.params if isinstance(one, TyperArgument)]
        return arguments[self.arguments] if self.arguments < len(arguments) else None

    def _of_options(self, begun: str) -> Offers:
        name, is_whole, value = begun.partition("=")
        if is_whole:
            option = next((one for one in self._options() if name in one.opts), None)
            found = Offers([]) if option is None or option.is_flag else self._values(option, value)
            return Offers([(f"{name}={word}", told) for word, told in found.words])
        left = (one for one in self._options() if one.name not in self.params)
        named = ((max(one.opts, key=len), one.help or "") for one in left)
        return Offers(_beginning_with(begun, [*named, _HELP]))

    def _values(self, param: TyperOption | TyperArgument, begun: str) -> Offers:
        context = typer.Context(self.command)
        context.params = self.params
        found = ((str(item.value), item.help or "") for item in param.shell_complete(context, begun))
        return Offers(_beginning_with(begun, found), or_files=_FILE in (param.metavar or ""))


def _beginning_with(begun: str, offers: Iterable[Offer]) -> list[Offer]:
    return [offer for offer in offers if offer[0].startswith(begun)]
