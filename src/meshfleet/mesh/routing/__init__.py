"""Routing: which agents fit a description of work. Nothing here starts an agent or sends a message."""

from __future__ import annotations

from meshfleet.mesh.routing.capabilities import capability_of_agent, register_capability
from meshfleet.mesh.routing.feedback import record_routing_outcome
from meshfleet.mesh.routing.router import LARGEST_TOP_N, Router, route_work

__all__ = [
    "LARGEST_TOP_N",
    "Router",
    "capability_of_agent",
    "record_routing_outcome",
    "register_capability",
    "route_work",
]
