"""`meshfleet init` on real files in a HOME of the test's own: what is written, what is asked, what is refused."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from meshfleet.cli.clients import Client
from meshfleet.cli.init import Options, init
from meshfleet.cli.setup import files
from meshfleet.cli.setup.originals import state_folder
from meshfleet.errors import Busy, Conflict, Invalid, Unavailable
from tests.cli import prepared

COMMENTED = '{\r\n\t// mine\r\n\t"mcp": {\r\n\t\t"other": {"type": "remote", "url": "u"},\r\n\t},\r\n}\r\n'


@pytest.fixture
def user_file(home: Path) -> Path:
    """Where OpenCode's own configuration may be; its folder is there."""
    folder = home / ".config" / "opencode"
    folder.mkdir(parents=True)
    return folder / "opencode.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A git worktree."""
    folder = tmp_path / "project"
    (folder / ".git").mkdir(parents=True)
    return folder


def run(
    *, client: Client = Client.OPENCODE, project: Path | None = None, remove: bool = False, yes: bool = True
) -> int:
    """Run init in a folder, by default agreed to beforehand."""
    options = Options(client, project is not None, remove, yes)
    return init(options, os.environ, project or Path.cwd())


def meshfleet(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return prepared.run("init", *arguments, cwd=cwd)


def entry_in(file: Path) -> Any:
    return json.loads(file.read_text())["mcp"]["meshfleet"]


def test_without_a_configuration_one_is_made_that_starts_this_meshfleet(home: Path) -> None:
    made = meshfleet("--yes")
    assert (made.returncode, made.stderr) == (0, "")
    assert "will be made" in made.stdout
    assert '+    "meshfleet": {' in made.stdout
    entry = entry_in(home / ".config" / "opencode" / "opencode.json")
    assert (entry["type"], entry["enabled"]) == ("local", True)
    program, word = entry["command"]
    assert (Path(program).is_absolute(), word) == (True, "serve")


def test_what_was_made_stays_as_it_is_and_goes_again(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / ".config" / "opencode" / "opencode.json"
    run()
    capsys.readouterr()
    assert run() == 0
    assert capsys.readouterr().out == f"{file} has the entry already; nothing to do\n"
    assert run(remove=True) == 0
    assert not file.exists()
    capsys.readouterr()
    assert run(remove=True) == 0
    assert capsys.readouterr().out == f"there is no entry of meshfleet in {file.parent}; nothing to do\n"


def test_nothing_is_changed_where_nobody_can_be_asked(user_file: Path) -> None:
    user_file.write_text("{}")
    refused = meshfleet()
    assert refused.returncode == 1
    assert refused.stderr == (
        "meshfleet: init asks before it does anything, and nobody is there to answer; pass --yes to agree\n"
    )
    assert '+  "mcp": {' in refused.stdout
    assert user_file.read_text() == "{}"
    assert sorted(path.name for path in user_file.parent.iterdir()) == ["opencode.json"]


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_a_person_at_a_terminal_sees_the_change_and_is_asked(user_file: Path, answer: bytes, code: int) -> None:
    user_file.write_text("{}")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "meshfleet", "init"]
    process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(ours, answer)
    said, told = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, told) == (code, "")
    assert said.index("will change") < said.index('+  "mcp"') < said.index("change it? [y/N]")
    assert ("nothing was changed" in said, user_file.read_text() == "{}") == (code == 1, code == 1)


def test_removing_gives_back_the_very_bytes_as_long_as_nobody_edited(user_file: Path) -> None:
    user_file.write_bytes(COMMENTED.encode())
    user_file.chmod(0o640)
    assert run() == 0
    written = user_file.read_bytes()
    assert b'\t\t"meshfleet": {\r\n\t\t\t"type": "local"' in written
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o640
    assert run(remove=True) == 0
    assert user_file.read_bytes() == COMMENTED.encode()
    assert stat.S_IMODE(user_file.stat().st_mode) == 0o640
    assert run(remove=True) == 0


