"""Which rows of a table changed since it was last looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshfleet.ledger.state import State, View
from meshfleet.mesh.routing.follower import Follower
from meshfleet.model import Row

KEYS = st.sampled_from("abcdef")
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "drop", "look", "load afresh"]), KEYS), max_size=40)


def row(agent_id: str) -> Row:
    """A capability, each time another object."""
    return {"agent_id": agent_id, "fleet_id": "f", "role": "r", "skills": []}


@given(CHANGES)
def test_what_is_kept_from_its_changes_alone_is_the_table(changes: list[tuple[str, str]]) -> None:
    follower, state = Follower("capabilities"), State()
    kept: dict[str, Row] = {}
    for change, key in [*changes, ("look", "a")]:
        if change == "put":
            state.put("capabilities", key, row(key))
        elif change == "drop":
            state.drop("capabilities", key)
        elif change == "load afresh":
            rows = [dict(known) for known in state.tables["capabilities"].values()]
            state = State()
            for known in rows:
                state.put("capabilities", known["agent_id"], known)
        else:
            _take_in(follower, View(state, 0), kept)
            assert kept == state.tables["capabilities"]
            assert all(kept[name] is known for name, known in state.tables["capabilities"].items())
            assert follower.changes(View(state, 0)) == []


def _take_in(follower: Follower, view: View, kept: dict[str, Row]) -> None:
    for changed in follower.changes(view):
        now = view.get("capabilities", changed["agent_id"])
        if now is None:
            kept.pop(changed["agent_id"], None)
        else:
            kept[changed["agent_id"]] = now
    follower.take_in()


def test_what_was_not_taken_in_is_told_again() -> None:
    follower, state = Follower("capabilities"), State()
    state.put("capabilities", "a", row("a"))
    view = View(state, 1)
    assert follower.changes(view) == follower.changes(view) == [row("a")]
    follower.take_in()
    assert follower.changes(view) == []
