"""The prepared words are those of today's tools."""

from __future__ import annotations

import pytest

from meshfleet.server.face import prepared_file
from meshfleet.server.prepare import prepared


@pytest.mark.parametrize("in_agent_mode", [False, True])
def test_the_prepared_words_are_what_the_sdk_says_today(in_agent_mode: bool) -> None:
    assert prepared_file(in_agent_mode=in_agent_mode).read_text(encoding="utf-8") == prepared(
        in_agent_mode=in_agent_mode
    ), "run make docs"
