"""Every way in which a demo may fail is named by its step, the earliest first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshfleet.demo import checks
from meshfleet.demo.debate import CONSENSUS, DEBATE, MODERATOR
from meshfleet.demo.observe import Observation
from meshfleet.demo.patterns import holds_the_words_of
from meshfleet.demo.pipeline import ANALYST, ENGINEER, EXPLORER, PIPELINE, RESULT_FILE
from meshfleet.demo.project import PROJECT_FILES
from meshfleet.demo.rescue import FIXER, RESCUE
from meshfleet.model import ORCHESTRATOR
from tests.demo.observations import (
    FINDINGS,
    ORDER,
    agent,
    message,
    success,
    with_agent,
    with_message,
    without_messages,
    without_receipts,
)

STEPS = {
    "m1": ("Explorer's handoff to Analyst", EXPLORER, ANALYST),
    "m2": ("Analyst's result to Explorer", ANALYST, EXPLORER),
    "m3": ("Analyst's handoff to Engineer", ANALYST, ENGINEER),
    "m4": ("Engineer's result to Analyst", ENGINEER, ANALYST),
}


def hopeless_step(seen: Observation) -> str | None:
    return checks.hopeless_step(PIPELINE, seen)


def failed_step(seen: Observation, findings: str | None) -> str | None:
    return checks.failed_step(PIPELINE, seen, {} if findings is None else {RESULT_FILE: findings})


def unacknowledged(message_id: str, seen: Observation | None = None) -> Observation:
    seen = with_message(seen or success(), message_id, acknowledged=False)
    return without_receipts(seen, lambda row: row["message_id"] == message_id and row["action"] == "ack")


def test_a_demo_in_which_all_is_as_it_should_be_has_no_failed_step() -> None:
    assert failed_step(success(), FINDINGS) is None
    assert hopeless_step(success()) is None


@pytest.mark.parametrize("message_id", STEPS)
def test_a_message_that_was_never_sent_is_named_with_the_last_words_of_its_sender(message_id: str) -> None:
    step, sender, _ = STEPS[message_id]
    seen = without_messages(success(), message_id)

    expected = f'{step} was never sent; the last words of {sender}: "The {sender} is done."'
    assert failed_step(seen, FINDINGS) == expected
    assert hopeless_step(seen) == expected


@pytest.mark.parametrize("message_id", STEPS)
def test_a_message_that_was_never_acknowledged_is_named_although_it_was_seen(message_id: str) -> None:
    step, _, recipient = STEPS[message_id]
    seen = unacknowledged(message_id)

    expected = f'{step} was never acknowledged; the last words of {recipient}: "The {recipient} is done."'
    assert failed_step(seen, FINDINGS) == expected
    assert hopeless_step(seen) == expected


def test_an_acknowledgement_by_somebody_else_does_not_count() -> None:
    seen = unacknowledged("m3")
    forged = {"message_id": "m3", "agent_id": f"id-{EXPLORER}", "action": "ack", "timestamp": 1}
    seen = replace(seen, receipts=(*seen.receipts, forged))

    assert str(failed_step(seen, FINDINGS)).startswith("Analyst's handoff to Engineer was never acknowledged")


def test_the_earliest_of_several_failed_steps_is_named() -> None:
    seen = unacknowledged("m2", without_messages(success(), "m3", "m4"))

    assert str(failed_step(seen, None)).startswith("Analyst's result to Explorer was never acknowledged")


def test_a_message_beyond_the_four_must_be_acknowledged_too() -> None:
    seen = success()
    question = {**message(5, ENGINEER, "question", EXPLORER, "sure?"), "acknowledged": False}
    seen = replace(seen, messages=(*seen.messages, question))

    assert str(failed_step(seen, FINDINGS)).startswith("Engineer's question to Explorer was never acknowledged")


def test_a_broadcast_must_be_acknowledged_by_everyone_it_went_to() -> None:
    seen = success()
    alert = {**message(5, ENGINEER, "alert", EXPLORER, "done"), "to_agent_id": "*", "acknowledged": False}
    alert["recipients"] = [f"id-{EXPLORER}", f"id-{ANALYST}"]
    ack = {"message_id": "m5", "agent_id": f"id-{EXPLORER}", "action": "ack", "timestamp": 1}
    seen = replace(seen, messages=(*seen.messages, alert), receipts=(*seen.receipts, ack))

    assert str(failed_step(seen, FINDINGS)).startswith("Engineer's alert to Analyst was never acknowledged")


def test_a_message_to_the_orchestrator_is_meant_for_no_agent_and_needs_no_receipt() -> None:
    seen = success()
    report = {**message(5, ENGINEER, "result", EXPLORER, "done"), "to_agent_id": ORCHESTRATOR, "acknowledged": False}

    assert failed_step(replace(seen, messages=(*seen.messages, report)), FINDINGS) is None


def test_a_message_with_every_receipt_must_count_as_acknowledged() -> None:
    seen = with_message(success(), "m2", acknowledged=False)

    assert failed_step(seen, FINDINGS) == (
        "Analyst's result, which has every ack receipt and does not count as acknowledged"
    )


@pytest.mark.parametrize("status", ["failed", "interrupted", "cancelled"])
def test_an_agent_that_ended_badly_is_named_before_what_it_left_undone(status: str) -> None:
    seen = with_agent(
        without_messages(success(), "m2", "m3", "m4"), ANALYST, status=status, error="boom", reason="exit"
    )

    expected = f"Analyst's run, which ended as {status} (exit): boom"
    assert failed_step(seen, None) == expected
    assert hopeless_step(seen) == expected


def test_a_run_that_goes_on_after_its_last_message_is_named() -> None:
    assert failed_step(with_agent(success(), EXPLORER, status="running"), FINDINGS) == (
        "Explorer's run, which is still running"
    )


def test_a_fleet_without_one_of_the_roles_is_named() -> None:
    seen = success()
    stranger = replace(seen, agents=(*seen.agents[:2], agent("Cook", id=f"id-{ENGINEER}")))

    assert "was never sent" in str(failed_step(stranger, FINDINGS))
    nobody = replace(seen, agents=(), messages=(), receipts=())
    assert failed_step(nobody, FINDINGS) == "the fleet, which has no Analyst and no Engineer and no Explorer"


def test_a_fleet_that_is_not_complete_is_named() -> None:
    seen = replace(success(), fleet={**success().fleet, "status": "running"})

    assert failed_step(seen, FINDINGS) == "the fleet, which is running although every agent is complete"


def test_a_missing_file_is_named() -> None:
    assert failed_step(success(), None) == "Engineer's file: there is no FINDINGS.md in the project"


@pytest.mark.parametrize("findings", ["", "# Findings\n\nall is well\n", ORDER.replace("100.00", "200.00")])
def test_a_file_that_does_not_come_from_the_handoff_is_named(findings: str) -> None:
    assert failed_step(success(), findings) == (
        "Engineer's file: FINDINGS.md does not hold the words of Analyst's handoff to Engineer"
    )


def test_nothing_is_hopeless_while_those_who_are_to_act_still_run() -> None:
    seen = replace(without_messages(success(), "m3", "m4"), fleet={**success().fleet, "status": "running"})
    seen = unacknowledged("m2", seen)
    for role in (EXPLORER, ANALYST, ENGINEER):
        seen = with_agent(seen, role, status="running")

    assert hopeless_step(seen) is None
    assert hopeless_step(with_agent(seen, ENGINEER, status="pending")) is None


def test_a_message_is_hopeless_once_its_sender_has_ended_even_if_an_earlier_one_is_still_open() -> None:
    seen = unacknowledged("m2", without_messages(success(), "m3", "m4"))
    seen = with_agent(with_agent(seen, EXPLORER, status="running"), ENGINEER, status="running")

    assert str(hopeless_step(seen)).startswith("Analyst's handoff to Engineer was never sent")


def test_a_quotation_is_recognised_however_it_is_marked_and_broken() -> None:
    assert holds_the_words_of("In till.py, replace\n    a > b", "# Findings\n> In **till.py**,\n> replace `a > b`")
    assert not holds_the_words_of("In till.py, replace", "In till.py, I replaced")
    assert not holds_the_words_of("it is", "bit issue")
    assert not holds_the_words_of("...", "...")


def test_whoever_should_have_called_an_agent_that_never_was_is_named_and_not_that_agent() -> None:
    seen = without_messages(success(), "m1", "m2", "m3", "m4")
    for role in (ANALYST, ENGINEER):
        seen = with_agent(seen, role, status="cancelled", reason="never_called", output="")

    expected = 'Explorer\'s handoff to Analyst was never sent; the last words of Explorer: "The Explorer is done."'
    assert hopeless_step(seen) == expected
    assert failed_step(seen, None) == expected


def test_a_debate_without_a_consensus_and_a_rescue_that_changed_nothing_have_failed() -> None:
    told = {**message(5, EXPLORER, "result", ANALYST, f"{CONSENSUS}: all agree"), "to_agent_id": ORCHESTRATOR}
    agreed = replace(success(), messages=(told,))

    assert DEBATE.flaw(agreed, {}) is None
    assert DEBATE.flaw(success(), {}) == f"{MODERATOR}'s last message, which does not begin with {CONSENSUS}"
    assert RESCUE.flaw(success(), {"till.py": "if amount >= DISCOUNT_FROM:"}) is None
    assert RESCUE.flaw(success(), PROJECT_FILES) == f"{FIXER}'s change: till.py is as it was"
