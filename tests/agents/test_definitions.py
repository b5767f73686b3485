from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.agents.definitions import find_agent_files, needs_mode_override, runtime_name
from meshfleet.agents.frontmatter import read_front_matter

FIELDS = ("name", "description", "mode")


def write(path: Path, text: str = "You are an agent.\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


@pytest.fixture
def environ(home: Path) -> dict[str, str]:
    return {"HOME": str(home)}


def test_both_spellings_in_project_and_home_are_read_project_first(
    project: Path, home: Path, environ: dict[str, str]
) -> None:
    write(project / ".opencode/agents/b.md")
    write(project / ".opencode/agent/a.md")
    write(home / ".config/opencode/agent/d.md")
    write(home / ".config/opencode/agents/c.md")
    write(home / ".opencode/agent/e.md")
    assert [one.filename for one in find_agent_files(project, environ)] == ["a", "b", "d", "c", "e"]


def test_of_two_files_with_one_stem_the_projects_wins(project: Path, home: Path, environ: dict[str, str]) -> None:
    write(project / ".opencode/agents/a.md", "---\ndescription: ours\nmode: primary\n---\n")
    write(home / ".config/opencode/agent/a.md", "---\ndescription: theirs\n---\n")
    [found] = find_agent_files(project, environ)
    assert (found.filename, found.name, found.description, found.mode) == ("a", "a", "ours", "primary")


def test_folders_above_are_read_up_to_the_root_of_the_worktree(
    project: Path, tmp_path: Path, environ: dict[str, str]
) -> None:
    write(tmp_path / ".opencode/agent/outside.md")
    write(project / ".opencode/agent/root.md")
    write(project / "deep/er/.opencode/agent/near.md")
    found = find_agent_files(project / "deep/er", environ)
    assert [one.filename for one in found] == ["near", "root"]


def test_outside_of_a_worktree_all_folders_above_are_read(tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / ".opencode/agent/above.md")
    folder = tmp_path / "plain"
    folder.mkdir()
    assert [one.filename for one in find_agent_files(folder, environ)] == ["above"]


def test_a_folder_below_belongs_to_the_name(project: Path, environ: dict[str, str]) -> None:
    write(project / ".opencode/agent/team/critic.md")
    assert find_agent_files(project, environ)[0].name == "team/critic"


def test_the_users_folder_may_be_named_by_variables(project: Path, tmp_path: Path, environ: dict[str, str]) -> None:
    write(tmp_path / "xdg/opencode/agent/x.md")
    write(tmp_path / "dir/agents/d.md")
    write(project / ".opencode/agent/p.md")
    named = {
        **environ,
        "XDG_CONFIG_HOME": str(tmp_path / "xdg"),
        "OPENCODE_CONFIG_DIR": str(tmp_path / "dir"),
        "OPENCODE_DISABLE_PROJECT_CONFIG": "1",
    }
    assert [one.filename for one in find_agent_files(project, named)] == ["d", "x"]


def test_what_is_no_readable_text_is_left_out(project: Path, environ: dict[str, str]) -> None:
    folder = project / ".opencode/agent"
    write(folder / "good.md")
    write(folder / "huge.md", "x" * (1024 * 1024 + 1))
    write(folder / "zero.md", "a\0b")
    (folder / "binary.md").write_bytes(b"\xff\xfe\x00\x01")
    (folder / "folder.md").mkdir()
    (folder / "dangling.md").symlink_to(folder / "nowhere")
    write(folder / "notes.txt")
    assert [one.filename for one in find_agent_files(project, environ)] == ["good"]


def test_a_link_that_leads_back_ends_the_search(project: Path, environ: dict[str, str]) -> None:
    write(project / ".opencode/agent/a.md")
    (project / ".opencode/agent/loop").symlink_to(project / ".opencode/agent")
    assert [one.filename for one in find_agent_files(project, environ)] == ["a"]


def test_no_project_and_no_home_is_no_agent(tmp_path: Path) -> None:
    assert find_agent_files(tmp_path / "missing", {"HOME": str(tmp_path / "nobody")}) == []


def test_an_unknown_mode_is_the_default_one(project: Path, environ: dict[str, str]) -> None:
    write(project / ".opencode/agent/a.md", "---\nmode: whatever\n---\n")
    assert find_agent_files(project, environ)[0].mode == "all"


def test_an_agent_with_a_name_of_its_own_is_run_under_it(project: Path, environ: dict[str, str]) -> None:
    write(project / ".opencode/agent/reviewer.md", "---\nname: The Critic\nmode: subagent\n---\n")
    found = find_agent_files(project, environ)
    assert runtime_name("reviewer", found) == "The Critic"
    assert runtime_name("The Critic", found) == "The Critic"
    assert runtime_name("nobody", found) == "nobody"
    assert needs_mode_override("reviewer", found)
    assert needs_mode_override("The Critic", found)


@pytest.mark.parametrize(("mode", "needed"), [("subagent", True), ("primary", False), ("all", False), ("", False)])
def test_only_a_subagent_needs_its_mode_overridden(
    mode: str, needed: bool, project: Path, environ: dict[str, str]
) -> None:
    write(project / ".opencode/agent/a.md", f"---\nmode: {mode}\n---\n")
    assert needs_mode_override("a", find_agent_files(project, environ)) is needed


def test_an_agent_nobody_defines_is_not_invented_by_an_override() -> None:
    assert not needs_mode_override("nobody", [])


def test_opencodes_own_subagents_need_it_unless_a_file_says_otherwise(project: Path, environ: dict[str, str]) -> None:
    assert needs_mode_override("general", [])
    assert needs_mode_override("explore", [])
    assert not needs_mode_override("build", [])
    write(project / ".opencode/agent/general.md", "---\nmode: primary\n---\n")
    assert not needs_mode_override("general", find_agent_files(project, environ))


@pytest.mark.parametrize(
    ("matter", "description"),
    [
        ("description: plain words", "plain words"),
        ("description: with a comment # here", "with a comment"),
        ("description: no#comment", "no#comment"),
        ("description: Use this: always, e.g. user: 'x'", "Use this: always, e.g. user: 'x'"),
        ('description: "quoted: \\"yes\\" # and\\nmore \\u00e9"', 'quoted: "yes" # and\nmore \u00e9'),
        ("description: 'it''s # quoted'", "it's # quoted"),
        ("description: two\n  lines", "two lines"),
        ("description: >\n  folded\n  text\n\n  second\nmode: all", "folded text\nsecond"),
        ("description: >-\n  folded\n  text", "folded text"),
        ("description: |\n  literal\n    indented\n\n  text\nmode: all", "literal\n  indented\n\ntext"),
        ("description: |2-\n  literal", "literal"),
        ('description: "over\n  two lines"', "over two lines"),
        ("'description' : quoted key", "quoted key"),
        ("tools:\n  description: not this\ndescription: this", "this"),
        ("description: first\ndescription: second", "first"),
        ("- a list\ndescription: after nonsense", "after nonsense"),
        ("description: '\u00fcml\u00e4ut \U0001f600'", "\u00fcml\u00e4ut \U0001f600"),
        ('description: "broken', '"broken'),
        ('description: "\\uD800 \\U99999999"', "\ufffd \ufffd"),
    ],
)
def test_descriptions_as_people_write_them_are_read(matter: str, description: str) -> None:
    for text in (f"---\n{matter}\n---\nbody", f"\ufeff---\n{matter}\n---\nbody".replace("\n", "\r\n")):
        assert read_front_matter(text, FIELDS)["description"] == description


@pytest.mark.parametrize(
    "text",
    ["", "no front matter", "---\nname: unclosed", "----\nname: x\n---\n", "\n---\nname: late\n---\n", "---\n---\n"],
)
def test_a_file_without_a_whole_front_matter_has_no_fields(text: str) -> None:
    assert read_front_matter(text, FIELDS) == {}


@pytest.mark.parametrize("value", ["", "~", "null", "   # only a comment", '""'])
def test_an_empty_value_is_none(value: str) -> None:
    assert read_front_matter(f"---\nname: {value}\nmode: all\n---\n", FIELDS) == {"mode": "all"}


def test_a_rule_inside_the_text_does_not_belong_to_the_front_matter() -> None:
    assert read_front_matter("---\nmode: all\n---\ntext\n---\nname: x\n---\n", FIELDS) == {"mode": "all"}
