"""The course of a demo: start, watch until it is over, stop everything, judge. It returns only when nothing runs."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from meshfleet.demo.checks import failed_step, hopeless_step
from meshfleet.demo.client import MeshClient, serving
from meshfleet.demo.leaving import remove_folder, stop_all_attempts
from meshfleet.demo.observe import Observation, Observer
from meshfleet.demo.outcome import Outcome
from meshfleet.demo.outlet import open_outlet
from meshfleet.demo.patterns import Pattern
from meshfleet.demo.progress import progress_on
from meshfleet.demo.project import DemoFolder, create_demo_folder, live_environment, scripted_environment
from meshfleet.demo.report import print_report, print_verdict
from meshfleet.demo.scripted_model import ScriptedModel
from meshfleet.errors import MeshfleetError, Unavailable
from meshfleet.ledger import Ledger
from meshfleet.settings import beside

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

#: Seconds the whole fleet has. Scripted it takes about 20; a paid model thinks, and may be asked to wait.
SCRIPTED_LIMIT_S: Final = 300.0
LIVE_LIMIT_S: Final = 1800.0
LOOK_INTERVAL_S: Final = 0.25
#: Seconds OpenCode has to tell its version and to make its database.
ANSWER_TIMEOUT_S: Final = 30.0
#: Bytes read of a file in the project; the demo's own are far smaller.
LARGEST_FILE: Final = 64 * 1024
LOG_LINES: Final = 8

SUCCESS: Final = 0
FAILURE: Final = 1
STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What a shell reports for a program that ended because of signal n: this and n.
SIGNALLED: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a demo is to run.

    Attributes:
        pattern: What the fleet is and what has to come of it.
        live: With the user's own OpenCode configuration and model, not the scripted one.
        keep: Keep the folder also when all went well.
        as_json: One JSON object on stdout, everything else on stderr.
    """

    pattern: Pattern
    live: bool = False
    keep: bool = False
    as_json: bool = False


