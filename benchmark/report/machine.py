"""The machine and the versions that figures belong to; nothing that names its owner."""

from __future__ import annotations

import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from meshfleet import __version__

GIB = 1024**3


def describe() -> dict[str, Any]:
    """What there is to say at the start of a run."""
    kernel = ".".join(platform.release().split("-")[0].split(".")[:2])
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "system": f"{platform.system()} {kernel}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / GIB),
        "filesystem": _filesystem(Path(tempfile.gettempdir()).resolve()),
        "python": platform.python_version(),
        "mcp": version("mcp"),
        "meshfleet": __version__,
        "load": load(),
    }


def load() -> float:
    """How many processes want to run, over the last minute."""
    return round(os.getloadavg()[0], 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _filesystem(folder: Path) -> str:
    """What the ledgers lie on: a sync into memory says nothing of a disk."""
    mounts = {Path(mount.mountpoint): mount.fstype for mount in psutil.disk_partitions(all=True)}
    return next((mounts[place] for place in (folder, *folder.parents) if place in mounts), "unknown")
