"""`meshfleet cancel`, `resume`, `logs` and `wait`: the tools for agents on their way, for a person at a shell."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio
from anyio import to_thread

from meshfleet.agents.foreground import LOOK_S, Condition, is_left_alone, supervise_until, until
from meshfleet.agents.output import MOST_PAGE_BYTES, Sight, compact, look_at, text_of
from meshfleet.cli.output import Interrupted, complain, printable, say
from meshfleet.errors import MeshfleetError, Unavailable
from meshfleet.ledger import Ledger, View
from meshfleet.mesh import cancelling, resuming
from meshfleet.mesh.fleets import require_fleet
from meshfleet.mesh.lifecycle import AT_WORK, require_agent
from meshfleet.mesh.overview import require_named
from meshfleet.mesh.texts import counted
from meshfleet.mesh.waiting import Endings, Until, endings_since
from meshfleet.model import AgentStatus, FleetStatus, Row, attempt_key
from meshfleet.settings import Settings

STOP_PATIENCE_S: Final = 60.0
"""How long a server may take to stop agents: it asks, kills after 10 s, and gives up what can't be killed after 30."""
SERVER_LOOK_S: Final = 5.0
"""How often it is looked whether the server that a fleet was left to is still there."""
FAILED: Final = 1


@contextmanager
def opened() -> Generator[tuple[Ledger, Settings]]:
    """The ledger of the settings, and the settings."""
    settings = Settings.from_environ(os.environ)
    ledger = Ledger.from_settings(settings)
    try:
        yield ledger, settings
    finally:
        ledger.close()


def cancel(name: str, *, as_json: bool) -> int:
    """Cancel a fleet or an agent, and return once all that ran of it is stopped; the exit code."""
    with opened() as (ledger, settings):
        which = _named(ledger, name)
        _require_own(ledger, settings, which)
        done = cancelling.cancel(ledger, **which)
        if done.stopping:
            anyio.run(_see_stopped, ledger, settings, done.stopping)
    if as_json:
        say(json.dumps(done.as_result()))
    else:
        cancelled, before = len(done.ended) + len(done.stopping), len(done.before)
        say(
            f"cancelled {counted(cancelled, 'agents')}"
            + (f"; {counted(before, 'agents')} had ended before" if before else "")
        )
    return 0


def resume(name: str, prompt: str | None, *, fresh: bool, as_json: bool) -> int:
    """Have agents go on, and where no server runs, see them through; the exit code."""
    with opened() as (ledger, settings):
        which = _named(ledger, name)
        _require_own(ledger, settings, which)
        fleet, agent = which.get("fleet_id"), which.get("agent_id")
        agent_ids = resuming.resume(ledger, fleet_id=fleet, agent_id=agent, prompt=prompt, fresh=fresh)
        fleet_id = ledger.read(partial(require_agent, agent_id=agent_ids[0]))["fleet_id"]
        if as_json:
            say(json.dumps({"fleet_id": fleet_id, "agent_ids": agent_ids}))
        else:
            for agent_id in agent_ids:
                say(agent_id)
        return see_through(ledger, settings, fleet_id, agent_ids)


def see_through(ledger: Ledger, settings: Settings, fleet_id: str, agent_ids: list[str], *, waits: bool = False) -> int:
    """Leave agents that wait to be started to a server, or supervise them here until their fleet has ended.

    Args:
        ledger: Where they are rows.
        settings: What a supervisor goes by.
        fleet_id: Their fleet.
        agent_ids: The agents.
        waits: Whether to return only once the fleet has ended, whoever supervises it, and to show how it gets on.

    Returns:
        The exit code: 1 where the fleet has ended and failed.

    Raises:
        Interrupted: Somebody pressed Ctrl-C; the fleet goes on.
        Unavailable: No server runs, and there is no OpenCode to start.
    """
    here = not settings.in_agent_mode and anyio.run(is_left_alone, ledger, agent_ids)
    if here:
        complain("no meshfleet server runs on this ledger, so this command supervises until the fleet has ended")
        _tell_of_others(ledger, fleet_id)
    elif settings.in_agent_mode:
        complain(f"{counted(len(agent_ids), 'agents')} waiting for the server that supervises you")
    else:
        complain(f"{counted(len(agent_ids), 'agents')} left to a meshfleet server that runs")
    if not (here or waits):
        return 0
    try:
        anyio.run(partial(_see_through, ledger, settings, fleet_id, agent_ids, here=here, shows=waits))
    except Unavailable as error:
        waiting = f"until then fleet {fleet_id} waits for a server (meshfleet cancel {fleet_id} ends that)"
        raise Unavailable(f"{error}; {waiting}") from None
    except KeyboardInterrupt:
        told = f"fleet {fleet_id} goes on, and the next server adopts it; meshfleet cancel {fleet_id} stops it"
        raise Interrupted(told) from None
    status = ledger.read(partial(require_fleet, fleet_id=fleet_id))["status"]
    complain(f"fleet {fleet_id} is {status}")
    return FAILED if status == FleetStatus.FAILED else 0


