from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshfleet.agents import opencode
from meshfleet.agents.opencode import (
    child_environment,
    find_opencode,
    opencode_version,
    parse_inline_config,
    run_arguments,
)
from meshfleet.errors import Invalid, Unavailable
from tests.agents.fake_runtime import install

WHO: dict[str, Any] = {
    "agent_id": "a-1",
    "fleet_id": "f-1",
    "attempt": "a-1/2",
    "data_file": Path("/data/agent-mesh.json"),
    "server_command": ["/usr/bin/meshfleet", "serve"],
}


def config_of(environment: dict[str, str]) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(environment["OPENCODE_CONFIG_CONTENT"])
    return config


def test_opencode_is_found_on_path(fake_opencode: Path) -> None:
    assert find_opencode({"PATH": f"/nowhere:{fake_opencode.parent}"}) == fake_opencode


def test_the_named_opencode_comes_before_the_one_on_path(fake_opencode: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\n", encoding="utf-8")
    other.chmod(0o755)
    assert find_opencode({"PATH": str(fake_opencode.parent), "MESHFLEET_OPENCODE": str(other)}) == other


@pytest.mark.parametrize(
    "environ", [{}, {"PATH": ""}, {"PATH": "/nowhere"}, {"PATH": "/nowhere", "MESHFLEET_OPENCODE": ""}]
)
def test_without_opencode_one_line_says_how_to_get_it(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.defpath", "/nowhere")
    monkeypatch.setattr(opencode, "BESIDE_PYTHON", Path("/nowhere/opencode"))
    with pytest.raises(Unavailable) as refusal:
        find_opencode(environ)
    assert str(refusal.value) == (
        "no opencode on PATH; install it with npm install -g opencode-ai, or set MESHFLEET_OPENCODE to its path"
    )


def test_an_opencode_beside_this_python_is_found_last(
    fake_opencode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = install(_folder(tmp_path / "venv"))
    monkeypatch.setattr(opencode, "BESIDE_PYTHON", beside)
    assert find_opencode({"PATH": "/nowhere"}) == beside
    assert find_opencode({"PATH": str(fake_opencode.parent)}) == fake_opencode


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize("kind", ["missing", "folder", "not executable"])
def test_a_named_opencode_that_cannot_run_is_refused_with_its_value(
    kind: str, tmp_path: Path, fake_opencode: Path
) -> None:
    named = tmp_path / "named"
    if kind == "folder":
        named.mkdir()
    elif kind == "not executable":
        named.write_text("#!/bin/sh\n", encoding="utf-8")
    with pytest.raises(Unavailable, match=r"MESHFLEET_OPENCODE is '.*named', which is not an executable file"):
        find_opencode({"PATH": str(fake_opencode.parent), "MESHFLEET_OPENCODE": str(named)})


def test_the_version_is_what_the_program_says(fake_opencode: Path) -> None:
    assert opencode_version(fake_opencode) == "0.0.0-fake"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("#!/bin/sh\nexit 3\n", "--version exited with status 3; install it with"),
        (
            "#!/bin/sh\necho early >&2\necho 'no \033[1msuch thing' >&2\nexit 1\n",
            r"with status 1: 'no \\x1b\[1msuch thing'; ",
        ),
        ("#!/bin/sh\ntrue\n", "--version printed nothing, so it is no opencode; install it with"),
        ("no script", "opencode can't be run: exec format error; install it with"),
    ],
)
def test_a_program_without_a_version_is_no_opencode_and_says_why(content: str, told: str, tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    program.write_text(content, encoding="utf-8")
    program.chmod(0o755)
    with pytest.raises(Unavailable, match=told):
        opencode_version(program)


def test_a_plain_run_takes_no_more_than_it_was_asked_for() -> None:
    assert run_arguments(Path("/bin/oc"), agent_file=None) == ["/bin/oc", "run", "--format", "json"]


def test_values_stay_values_whatever_they_start_with() -> None:
    arguments = run_arguments(
        Path("oc"), agent_file="--auto", model="p/m", session_id="ses_1", title="-- a title", allow_all=True
    )
    assert arguments[4:] == ["--agent=--auto", "--model=p/m", "--session=ses_1", "--title=-- a title", "--auto"]


def test_a_child_knows_who_it_is_and_where_the_ledger_lies() -> None:
    environment = child_environment({"PATH": "/bin"}, **WHO)
    told = {
        "MESHFLEET_AGENT_ID": "a-1",
        "MESHFLEET_FLEET_ID": "f-1",
        "MESHFLEET_ATTEMPT": "a-1/2",
        "MESHFLEET_DATA_FILE": "/data/agent-mesh.json",
    }
    assert environment.items() >= {**told, "PATH": "/bin"}.items()
    entry = config_of(environment)["mcp"]["meshfleet"]
    assert entry["type"] == "local"
    assert entry["command"] == ["/usr/bin/meshfleet", "serve"]
    assert entry["enabled"] is True
    assert entry["environment"] == told
    assert entry["timeout"] > 60_000


def test_a_relative_ledger_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = child_environment({}, **{**WHO, "data_file": Path("mesh.json")})
    assert environment["MESHFLEET_DATA_FILE"] == str(tmp_path / "mesh.json")


def test_what_the_starting_opencode_said_about_itself_is_not_handed_on() -> None:
    about_itself = dict.fromkeys(
        [
            "OPENCODE",
            "OPENCODE_PID",
            "OPENCODE_CLIENT",
            "OPENCODE_WORKSPACE_ID",
            "OPENCODE_EXPERIMENTAL_WORKSPACES",
            "OPENCODE_SERVER_PASSWORD",
            "OPENCODE_PRINT_LOGS",
            "OPENCODE_SOMETHING_NEW",
            "AGENT_MESH_DATA_FILE",
            "AGENT_MESH_DATA_DIR",
            "MESHFLEET_DATA_DIR",
        ],
        "1",
    )
    assert child_environment(about_itself, **WHO).keys().isdisjoint(about_itself)


def test_what_configures_opencode_is_handed_on() -> None:
    configuring = dict.fromkeys(
        [
            "OPENCODE_CONFIG",
            "OPENCODE_CONFIG_DIR",
            "OPENCODE_PERMISSION",
            "OPENCODE_API_KEY",
            "OPENCODE_AUTH_CONTENT",
            "OPENCODE_DISABLE_AUTOUPDATE",
            "OPENCODE_ENABLE_EXA",
            "OPENCODE_EXPERIMENTAL",
            "OPENCODE_EXPERIMENTAL_PLAN_MODE",
            "OPENCODEX",
            "ANTHROPIC_API_KEY",
            "MESHFLEET_DURABILITY",
        ],
        "1",
    )
    assert child_environment(configuring, **WHO).items() >= configuring.items()


def test_an_inline_configuration_that_is_there_already_is_kept() -> None:
    present = """{ // the user's
      "model": "p/m",
      "mcp": {"other": {"type": "remote", "url": "http://x//y"}, "meshfleet": {"type": "remote", "url": "z"}},
      "agent": {"critic": {"mode": "subagent", "prompt": "/* no comment */"}},
    }"""
    config = config_of(
        child_environment({"OPENCODE_CONFIG_CONTENT": present}, **WHO, agent_file="critic", mode_override=True)
    )
    assert config["model"] == "p/m"
    assert config["mcp"]["other"] == {"type": "remote", "url": "http://x//y"}
    assert config["mcp"]["meshfleet"]["type"] == "local"
    assert "url" not in config["mcp"]["meshfleet"]
    assert config["agent"]["critic"] == {"mode": "all", "prompt": "/* no comment */"}


def test_a_mode_is_overridden_only_where_that_is_asked_for() -> None:
    assert "agent" not in config_of(child_environment({}, **WHO, agent_file="critic"))
    assert "agent" not in config_of(child_environment({}, **WHO, mode_override=True))
    config = config_of(child_environment({}, **WHO, agent_file="critic", mode_override=True))
    assert config["agent"] == {"critic": {"mode": "all"}}


@pytest.mark.parametrize("present", ['{"mcp": []}', '{"mcp": null}', '{"agent": 1}', "", "  \n"])
def test_a_misshapen_or_empty_inline_configuration_does_not_stop_the_agent(present: str) -> None:
    environment = child_environment({"OPENCODE_CONFIG_CONTENT": present}, **WHO, agent_file="x", mode_override=True)
    config = config_of(environment)
    assert config["mcp"]["meshfleet"]["enabled"] is True
    assert config["agent"]["x"]["mode"] == "all"


@pytest.mark.parametrize("present", ["{broken", "[]", "1", '{"a": 1} x', '{"a": {env:X}}', "[" * 100_000])
def test_an_inline_configuration_that_is_no_object_is_refused(present: str) -> None:
    with pytest.raises(Invalid, match="the inherited OPENCODE_CONFIG_CONTENT"):
        child_environment({"OPENCODE_CONFIG_CONTENT": present}, **WHO)


def test_comments_and_trailing_commas_are_read_as_opencode_reads_them() -> None:
    text = (
        '{"a": "// \\" , ]", /* , */ "b": [1, 2 , /* last */ ], // end\n "c": {"d": "/*", // not an end ]}\n "e": 1,},}'
    )
    assert parse_inline_config(text) == {"a": '// " , ]', "b": [1, 2], "c": {"d": "/*", "e": 1}}


def test_extra_variables_are_given_but_cannot_make_an_agent_another() -> None:
    extra = {"API": "x", "OPENCODE_CLIENT": "mine", "MESHFLEET_AGENT_ID": "b", "MESHFLEET_DATA_DIR": "/elsewhere"}
    environment = child_environment({"API": "y"}, **WHO, extra=extra)
    assert environment["API"] == "x"
    assert environment["OPENCODE_CLIENT"] == "mine"
    assert environment["MESHFLEET_AGENT_ID"] == "a-1"
    assert "MESHFLEET_DATA_DIR" not in environment


def test_bytes_that_are_no_text_survive_in_the_inline_configuration() -> None:
    present = '{"username": "caf\udce9"}'
    environment = child_environment({"OPENCODE_CONFIG_CONTENT": present}, **WHO)
    assert config_of(environment)["username"] == "caf\udce9"
    assert environment["OPENCODE_CONFIG_CONTENT"].encode("utf-8", "surrogateescape")
