"""Ranking: who comes before whom, and that a router follows its ledger wherever that goes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger
from meshfleet.mesh.routing import Router, record_routing_outcome, register_capability, route_work
from meshfleet.mesh.routing.lexicon import SYNONYM, Lexicon
from meshfleet.mesh.settlement import Outcome, settle_attempt
from meshfleet.model import Row
from tests.mesh.fleets import fleet_of, open_ledger, row, send, start_all
from tests.mesh.routing.routes import agents_with, hows, matches, ranked, weight

LEXICON = Lexicon()
ROUTER, OTHER_ROUTER = Router(), Router()
KNOWN = sorted(LEXICON.terms)
WORDS = ["react", "jsx", "nextjs", "ui", "sql", "postgres", "backend", "review", "frobnicate", "machine learning"]
DESCRIPTIONS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" and ".join)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A ledger with an agent for every known term, one more for each word, some ended, some with outcomes."""
    ledger = open_ledger(tmp_path_factory.mktemp("crowd") / "agent-mesh.json")
    fleet_id, ended = fleet_of(ledger, *WORDS)
    for agent_id, number in start_all(ledger):
        settle_attempt(ledger, agent_id, number, Outcome(ok=True, output="done"))
    assert row(ledger, "fleets", fleet_id)["status"] == "complete"
    agents = agents_with(ledger, *([word] for word in KNOWN))
    for place, agent_id in enumerate([*ended, *agents[::7]]):
        record_routing_outcome(ledger, agent_id, WORDS[place % len(WORDS)], success=place % 3 == 0)
    return ledger