def _tell_of_others(ledger: Ledger, fleet_id: str) -> None:
    at_work = ledger.read(lambda view: view.agents_that_are(*AT_WORK))
    others = sum(agent["fleet_id"] != fleet_id for agent in at_work)
    if others:
        looked_after = f"{counted(others, 'agents')} of other fleets, too"
        complain(f"meanwhile it looks after {looked_after} (meshfleet inspect shows them)")


async def _see_through(
    ledger: Ledger, settings: Settings, fleet_id: str, agent_ids: list[str], *, here: bool, shows: bool
) -> None:
    """Return once a fleet has ended, supervising it where nobody else does or does any more."""

    def has_ended(view: View) -> bool:
        return require_fleet(view, fleet_id)["status"] in {FleetStatus.COMPLETE, FleetStatus.FAILED}

    async with _showing(ledger, fleet_id, shows=shows):
        while not here and not await to_thread.run_sync(ledger.read, has_ended):
            with anyio.move_on_after(SERVER_LOOK_S):
                await until(ledger, has_ended, fleet_id)
            here = not settings.in_agent_mode and await is_left_alone(ledger, agent_ids)
        if here:
            await supervise_until(ledger, settings, dict(os.environ), has_ended, fleet_id)


@asynccontextmanager
async def _showing(ledger: Ledger, fleet_id: str, *, shows: bool) -> AsyncIterator[None]:
    """Show how a fleet gets on meanwhile, if that is wanted; what goes wrong meanwhile goes wrong as without."""
    if not shows:
        yield
        return
    from meshfleet.cli.progress import follow

    failure: MeshfleetError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(follow, ledger, fleet_id)
        try:
            yield
        except MeshfleetError as error:
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def wait(name: str, *, for_any: bool, timeout_s: float | None, as_json: bool) -> int:
    """Wait until a fleet has ended, or any of its agents that had not; the exit code: 1 too late, or it failed."""
    which = Until.ANY if for_any else Until.ALL
    with opened() as (ledger, settings):
        fleet_id = require_named(ledger, name, ("fleets",)).id
        cursor = ledger.read(lambda view: _already(view, fleet_id, which))

        def is_there(view: View) -> bool:
            return endings_since(view, fleet_id, cursor).is_what(which)

        anyio.run(_wait_until, ledger, settings, is_there, fleet_id, timeout_s)
        found = ledger.read(lambda view: _all_endings(view, fleet_id, cursor))
    in_time = found.is_what(which)
    _print_endings(found, timed_out=not in_time, as_json=as_json)
    if not in_time:
        complain(f"fleet {fleet_id} goes on: {counted(found.left, 'agents')} had not ended after {timeout_s:g} s")
    return 0 if in_time and found.fleet["status"] != FleetStatus.FAILED else FAILED


def logs(name: str, *, follow: bool, attempt: int | None, as_json: bool) -> int:
    """Print what an agent has said and done, and with `follow` go on until it has ended; the exit code."""
    with opened() as (ledger, _):
        agent_id = require_named(ledger, name, ("agents",)).id
        anyio.run(partial(_print_logs, ledger, agent_id, follow=follow, attempt=attempt, as_json=as_json))
    return 0


async def _see_stopped(ledger: Ledger, settings: Settings, agent_ids: list[str]) -> None:
    def have_ended(view: View) -> bool:
        return all(require_agent(view, agent_id)["status"] not in AT_WORK for agent_id in agent_ids)

    if settings.in_agent_mode or not await is_left_alone(ledger, agent_ids):
        with anyio.move_on_after(STOP_PATIENCE_S):
            await until(ledger, have_ended)
            return
        raise Unavailable(
            f"after {STOP_PATIENCE_S:.0f} s the server has not stopped all of it; see meshfleet inspect --events"
        )
    await supervise_until(ledger, settings, dict(os.environ), have_ended, starts=False)


async def _wait_until(
    ledger: Ledger, settings: Settings, done: Condition, fleet_id: str, timeout_s: float | None
) -> None:
    failure: MeshfleetError | None = None
    with anyio.move_on_after(timeout_s):
        async with anyio.create_task_group() as tasks:
            if not settings.in_agent_mode:
                tasks.start_soon(_say_if_left_alone, ledger, fleet_id)
            try:
                await until(ledger, done, fleet_id)
            except MeshfleetError as error:
                failure = error
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _say_if_left_alone(ledger: Ledger, fleet_id: str) -> None:
    """Say, once, that nobody starts, tries again or settles a fleet's agents: who waits might wait for ever."""

    def agent_ids(view: View) -> list[str]:
        return [agent["id"] for agent in view.agents_of(fleet_id)]

    with suppress(MeshfleetError):  # what is wrong with the ledger, the wait itself says
        while True:
            if await is_left_alone(ledger, await to_thread.run_sync(ledger.read, agent_ids)):
                break
            await anyio.sleep(SERVER_LOOK_S)
        complain(
            f"no meshfleet server looks after fleet {fleet_id}; start OpenCode, whose server adopts its agents, "
            f"or stop it with meshfleet cancel {fleet_id}"
        )


