"""Templates: versions that only ever go up, what is refused, and what v0.9.0 makes of the rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from meshfleet.errors import Invalid, NotFound
from meshfleet.ledger import Ledger
from meshfleet.ledger.schema import check_document
from meshfleet.mesh.fleets import create_fleet
from meshfleet.mesh.specs import AgentSpec
from meshfleet.mesh.templates import (
    LARGEST_TEMPLATE,
    TemplateDraft,
    delete_fleet_template,
    get_fleet_template,
    list_fleet_template_versions,
    list_fleet_templates,
    save_fleet_template,
    save_imported_template,
    specs_of_fleet,
    specs_of_template,
)
from meshfleet.mesh.verify import verify
from meshfleet.model import Row, now_ms
from tests.mesh.fleets import bytes_of, events_in, open_ledger

AGENTS = [AgentSpec("Explorer", "look"), AgentSpec("Analyst", "think", "thinker")]


@pytest.fixture
def ledger(ledger_file: Path) -> Generator[Ledger]:
    ledger = open_ledger(ledger_file)
    yield ledger
    ledger.close()


def save(ledger: Ledger, name: str = "team", description: str = "") -> Row:
    """Save the two agents; returns the row."""
    row: Row = save_fleet_template(ledger, TemplateDraft(name, AGENTS, description))["template"]
    return row


def versions(ledger: Ledger, name: str = "team") -> list[int]:
    return [row["version"] for row in list_fleet_template_versions(ledger, name)["versions"]]


def put(ledger: Ledger, key: str, row: Row) -> None:
    """Write a row as another program might have."""
    ledger.transact(lambda transaction: transaction.put("templates", key, row))


def document(ledger: Ledger) -> dict[str, Any]:
    """The ledger as v0.9.0 gets to see it."""
    found: dict[str, Any] = json.loads(b"".join(ledger.export()))
    return found


def latest_to_v090(ledger: Ledger, name: str) -> Row:
    """The version a reader takes that looks at name and version alone."""
    rows: list[Row] = [row for row in document(ledger)["templates"].values() if row["name"] == name]
    return max(rows, key=lambda row: row["version"])


def test_a_saved_template_is_a_row_of_the_contract(ledger: Ledger) -> None:
    before = now_ms()
    row = save(ledger, "front_end-2", "for bugs")
    assert before <= row["created_at"] <= now_ms()
    assert row == {
        "name": "front_end-2",
        "description": "for bugs",
        "agents": [
            {"role": "Explorer", "prompt": "look"},
            {"role": "Analyst", "prompt": "think", "agent": "thinker"},
        ],
        "created_at": row["created_at"],
        "version": 1,
    }
    assert list(row) == ["name", "description", "agents", "created_at", "version"]
    assert document(ledger)["templates"] == {"front_end-2@v1": row}
    assert get_fleet_template(ledger, "front_end-2") == {"template": row}
    assert specs_of_template(row) == AGENTS


def test_every_save_is_a_new_version_and_the_old_ones_stay(ledger: Ledger) -> None:
    assert [save(ledger, description=text)["version"] for text in ("a", "b", "c")] == [1, 2, 3]
    assert get_fleet_template(ledger, "team")["template"]["description"] == "c"
    assert get_fleet_template(ledger, "team", 2)["template"]["description"] == "b"


def test_versions_of_processes_that_save_at_once_are_all_there(ledger: Ledger, ledger_file: Path) -> None:
    other = open_ledger(ledger_file)
    numbers = [save(each)["version"] for _ in range(5) for each in (ledger, other)]
    other.close()
    assert numbers == list(range(1, 11))


def test_the_list_goes_by_name_and_then_by_version_as_a_number(ledger: Ledger) -> None:
    for name in ("zoo", "ant", *["bee"] * 11):
        save(ledger, name)
    listed = [(row["name"], row["version"]) for row in list_fleet_templates(ledger)["templates"]]
    assert listed == [("ant", 1), *(("bee", number) for number in range(1, 12)), ("zoo", 1)]


def test_an_empty_ledger_has_no_templates_and_asking_writes_nothing(ledger: Ledger, ledger_file: Path) -> None:
    assert list_fleet_templates(ledger) == {"templates": []}
    with pytest.raises(NotFound, match="name 'team' is no template; list_fleet_templates lists them"):
        get_fleet_template(ledger, "team")
    assert bytes_of(ledger_file.parent) == {}


def test_deleting_a_version_leaves_the_others(ledger: Ledger) -> None:
    for _ in range(3):
        save(ledger)
    assert delete_fleet_template(ledger, "team", 2) == {"name": "team", "deleted": [2]}
    assert versions(ledger) == [1, 3]
    assert save(ledger)["version"] == 4


def test_the_number_of_a_deleted_newest_version_never_comes_back(ledger: Ledger, ledger_file: Path) -> None:
    for _ in range(3):
        save(ledger)
    delete_fleet_template(ledger, "team", 3)
    delete_fleet_template(ledger, "team", 2)
    assert versions(ledger) == [1]
    assert latest_to_v090(ledger, "team")["version"] == 1
    assert "highest_version" not in get_fleet_template(ledger, "team")["template"]
    delete_fleet_template(ledger, "team", 1)
    assert list_fleet_templates(ledger) == {"templates": []}
    ledger.compact()
    reopened = open_ledger(ledger_file)
    assert save(reopened)["version"] == 4
    assert versions(reopened) == [4]
    reopened.close()


def test_deleting_all_versions_says_which_and_leaves_a_number_v090_can_read(ledger: Ledger, ledger_file: Path) -> None:
    save(ledger)
    save(ledger)
    assert delete_fleet_template(ledger, "team") == {"name": "team", "deleted": [1, 2]}
    with pytest.raises(NotFound, match="name 'team' is no template"):
        get_fleet_template(ledger, "team", 2)
    with pytest.raises(NotFound, match="name 'team' is no template"):
        delete_fleet_template(ledger, "team")
    rows = check_document(document(ledger))["templates"]
    assert rows.keys() == {"team@v2"}
    assert {key: rows["team@v2"][key] for key in ("name", "description", "agents", "version")} == {
        "name": "team",
        "description": "deleted",
        "agents": [],
        "version": 2,
    }
    ledger.compact()
    assert verify(ledger_file).findings == []
    assert save(ledger)["version"] == 3
    assert document(ledger)["templates"].keys() == {"team@v3"}


def test_a_number_v090_gave_out_after_ours_counts_too(ledger: Ledger) -> None:
    save(ledger)
    delete_fleet_template(ledger, "team")
    put(ledger, "team@v2", {"name": "team", "description": "", "agents": [], "created_at": 1, "version": 2})
    assert save(ledger)["version"] == 3


@hypothesis.given(st.lists(st.one_of(st.none(), st.integers(1, 8), st.just("all")), max_size=12))
@hypothesis.settings(max_examples=25)
def test_no_number_is_ever_given_twice(tmp_path_factory: pytest.TempPathFactory, steps: list[int | str | None]) -> None:
    ledger = open_ledger(tmp_path_factory.mktemp("numbers") / "agent-mesh.json")
    given: list[int] = []
    standing: list[int] = []
    for step in steps:
        if step is None:
            given.append(save(ledger)["version"])
            standing.append(given[-1])
        elif standing and (step == "all" or step in standing):
            number = None if isinstance(step, str) else step
            deleted = delete_fleet_template(ledger, "team", number)["deleted"]
            standing = [version for version in standing if version not in deleted]
        if standing:
            assert versions(ledger) == standing
            assert latest_to_v090(ledger, "team")["version"] == standing[-1]
    ledger.close()
    assert given == list(range(1, len(given) + 1))


@pytest.mark.parametrize(
    "name", ["", "Team", "te am", "team\n", "tëam", "a" * 65, "../team", "a/b", "team@v1", "a\0", "__PROTO__"]
)
def test_a_name_of_another_form_is_refused(ledger: Ledger, ledger_file: Path, name: str) -> None:
    save(ledger)
    before = bytes_of(ledger_file.parent)
    with pytest.raises(Invalid, match=r"^name is '.*; it has to be 1 to 64 of a-z, 0-9, '_' and '-'$"):
        save(ledger, name)
    with pytest.raises(Invalid, match=r"^rename is '"):
        save_imported_template(ledger, TemplateDraft("x", AGENTS), rename=name, source="x")
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize("name", ["__proto__", "constructor", "-", "0", "a" * 64])
def test_a_name_of_the_right_form_is_nothing_but_a_name(ledger: Ledger, name: str) -> None:
    assert save(ledger, name)["version"] == 1
    assert [row["name"] for row in list_fleet_templates(ledger)["templates"]] == [name]


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        ([], "agents has 0 entries; a template has 1 to 32 agents"),
        (AGENTS * 17, "agents has 34 entries; a template has 1 to 32 agents"),
        ([AgentSpec(" ", "go")], "agents[0].role is blank"),
        ([AgentSpec("A", "go"), AgentSpec("B", "\n")], "agents[1].prompt is blank"),
        ([AgentSpec("A\0", "go")], "agents[0].role holds a NUL"),
        ([AgentSpec("A", "\ud800")], "agents[0].prompt holds a lone surrogate at character 0"),
        ([AgentSpec("A", "go", "-x")], "agents[0].agent is '-x'"),
        ([AgentSpec("A", "ü" * 300_000), AgentSpec("B", "ü" * 300_000)], "agents has, with the description, 12000"),
    ],
)
def test_agents_that_cannot_be_are_refused(
    ledger: Ledger, ledger_file: Path, agents: list[AgentSpec], told: str
) -> None:
    save(ledger)
    before = bytes_of(ledger_file.parent)
    with pytest.raises(Invalid) as refusal:
        save_fleet_template(ledger, TemplateDraft("team", agents))
    assert str(refusal.value).startswith(told)
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize(
    ("description", "told"), [("x\0", "a NUL"), ("\udfff", "a lone"), ("x" * 65_537, "65537 bytes")]
)
def test_a_description_that_cannot_be_stored_is_refused(ledger: Ledger, description: str, told: str) -> None:
    with pytest.raises(Invalid, match=f"^description .*{told}"):
        save(ledger, description=description)


def test_thirty_two_agents_and_control_characters_are_stored_as_they_are(ledger: Ledger) -> None:
    odd = [AgentSpec(f"A{n}\x1b[31m", "a\tb\r\n\x07 __proto__ \u202e", "x") for n in range(32)]
    row = save_fleet_template(ledger, TemplateDraft("odd", odd))["template"]
    assert specs_of_template(get_fleet_template(ledger, "odd")["template"]) == odd
    assert row["version"] == 1


def test_the_largest_template_is_taken_and_one_byte_more_is_not(ledger: Ledger) -> None:
    around = len(json.dumps([[{"role": "A", "prompt": ""}], ""]))
    prompt = "x" * (LARGEST_TEMPLATE - around)
    save_fleet_template(ledger, TemplateDraft("large", [AgentSpec("A", prompt)]))
    with pytest.raises(Invalid, match=f"has, with the description, {LARGEST_TEMPLATE + 1} bytes"):
        save_fleet_template(ledger, TemplateDraft("large", [AgentSpec("A", prompt + "x")]))


@pytest.mark.parametrize("ask", [get_fleet_template, delete_fleet_template])
@pytest.mark.parametrize("version", [2, 0, -1, 10**30])
def test_an_unknown_version_is_refused_with_those_there_are(
    ledger: Ledger, ledger_file: Path, ask: Callable[[Ledger, str, int], object], version: int
) -> None:
    for _ in range(3):
        save(ledger)
    delete_fleet_template(ledger, "team", 2)
    before = bytes_of(ledger_file.parent)
    with pytest.raises(NotFound, match=f"^version {version} of 'team' does not exist; its versions are 1, 3$"):
        ask(ledger, "team", version)
    assert bytes_of(ledger_file.parent) == before


@pytest.mark.parametrize("ask", [get_fleet_template, list_fleet_template_versions, delete_fleet_template])
@pytest.mark.parametrize("name", ["", "nothing", "Team", "team@v1", "../team", "a\0", "\ud800", "x" * 100_000])
def test_a_name_that_names_nothing_is_refused_and_not_repeated_in_full(
    ledger: Ledger, ledger_file: Path, ask: Callable[[Ledger, str], object], name: str
) -> None:
    save(ledger)
    before = bytes_of(ledger_file.parent)
    with pytest.raises(NotFound) as refusal:
        ask(ledger, name)
    assert str(refusal.value).startswith("name '")
    assert len(str(refusal.value)) < 200
    assert bytes_of(ledger_file.parent) == before


def test_a_template_another_program_wrote_is_read_as_it_is_and_refused_where_it_cannot_be_spawned(
    ledger: Ledger,
) -> None:
    put(ledger, "old@v1", {"name": "old", "agents": [{"role": "A", "prompt": "go", "agent": None}], "version": 1})
    assert get_fleet_template(ledger, "old")["template"]["description"] == ""
    assert specs_of_template(get_fleet_template(ledger, "old")["template"]) == [AgentSpec("A", "go")]
    put(ledger, "odd@v7", {"name": "odd", "agents": [{"role": 5}], "version": 7, "colour": "red"})
    odd = get_fleet_template(ledger, "odd")["template"]
    assert odd["colour"] == "red"
    with pytest.raises(Invalid, match=r"^name is 'odd', whose version 7 is damaged: agents\[0\]\.prompt is missing"):
        specs_of_template(odd)
    put(ledger, "half@v1.5", {"name": "half", "agents": [], "version": 1.5})
    assert [row["name"] for row in list_fleet_templates(ledger)["templates"]] == ["odd", "old"]
    assert save(ledger, "half")["version"] == 1
    delete_fleet_template(ledger, "odd")


def test_an_import_of_a_free_name_is_its_first_version(ledger: Ledger) -> None:
    row = save_imported_template(ledger, TemplateDraft("team", AGENTS), source="x")["template"]
    assert (row["name"], row["version"]) == ("team", 1)


def test_a_name_whose_versions_are_all_deleted_is_free_again(ledger: Ledger) -> None:
    save(ledger)
    delete_fleet_template(ledger, "team")
    row = save_imported_template(ledger, TemplateDraft("team", AGENTS), source="x")["template"]
    assert (row["name"], row["version"]) == ("team", 2)


@pytest.mark.parametrize("name", ["team", "a" * 64])
def test_an_import_of_a_taken_name_gets_the_time_as_a_suffix(ledger: Ledger, name: str) -> None:
    save(ledger, name)
    draft = TemplateDraft(name, AGENTS)
    rows = [save_imported_template(ledger, draft, source="x")["template"] for _ in range(20)]
    names = {row["name"] for row in rows}
    assert len(names) == 20
    for each in names:
        stem, suffix = each[:-25], each[-25:]
        assert name.startswith(stem)
        assert len(each) == min(len(name) + 25, 64)
        assert (suffix[0], suffix[11], suffix[-1]) == ("-", "t", "z")
        assert save(ledger, each)["version"] == 2
    assert versions(ledger, name) == [1]


def test_renaming_an_import_to_a_name_that_exists_adds_a_version_to_it(ledger: Ledger) -> None:
    save(ledger)
    row = save_imported_template(ledger, TemplateDraft("other", AGENTS, "new"), rename="team", source="x")["template"]
    assert (row["name"], row["version"], row["description"]) == ("team", 2, "new")


def test_saves_imports_and_deletions_are_in_the_event_log(ledger: Ledger, ledger_file: Path) -> None:
    save(ledger)
    save_imported_template(ledger, TemplateDraft("team", AGENTS), rename="other", source="/a/file.json")
    delete_fleet_template(ledger, "team")
    told = [{key: value for key, value in event.items() if key != "timestamp"} for event in events_in(ledger_file)]
    assert told == [
        {"event": "template_saved", "template": "team", "version": 1, "agent_count": 2},
        {"event": "template_imported", "template": "other", "version": 1, "source": "/a/file.json"},
        {"event": "template_deleted", "template": "team", "versions": [1]},
    ]


def test_a_fleet_s_agents_can_be_kept_with_when_they_start(ledger: Ledger) -> None:
    specs = [
        AgentSpec("Explorer", "look", "scout", model="acme/large"),
        AgentSpec("Analyst", "think", after=("Explorer",), wake=True),
        AgentSpec("Helper", "help", start="on_message"),
    ]
    fleet_id, _ = create_fleet(ledger, specs, cwd="/project")
    kept = ledger.read(lambda view: specs_of_fleet(view, fleet_id))
    assert kept == [replace(specs[0], model=None), *specs[1:]]
    with pytest.raises(NotFound):
        ledger.read(lambda view: specs_of_fleet(view, "none"))