def test_the_example_fleet_is_found_for_a_ui_bug_without_anyone_registering_anything(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    example = Path(__file__).parents[3] / "examples" / "frontend-bug-bash.json"
    roles = [agent["role"] for agent in json.loads(example.read_text())["agents"]]
    fleet_of(ledger, "Database expert", "Go expert")
    _, agent_ids = fleet_of(ledger, *roles)
    fleet_of(ledger, "Release engineer")
    found = route_work(ledger, Router(), "ui bug", top_n=3)["matches"]
    assert {match["role"] for match in found} == {"React expert", "CSS expert", "A11y expert"}
    assert {match["agent_id"] for match in found} == set(agent_ids)
    assert all(match["matched"][0]["term"] == "ui" and match["matched"][0]["how"] == "relative" for match in found)


def test_the_preview_s_second_item_a_react_skill_matches_a_nextjs_only_agent_at_lower_weight(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    react, nextjs, _ = agents_with(ledger, ["react"], ["nextjs"], ["vue"])
    taxonomy = (
        '{"frontend": {"react": ["nextjs", "remix"], "vue": ["nuxt"]}, "backend": {"node": ["express", "fastify"]}}'
    )
    assert ranked(ledger, "react", router=Router(taxonomy)) == [react, nextjs]
    assert ranked(ledger, "nextjs", router=Router(taxonomy)) == [nextjs, react]
    assert weight(ledger, "react", nextjs) < weight(ledger, "react", react)


@pytest.mark.parametrize("word", ["react", "jsx", "reactjs", "React.js", "JSX"])
def test_the_preview_s_third_item_synonyms_are_found_in_both_directions(ledger_file: Path, word: str) -> None:
    ledger = open_ledger(ledger_file)
    _, (by_role, _) = fleet_of(ledger, "react", "sql")
    by_skill, _ = agents_with(ledger, ["jsx"], ["sql"])
    assert set(ranked(ledger, word)) == {by_role, by_skill}


def test_a_frontend_agent_is_found_by_ui_and_a_ui_agent_by_frontend(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    frontend, ui = agents_with(ledger, ["frontend"], ["ui"])
    assert (ranked(ledger, "ui"), ranked(ledger, "frontend")) == ([ui, frontend], [frontend, ui])
    assert hows(ledger, "ui", frontend) == {"ui": "synonym"}


def test_literal_outweighs_synonym_outweighs_relative_for_every_pair_of_known_terms(crowd: Ledger) -> None:
    capabilities = crowd.read(lambda view: list(view.rows("capabilities")))
    skill_of = {one["agent_id"]: one["skills"][0] for one in capabilities}
    pairs = 0
    for term in KNOWN:
        found = {skill_of.get(match["agent_id"]): match["score"] for match in matches(crowd, term, router=ROUTER)}
        levels = dict(LEXICON.levels(term))
        synonyms = set(levels.get(SYNONYM, ()))
        relatives = {other for far, terms in levels.items() if far > SYNONYM for other in terms}
        assert synonyms | relatives < found.keys(), term
        for nearer, farther in [({term}, synonyms), ({term}, relatives), (synonyms, relatives)]:
            for one, other in product(nearer, filter(lambda other: _is_one_match(term, other), farther)):
                assert found[one] > found[other] > 0, (term, one, other)
                pairs += 1
    assert pairs > 10_000


def _is_one_match(term: str, other: str) -> bool:
    """Whether nothing but their being known connects two terms: machine learning and deep learning share a word."""
    levels = [LEXICON.levels(word) for word in LEXICON.vocabulary.terms_of(term)]
    reached = {name for found in levels for _, terms in found for name in terms}
    return len(levels) == 1 and not (set(LEXICON.vocabulary.terms_of(other)) - {other}) & reached


def test_a_literal_match_outweighs_many_synonyms_and_a_synonym_many_relatives(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    relatives, synonyms, literal = agents_with(
        ledger,
        ["react", "css", "html", "vue", "redux", "postgresql", "mysql"],
        ["frontend", "gui", "queries", "authn", "docs", "qa"],
        ["ui"],
    )
    description = "ui sql auth documentation testing"
    assert ranked(ledger, description) == [literal, synonyms, relatives]


def test_a_word_counts_once_however_many_of_an_agent_s_skills_it_fits(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    one, many = agents_with(ledger, ["react"], ["jsx", "reactjs", "React.js", "nextjs", "redux"])
    assert ranked(ledger, "react react REACT") == [one, many]
    assert [match["score"] for match in matches(ledger, "react")] == [1, 0.5]


def test_what_an_agent_weighs_equally_much_is_told_by_id(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    agent_ids = agents_with(ledger, *[["react"]] * 20)
    assert ranked(ledger, "react") == sorted(agent_ids)
    assert ranked(ledger, "react", 7) == sorted(agent_ids)[:7]


def test_who_matches_nothing_is_left_out(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    agents_with(ledger, ["react"], [])
    assert ranked(ledger, "cobol") == []
    assert ranked(ledger, "and the") == []
    assert ranked(open_ledger(ledger_file.with_name("none-yet.json")), "react") == []


def test_a_match_says_what_it_is_made_of(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    [agent_id] = agents_with(ledger, ["React", "jest", "machine learning"])
    fleet_id = row(ledger, "agents", agent_id)["fleet_id"]
    record_routing_outcome(ledger, agent_id, "react", success=True)
    description = "Fix the jsx tests of the ML page in React"
    assert matches(ledger, description) == [
        {
            "agent_id": agent_id,
            "score": 1.765625,
            "role": "somebody",
            "weight": 1.942188,
            "fleet_id": fleet_id,
            "matched": [
                {"term": "jsx", "how": "synonym", "weight": 0.5},
                {"term": "tests", "how": "relative", "weight": 0.0625},
                {"term": "ml", "how": "synonym", "weight": 0.5},
                {"term": "react", "how": "literal", "weight": 1.0},
            ],
        }
    ]


def test_the_best_is_named_unless_more_are_asked_for(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    agent_ids = agents_with(ledger, ["react"], ["jsx"])
    assert [match["agent_id"] for match in route_work(ledger, Router(), "react")["matches"]] == agent_ids[:1]


@given(description=DESCRIPTIONS, fewer=st.integers(1, 60), more=st.integers(1, 1000))
def test_a_shorter_ranking_is_the_beginning_of_a_longer_one(
    crowd: Ledger, description: str, fewer: int, more: int
) -> None:
    fewer, more = sorted((fewer, more))
    assert matches(crowd, description, fewer, ROUTER) == matches(crowd, description, more, ROUTER)[:fewer]


@given(description=DESCRIPTIONS)
def test_the_order_is_total_and_the_same_for_every_router(crowd: Ledger, description: str) -> None:
    found = matches(crowd, description, router=ROUTER)
    assert found == matches(crowd, description, router=OTHER_ROUTER)
    assert found == sorted(found, key=lambda match: _place(crowd, match))
    assert len({match["agent_id"] for match in found}) == len(found)
    for match in found:
        assert match["score"] > 0
        assert 0.5 * match["score"] < match["weight"] < 1.5 * match["score"]
        assert match["matched"]


def _place(ledger: Ledger, match: Row) -> tuple[bool, float, str]:
    ended = row(ledger, "agents", match["agent_id"])["status"] == "complete"
    return ended, -match["weight"], match["agent_id"]


@given(description=DESCRIPTIONS)
def test_without_the_ended_the_others_stand_as_they_did(crowd: Ledger, description: str) -> None:
    everybody = matches(crowd, description, router=ROUTER)
    at_work = route_work(crowd, ROUTER, description, 1000, include_ended=False)["matches"]
    assert at_work == [match for match in everybody if not _place(crowd, match)[0]]


def test_an_agent_that_has_ended_comes_after_all_that_have_not(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (ended,) = fleet_of(ledger, "react jsx frontend")
    [(agent_id, number)] = start_all(ledger)
    _, (poor,) = fleet_of(ledger, "nextjs")
    router = Router()
    assert ranked(ledger, "react", router=router) == [ended, poor]
    settle_attempt(ledger, agent_id, number, Outcome(ok=False))
    assert ranked(ledger, "react", router=router) == [poor, ended]
    assert ranked(ledger, "react", 1, router) == [poor]
    assert route_work(ledger, router, "frontend", 5, include_ended=False)["matches"][0]["agent_id"] == poor


@pytest.mark.parametrize(
    ("status", "last"),
    [
        ("pending", False),
        ("running", False),
        ("complete", True),
        ("failed", True),
        ("interrupted", True),
        ("cancelled", True),
        ("dreaming", False),
    ],
)
def test_a_status_decides_whether_an_agent_has_ended(ledger_file: Path, status: str, last: bool) -> None:
    ledger = open_ledger(ledger_file)
    (agent, _) = agents_with(ledger, ["react"], ["jsx"])
    changed = {**row(ledger, "agents", agent), "status": status}
    ledger.transact(lambda transaction: transaction.put("agents", agent, changed))
    assert (ranked(ledger, "react")[-1] == agent) is last


def test_what_was_registered_for_nobody_comes_last_as_if_it_had_ended(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    orphan = {"agent_id": "0", "fleet_id": "f", "role": "React", "skills": ["jsx", 5]}
    ledger.transact(lambda transaction: transaction.put("capabilities", "0", orphan))
    [agent] = agents_with(ledger, ["nextjs"])
    assert ranked(ledger, "react") == [agent, "0"]
    assert [
        match["agent_id"] for match in route_work(ledger, Router(), "react", 9, include_ended=False)["matches"]
    ] == [agent]


def test_of_one_fleet_only_its_agents_are_ranked_and_as_among_all(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    fleet_id, (a, b) = fleet_of(ledger, "React expert", "CSS expert")
    other_id, (c,) = fleet_of(ledger, "jsx")
    empty_id, _ = fleet_of(ledger, "Writer")
    router = Router()
    assert {match["fleet_id"] for match in matches(ledger, "react css", router=router)} == {fleet_id, other_id}

    def ranked_in(fleet: str, top_n: int = 9, asker: str | None = None) -> list[str]:
        found = route_work(ledger, router, "react css", top_n, fleet_id=fleet, asker=asker)
        return [match["agent_id"] for match in found["matches"]]

    assert ranked_in(fleet_id) == sorted([a, b])
    assert ranked_in(fleet_id, 1) == sorted([a, b])[:1]
    assert ranked_in(other_id) == [c]
    assert ranked_in(empty_id) == []
    assert ranked_in(fleet_id, asker=a) == [b]
    with pytest.raises(NotFound, match=r"^fleet_id 'nowhere' is no fleet"):
        ranked_in("nowhere")


def test_who_asks_is_not_told_of_itself_and_takes_no_place(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (asker,) = fleet_of(ledger, "react")
    _, (other,) = fleet_of(ledger, "nextjs")
    found = route_work(ledger, Router(), "react", 1, asker=asker)["matches"]
    assert [match["agent_id"] for match in found] == [other]


def test_a_router_follows_an_agent_into_another_fleet(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (agent,) = fleet_of(ledger, "react")
    other_id, _ = fleet_of(ledger, "Writer")
    router = Router()
    assert route_work(ledger, router, "react", fleet_id=other_id) == {"matches": []}
    moved = {**row(ledger, "agents", agent), "fleet_id": other_id}
    ledger.transact(lambda transaction: transaction.put("agents", agent, moved))
    [match] = route_work(ledger, router, "react", fleet_id=other_id)["matches"]
    assert (match["agent_id"], match["fleet_id"]) == (agent, other_id)


def test_a_router_follows_what_its_own_ledger_writes(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    router = Router()
    assert ranked(ledger, "react", router=router) == []
    fleet_id, (a, b) = fleet_of(ledger, "React expert", "Writer")
    assert ranked(ledger, "react", router=router) == [a]
    register_capability(ledger, agent_id=b, fleet_id=fleet_id, role="Writer", skills=["react", "experts"])
    assert ranked(ledger, "react", router=router) == sorted([a, b])
    register_capability(ledger, agent_id=a, fleet_id=fleet_id, role="Painter", skills=[])
    assert ranked(ledger, "react", router=router) == [b]
    ledger.transact(lambda transaction: transaction.drop("capabilities", a))
    assert ranked(ledger, "react", router=router) == sorted([a, b])
    ledger.transact(lambda transaction: transaction.drop("agents", a))
    assert ranked(ledger, "react", router=router) == [b]


def test_a_router_follows_what_another_process_writes_through_compactions(ledger_file: Path) -> None:
    ours, theirs = open_ledger(ledger_file), open_ledger(ledger_file)
    router = Router()
    fleet_id, agent_ids = fleet_of(theirs, "React expert", "CSS expert", "Go expert")
    for agent_id in agent_ids:
        assert ranked(ours, "golang", router=router) == agent_ids[2:]
        theirs.compact()
        send(theirs, fleet_id, agent_id)
    record_routing_outcome(theirs, agent_ids[2], "go", success=False)
    assert matches(ours, "golang", router=router)[0]["weight"] == 0.45
    theirs.compact()
    assert matches(ours, "golang", router=router)[0]["weight"] == 0.45


def test_a_router_follows_a_snapshot_that_was_edited_by_hand(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    _, (a, b) = fleet_of(ledger, "React expert", "CSS expert")
    record_routing_outcome(ledger, a, "react", success=True)
    ledger.compact()
    router = Router()
    assert matches(ledger, "react", router=router)[0]["weight"] == 1.1
    text = ledger_file.read_text()
    assert '"successes":1' in text
    ledger_file.write_text(text.replace("CSS expert", "JSX expert").replace('"successes":1', '"successes":4'))
    assert ranked(ledger, "react", router=router) == [a, b]
    assert matches(ledger, "react", router=router)[0]["weight"] == 1.25


def test_a_router_does_not_look_again_at_agents_that_did_not_change(ledger_file: Path) -> None:
    ledger = open_ledger(ledger_file)
    agents_with(ledger, ["react"], ["css"])
    router = Router()
    before = matches(ledger, "react", router=router)
    known = dict(router._known)
    fleet_id, _ = fleet_of(ledger, "Go expert")
    send(ledger, fleet_id, "orchestrator")
    assert matches(ledger, "react", router=router) == before
    assert all(router._known[agent_id] is one for agent_id, one in known.items())


@pytest.mark.parametrize(
    ("description", "top_n", "told"),
    [
        ("", 1, "description is blank; it has to say what is to be done"),
        (" \n\t", 1, "description is blank"),
        ("ui\0", 1, "description holds a NUL at character 2"),
        ("\ud800", 1, "description holds a lone surrogate at character 0"),
        ("x" * 65_537, 1, "description has 65537 bytes; at most 65536"),
        ("ui", 0, "top_n is 0; it has to be from 1 to 1000"),
        ("ui", -1, "top_n is -1; "),
        ("ui", 1001, "top_n is 1001; "),
        ("ui", 10**30, "top_n is 10+; "),
    ],
)
def test_a_ranking_that_cannot_be_is_refused_by_name(
    ledger_file: Path, description: str, top_n: int, told: str
) -> None:
    ledger = open_ledger(ledger_file)
    with pytest.raises(Invalid, match=f"^{told}"):
        route_work(ledger, Router(), description, top_n)


def test_the_longest_description_of_all_known_words_is_ranked(crowd: Ledger) -> None:
    description = " ".join(KNOWN * 20)[:65_536]
    assert len(matches(crowd, description, router=ROUTER)) == len(KNOWN) + len(WORDS) - 1