def _already(view: View, fleet_id: str, which: Until) -> int:
    """The cursor after which endings are news: those there were are none, for who waits for the next one."""
    fleet = require_fleet(view, fleet_id)
    return int(fleet.get("endings", 0)) if which is Until.ANY and fleet["status"] == FleetStatus.RUNNING else 0


def _all_endings(view: View, fleet_id: str, cursor: int) -> Endings:
    found = endings_since(view, fleet_id, cursor)
    while found.more:
        more = endings_since(view, fleet_id, found.cursor)
        found = replace(more, ended=found.ended + more.ended)
    return found


def _print_endings(found: Endings, *, timed_out: bool, as_json: bool) -> None:
    if as_json:
        say(json.dumps(found.as_result(timed_out=timed_out)))
        return
    for agent in found.ended:
        why = f": {agent['error']}" if "error" in agent and agent["status"] != AgentStatus.COMPLETE else ""
        say(printable(f"{agent['agent_id']}  {agent['status']:11}  {agent['role']}{why}").replace("\n", " "))
    say(f"fleet {found.fleet['id']} is {found.fleet['status']}")


async def _print_logs(ledger: Ledger, agent_id: str, *, follow: bool, attempt: int | None, as_json: bool) -> None:
    seen: Sight | None = None
    cursor: str | None = None
    while True:
        if cursor is None:
            cursor = ledger.read(lambda view: _beginning(require_agent(view, agent_id), attempt))
        last, seen = seen, look_at(ledger, agent_id, attempt=attempt, cursor=cursor, size=MOST_PAGE_BYTES)
        if seen.attempt is not None and (last is None or last.attempt != seen.attempt):
            _print_note(f"attempt {seen.attempt}", as_json=as_json)
        for event in seen.page.events:
            _print_event(event, as_json=as_json)
        cursor = seen.cursor
        if seen.more:
            continue
        if not follow or _is_over(seen, attempt):
            break
        await anyio.sleep(LOOK_S)
    ending = _ending(seen.agent) if attempt is None else _ending_of_attempt(ledger, agent_id, attempt)
    if ending is not None:
        _print_note(ending, as_json=as_json)


def _ending(agent: Row) -> str | None:
    """How an agent has ended, if it has."""
    if agent["status"] in AT_WORK:
        return None
    went_wrong = agent["status"] in {AgentStatus.FAILED, AgentStatus.INTERRUPTED}
    return _with_why(agent["status"], agent) if went_wrong else str(agent["status"])


def _ending_of_attempt(ledger: Ledger, agent_id: str, number: int) -> str | None:
    attempt = ledger.read(lambda view: view.get("attempts", attempt_key(agent_id, number))) or {}
    if "ended_at" not in attempt:
        return None
    return AgentStatus.COMPLETE if attempt.get("ok") else _with_why(AgentStatus.FAILED, attempt)


def _with_why(what: str, row: Row) -> str:
    return f"{what}: {row['error']}" if row.get("error") else what


def _beginning(agent: Row, attempt: int | None) -> str | None:
    """The cursor of an attempt's beginning, by default of the first since the agent was resumed, if it has begun."""
    if attempt is not None:
        return f"{attempt}:0"
    first = int(agent.get("attempts_before", 0)) + 1
    return f"{first}:0" if int(agent.get("attempt", 0)) >= first else None


def _is_over(seen: Sight, attempt: int | None) -> bool:
    """Whether nothing more comes: the agent's row was read before its words were."""
    if attempt is not None and seen.attempt is not None:
        latest = seen.agent.get("attempt")
        return latest != attempt or seen.agent["status"] != AgentStatus.RUNNING
    return seen.agent["status"] not in AT_WORK


def _print_note(text: str, *, as_json: bool) -> None:
    if not as_json:
        say(printable(f"[{text}]").replace("\n", " "))


def _print_event(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(event))
        return
    words = text_of(event)
    if words:
        say(printable(words))
        return
    told = compact(event)
    match told["type"]:
        case "tool_use":
            about = told.get("error") or told.get("title") or told.get("input") or ""
            say(printable(f"[{told['tool']} {told['status']}] {about}".rstrip()).replace("\n", " "))
        case "error":
            say(printable(f"[error] {told['error']}").replace("\n", " "))
        case "unreadable":
            say(f"[{told['bytes']} bytes that are no event]")


def _named(ledger: Ledger, name: str) -> dict[str, str]:
    """The fleet or the agent that a person names, as the rules take it."""
    found = require_named(ledger, name, ("fleets", "agents"))
    return {"fleet_id" if found.table == "fleets" else "agent_id": found.id}


def _require_own(ledger: Ledger, settings: Settings, which: dict[str, str]) -> None:
    """Let an agent's shell command only what the agent spawned, as its tools do."""
    caller_id = settings.agent_id
    if caller_id is not None:
        fleet_id, agent_id = which.get("fleet_id"), which.get("agent_id")
        ledger.read(lambda view: cancelling.require_offspring(view, caller_id, fleet_id=fleet_id, agent_id=agent_id))