def run_demo(options: Options, environ: Mapping[str, str]) -> int:
    """Run a demo to its end, printing as it goes; returns the exit code: 0, 1 for a failure, 128 + n after a signal.

    Args:
        options: How it is to run.
        environ: The caller's environment, in which MESHFLEET_OPENCODE names the program.

    Raises:
        Unavailable: There is no room for its folder, and nothing was started; or its result could not be printed.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console, out = open_outlet(as_json=options.as_json)
    root, folder = _make_folder()
    try:
        outcome = anyio.run(_play_in, folder, options, environ, console)
    except BaseException:
        remove_folder(root)
        raise
    if options.as_json:
        out.write(outcome.as_json() + "\n")
    out.flush()
    if outcome.stopped_by is not None:
        return SIGNALLED + outcome.stopped_by
    if out.error is not None:
        raise Unavailable(f"can't write to standard output: {_reason(out.error)}; send it elsewhere and run it again")
    return SUCCESS if outcome.ok else FAILURE


def _make_folder() -> tuple[Path, DemoFolder]:
    try:
        root = Path(tempfile.mkdtemp(prefix="meshfleet-demo-"))
    except OSError:
        # its text names the folders that were tried and gives no reason
        raise Unavailable("no folder for temporary files can be written to; set TMPDIR to one with room") from None
    try:
        return root, create_demo_folder(root)
    except OSError as error:
        remove_folder(root)
        raise Unavailable(
            f"can't write to {error.filename or root}: {_reason(error)}; set TMPDIR to a folder with room"
        ) from None


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


async def _play_in(folder: DemoFolder, options: Options, environ: Mapping[str, str], console: Console) -> Outcome:
    return await Demo(folder, options, environ, console).run()


class Demo:
    """One demo in its folder.

    Args:
        folder: Its own, freshly made.
        options: How it is to run.
        environ: The caller's environment, in which MESHFLEET_OPENCODE names the program.
        console: Where it shows itself.
    """

    def __init__(self, folder: DemoFolder, options: Options, environ: Mapping[str, str], console: Console) -> None:
        self._folder = folder
        self._options = options
        self._environ = environ
        self._console = console
        self._limit_s = LIVE_LIMIT_S if options.live else SCRIPTED_LIMIT_S
        self._scope = anyio.CancelScope()
        self._seen: Observation | None = None
        self._called: list[str] = []
        self._results: dict[str, str] = {}
        self._failure: str | None = None
        self._version: str | None = None
        self._duration_s = 0.0
        self._signal: signal.Signals | None = None
        self._stopped_by: int | None = None
        self._progress = progress_on(console, self._title)

    async def run(self) -> Outcome:
        """Play it, stop whatever it started, tell how it went."""
        async with anyio.create_task_group() as tasks, _stopping_signals() as signals:
            tasks.start_soon(self._stop_at, signals)
            with self._progress:
                await self._play()
            outcome = self._judge()
            self._tell(outcome)
            tasks.cancel_scope.cancel()
        return outcome

    async def _stop_at(self, signals: AsyncIterator[signal.Signals]) -> None:
        # all of them are taken, so that a second Ctrl-C doesn't break off the stopping
        async for number in signals:
            self._signal = self._signal or number
            self._progress.tell("stopping")
            self._scope.cancel()

    async def _play(self) -> None:
        began, went_through = time.monotonic(), False
        with self._scope:
            self._scope.deadline = anyio.current_time() + self._limit_s
            try:
                await self._run_fleet()
                went_through = True
            except Exception as error:  # noqa: BLE001 - whatever it is, the demo has failed, and tells at what
                self._failure = _told(error)
        self._duration_s = time.monotonic() - began
        if self._signal is not None and not went_through:
            self._stopped_by = int(self._signal)
            self._failure = f"stopped by {self._signal.name}"

    async def _run_fleet(self) -> None:
        with self._environment() as environment:
            self._progress.tell("preparing OpenCode")
            await self._prepare(environment)
            self._progress.tell("starting meshfleet serve")
            try:
                async with serving(environment, self._folder.project, self._folder.server_log) as client:
                    self._called = client.called
                    self._progress.tell("spawning the fleet")
                    spawned = await client.call("spawn_fleet", agents=self._options.pattern.agents)
                    await self._see_through(client, spawned["fleet_id"])
            finally:
                with anyio.CancelScope(shield=True):
                    await self._stop_agents()

    async def _prepare(self, environment: Mapping[str, str]) -> None:
        async def ask_version() -> None:
            words = (await _answer(environment, "--version")).split()
            self._version = words[-1] if words else None

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_version)
            # OpenCode makes its database at its first start, and first starts at once lock each other out: of twenty,
            # four at a time, three failed with "database is locked", and none once the database was there
            tasks.start_soon(_answer, environment, "db", "path")

    @contextlib.contextmanager
    def _environment(self) -> Iterator[dict[str, str]]:
        """What the server and its agents see, with their model running where that is ours."""
        if self._options.live:
            yield live_environment(self._folder, self._environ)
        else:
            with ScriptedModel(self._options.pattern.play) as model:
                yield scripted_environment(self._folder, model.base_url, self._environ)

    async def _see_through(self, client: MeshClient, fleet_id: str) -> None:
        """Wait for the fleet to end, which also tells what came of it: that is all that an orchestrator has to do."""
        self._progress.tell("")
        with contextlib.closing(Ledger(self._folder.ledger)) as ledger:
            observer = Observer(ledger, beside(self._folder.ledger, "runs"), fleet_id)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch, observer, tasks.cancel_scope)
                    await self._wait(client, fleet_id)
                    tasks.cancel_scope.cancel()
            finally:
                self._look(observer)

    async def _wait(self, client: MeshClient, fleet_id: str) -> None:
        cursor, goes_on = 0, True
        while goes_on:
            answer = await client.call("wait", fleet_id=fleet_id, cursor=cursor)
            self._results |= {one["agent_id"]: one.get("output") or "" for one in answer["ended"]}
            cursor, goes_on = answer["cursor"], answer["timed_out"] or answer["more"]

    async def _watch(self, observer: Observer, waiting: anyio.CancelScope) -> None:
        """Show how it goes on; nobody has to wait any longer for what can't come right."""
        while True:
            if hopeless_step(self._options.pattern, self._look(observer)):
                waiting.cancel()
            await anyio.sleep(LOOK_INTERVAL_S)

    def _look(self, observer: Observer) -> Observation:
        self._seen = observer.look()
        self._progress.show(self._seen)
        return self._seen

    async def _stop_agents(self) -> None:
        with contextlib.closing(Ledger(self._folder.ledger)) as ledger:
            survivors = await stop_all_attempts(ledger)
        if survivors:
            self._failure = f"the end: the processes {', '.join(map(str, survivors))} could not be stopped"

    def _judge(self) -> Outcome:
        files = _texts_in(self._folder.project)
        failure = self._failure or self._failed_step(files)
        server_words = _last_lines(self._folder.server_log)
        wanted = self._options.keep or (failure is not None and self._stopped_by is None)
        return Outcome(
            failure=failure,
            stopped_by=self._stopped_by,
            seen=self._seen,
            opencode_version=self._version,
            folder=self._folder,
            kept=wanted or not remove_folder(self._folder.root),
            files=files,
            called=tuple(self._called),
            results=self._results,
            server_words=server_words,
            duration_s=self._duration_s,
        )

    def _failed_step(self, files: Mapping[str, str]) -> str | None:
        if self._seen is None:
            return f"the start: the fleet was not spawned within {self._limit_s:.0f} s"
        pattern = self._options.pattern
        step = hopeless_step(pattern, self._seen) or failed_step(pattern, self._seen, files)
        late = f"; given up after {self._limit_s:.0f} s" if self._scope.cancelled_caught else ""
        return f"{step}{late}" if step else None

    def _tell(self, outcome: Outcome) -> None:
        if outcome.stopped_by is not None and not outcome.kept:
            print_verdict(self._console, outcome)
        else:
            print_report(self._console, self._title(), outcome)

    def _title(self) -> str:
        model = "your own model" if self._options.live else "scripted model"
        version = f" {self._version}" if self._version else ""
        pattern = self._options.pattern
        return f"{pattern.name} of {len(pattern.agents)} real OpenCode{version} agents, {model}"


