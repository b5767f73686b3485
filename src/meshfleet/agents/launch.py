"""Starting one attempt: an OpenCode run in a session of its own that outlives its server, its traces in files.

What becomes of it is others' to say: stream.py reads the events, judge.py the outcome, stopping.py ends it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import psutil

from meshfleet.agents.process import ProcessIdentity, identify_child
from meshfleet.errors import Conflict, Unavailable

PROMPT_NAME: Final = "prompt.txt"
EVENTS_NAME: Final = "events.ndjson"
STDERR_NAME: Final = "stderr.log"
EXIT_NAME: Final = "exit"
SCRATCH_NAME: Final = "scratch"

PRIVATE_FOLDER: Final = 0o700
PRIVATE_FILE: Final = 0o600
NEW_FILE: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
STDERR_HEAD_BYTES: Final = 8 * 1024
STDERR_TAIL_BYTES: Final = 24 * 1024
EXIT_LINE: Final = re.compile(rb"(\d{1,3})\n")
REMEDIES: Final = {
    errno.ENOSPC: "free some space where the ledger lies",
    errno.EDQUOT: "free some space where the ledger lies",
    errno.EAGAIN: "allow more processes (ulimit -u) or fewer agents at once (MESHFLEET_MAX_RUNNING)",
    errno.ENOMEM: "have fewer agents run at once (MESHFLEET_MAX_RUNNING)",
    errno.EMFILE: "allow more open files (ulimit -n)",
}
"""What to do where the system has too little of something to start anybody."""
LONGEST_EXIT_LINE_BYTES: Final = 5  # one more than there may be

#: OpenCode terminates, when it ends, whatever descends from its MCP servers, sessions of their own or not. So the shell
#: parent is no child of this process: one in between starts it in a session of its own, says which process that is,
#: waits until that has been looked at, and ends.
BETWEEN: Final = """
import os, sys
line = int(sys.argv[1])
pid = os.fork()
if pid == 0:
    os.setsid()
    os.close(line)
    os.execv("/bin/sh", ["/bin/sh", "-c", *sys.argv[2:]])
os.write(line, b"%d" % pid)
os.read(line, 1)
"""
PID_BYTES: Final = 32
PARENT_NAME: Final = "meshfleet-run"
#: Traps, since an ignored signal would be inherited by the child and a trapped one is not. The shell waits for its
#: child through any TERM and then says how it ended; `mv` itself may be hit by one, so there is a second way.
PARENT_SCRIPT: Final = """d=$1; shift; trap : TERM INT HUP; "$@"; s=$?; umask 077
printf '%d\\n' "$s" >"$d/exit.tmp" && mv -f "$d/exit.tmp" "$d/exit" || printf '%d\\n' "$s" >"$d/exit"
"""


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """What to start, for whom, and where its traces go.

    Attributes:
        agent_id: The agent.
        fleet_id: Its fleet.
        attempt: The attempt's number, from 1.
        prompt: Given byte for byte on stdin.
        run_dir: The attempt's own folder; made by the launch.
        cwd: Where the run works.
        argv: The command, as `run_arguments` spells it.
        env: Its whole environment, as `child_environment` makes it.
    """

    agent_id: str
    fleet_id: str
    attempt: int
    prompt: str
    run_dir: Path
    cwd: Path
    argv: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Launched:
    """A started attempt.

    Attributes:
        identity: The shell parent: it leads the group and ends after the run did. It is nobody's child here.
        started_at_ms: When, in ms since the epoch.
    """

    identity: ProcessIdentity
    started_at_ms: int


def launch(order: LaunchOrder) -> Launched:
    """Start an attempt and return at once.

    Raises:
        Conflict: The folder holds traces of an earlier start: one attempt, one folder.
        Unavailable: The system refused: no such working directory, a full disk, too many processes, too large an
            environment.
    """
    try:
        _make_private_folder(order.run_dir)
        with (
            _new_file(order.run_dir / EVENTS_NAME) as events,
            _new_file(order.run_dir / STDERR_NAME) as stderr,
            _written_prompt(order) as prompt,
        ):
            started_at_ms = time.time_ns() // 1_000_000
            identity = _start_parent(order, prompt, events, stderr)
    except FileExistsError as error:
        raise Conflict(
            f"attempt {order.attempt} of agent {order.agent_id} was started before: {error.filename} exists; "
            "another attempt needs a folder of its own"
        ) from error
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"attempt {order.attempt} of agent {order.agent_id} could not be started: {_explained(error, order)}"
        ) from error
    return Launched(identity, started_at_ms)


def is_parent_of_run(pid: int, run_dir: Path) -> bool:
    """Tell whether a process is the shell parent of the run whose folder this is."""
    try:
        arguments = psutil.Process(pid).cmdline()
    except (psutil.Error, OSError):
        return False
    return arguments[3:5] == [PARENT_NAME, str(run_dir.absolute())]


def read_exit(run_dir: Path) -> int | None:
    """Return the run's exit status, 128 + n for a death by signal n; None until its whole line is there."""
    try:
        with open_trace(run_dir / EXIT_NAME) as file:
            line = file.read(LONGEST_EXIT_LINE_BYTES)
    except OSError:
        return None
    found = EXIT_LINE.fullmatch(line)
    return None if found is None else int(found[1])


