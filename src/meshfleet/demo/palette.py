"""What the demo's live view and its report have in common: signs, colours, and how a message is headed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.text import Text

from meshfleet.demo.debate import MODERATOR
from meshfleet.demo.observe import Observation
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER
from meshfleet.demo.rescue import FIXER, RESCUER
from meshfleet.demo.wording import shown
from meshfleet.mesh.receipts import ACK
from meshfleet.model import EVERYONE, AgentStatus, Row

STATUS_STYLES: Final[Mapping[str, str]] = {
    AgentStatus.PENDING: "dim",
    AgentStatus.RUNNING: "yellow",
    AgentStatus.COMPLETE: "green",
}
STATUS_SIGNS: Final[Mapping[str, str]] = {
    AgentStatus.PENDING: "·",
    AgentStatus.RUNNING: "▸",
    AgentStatus.COMPLETE: "✓",
}
BAD_STYLE: Final = "bold red"
BAD_SIGN: Final = "✗"
ROLE_STYLES: Final[Mapping[str, str]] = {
    EXPLORER: "cyan",
    ANALYST: "magenta",
    ENGINEER: "blue",
    MODERATOR: "cyan",
    FIXER: "cyan",
    RESCUER: "magenta",
}
#: Columns of `Explorer → Analyst`, the longest of the demo's own, so that what follows stands in line.
ROUTE_WIDTH: Final = 18


def role_text(role: str) -> Text:
    """A role in its colour."""
    return Text(shown(role), style=ROLE_STYLES.get(role, "default"))


def route_text(seen: Observation, message: Row) -> Text:
    """Who sent a message to whom."""
    to = message["to_agent_id"]
    recipient = "everyone" if to == EVERYONE else seen.name_of(to)
    route = Text.assemble(role_text(seen.name_of(message["from_agent_id"])), (" → ", "dim"), role_text(recipient))
    route.pad_right(max(0, ROUTE_WIDTH - route.cell_len))
    return route


def receipt_style(receipt: Row) -> str:
    """Green for what settles a message, the rest in the background."""
    return "green" if receipt["action"] == ACK else "dim"


def status_style(status: str) -> str:
    """The colour of an agent's status."""
    return STATUS_STYLES.get(status, BAD_STYLE)


def status_sign(status: str) -> str:
    """One character for an agent's status."""
    return STATUS_SIGNS.get(status, BAD_SIGN)
