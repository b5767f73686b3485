"""What the one in trouble and the one who comes to help do next."""

from __future__ import annotations

from meshfleet.demo.rescue import FIXER, RESCUE, RESCUER
from tests.demo.plays import CODE, LINE, PROMISE, README, Play, message

FAILS = 'Traceback (most recent call last):\n  File "check_till.py"\nAssertionError: no discount\n'
PASSES = "the till keeps its promise\n"
ALERT = message(FIXER, "alert", f"python3 check_till.py ends with: AssertionError: no discount\n{LINE}")
REQUEST = message(FIXER, "request_help", "I changed it. Is all of the promise kept?")
ADVICE = "In till.py, line 10, replace\n    if amount > DISCOUNT_FROM:\nwith\n    if amount >= DISCOUNT_FROM:\n"


def stuck() -> Play:
    play = Play(RESCUE, FIXER)
    assert play.answer("bash", FAILS)["command"] == "python3 check_till.py"
    play.answer("read", CODE)
    return play


def advised() -> Play:
    play = Play(RESCUE, RESCUER, ALERT)
    play.receive(ALERT)
    assert play.answer("read", README)["filePath"] == "/p/README.md"
    play.send("r1")
    return play


def test_the_fixer_that_is_stuck_raises_an_alert_with_what_it_saw() -> None:
    assert stuck().send("m1") == {"to_agent_id": RESCUER, "type": "alert", "payload": ALERT["payload"]}


def test_the_fixer_does_what_the_rescuer_says_and_asks_it_to_look_again() -> None:
    play = stuck()
    play.send("m1")
    play.receive(message(RESCUER, "result", f"{ADVICE}because {PROMISE}"), thread="m1")
    play.answer("read", CODE)
    edit = play.answer("edit", "Edit applied successfully.")
    play.answer("bash", PASSES)
    request = play.send("m2")
    play.receive(message(RESCUER, "result", "it is kept"), thread="m2")
    told = play.send("m3")

    assert (edit["oldString"], edit["newString"]) == ("if amount > DISCOUNT_FROM:", "if amount >= DISCOUNT_FROM:")
    assert (request["to_agent_id"], request["type"], request["correlation_id"]) == (RESCUER, "request_help", "m1")
    assert "the till keeps its promise" in request["payload"]
    assert (told["to_agent_id"], told["type"]) == ("orchestrator", "result")
    assert told["payload"] == play.last_words()
    assert told["payload"].startswith("DONE: ")


def test_the_fixer_says_so_when_the_check_could_not_be_run_or_the_advice_does_not_help() -> None:
    play = Play(RESCUE, FIXER)
    play.answer("bash", "python3: command not found")
    assert play.last_words().endswith("says neither yes nor no: python3: command not found")

    play = stuck()
    play.send("m1")
    play.receive(message(RESCUER, "result", "good luck"), thread="m1")
    assert play.last_words().endswith("does not say what to replace: good luck")


def test_the_rescuer_answers_with_what_the_promise_says_and_ends() -> None:
    play = Play(RESCUE, RESCUER, ALERT)
    play.receive(ALERT)
    play.answer("read", README)
    advice = play.send("r1")

    assert (advice["to_agent_id"], advice["type"], advice["correlation_id"]) == (FIXER, "result", ALERT["id"])
    assert advice["payload"] == f"{ADVICE}because {PROMISE}"
    assert play.last_words() == f"I advised to keep {PROMISE}"


def test_a_rescuer_that_is_woken_judges_by_what_it_read_before() -> None:
    play = advised()
    play.wake(REQUEST)
    play.receive(REQUEST)
    assert play.answer("read", CODE.replace(">", ">="))["filePath"] == "/p/till.py"
    verdict = play.send("r2")

    assert (verdict["to_agent_id"], verdict["type"], verdict["correlation_id"]) == (FIXER, "result", REQUEST["id"])
    assert PROMISE in verdict["payload"]
    assert verdict["payload"] in play.last_words()


def test_a_rescuer_does_not_call_kept_what_is_not() -> None:
    play = advised()
    play.wake(REQUEST)
    play.receive(REQUEST)
    play.answer("read", CODE)

    assert "no line of till.py holds" in play.last_words()


def test_the_rescuer_costs_nothing_until_it_is_called_and_may_be_called_again() -> None:
    fixer, rescuer = RESCUE.agents

    assert fixer.keys() == {"role", "prompt"}
    assert (rescuer["start"], rescuer["wake"]) == ("on_message", True)
