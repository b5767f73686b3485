"""Push in a thread of the test: where it listens, and with shorter clocks, how patient it is with its readers."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psutil
import pytest
from anyio import to_thread

from meshfleet.errors import Unavailable
from meshfleet.ledger.watching import Watch
from meshfleet.model import ORCHESTRATOR
from meshfleet.server.push import COMMENT_INTERVAL_S, Pace, Push
from meshfleet.server.push_stream import STREAMS_OF_AN_AGENT
from meshfleet.settings import Settings, beside
from tests.mesh.fleets import fleet_of, open_ledger, send
from tests.server.push_readers import pushing, reading, stuck_reader
from tests.server.serving import wait_until

EVERY_INTERFACE: Final = "0.0.0.0"  # noqa: S104  # that is what is tried
QUICK: Final = Pace(comment_s=0.05, stall_s=0.2)


def test_the_contract_s_figures_are_the_real_ones() -> None:
    assert (COMMENT_INTERVAL_S, STREAMS_OF_AN_AGENT) == (30, 5)
    assert Pace().comment_s == COMMENT_INTERVAL_S


def test_a_comment_comes_again_and_again_while_nothing_happens(ledger_file: Path) -> None:
    with pushing(ledger_file, QUICK) as server, reading(server.subscribe(ORCHESTRATOR)) as reader:
        fleet_id, _ = fleet_of(server.ledger, "A")
        began = time.monotonic()
        raw = [reader.response.readline() for _ in range(6)]
        assert raw == [b": still here\n", b"\n"] * 3
        assert time.monotonic() - began >= 2 * QUICK.comment_s
        send(server.ledger, fleet_id, ORCHESTRATOR, "between comments")
        assert reader.next().payload == "between comments"


def test_a_busy_stream_has_its_comments_too(ledger_file: Path) -> None:
    with pushing(ledger_file, QUICK) as server, reading(server.subscribe(ORCHESTRATOR)) as reader:
        fleet_id, _ = fleet_of(server.ledger, "A")
        for number in itertools.count():
            send(server.ledger, fleet_id, ORCHESTRATOR, str(number))
            assert reader.next().payload == str(number)
            if len(reader.comments) == 2:
                break


def test_a_stream_is_rung_and_needs_no_look_and_when_its_readers_have_left_nothing_waits(ledger_file: Path) -> None:
    elsewhere, waiters = open_ledger(ledger_file), beside(ledger_file, "waiters")
    with pushing(ledger_file, watch=Watch(poll_s=3600)) as server:
        fleet_id, (one, other) = fleet_of(elsewhere, "A", "B")
        url = server.subscribe(one)
        with reading(url) as reader, reading(url) as same:
            for number in range(3):
                send(elsewhere, fleet_id, other, "somebody else's")
                send(elsewhere, fleet_id, one, str(number))
                assert reader.next().payload == same.next().payload == str(number)
            assert len(list(waiters.glob("*/*"))) == 1
        wait_until(lambda: not waiters.exists())


def test_a_stream_whose_ledger_is_damaged_says_so_once_and_goes_on_when_it_is_mended(
    ledger_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pushing(ledger_file, watch=Watch(poll_s=0.01)) as server:
        fleet_id, _ = fleet_of(server.ledger, "A")
        with reading(server.subscribe(ORCHESTRATOR)) as reader:
            send(server.ledger, fleet_id, ORCHESTRATOR, "before")
            assert reader.next().payload == "before"
            aside = ledger_file.with_suffix(".aside")
            ledger_file.rename(aside)
            wait_until(lambda: len(caplog.messages) > 0)
            aside.rename(ledger_file)
            send(server.ledger, fleet_id, ORCHESTRATOR, "after")
            assert reader.next().payload == "after"
    [told] = caplog.messages
    assert told.startswith("inbox streams stand still: ")


def test_a_reader_that_takes_nothing_is_dropped_and_the_others_hear_everything(ledger_file: Path) -> None:
    pace = Pace(stall_s=0.2)
    with pushing(ledger_file, pace) as server:
        fleet_id, _ = fleet_of(server.ledger, "A")
        url = server.subscribe(ORCHESTRATOR)
        for _ in range(150):
            send(server.ledger, fleet_id, ORCHESTRATOR, "x" * 65_536)
        with stuck_reader(url) as stuck, reading(url) as reader:
            connections = server.push._open
            # itself, the one that reads, and until it is dropped the one that does not
            assert [len(payload) for payload in reader.payloads(150)] == [65_536] * 150
            wait_until(lambda: len(connections) == 2)
            assert received_until_reset(stuck) < 150 * 65_536
            send(server.ledger, fleet_id, ORCHESTRATOR, "after")
            assert reader.next().payload == "after"


def received_until_reset(sock: socket.socket) -> int:
    received = 0
    try:
        while chunk := sock.recv(1_000_000):
            received += len(chunk)
    except ConnectionResetError:
        return received
    raise AssertionError("the stream ended, but was not cut off")


def test_a_slow_reader_that_keeps_reading_is_not_dropped(ledger_file: Path) -> None:
    pace = Pace(stall_s=0.2)
    with pushing(ledger_file, pace) as server:
        fleet_id, _ = fleet_of(server.ledger, "A")
        url = server.subscribe(ORCHESTRATOR)
        for _ in range(200):
            send(server.ledger, fleet_id, ORCHESTRATOR, "x" * 65_536)
        with stuck_reader(url, buffer=200_000) as sock:
            received, began = 0, time.monotonic()
            while received < 200 * 65_536:
                received += len(sock.recv(200_000))
                time.sleep(0.003)
            assert time.monotonic() - began > pace.stall_s


def test_threads_that_subscribe_at_once_share_one_listener(ledger_file: Path) -> None:
    with pushing(ledger_file, QUICK) as server:
        urls: list[str] = []
        threads = [threading.Thread(target=lambda: urls.append(server.subscribe(ORCHESTRATOR))) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(urls) == 5
        assert len(set(urls)) == 1
        assert len(server.push._open) == 1


def test_a_damaged_ledger_is_told_when_a_stream_opens_and_an_open_one_goes_on_when_it_is_mended(
    ledger_file: Path,
) -> None:
    with pushing(ledger_file, QUICK) as server:
        fleet_id, _ = fleet_of(server.ledger, "A")
        server.ledger.compact()
        url = server.subscribe(ORCHESTRATOR)
        with reading(url) as reader:
            writer = open_ledger(ledger_file)
            send(writer, fleet_id, ORCHESTRATOR, "first")
            assert reader.next().payload == "first"
            writer.close()
            sound = ledger_file.read_bytes()
            ledger_file.write_bytes(sound[:-40])
            with reading(url) as refused:
                assert refused.status == 503
                assert "is damaged" in refused.error
            ledger_file.write_bytes(sound)
            writer = open_ledger(ledger_file)
            send(writer, fleet_id, ORCHESTRATOR, "mended")
            assert reader.next().payload == "mended"
            writer.close()


def test_push_that_does_not_run_says_so(ledger_file: Path) -> None:
    with pushing(ledger_file, QUICK) as server:
        idle = Push(server.ledger, Settings(ledger_file))
        with pytest.raises(Unavailable, match="about to end"):
            server.portal.call(to_thread.run_sync, idle.subscribe, ORCHESTRATOR)


@pytest.mark.parametrize(
    ("host", "bound", "called"),
    [
        ("127.0.0.1", {"127.0.0.1"}, {"127.0.0.1"}),
        ("127.9.9.9", {"127.9.9.9"}, {"127.9.9.9"}),
        (EVERY_INTERFACE, {EVERY_INTERFACE}, {"127.0.0.1"}),
        ("::1", {"::1"}, {"[::1]"}),
        ("::", {"::"}, {"[::1]"}),
        ("localhost", {"127.0.0.1", "::1"}, {"127.0.0.1", "[::1]"}),
    ],
)
def test_the_url_names_an_address_it_listens_on(
    ledger_file: Path, host: str, bound: set[str], called: set[str]
) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this system has no IPv6")
    with pushing(ledger_file, host=host) as server:
        url = server.subscribe(ORCHESTRATOR)
        connections = psutil.Process().net_connections("inet")
        (where,) = (one.laddr for one in connections if one.status == psutil.CONN_LISTEN)
        assert where.ip in bound
        assert urlsplit(url).netloc in {f"{name}:{where.port}" for name in called}
        with reading(url) as reader:
            assert reader.status == 200


def test_a_server_on_every_interface_may_be_called_by_any_address_but_by_no_other_name(ledger_file: Path) -> None:
    with pushing(ledger_file, host=EVERY_INTERFACE) as server:
        url = server.subscribe(ORCHESTRATOR)
        for host, status in {"203.0.113.7": 200, "[2001:db8::1]:80": 200, "evil.example": 403}.items():
            with reading(url, headers={"Host": host}) as reader:
                assert reader.status == status


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host", "x" * 300, "h\udcff", "a..b"])
def test_a_host_where_nobody_can_listen_is_refused_every_time(ledger_file: Path, host: str) -> None:
    with pushing(ledger_file, host=host) as server:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"MESHFLEET_SSE_HOST is '.*; unset it to listen on 127\.0\.0\.1"):
                server.subscribe(ORCHESTRATOR)
