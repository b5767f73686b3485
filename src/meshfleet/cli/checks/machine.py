"""Looking at the machine: the port of the inbox streams, and how many agents memory and disk have room for."""

from __future__ import annotations

import errno
import socket
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import psutil
from rich.filesize import decimal

from meshfleet.agents.admission import FIRST_GUESS, agents_that_fit, read_memory
from meshfleet.cli.checks.check import Check, failure, reason, warning, well
from meshfleet.mesh.texts import counted
from meshfleet.settings import Settings

LEFT_BY_A_RUN: Final = 6_000_000
"""Bytes OpenCode leaves in the folder for temporary files with every run."""
SCARCE: Final = 1_000_000_000
TOO_LITTLE: Final = 100_000_000
FEW: Final = 3
"""Agents a small fleet has."""


def look_at_machine(settings: Settings) -> Iterator[Check]:
    """The port, the memory and the disks."""
    yield _look_at_port(settings)
    yield _look_at_memory(settings)
    yield from _look_at_disks(settings)


def _look_at_port(settings: Settings) -> Check:
    host, port = settings.sse_host, settings.sse_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        ip = str(address[0])
        with socket.socket(family, kind, protocol) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return _taken(port)
        why = error.strerror if isinstance(error, socket.gaierror) else str(error)
        text = f"MESHFLEET_SSE_HOST is {host!r}, where inbox streams can't listen: {str(why).lower()}"
        return failure("port", text, "unset it to listen on 127.0.0.1")
    which = f"port {port} of {host} is free" if port else f"a free port of {host} is picked"
    if not ip_address(ip.partition("%")[0]).is_loopback:
        return warning("port", f"{which}, where other machines may reach inbox streams", "unset MESHFLEET_SSE_HOST")
    return well("port", f"{which} for inbox streams")


def _taken(port: int) -> Check:
    holder = _listener_on(port)
    if holder is not None and "meshfleet" in holder[1]:
        return well("port", f"port {port} is that of meshfleet server {holder[0]}; the next one picks a free one")
    by = "another program" if holder is None else f"process {holder[0]}"
    text = f"port {port} is taken by {by}, so inbox streams get a free one instead"
    return warning("port", text, "set MESHFLEET_SSE_PORT to a free port where scripts need to know it")


def _listener_on(port: int) -> tuple[int, str] | None:
    """The pid and the command of who listens on a port, where the system tells."""
    try:
        for one in psutil.net_connections("tcp"):
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid:
                return one.pid, " ".join(psutil.Process(one.pid).cmdline())
    except (psutil.Error, OSError):
        return None
    return None


def _look_at_memory(settings: Settings) -> Check:
    memory = read_memory()
    fit = agents_that_fit(memory)
    most = min(fit, settings.max_running or fit)
    limit = f" (MESHFLEET_MAX_RUNNING is {settings.max_running})" if most < fit else ""
    text = f"{decimal(memory.available)} free, enough for about {counted(most, 'agents')} at once{limit}"
    if fit < FEW:
        return warning("memory", text, f"an agent takes about {decimal(FIRST_GUESS)}; the rest wait their turn")
    return well("memory", text)


def _look_at_disks(settings: Settings) -> Iterator[Check]:
    folder = settings.data_file.parent
    place = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    for name, where, what in (("disk", place, "the ledger"), ("tmp", Path(tempfile.gettempdir()), "temporary files")):
        try:
            free = psutil.disk_usage(str(where)).free
        except OSError as error:
            yield failure(name, f"{where} can't be looked at: {reason(error)}", "see to its permissions")
            continue
        runs = f", enough for about {free // LEFT_BY_A_RUN} runs of OpenCode" if name == "tmp" else ""
        text = f"{decimal(free)} free for {what} in {where}{runs}"
        if free < TOO_LITTLE:
            yield failure(name, text, "free some space")
        elif free < SCARCE:
            yield warning(name, text, "free some space before a large fleet")
        else:
            yield well(name, text)
