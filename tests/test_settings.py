"""The environment variables: their two names, which one wins, what is refused, and what stands without any."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Invalid
from meshfleet.settings import Durability, Settings

VALUES: Final[dict[str, tuple[str, str, Any]]] = {
    "DURABILITY": ("durability", "process", Durability.PROCESS),
    "LOCK_TIMEOUT_MS": ("lock_timeout_ms", "70", 70),
    "AGENT_TIMEOUT_MS": ("agent_timeout_ms", "71", 71),
    "AGENT_STALL_MS": ("agent_stall_ms", "72", 72),
    "RETRY_BASE_MS": ("retry_base_ms", "73", 73),
    "START_STAGGER_MS": ("start_stagger_ms", "74", 74),
    "SSE_HOST": ("sse_host", "::1", "::1"),
    "SSE_PORT": ("sse_port", "75", 75),
    "AGENT_ID": ("agent_id", "a-1", "a-1"),
    "FLEET_ID": ("fleet_id", "f-1", "f-1"),
    "LOG_LEVEL": ("log_level", "DEBUG", "debug"),
    "DATA_FILE": ("data_file", "/somewhere/mesh.json", Path("/somewhere/mesh.json")),
    "DATA_DIR": ("data_file", "/somewhere", Path("/somewhere/agent-mesh.json")),
}
OTHERS: Final = {
    "DURABILITY": "power",
    "LOG_LEVEL": "error",
    "DATA_FILE": "/elsewhere/other.json",
    "DATA_DIR": "/elsewhere",
    "AGENT_ID": "a-2",
    "FLEET_ID": "f-2",
    "SSE_HOST": "other.example",
}


def settings_of(environ: Mapping[str, str]) -> Settings:
    return Settings.from_environ({"HOME": "/home/somebody", **environ})


def test_without_any_variable_the_documented_defaults_stand() -> None:
    settings = settings_of({})
    assert settings == Settings(
        data_file=Path("/home/somebody/.config/opencode/agent-mesh.json"),
        durability=Durability.POWER,
        lock_timeout_ms=5_000,
        agent_timeout_ms=None,
        agent_stall_ms=1_800_000,
        retry_base_ms=1_000,
        start_stagger_ms=250,
        sse_host="127.0.0.1",
        sse_port=13_579,
        agent_id=None,
        fleet_id=None,
        log_level="warning",
    )
    assert not settings.in_agent_mode
    assert settings.events_file == Path("/home/somebody/.config/opencode/agent-mesh.events.log")
    assert settings.runs_dir == Path("/home/somebody/.config/opencode/agent-mesh.runs")


@pytest.mark.parametrize("prefix", ["MESHFLEET_", "AGENT_MESH_"])
@pytest.mark.parametrize("name", VALUES)
def test_a_variable_counts_under_its_name_and_under_that_of_v0_9(prefix: str, name: str) -> None:
    field, value, read = VALUES[name]
    settings = settings_of({prefix + name: value})
    assert getattr(settings, field) == read
    assert getattr(settings, field) != getattr(settings_of({}), field)


@pytest.mark.parametrize("name", VALUES)
def test_the_new_name_wins_over_the_old_one(name: str) -> None:
    field, value, read = VALUES[name]
    settings = settings_of({f"AGENT_MESH_{name}": OTHERS.get(name, "9"), f"MESHFLEET_{name}": value})
    assert getattr(settings, field) == read


@pytest.mark.parametrize("name", VALUES)
def test_an_empty_variable_counts_as_unset(name: str) -> None:
    field, value, read = VALUES[name]
    assert settings_of({f"MESHFLEET_{name}": ""}) == settings_of({})
    filled = settings_of({f"MESHFLEET_{name}": "", f"AGENT_MESH_{name}": value})
    assert getattr(filled, field) == read


@pytest.mark.parametrize("file_prefix", ["MESHFLEET_", "AGENT_MESH_"])
@pytest.mark.parametrize("folder_prefix", ["MESHFLEET_", "AGENT_MESH_"])
def test_a_named_file_wins_over_a_named_folder(file_prefix: str, folder_prefix: str) -> None:
    settings = settings_of({f"{file_prefix}DATA_FILE": "/a/b.json", f"{folder_prefix}DATA_DIR": "/c"})
    assert settings.data_file == Path("/a/b.json")


def test_the_files_beside_a_ledger_follow_its_name() -> None:
    settings = settings_of({"MESHFLEET_DATA_FILE": "/data/team.json"})
    assert settings.events_file == Path("/data/team.events.log")
    assert settings.runs_dir == Path("/data/team.runs")
    assert settings_of({"MESHFLEET_DATA_FILE": "/data/team"}).runs_dir == Path("/data/team.runs")


def test_a_tilde_is_the_user_s_home(home: Path) -> None:
    assert Settings.from_environ({**os.environ, "MESHFLEET_DATA_FILE": "~/m.json"}).data_file == home / "m.json"
    folder = Settings.from_environ({**os.environ, "MESHFLEET_DATA_DIR": "~"}).data_file
    assert folder == home / "agent-mesh.json"


def test_a_relative_path_is_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of({"MESHFLEET_DATA_FILE": "here/m.json"})
    monkeypatch.chdir("/")
    assert settings.data_file == tmp_path / "here/m.json"


@pytest.mark.parametrize("prefix", ["MESHFLEET_", "AGENT_MESH_"])
@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("DURABILITY", "maybe", "one of power, process"),
        ("LOCK_TIMEOUT_MS", "0", "at least 1"),
        ("LOCK_TIMEOUT_MS", "soon", "whole number"),
        ("AGENT_TIMEOUT_MS", "0", "at least 1"),
        ("AGENT_TIMEOUT_MS", "-5", "a whole number, 0 or more"),
        ("AGENT_TIMEOUT_MS", "1e3", "whole number"),
        ("AGENT_TIMEOUT_MS", "1.5", "whole number"),
        ("AGENT_TIMEOUT_MS", " 5", "whole number"),
        ("AGENT_TIMEOUT_MS", "\u0665", "whole number"),
        ("AGENT_TIMEOUT_MS", "9" * 16, "15 digits"),
        ("AGENT_STALL_MS", "never", "whole number"),
        ("RETRY_BASE_MS", "+1", "whole number"),
        ("START_STAGGER_MS", "1_000", "whole number"),
        ("SSE_PORT", "65536", "at most 65535"),
        ("SSE_PORT", "http", "whole number"),
        ("LOG_LEVEL", "loud", "one of debug, info, warning, error"),
        ("DATA_FILE", "/", "name a file"),
        ("DATA_FILE", "~no-such-user/m.json", "no such user"),
        ("DATA_DIR", "~no-such-user", "no such user"),
    ],
)
def test_a_wrong_value_is_refused_with_the_variable_s_name_and_what_would_be_right(
    prefix: str, name: str, value: str, remedy: str
) -> None:
    with pytest.raises(Invalid) as refusal:
        settings_of({prefix + name: value})
    text = str(refusal.value)
    assert text.startswith(f"{prefix}{name} is {value!r}: ")
    assert remedy in text


@pytest.mark.parametrize("name", ["AGENT_STALL_MS", "RETRY_BASE_MS", "START_STAGGER_MS", "SSE_PORT"])
def test_zero_is_a_value_where_it_means_something(name: str) -> None:
    assert getattr(settings_of({f"MESHFLEET_{name}": "0"}), VALUES[name][0]) == 0


def test_a_wrong_old_value_behind_a_good_new_one_does_no_harm() -> None:
    settings = settings_of({"MESHFLEET_SSE_PORT": "1", "AGENT_MESH_SSE_PORT": "nonsense"})
    assert settings.sse_port == 1


def test_an_agent_s_id_means_agent_mode() -> None:
    assert settings_of({"MESHFLEET_AGENT_ID": "a-1"}).in_agent_mode


@given(
    name=st.sampled_from([name for name in VALUES if not name.startswith("DATA_")]),
    value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
)
def test_whatever_a_variable_holds_is_read_or_refused_by_name(name: str, value: str) -> None:
    try:
        settings_of({f"MESHFLEET_{name}": value})
    except Invalid as refusal:
        assert str(refusal).startswith(f"MESHFLEET_{name} is ")  # noqa: PT017 - both outcomes are right
