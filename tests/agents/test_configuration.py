from __future__ import annotations

from pathlib import Path

import pytest

from meshfleet.agents.configuration import known_models, project_files, resolved_configuration, user_files
from meshfleet.errors import Unavailable

COMPLAINT = """\
cat >&2 <<'END'
\x1b[91mError: \x1b[0mConfig file at /c.json is not valid JSON(C):
--- JSONC Input ---
"apiKey": "secret"
--- Errors ---
CommaExpected at line 1, column 3
   Line 1: "apiKey": "secret"
     ^
--- End ---
END
exit 1
"""


def opencode(tmp_path: Path, script: str) -> Path:
    program = tmp_path / "opencode"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_the_user_s_files_are_in_the_order_in_which_they_count() -> None:
    named = {"HOME": "/h", "OPENCODE_CONFIG": "/x/c.json", "OPENCODE_CONFIG_DIR": "/d"}
    assert [str(path) for path in user_files(named)] == [
        "/h/.config/opencode/config.json",
        "/h/.config/opencode/opencode.json",
        "/h/.config/opencode/opencode.jsonc",
        "/x/c.json",
        "/d/opencode.json",
        "/d/opencode.jsonc",
    ]
    assert user_files({"HOME": "/h", "XDG_CONFIG_HOME": "/x"})[0] == Path("/x/opencode/config.json")


def test_a_project_s_files_count_the_more_the_deeper_they_lie(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    below = tmp_path / "a"
    below.mkdir()
    found = [str(path.relative_to(tmp_path)) for path in project_files(below)]
    assert found[:4] == ["opencode.json", "opencode.jsonc", "a/opencode.json", "a/opencode.jsonc"]
    assert found[4:] == [
        f"{folder}.opencode/{name}" for folder in ("", "a/") for name in ("opencode.json", "opencode.jsonc")
    ]


def test_what_opencode_prints_is_taken_whole_however_long_and_asked_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    script = """printf '{"model": "%s", "long": "%0100000d"}' "$PWD" 0"""
    found = resolved_configuration(opencode(tmp_path, script), {"PATH": "/bin"}, folder)
    assert (found["model"], len(found["long"])) == (str(folder), 100_000)
    listed = known_models(opencode(tmp_path, "echo; echo a/b; echo c/d/e"), {"PATH": "/bin"}, folder)
    assert listed == ["a/b", "c/d/e"]


def test_a_complaint_is_told_in_one_line_without_the_file_s_content(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refusal:
        resolved_configuration(opencode(tmp_path, COMPLAINT), {"PATH": "/bin"}, tmp_path)
    assert str(refusal.value) == "Config file at /c.json is not valid JSON(C): CommaExpected at line 1, column 3"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 3", "debug config failed with 3"),
        ("echo []", "printed no JSON object"),
        ("echo {", "printed no JSON object"),
    ],
)
def test_no_answer_is_told_with_the_command(tmp_path: Path, script: str, told: str) -> None:
    with pytest.raises(Unavailable, match=told):
        resolved_configuration(opencode(tmp_path, script), {"PATH": "/bin"}, tmp_path)


def test_a_program_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshfleet.agents.configuration.COMMAND_TIMEOUT_S", 0.1)
    with pytest.raises(Unavailable, match="timed out"):
        resolved_configuration(opencode(tmp_path, "exec sleep 60"), {"PATH": "/bin"}, tmp_path)