def test_after_an_edit_removing_takes_out_the_entry_alone(user_file: Path) -> None:
    user_file.write_text('{\n  "model": "a/b"\n}\n')
    run()
    user_file.write_text("// edited\n" + user_file.read_text().replace("a/b", "c/d"))
    run(remove=True)
    assert user_file.read_text() == '// edited\n{\n  "model": "c/d"\n}\n'


def test_after_an_edit_servers_that_were_empty_before_stay(user_file: Path) -> None:
    user_file.write_text('{\n  "mcp": {},\n  "model": "a/b"\n}\n')
    run()
    user_file.write_text(user_file.read_text().replace("a/b", "c/d"))
    run(remove=True)
    assert user_file.read_text() == '{\n  "mcp": {},\n  "model": "c/d"\n}\n'


def test_an_entry_that_was_there_is_brought_up_to_date_and_removing_takes_it_out(user_file: Path) -> None:
    user_file.write_text(
        '{"mcp": {"meshfleet": {"type": "local", "command": ["/old", "serve"], /* keep */ "enabled": false,'
        ' "environment": {"MESHFLEET_LOG_LEVEL": "info"}}}}'
    )
    run()
    entry = json.loads(user_file.read_text().replace("/* keep */", ""))["mcp"]["meshfleet"]
    assert "/* keep */" in user_file.read_text()
    assert (entry["enabled"], entry["environment"]) == (True, {"MESHFLEET_LOG_LEVEL": "info"})
    assert Path(entry["command"][0]).name == "meshfleet"
    run(remove=True)
    assert user_file.read_text() == '{"mcp": {}}'


def test_an_entry_of_another_kind_is_replaced_whole(user_file: Path) -> None:
    user_file.write_text('{"mcp": {"meshfleet": {"type": "remote", "url": "u"}}}')
    run()
    assert set(entry_in(user_file)) == {"type", "command", "enabled"}


def test_an_original_is_given_back_after_a_second_change_of_ours(user_file: Path) -> None:
    user_file.write_text("{ }")
    run()
    user_file.write_text(user_file.read_text().replace('"enabled": true', '"enabled": false'))
    run()
    run(remove=True)
    assert json.loads(user_file.read_text()) == {}, "edited in between, so cut out"
    user_file.write_text("{ }")
    run()
    run()
    run(remove=True)
    assert user_file.read_text() == "{ }"


def test_what_is_kept_of_a_configuration_is_private(user_file: Path) -> None:
    user_file.write_text('{"provider": {"p": {"options": {"apiKey": "secret"}}}}')
    run()
    state = state_folder(os.environ)
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {0o600}
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    run(remove=True)
    assert not state.exists()


