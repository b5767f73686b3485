"""Every environment variable Meshfleet reads, checked once; the names of v0.9.0 (`AGENT_MESH_*`) still work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from meshfleet.errors import Invalid

T = TypeVar("T")

LEDGER_NAME: Final = "agent-mesh.json"
NO_LIMIT: Final = None
LARGEST_PORT: Final = 65_535
LONGEST_NUMBER: Final = 15
"""Digits of a number; more can't be meant, in ms or anything else."""


class Durability(StrEnum):
    """What an acknowledged write survives: the machine's power, or only the process's death."""

    POWER = "power"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one process.

    Attributes:
        data_file: The ledger's snapshot; its journal, locks, event log and run folders lie beside it.
        durability: Whether a write is synced to the disk before it is acknowledged.
        lock_timeout_ms: How long a call waits for the ledger's lock before it is refused as busy.
        agent_timeout_ms: The longest an attempt may run; None is no limit.
        agent_stall_ms: How long an agent may be silent and idle; 0 is for ever.
        retry_base_ms: The delay before the first retry.
        start_stagger_ms: The time between two starts of OpenCode.
        max_running: How many agents may run at once; None is as many as memory holds.
        max_depth: How many levels of fleets there may be: 1 keeps agents from spawning any.
        max_output_bytes: How much an attempt may write, in bytes, before it is stopped.
        keep_runs_days: How long the run folders of fleets that have ended are kept, in days.
        sse_host: Where the inbox streams listen.
        sse_port: The port of the inbox streams; 0 picks a free one.
        agent_id: The agent this process serves, in agent mode.
        fleet_id: The fleet of that agent.
        log_level: What goes to stderr: debug, info, warning or error.
    """

    data_file: Path
    durability: Durability = Durability.POWER
    lock_timeout_ms: int = 5_000
    agent_timeout_ms: int | None = NO_LIMIT
    agent_stall_ms: int = 30 * 60 * 1000
    retry_base_ms: int = 1_000
    start_stagger_ms: int = 250
    max_running: int | None = NO_LIMIT
    max_depth: int = 2
    max_output_bytes: int = 1024**3
    keep_runs_days: int = 30
    sse_host: str = "127.0.0.1"
    sse_port: int = 13_579
    agent_id: str | None = None
    fleet_id: str | None = None
    log_level: str = "warning"

    @property
    def in_agent_mode(self) -> bool:
        """True when this process serves an agent, and so may act only as that agent."""
        return self.agent_id is not None

    @property
    def events_file(self) -> Path:
        """The event log, beside the ledger."""
        return beside(self.data_file, "events.log")

    @property
    def runs_dir(self) -> Path:
        """The folder of the agents' run folders, beside the ledger."""
        return beside(self.data_file, "runs")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings; an empty variable counts as unset.

        Raises:
            Invalid: A variable holds something it can't; the text names it.
        """
        defaults = cls(data_file=_data_file(environ))
        return cls(
            data_file=defaults.data_file,
            durability=_read(environ, "DURABILITY", _durability, defaults.durability),
            lock_timeout_ms=_read(environ, "LOCK_TIMEOUT_MS", _at_least(1), defaults.lock_timeout_ms),
            agent_timeout_ms=_read(environ, "AGENT_TIMEOUT_MS", _at_least(1), defaults.agent_timeout_ms),
            agent_stall_ms=_read(environ, "AGENT_STALL_MS", _at_least(0), defaults.agent_stall_ms),
            retry_base_ms=_read(environ, "RETRY_BASE_MS", _at_least(0), defaults.retry_base_ms),
            start_stagger_ms=_read(environ, "START_STAGGER_MS", _at_least(0), defaults.start_stagger_ms),
            max_running=_read(environ, "MAX_RUNNING", _at_least(1), defaults.max_running),
            max_depth=_read(environ, "MAX_DEPTH", _at_least(1), defaults.max_depth),
            max_output_bytes=_read(environ, "MAX_OUTPUT_BYTES", _at_least(1), defaults.max_output_bytes),
            keep_runs_days=_read(environ, "KEEP_RUNS_DAYS", _at_least(0), defaults.keep_runs_days),
            sse_host=_read(environ, "SSE_HOST", str, defaults.sse_host),
            sse_port=_read(environ, "SSE_PORT", _port, defaults.sse_port),
            agent_id=_read(environ, "AGENT_ID", str, None),
            fleet_id=_read(environ, "FLEET_ID", str, None),
            log_level=_read(environ, "LOG_LEVEL", _log_level, defaults.log_level),
        )


def beside(data_file: Path, ending: str) -> Path:
    """The file or folder that belongs to a ledger: `agent-mesh.json` and `lock` give `agent-mesh.lock`."""
    return data_file.with_name(f"{data_file.name.removesuffix('.json')}.{ending}")


def _named(environ: Mapping[str, str], name: str) -> tuple[str, str] | None:
    for variable in (f"MESHFLEET_{name}", f"AGENT_MESH_{name}"):
        if value := environ.get(variable):
            return variable, value
    return None


def _read(environ: Mapping[str, str], name: str, parse: Callable[[str], T], default: T) -> T:
    found = _named(environ, name)
    if found is None:
        return default
    variable, value = found
    try:
        return parse(value)
    except ValueError as error:
        raise Invalid(f"{variable} is {value!r}: {error}") from None


def _data_file(environ: Mapping[str, str]) -> Path:
    file = _read(environ, "DATA_FILE", _file, None)
    folder = _read(environ, "DATA_DIR", _path, None)
    if file is not None:
        return file
    if folder is not None:
        return folder / LEDGER_NAME
    home = environ.get("HOME")
    try:
        return (Path(home) if home else Path.home()).absolute() / ".config" / "opencode" / LEDGER_NAME
    except RuntimeError:
        raise Invalid("HOME is not set and the user has none; set HOME or MESHFLEET_DATA_FILE") from None


def _path(value: str) -> Path:
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user, whose home it begins with") from None
    except FileNotFoundError:
        raise ValueError("it is relative to the current folder, which is gone; name the whole path") from None


def _file(value: str) -> Path:
    path = _path(value)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise ValueError("it has to be valid UTF-8, or agents can't be told of it") from None
    if not path.name:
        raise ValueError("it has to name a file")
    return path


def _whole_number(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("it has to be a whole number, 0 or more")
    if len(value) > LONGEST_NUMBER:
        raise ValueError(f"it may have {LONGEST_NUMBER} digits at most")
    return int(value)


def _at_least(least: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        number = _whole_number(value)
        if number < least:
            raise ValueError(f"it has to be at least {least}")
        return number

    return parse


def _port(value: str) -> int:
    number = _whole_number(value)
    if number > LARGEST_PORT:
        raise ValueError(f"a port is at most {LARGEST_PORT} (0 picks a free one)")
    return number


def _durability(value: str) -> Durability:
    if value not in set(Durability):
        raise ValueError(f"it has to be one of {', '.join(Durability)}")
    return Durability(value)


def _log_level(value: str) -> str:
    levels = ("debug", "info", "warning", "error")
    if value.lower() not in levels:
        raise ValueError(f"it has to be one of {', '.join(levels)}")
    return value.lower()
