"""What there is to see of a mesh: queries on a view that return dataclasses. How it looks is left to the faces.

Every function takes the view of one `ledger.read`, changes nothing, and looks at no process or file. `left` tells
which agents' supervisors are gone, which only the process table knows (`agents.standing.Gone().left`).
"""

from __future__ import annotations

from meshfleet.mesh.overview.fleets import (
    AgentDetail,
    AgentSummary,
    FleetSummary,
    agent_detail,
    agent_summaries,
    fleet_summaries,
    fleet_summary,
)
from meshfleet.mesh.overview.messages import Delivery, Trail, message_trail, message_trails
from meshfleet.mesh.overview.metrics import Metrics, Spread, metrics
from meshfleet.mesh.overview.naming import Named, candidates, require_named
from meshfleet.mesh.overview.problems import Problem, ProblemKind, problems
from meshfleet.mesh.overview.timeline import Moment, MomentKind, timeline

__all__ = [
    "AgentDetail",
    "AgentSummary",
    "Delivery",
    "FleetSummary",
    "Metrics",
    "Moment",
    "MomentKind",
    "Named",
    "Problem",
    "ProblemKind",
    "Spread",
    "Trail",
    "agent_detail",
    "agent_summaries",
    "candidates",
    "fleet_summaries",
    "fleet_summary",
    "message_trail",
    "message_trails",
    "metrics",
    "problems",
    "require_named",
    "timeline",
]
