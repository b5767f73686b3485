"""Meshfleet: fleets of OpenCode agents that hand work to each other.

Only the version stands here, its one source; whatever else is needed is imported from where it is.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.0.0.dev0"