def test_a_symlink_stays_one_and_what_it_leads_to_is_changed(user_file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    user_file.symlink_to(real)
    run()
    assert user_file.is_symlink()
    assert "meshfleet" in real.read_text()
    run(remove=True)
    assert (user_file.is_symlink(), real.read_text()) == (True, "{}")


@pytest.mark.parametrize(
    ("present", "taken"),
    [
        ((), "opencode.json"),
        (("config.json",), "config.json"),
        (("opencode.json", "config.json"), "opencode.json"),
        (("opencode.json", "opencode.jsonc"), "opencode.jsonc"),
    ],
)
def test_the_file_that_counts_most_is_taken(user_file: Path, present: tuple[str, ...], taken: str) -> None:
    for name in present:
        user_file.with_name(name).write_text("{}")
    run()
    changed = [path.name for path in user_file.parent.iterdir() if "meshfleet" in path.read_text()]
    assert changed == [taken]


def test_a_file_that_holds_the_entry_is_taken_before_all_others_and_all_are_cleared(user_file: Path) -> None:
    jsonc = user_file.with_suffix(".jsonc")
    user_file.write_text('{"mcp": {"meshfleet": {"enabled": false}}}')
    jsonc.write_text("{}")
    run()
    assert jsonc.read_text() == "{}"
    assert entry_in(user_file)["enabled"] is True
    jsonc.write_text('{"mcp": {"meshfleet": {"enabled": true}}}')
    run(remove=True)
    assert (user_file.read_text(), jsonc.read_text()) == ('{"mcp": {}}', '{"mcp": {}}')


def test_a_file_that_a_variable_names_is_taken_only_where_it_holds_the_entry(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "named.json"
    named.write_text("{}")
    monkeypatch.setenv("OPENCODE_CONFIG", str(named))
    run()
    assert (home / ".config" / "opencode" / "opencode.json").exists()
    named.write_text('{"mcp": {"meshfleet": {"enabled": false}}}')
    run()
    assert entry_in(named)["enabled"] is True


def test_a_project_s_file_lies_at_its_root_or_where_there_is_one(project: Path) -> None:
    below = project / "a" / "b"
    below.mkdir(parents=True)
    assert run(project=below) == 0
    assert "meshfleet" in (project / "opencode.json").read_text()
    run(project=below, remove=True)
    assert not (project / "opencode.json").exists()
    (below.parent / "opencode.jsonc").write_text("{} // mine")
    run(project=below)
    assert "meshfleet" in (below.parent / "opencode.jsonc").read_text()


def test_outside_of_a_worktree_the_project_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "opencode.json").write_text("{}")
    folder = tmp_path / "plain"
    folder.mkdir()
    run(project=folder)
    assert (tmp_path / "opencode.json").read_text() == "{}"
    assert entry_in(folder / "opencode.json")["enabled"] is True


@pytest.mark.parametrize("client", [Client.OPENCODE, Client.CODEX])
def test_what_was_made_for_the_entry_goes_with_it(home: Path, client: Client) -> None:
    (home / ".local" / "state").mkdir(parents=True)
    before = sorted(home.rglob("*"))
    run(client=client)
    assert sorted(home.rglob("*")) != before
    run(client=client, remove=True)
    assert sorted(home.rglob("*")) == before


def test_a_folder_that_was_made_stays_once_somebody_put_something_into_it(home: Path) -> None:
    run(client=Client.CODEX)
    (home / ".codex" / "auth.json").write_text("{}")
    run(client=Client.CODEX, remove=True)
    assert [path.name for path in (home / ".codex").iterdir()] == ["auth.json"]


def test_what_is_remembered_of_another_file_stays() -> None:
    run(client=Client.CODEX)
    run()
    run(remove=True)
    assert state_folder(os.environ).exists()
    run(client=Client.CODEX, remove=True)
    assert not state_folder(os.environ).parent.exists()


def test_codex_gets_a_table_and_gives_back_what_was_there(home: Path) -> None:
    file = home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text('model = "o" # mine')
    run(client=Client.CODEX)
    assert file.read_text().startswith('model = "o" # mine\n\n[mcp_servers.meshfleet]\ncommand = "')
    run(client=Client.CODEX, remove=True)
    assert file.read_text() == 'model = "o" # mine'


def test_claude_code_gets_a_file_in_a_project_and_a_command_for_the_user(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(client=Client.CLAUDE_CODE)
    assert capsys.readouterr().out.startswith("claude mcp add --scope user meshfleet -- /")
    run(client=Client.CLAUDE_CODE, project=project)
    servers = json.loads((project / ".mcp.json").read_text())["mcpServers"]
    assert (servers["meshfleet"]["type"], servers["meshfleet"]["args"]) == ("stdio", ["serve"])
    run(client=Client.CLAUDE_CODE, remove=True)
    assert capsys.readouterr().out.endswith("claude mcp remove --scope user meshfleet\n")


def test_any_other_client_gets_it_printed_and_only_that(capsys: pytest.CaptureFixture[str], project: Path) -> None:
    run(client=Client.GENERIC)
    assert json.loads(capsys.readouterr().out)["mcpServers"]["meshfleet"]["args"] == ["serve"]
    with pytest.raises(Invalid, match="leave --project out"):
        run(client=Client.GENERIC, project=project)
    with pytest.raises(Invalid, match="take the entry out where you put it"):
        run(client=Client.GENERIC, remove=True)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1,,}', "line 1, column 9: a name in double quotes is missing; nothing was changed"),
        (b"[]", "the whole is an array; it has to be an object"),
        (b'{"mcp": null}', "mcp is null; it has to be an object"),
        (b'{"a": "\xe9"}', "is no UTF-8 at byte 7; save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name_and_left(
    user_file: Path, content: bytes, told: str
) -> None:
    user_file.write_bytes(content)
    with pytest.raises(Invalid) as refusal:
        run()
    assert str(refusal.value).startswith(str(user_file))
    assert told in str(refusal.value)
    assert user_file.read_bytes() == content


def test_a_refusal_is_one_line_and_2(user_file: Path) -> None:
    user_file.write_text('{"a"\n 1}')
    refused = meshfleet("--yes")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"meshfleet: {user_file}: line 2, column 2: a colon is missing; nothing was changed\n"


def test_what_is_no_file_is_refused(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(user_file)
    with pytest.raises(Invalid, match="no regular file"):
        run()
    user_file.unlink()
    user_file.mkdir()
    with pytest.raises((Invalid, Unavailable), match=r"opencode\.json"):
        run()
    user_file.rmdir()
    user_file.write_text("{}" + " " * 100)
    monkeypatch.setattr(files, "LARGEST_FILE", 100)
    with pytest.raises(Invalid, match="has 102 bytes"):
        run()


def test_a_write_protected_file_is_refused(user_file: Path) -> None:
    user_file.write_text("{}")
    user_file.chmod(0o444)
    with pytest.raises(Conflict, match="write-protected"):
        run()
    assert user_file.read_text() == "{}"


def test_a_file_that_somebody_changed_meanwhile_is_not_written(
    user_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_file.write_text("{}")

    def edited_while_asked(_command: str, _question: str) -> bool:
        user_file.write_text('{"model": "new"}')
        return True

    monkeypatch.setattr("meshfleet.cli.init.agreed", edited_while_asked)
    with pytest.raises(Conflict, match="changed by somebody else meanwhile"):
        run(yes=False)
    assert user_file.read_text() == '{"model": "new"}'
    assert [path.name for path in user_file.parent.iterdir()] == ["opencode.json"]
    assert [path.name for path in state_folder(os.environ).iterdir()] == ["lock"], "nothing was edited, nothing is kept"


def test_a_disk_that_refuses_leaves_the_file_as_it_was(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file.write_text("{}")

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("meshfleet.cli.setup.files.os.fsync", full)
    with pytest.raises(Unavailable, match="no space left on device"):
        run()
    assert user_file.read_text() == "{}"
    assert [path.name for path in user_file.parent.iterdir()] == ["opencode.json"]


def test_while_another_edits_it_waits_and_then_gives_up(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user_file.write_text("{}")
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0.05)
    state = state_folder(os.environ)
    state.mkdir(parents=True)
    with FileLock(state / "lock"), pytest.raises(Busy, match="another meshfleet"):
        run()
    assert user_file.read_text() == "{}"


def test_what_is_kept_may_be_broken_and_nothing_breaks_by_it(user_file: Path) -> None:
    user_file.write_text('{"a": 1}')
    run()
    (note,) = state_folder(os.environ).glob("*.json")
    note.write_text('{"version": 1, "written"')
    run(remove=True)
    assert user_file.read_text() == '{"a": 1, "mcp": {}}', "without what was kept, nothing is known of the servers"


def test_the_shown_change_has_no_more_of_the_file_than_its_neighbours(
    user_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user_file.write_text('{\n  "key": "secret",\n  "a": 1,\n  "b": 2\n}\n')
    run()
    assert "secret" not in capsys.readouterr().out
