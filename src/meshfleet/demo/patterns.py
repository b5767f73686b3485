"""What a pattern of working together is: its agents, the parts of a scripted model, and what has to come of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshfleet.demo.conversation import Conversation, Reply
from meshfleet.demo.observe import Observation
from meshfleet.demo.parts import Part, play
from meshfleet.model import MessageType, Row, recipients_of

_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Step:
    """A message that has to be sent, and acknowledged by every agent it is for; sender and recipient are roles."""

    sender: str
    kind: MessageType
    recipient: str

    def __str__(self) -> str:
        return f"{self.sender}'s {self.kind} to {self.recipient}"

    def is_taken_by(self, seen: Observation, message: Row) -> bool:
        """Tell whether a message is the one that has to be sent."""
        return (
            message["type"] == self.kind
            and seen.name_of(message["from_agent_id"]) == self.sender
            and self.recipient in {seen.name_of(recipient) for recipient in recipients_of(message)}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A fleet that runs itself: whoever spawns it only has to wait.

    Attributes:
        name: What it is called.
        agents: The `agents` argument of spawn_fleet.
        parts: What a scripted model does in each role.
        steps: The messages that have to be sent, in their order.
        flaw: What else is wrong with how a fleet has ended, given the project's files by name; None where nothing is.
    """

    name: str
    agents: Sequence[Mapping[str, Any]]
    parts: Mapping[str, Part]
    steps: tuple[Step, ...]
    flaw: Callable[[Observation, Mapping[str, str]], str | None]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of its agents, in the order they are spawned."""
        return tuple(agent["role"] for agent in self.agents)

    def play(self, conversation: Conversation) -> Reply:
        """What a scripted model does next, in whatever role it is addressed."""
        return play(self.parts, conversation)


def holds_the_words_of(quoted: str, text: str) -> bool:
    """Tell whether a text quotes another word for word, however it breaks lines or marks the quotation."""
    words = _WORD.findall(quoted.casefold())
    return bool(words) and f" {' '.join(words)} " in f" {' '.join(_WORD.findall(text.casefold()))} "