def read_stderr(run_dir: Path) -> str:
    """Return what the run complained of: the first 8 KiB, where a wrong agent shows, and the last 24 KiB."""
    try:
        with open_trace(run_dir / STDERR_NAME) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(0)
            if size <= STDERR_HEAD_BYTES + STDERR_TAIL_BYTES:
                said = file.read(STDERR_HEAD_BYTES + STDERR_TAIL_BYTES)
            else:
                head = file.read(STDERR_HEAD_BYTES)
                file.seek(size - STDERR_TAIL_BYTES)
                said = head + b"\n[...]\n" + file.read(STDERR_TAIL_BYTES)
    except OSError:
        return ""
    return said.decode("utf-8", errors="replace")


def open_trace(path: Path) -> IO[bytes]:
    """Open a file of a run folder to read; the run may have put anything in its place, which is not waited for.

    Raises:
        OSError: There is none, or what is there is no plain file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    return os.fdopen(fd, "rb", buffering=0)


def clear_scratch(run_dir: Path) -> None:
    """Remove what a run that has ended left for nobody: the library each OpenCode unpacks for itself."""
    shutil.rmtree(run_dir / SCRATCH_NAME, ignore_errors=True)


def _start_parent(order: LaunchOrder, prompt: IO[bytes], events: IO[bytes], stderr: IO[bytes]) -> ProcessIdentity:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # nothing to quote, since the rest is "$@" to a fixed script
        parent = [PARENT_SCRIPT, PARENT_NAME, str(order.run_dir.absolute()), *order.argv]
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", BETWEEN, str(theirs.fileno()), *parent],
            stdin=prompt,
            stdout=events,
            stderr=stderr,
            cwd=order.cwd,
            # OpenCode believes PWD more than the directory it was started in, and each run leaves 5.6 MB where Bun may
            env={
                **order.env,
                "PWD": str(order.cwd.absolute()),
                "BUN_TMPDIR": str((order.run_dir / SCRATCH_NAME).absolute()),
            },
            start_new_session=True,
            pass_fds=(theirs.fileno(),),
        ) as between:
            theirs.close()
            pid = ours.recv(PID_BYTES)
            # as long as the one in between waits, even one that has ended can be looked at
            identity = identify_child(int(pid)) if pid else None
            ours.close()
            between.wait()
    if identity is None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return identity


def _make_private_folder(folder: Path) -> None:
    for each in (folder.parent.parent, folder.parent, folder, folder / SCRATCH_NAME):
        try:
            each.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(each)) from error
        if each.is_symlink():
            raise NotADirectoryError(errno.ENOTDIR, "it is a symlink, which is not followed", str(each))
    for name in (PROMPT_NAME, EVENTS_NAME, STDERR_NAME, EXIT_NAME):
        if os.path.lexists(folder / name):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder / name))


def _new_file(path: Path) -> IO[bytes]:
    fd = os.open(path, NEW_FILE, PRIVATE_FILE)
    return os.fdopen(fd, "wb", buffering=0)


def _written_prompt(order: LaunchOrder) -> IO[bytes]:
    path = order.run_dir / PROMPT_NAME
    with _new_file(path) as file:
        rest = memoryview(order.prompt.encode("utf-8"))
        while rest:
            rest = rest[file.write(rest) :]
    return path.open("rb")


def _explained(error: OSError | ValueError, order: LaunchOrder) -> str:
    if isinstance(error, OSError) and not order.cwd.is_dir():
        return f"its working directory {order.cwd} is no directory"
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return "its environment is larger than the system allows; give it less env, or a smaller inline configuration"
    if isinstance(error, OSError) and error.errno in REMEDIES:
        return f"{os.strerror(error.errno or 0).lower()}; {REMEDIES[error.errno or 0]}, and resume the agent"
    return str(error)
