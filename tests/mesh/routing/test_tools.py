"""The routing tools over the rules: their arguments, who may act, and where the user's words come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshfleet.errors import Invalid, NotFound
from meshfleet.mesh.identity import Caller, identify_agent
from meshfleet.server.tool import Context
from meshfleet.server.tools.routing import (
    RECORD_ROUTING_OUTCOME,
    REGISTER_CAPABILITY,
    REGISTER_OWN_CAPABILITY,
    ROUTE_WORK,
)
from tests.mesh.fleets import bytes_of, fleet_of, open_ledger

TOOLS = {tool.name: tool for tool in (REGISTER_CAPABILITY, ROUTE_WORK, RECORD_ROUTING_OUTCOME)}


def context_on(ledger_file: Path, agent_id: str | None = None, **environ: str) -> Context:
    """What a tool gets, in a process that supervises nothing."""
    ledger = open_ledger(ledger_file)
    caller = Caller() if agent_id is None else identify_agent(ledger, agent_id).caller
    return Context(ledger, caller, None, environ, ledger_file.parent)


def test_an_agent_is_registered_found_and_judged(ledger_file: Path) -> None:
    context = context_on(ledger_file)
    fleet_id, (agent, _) = fleet_of(context.ledger, "A", "B")
    assert REGISTER_CAPABILITY.run(
        context, {"agent_id": agent, "fleet_id": fleet_id, "role": "DBA", "skills": ["sql"], "model": "m"}
    ) == {"ok": True}
    assert RECORD_ROUTING_OUTCOME.run(context, {"agent_id": agent, "capability_key": "sql", "success": True}) == {
        "ok": True,
        "agent_id": agent,
        "capability_key": "sql",
        "success": True,
    }
    assert ROUTE_WORK.run(context, {"description": "slow queries"}) == {
        "matches": [
            {
                "agent_id": agent,
                "score": 0.5,
                "role": "DBA",
                "weight": 0.55,
                "fleet_id": fleet_id,
                "matched": [{"term": "queries", "how": "synonym", "weight": 0.5}],
            }
        ]
    }
    assert ROUTE_WORK.run(context, {"description": "cobol", "top_n": 3, "include_ended": False}) == {"matches": []}


def test_the_user_s_words_come_from_the_environment(ledger_file: Path) -> None:
    words = {"MESHFLEET_TAXONOMY": '{"billing": ["dunning"]}', "MESHFLEET_SYNONYMS": '{"billing": "invoicing"}'}
    context = context_on(ledger_file, **words)
    _, (agent,) = fleet_of(context.ledger, "Dunning")
    [match] = ROUTE_WORK.run(context, {"description": "invoicing"})["matches"]
    assert (match["agent_id"], match["weight"]) == (agent, 0.125)
    broken = context_on(ledger_file, MESHFLEET_TAXONOMY="{")
    with pytest.raises(Invalid, match="MESHFLEET_TAXONOMY is no JSON"):
        ROUTE_WORK.run(broken, {"description": "invoicing"})


def test_an_agent_is_told_of_its_peers_never_of_itself_and_of_strangers_if_it_asks(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (me, peer) = fleet_of(ledger, "React expert", "jsx")
    other_id, (stranger,) = fleet_of(ledger, "React")
    about = {"description": "react", "top_n": 9}

    def ranked(context: Context, **more: str) -> list[str]:
        return [match["agent_id"] for match in ROUTE_WORK.run(context, {**about, **more})["matches"]]

    agent, orchestrator = context_on(ledger_file, me), context_on(ledger_file)
    assert ranked(agent) == ranked(agent, fleet_id=fleet_id) == [peer]
    assert ranked(agent, fleet_id=other_id) == [stranger]
    assert ranked(orchestrator) == [*sorted([me, stranger]), peer]
    assert ranked(orchestrator, fleet_id=fleet_id) == [me, peer]
    with pytest.raises(NotFound, match="fleet_id 'nowhere' is no fleet"):
        ranked(orchestrator, fleet_id="nowhere")


def test_an_agent_registers_itself_only(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (agent, peer) = fleet_of(ledger, "A", "B")
    context = context_on(ledger_file, agent)
    said = {"fleet_id": fleet_id, "role": "DBA", "skills": ["sql"]}
    assert REGISTER_OWN_CAPABILITY.run(context, {"agent_id": agent, **said}) == {"ok": True}
    with pytest.raises(Invalid, match="you are agent"):
        REGISTER_OWN_CAPABILITY.run(context, {"agent_id": peer, **said})


@pytest.mark.parametrize(
    ("tool", "change", "told"),
    [
        ("route_work", {"description": None}, "description is None; it has to be a string"),
        ("route_work", {"description": ""}, "description is ''; it can't be empty"),
        ("route_work", {"description": "\t"}, "description is blank"),
        ("route_work", {"top_n": 0}, "top_n is 0; it has to be at least 1"),
        ("route_work", {"top_n": 1001}, "top_n is 1001; it has to be at most 1000"),
        ("route_work", {"fleet_id": 5}, "fleet_id is 5; it has to be a string"),
        ("route_work", {"top_n": True}, "top_n is True; it has to be a whole number"),
        ("route_work", {"top_n": "3"}, "top_n is '3'; it has to be a whole number"),
        ("route_work", {"include_ended": 1}, "include_ended is 1; it has to be true or false"),
        ("route_work", {"__proto__": {}}, "__proto__ is no argument of route_work"),
        ("register_capability", {"skills": "sql"}, "skills is 'sql'; it has to be an array"),
        ("register_capability", {"skills": [1]}, r"skills\[0\] is 1; it has to be a string"),
        ("register_capability", {"skills": [""]}, r"skills\[0\] is blank"),
        ("register_capability", {"role": ""}, "role is ''; it can't be empty"),
        ("register_capability", {"context_window": 0}, "context_window is 0; it has to be at least 1"),
        ("register_capability", {"context_window": 1.5}, "context_window is 1.5; "),
        ("record_routing_outcome", {"success": "yes"}, "success is 'yes'; it has to be true or false"),
        ("record_routing_outcome", {"capability_key": ""}, "capability_key is ''; it can't be empty"),
        ("record_routing_outcome", {"agent_id": "x"}, "agent_id 'x' is no agent"),
    ],
)
def test_arguments_that_cannot_be_are_refused_by_name_and_nothing_is_written(
    ledger_file: Path, tool: str, change: dict[str, Any], told: str
) -> None:
    context = context_on(ledger_file)
    fleet_id, (agent,) = fleet_of(context.ledger, "A")
    before = bytes_of(ledger_file.parent)
    valid: dict[str, dict[str, Any]] = {
        "route_work": {"description": "ui"},
        "register_capability": {"agent_id": agent, "fleet_id": fleet_id, "role": "A", "skills": []},
        "record_routing_outcome": {"agent_id": agent, "capability_key": "ui", "success": True},
    }
    with pytest.raises(Exception, match=f"^{told}"):
        TOOLS[tool].run(context, {**valid[tool], **change})
    for name in valid[tool]:
        with pytest.raises(Invalid, match=f"^{name} is missing"):
            TOOLS[tool].run(context, {key: value for key, value in valid[tool].items() if key != name})
    assert bytes_of(ledger_file.parent) == before


def test_the_tools_cost_a_model_little() -> None:
    told = ("name", "description", "inputSchema")
    listed = [{key: tool.on_the_wire()[key] for key in told} for tool in TOOLS.values()]
    assert len(str(listed)) < 3_000
