"""What an agent can do, as it was registered or as its own row tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshfleet.errors import Invalid, MeshfleetError, NotFound
from meshfleet.mesh.routing import capability_of_agent, register_capability
from meshfleet.mesh.routing.capabilities import Capability
from meshfleet.mesh.routing.lexicon import Lexicon
from meshfleet.mesh.texts import LONGEST_DESCRIPTION, description_to_keep
from meshfleet.model import Row
from tests.mesh.fleets import bytes_of, events_in, fleet_of, open_ledger, row
from tests.mesh.routing.routes import hows, ranked


def spawned(**more: Any) -> Row:
    """The row of an agent nobody registered."""
    return {"id": "a", "fleet_id": "f", "role": "React expert", "prompt": "go", "status": "running", **more}


def test_a_spawned_agent_is_known_by_its_role_without_anything_being_written(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent, _) = fleet_of(ledger, "React expert", "Writer")
    assert ranked(ledger, "react") == [agent]
    assert ledger.read(lambda view: view.count("capabilities")) == 0


def test_a_spawned_agent_is_known_by_its_premade_agent_s_name_and_description(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent,) = fleet_of(ledger, "Nemo")
    told = {"agent_file": "team/security-reviewer", "agent_description": "Use this agent to look for SQL injection."}
    ledger.transact(
        lambda transaction: transaction.put("agents", agent, {**(transaction.get("agents", agent) or {}), **told})
    )
    assert hows(ledger, "security review: is a query open to injection", agent) == {
        "security": "literal",
        "review": "synonym",
        "query": "synonym",
        "injection": "literal",
    }
    assert ranked(ledger, "which agent do I use") == []


def test_what_was_registered_counts_instead_of_what_the_row_tells() -> None:
    registered = {"agent_id": "a", "fleet_id": "f", "role": "Writer", "skills": ["docs"]}
    row_told = spawned(agent_file="reviewer", agent_description="Reviews.")
    assert capability_of_agent(row_told, registered) == Capability("Writer", ("docs",))
    assert capability_of_agent(row_told) == Capability("React expert", ("reviewer",), "Reviews.")
    assert capability_of_agent(spawned()) == Capability("React expert")
    assert capability_of_agent(None, registered) == Capability("Writer", ("docs",))
    assert capability_of_agent(None) is None


def test_what_a_foreign_ledger_has_in_the_place_of_a_text_is_passed_over() -> None:
    assert capability_of_agent(spawned(agent_file=5, agent_description=["x"])) == Capability("React expert")
    strange: Row = {"agent_id": "a", "fleet_id": "f", "role": "\udfff", "skills": [None, 1, "css", "\0"]}
    capability = capability_of_agent(None, strange)
    assert capability is not None
    assert capability.terms(Lexicon().vocabulary) == {"css"}


@pytest.mark.parametrize(
    ("description", "kept"),
    [
        ("Reviews  code\nfor\tsecurity", "Reviews code for security"),
        ("a\0b \ud800c", "a b ?c"),
        ("", ""),
        ("x" * 5000, "x" * LONGEST_DESCRIPTION),
    ],
)
def test_as_much_of_a_description_is_kept_as_can_be_stored(description: str, kept: str) -> None:
    assert description_to_keep(description) == kept


def test_a_registration_is_a_row_with_what_was_said(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (agent, _) = fleet_of(ledger, "A", "B")
    said: dict[str, Any] = {"agent_id": agent, "fleet_id": fleet_id, "role": "Tester", "skills": ["pytest", "e2e"]}
    assert register_capability(ledger, **said, model="claude", context_window=200_000) == {"ok": True}
    found = row(ledger, "capabilities", agent)
    assert found.pop("registered_at") >= row(ledger, "fleets", fleet_id)["created_at"]
    assert found == {**said, "model": "claude", "context_window": 200_000}
    assert register_capability(ledger, **{**said, "skills": []}) == {"ok": True}
    assert row(ledger, "capabilities", agent).keys() == {*said, "registered_at"}
    assert [event["event"] for event in events_in(ledger_file)].count("capability_registered") == 2


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"agent_id": ""}, Invalid, "agent_id is blank"),
        ({"agent_id": "nobody"}, NotFound, "agent_id 'nobody' is no agent"),
        ({"agent_id": "STRANGER"}, Invalid, "fleet_id is not the fleet of agent_id, which is "),
        ({"fleet_id": "nowhere"}, Invalid, "fleet_id is not the fleet of agent_id, which is "),
        ({"fleet_id": " "}, Invalid, "fleet_id is blank"),
        ({"role": ""}, Invalid, "role is blank"),
        ({"role": "\t"}, Invalid, "role is blank"),
        ({"role": "a\0"}, Invalid, "role holds a NUL"),
        ({"role": "x" * 257}, Invalid, "role has 257 bytes"),
        ({"skills": ["css", " "]}, Invalid, r"skills\[1\] is blank"),
        ({"skills": ["a\0b"]}, Invalid, r"skills\[0\] holds a NUL at character 1"),
        ({"skills": ["\ud800"]}, Invalid, r"skills\[0\] holds a lone surrogate"),
        ({"skills": ["x" * 257]}, Invalid, r"skills\[0\] has 257 bytes"),
        ({"skills": ["css"] * 1000}, Invalid, "skills has 1000 entries; at most 100 are possible"),
        ({"model": ""}, Invalid, "model is blank"),
        ({"context_window": 0}, Invalid, "context_window is 0; it has to be a number of tokens from 1"),
        ({"context_window": 10**12}, Invalid, "context_window is 1000000000000; "),
    ],
)
def test_a_registration_that_cannot_be_is_refused_and_nothing_is_written(
    ledger_file: Path, change: dict[str, Any], error: type[MeshfleetError], told: str
) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (agent,) = fleet_of(ledger, "A")
    _, (stranger,) = fleet_of(ledger, "B")
    said = {"agent_id": agent, "fleet_id": fleet_id, "role": "Tester", "skills": ["pytest"], **change}
    if said["agent_id"] == "STRANGER":
        said["agent_id"] = stranger
    before = bytes_of(ledger_file.parent)
    with pytest.raises(error, match=f"^{told}"):
        register_capability(ledger, **said)
    assert bytes_of(ledger_file.parent) == before