@contextlib.asynccontextmanager
async def _stopping_signals() -> AsyncIterator[AsyncIterator[signal.Signals]]:
    """The signals that end a demo, but for those the caller wants ignored, as nohup does."""
    wanted = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    with anyio.open_signal_receiver(*wanted) as signals:
        yield signals


async def _answer(environment: Mapping[str, str], *arguments: str) -> str:
    """What OpenCode prints when asked; nothing when it fails, which the agents' own failure will explain better."""
    with anyio.move_on_after(ANSWER_TIMEOUT_S), contextlib.suppress(OSError):
        command = [environment["MESHFLEET_OPENCODE"], *arguments]
        done = await anyio.run_process(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""
    return ""


def _told(error: Exception) -> str:
    """What a demo failed at; a task group wraps whatever is raised inside it."""
    cause: BaseException = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if isinstance(cause, MeshfleetError):
        return str(cause)
    log.error("the demo failed", exc_info=error)
    return f"the demo itself, with {type(cause).__name__}: {cause}"


def _texts_in(project: Path) -> dict[str, str]:
    """The files right in the project, by name."""
    texts = {}
    for path in sorted(project.iterdir()):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                texts[path.name] = file.read(LARGEST_FILE).decode(errors="replace")
    return texts


def _last_lines(log_file: Path) -> str:
    try:
        lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])
