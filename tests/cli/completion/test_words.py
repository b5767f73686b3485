"""What a word may become: commands, options, values, by where in the line it is."""

from __future__ import annotations

import pytest
from typer.main import get_command

from meshfleet.cli.app import app
from meshfleet.cli.completion.words import Offers, offers_for


def _offers(*words: str) -> Offers:
    *before, begun = words
    return offers_for(get_command(app), before, begun)


def _words(*words: str) -> list[str]:
    return [word for word, _ in _offers(*words).words]


def test_commands_come_with_what_they_do() -> None:
    assert _offers("ver").words == [("verify", "Check a ledger; changes nothing")]
    assert _words("template", "s") == ["show", "save", "spawn"]
    assert {"spawn", "template", "completion"} < set(_words(""))


def test_an_option_that_was_given_is_not_offered_again() -> None:
    assert _words("init", "--") == ["--project", "--client", "--remove", "--yes", "--help"]
    assert _words("init", "--yes", "--client", "codex", "--") == ["--project", "--remove", "--help"]
    assert _words("logs", "-f", "--") == ["--attempt", "--json", "--help"]


@pytest.mark.parametrize("before", [["--client"], ["--client", "="], ["--project", "--client"]])
def test_an_option_s_value_comes_after_it_as_bash_splits_it_too(before: list[str]) -> None:
    assert _words("init", *before, "c") == ["claude-code", "codex"]


def test_a_value_behind_an_equals_sign_comes_with_its_option() -> None:
    assert _words("init", "--client=co") == ["--client=codex"]
    assert _words("init", "--yes=") == []
    assert _words("init", "--no-such=") == []


def test_a_free_text_is_offered_nothing() -> None:
    assert _offers("resume", "--prompt", "") == Offers([])


def test_after_two_dashes_there_are_no_options() -> None:
    assert _offers("export", "--", "--") == Offers([], or_files=True)


@pytest.mark.parametrize(
    "line", [["verify"], ["export"], ["import"], ["spawn"], ["template", "save", "name"], ["template", "import"]]
)
def test_files_are_offered_where_a_file_is_taken(line: list[str]) -> None:
    assert _offers(*line, "").or_files


@pytest.mark.parametrize("line", [["inspect"], ["template", "show"], ["completion"], ["resume", "--prompt"], []])
def test_files_are_offered_nowhere_else(line: list[str]) -> None:
    assert not _offers(*line, "").or_files


@pytest.mark.parametrize("line", [["nonsense"], ["template", "nonsense"], ["serve"], ["verify", "one.json"]])
def test_where_nothing_can_follow_nothing_is_offered(line: list[str]) -> None:
    assert _offers(*line, "") == Offers([])


def test_the_shells_are_offered_to_choose_from() -> None:
    assert _words("completion", "") == ["bash", "zsh", "fish"]
