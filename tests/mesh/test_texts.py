"""What a text from outside may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshfleet.errors import Invalid
from meshfleet.mesh.texts import LONGEST_NAME, checked_name, checked_text, counted, shown


@pytest.mark.parametrize("character", ["x", "ü", "€", "😀"])
def test_a_text_is_measured_in_bytes_not_in_characters(character: str) -> None:
    size = len(character.encode())
    whole = character * (1200 // size)
    assert checked_text("note", whole, 1200) == whole
    with pytest.raises(Invalid, match=f"note has {1200 + size} bytes; at most 1200"):
        checked_text("note", whole + character, 1200)


def test_a_nul_and_a_lone_surrogate_are_refused_with_their_place() -> None:
    with pytest.raises(Invalid, match="payload holds a NUL at character 3"):
        checked_text("payload", "abc\0", 10)
    with pytest.raises(Invalid, match="payload holds a lone surrogate at character 1"):
        checked_text("payload", "a\ud800", 10)


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u2003", "\xa0"])
def test_a_name_of_nothing_but_spaces_is_blank(blank: str) -> None:
    with pytest.raises(Invalid, match="role is blank"):
        checked_name("role", blank)


def test_a_name_is_as_long_as_256_bytes() -> None:
    checked_name("role", "ü" * 128)
    with pytest.raises(Invalid, match="role has 257 bytes; at most 256"):
        checked_name("role", "x" * (LONGEST_NAME + 1))


@given(st.text(st.characters()))
def test_a_text_comes_back_unchanged_or_is_refused_by_name(text: str) -> None:
    try:
        assert checked_text("note", text, 40) == text
    except Invalid as refusal:
        assert str(refusal).startswith("note ")  # noqa: PT017 - both outcomes are right


@given(st.text(st.characters()))
def test_a_wrong_value_is_shown_short_and_printable(text: str) -> None:
    assert len(shown(text)) < 90
    assert shown(text).isascii()
    assert shown(text).isprintable()


def test_one_of_several_things_is_singular() -> None:
    assert [counted(number, "agents") for number in (0, 1, 2)] == ["0 agents", "1 agent", "2 agents"]
    assert [counted(number, "inboxes") for number in (0, 1, 2)] == ["0 inboxes", "1 inbox", "2 inboxes"]
