"""subscribe_inbox and its streams against the real server; the messages come from another process: this one."""

from __future__ import annotations

import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

from meshfleet.ledger import Ledger
from meshfleet.mesh.receipts import ack_message
from meshfleet.model import ORCHESTRATOR
from tests.ledger.processes import start_writer
from tests.mesh.fleets import fleet_of, open_ledger, send, supervisor
from tests.server.push_readers import Reader, reading, stuck_reader
from tests.server.serving import RawServer, environ_for, prepare, raw_server, refusal_in, said_in, wait_until
from tests.server.streams_helpers import line

STRICT: Final = [sys.executable, "-W", "error", "-P", "-m", "meshfleet", "serve"]
"""The server in a mode in which every socket or file that is left behind is complained of, as every task always is."""
PROMPTLY_S: Final = 2
SOON_S: Final = 0.1


@dataclass(frozen=True)
class Mesh:
    """A server with a fleet of two, and this process's own hold on their ledger."""

    server: RawServer
    ledger: Ledger
    fleet_id: str
    agents: list[str]

    def subscribe(self, agent_id: str) -> str:
        url: str = said_in(self.server.call("subscribe_inbox", agent_id=agent_id))["stream_url"]
        return url

    def send(self, to: str, payload: str = "hello") -> str:
        message_id: str = send(self.ledger, self.fleet_id, to, payload)["message_id"]
        return message_id

    def listening(self) -> list[tuple[str, int]]:
        """Where the server's process listens."""
        connections = psutil.Process(self.server.process.pid).net_connections("inet")
        return [(one.laddr.ip, one.laddr.port) for one in connections if one.status == psutil.CONN_LISTEN]


@contextmanager
def serving(ledger_file: Path, **settings: str) -> Generator[Mesh]:
    ledger = open_ledger(ledger_file)
    agents = [row["id"] for row in ledger.read(lambda view: list(view.rows("agents")))]
    if not agents:
        # a supervisor of another machine's past: the server leaves them alone
        _, agents = fleet_of(ledger, "A", "B", by=supervisor())
    fleet_id = ledger.read(lambda view: [row["id"] for row in view.rows("fleets")])[0]
    environ = environ_for(ledger_file, **{"MESHFLEET_SSE_PORT": "0", **settings})
    with raw_server(environ, STRICT) as server:
        yield Mesh(server, ledger, fleet_id, agents)
    ledger.close()


@pytest.fixture
def mesh(ledger_file: Path) -> Iterable[Mesh]:
    with serving(ledger_file) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterable[Mesh]:
    """A server for tests that leave nothing in an inbox."""
    folder = tmp_path_factory.mktemp("push") / "ledger"
    folder.mkdir()
    with serving(folder / "agent-mesh.json") as found:
        yield found
        assert found.server.stderr == ""


def end_well(mesh: Mesh) -> None:
    """End the server, which has nothing to complain of."""
    began = time.monotonic()
    mesh.server.end()
    assert mesh.server.process.wait(PROMPTLY_S) == 0
    assert time.monotonic() - began < PROMPTLY_S
    assert mesh.server.stderr == ""


def test_nothing_listens_until_the_first_subscription_and_then_one_port_serves_all(mesh: Mesh) -> None:
    assert mesh.listening() == []
    urls = [mesh.subscribe(agent_id) for agent_id in (*mesh.agents, ORCHESTRATOR, mesh.agents[0])]
    split = urlsplit(urls[0])
    assert mesh.listening() == [("127.0.0.1", split.port)]
    assert {urlsplit(url).netloc for url in urls} == {split.netloc}
    assert urls[0] == urls[3]
    assert split.path == f"/inbox/{mesh.agents[0]}/stream"
    tokens = {parse_qs(urlsplit(url).query)["token"][0] for url in urls}
    assert len(tokens) == 3
    assert min(map(len, tokens)) >= 32
    end_well(mesh)


def test_the_result_says_whose_stream_it_is_where_and_how_to_read_it(shared: Mesh) -> None:
    said = said_in(shared.server.call("subscribe_inbox", agent_id=ORCHESTRATOR))
    assert said.keys() == {"agent_id", "stream_url", "instructions"}
    assert said["agent_id"] == ORCHESTRATOR
    assert said["stream_url"] in said["instructions"]
    for word in ("event 'message'", "'ack'", "Last-Event-ID", "ack_message"):
        assert word in said["instructions"]


def test_an_unknown_agent_is_refused_and_nothing_listens(mesh: Mesh) -> None:
    for agent_id in ("nobody", "", "*", "../healthz", "x" * 1000):
        assert refusal_in(mesh.server.call("subscribe_inbox", agent_id=agent_id)).startswith("agent_id ")
    assert mesh.listening() == []


def test_what_waits_comes_first_then_what_another_process_writes_and_what_is_acknowledged(mesh: Mesh) -> None:
    one, other = mesh.agents
    waiting = mesh.send(one, "waits")
    with reading(mesh.subscribe(one)) as reader:
        assert reader.status == 200
        assert reader.response.getheader("Content-Type") == "text/event-stream"
        assert reader.response.getheader("Cache-Control") == "no-store"
        assert reader.next().payload == "waits"
        mesh.send(other, "not for it")
        new = mesh.send(one, "new")
        told = reader.next()
        assert (told.event, told.data["message_id"], told.payload) == ("message", new, "new")
        assert json.loads(told.data["payload"]) == {"type": "result", "payload": "new"}
        ack_message(mesh.ledger, one, waiting)
        told = reader.next()
        assert told.event == "ack"
        assert told.data.items() >= {"message_id": waiting, "agent_id": one}.items()
        own = mesh.server.call(
            "send_message", from_agent_id=other, to_agent_id=one, fleet_id=mesh.fleet_id, type="alert", payload="own"
        )
        assert reader.next().data["message_id"] == said_in(own)["message_id"]
    assert mesh.server.stderr == ""


def test_a_message_of_another_process_arrives_within_100_ms(shared: Mesh) -> None:
    one = shared.agents[0]
    took = []
    with reading(shared.subscribe(one)) as reader:
        for number in range(15):
            began = time.monotonic()
            message_id = shared.send(one, str(number))
            assert reader.next().payload == str(number)
            took.append(time.monotonic() - began)
            ack_message(shared.ledger, one, message_id)
            assert reader.next().event == "ack"
    # a shared machine may stall for a moment, but not every time
    assert statistics.median(took) < SOON_S, took


@pytest.mark.parametrize(
    "payload", ["x" * 65_536, "\n" * 65_536, "\r\n\t\x01" * 16_384, '"\\' * 32_768, "🦊" * 16_384, "data: x\n\nid: y\n"]
)
def test_an_event_may_be_as_large_as_a_message_and_its_newlines_are_intact(shared: Mesh, payload: str) -> None:
    with reading(shared.subscribe(ORCHESTRATOR)) as reader:
        sent = [shared.send(ORCHESTRATOR, text) for text in (payload, "next")]
        assert reader.payloads(2) == [payload, "next"]
    for message_id in sent:
        ack_message(shared.ledger, ORCHESTRATOR, message_id)


def test_what_several_processes_write_at_once_is_told_once_and_in_the_order_of_the_inbox(
    mesh: Mesh, ledger_file: Path
) -> None:
    row = {"id": "b", "fleet_id": mesh.fleet_id, "role": "R", "prompt": "p", "status": "complete"}
    mesh.ledger.transact(lambda transaction: transaction.put("agents", "b", row))
    with reading(mesh.subscribe("b")) as reader:
        writers = [start_writer(ledger_file, name, 150) for name in ("w1", "w2", "w3")]
        told = [event.data["message_id"] for event in reader.take(450)]
        for writer in writers:
            output, _ = writer.communicate(timeout=20)
            assert output.endswith("closing\n")
    assert told == mesh.ledger.read(lambda view: list(view.inbox("b")))
    assert len(set(told)) == 450


# -- where it listens -------------------------------------------------------------------------------------------------


def test_a_taken_port_means_another_port_and_a_url_that_works(ledger_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serving(ledger_file, MESHFLEET_SSE_PORT=str(port)) as mesh:
            url = mesh.subscribe(ORCHESTRATOR)
            assert urlsplit(url).port != port
            with reading(url) as reader:
                mesh.send(ORCHESTRATOR, "found")
                assert reader.next().payload == "found"
            end_well(mesh)


def test_two_servers_each_have_a_port_and_a_free_port_that_was_asked_for_is_taken(ledger_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (
        serving(ledger_file, MESHFLEET_SSE_PORT=str(port)) as first,
        serving(ledger_file, MESHFLEET_SSE_PORT=str(port)) as second,
    ):
        urls = [mesh.subscribe(ORCHESTRATOR) for mesh in (first, second)]
        assert urlsplit(urls[0]).port == port != urlsplit(urls[1]).port
        with reading(urls[0]) as one, reading(urls[1]) as other:
            first.send(ORCHESTRATOR, "both")
            assert [one.next().payload, other.next().payload] == ["both", "both"]
        with reading(urls[0].replace(f":{port}/", f":{urlsplit(urls[1]).port}/")) as crossed:
            assert crossed.status == 403


# -- who may read -----------------------------------------------------------------------------------------------------


def test_a_stream_opens_with_its_own_token_only(shared: Mesh) -> None:
    one, other = (shared.subscribe(agent_id) for agent_id in shared.agents)
    bare, token = one.split("?token=")
    stranger = bare.replace(shared.agents[0], "never-subscribed")
    for url, status in {
        bare: 401,
        f"{bare}?token=": 403,
        f"{bare}?token={token[:-1]}": 403,
        f"{bare}?token={token}&token={token}": 403,
        f"{bare}?token={token}%F0%9F%A6%8A%FF": 403,
        f"{bare}?{other.partition('?')[2]}": 403,
        f"{stranger}?token={token}": 403,
        f"{stranger}?token=": 403,
        one: 200,
    }.items():
        with reading(url) as reader:
            assert reader.status == status, url
            assert status == 200 or "use the stream_url that subscribe_inbox returned" in reader.error


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "localhost.evil.example",
        "203.0.113.7",
        "@localhost",
        "localhost:x",
        "[::1",
        "localhost/",
        "",
    ],
)
def test_a_request_by_a_name_that_is_not_the_server_s_is_refused(shared: Mesh, host: str) -> None:
    url = shared.subscribe(ORCHESTRATOR)
    for target in (url, f"http://{urlsplit(url).netloc}/healthz"):
        with reading(target, headers={"Host": host.format(port=urlsplit(url).port)}) as reader:
            assert reader.status == 403
            assert reader.error.startswith("Host is ")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:{port}", "127.0.0.1:{port}", "[::1]:{port}", "localhost:9000"]
)
def test_the_loopback_s_names_are_the_server_s(shared: Mesh, host: str) -> None:
    url = shared.subscribe(ORCHESTRATOR)
    with reading(url, headers={"Host": host.format(port=urlsplit(url).port)}) as reader:
        assert reader.status == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1", "https://{netloc}", "http://localhost:3000", ""],
)
def test_a_page_of_another_origin_gets_nothing(shared: Mesh, origin: str) -> None:
    url = shared.subscribe(ORCHESTRATOR)
    with reading(url, headers={"Origin": origin.format(netloc=urlsplit(url).netloc)}) as reader:
        assert reader.status == 403
        assert reader.error.startswith("Origin is ")
        assert not [name for name, _ in reader.response.getheaders() if name.lower().startswith("access-control")]


def test_a_page_of_the_server_s_own_origin_is_let_through_without_any_cors(shared: Mesh) -> None:
    url = shared.subscribe(ORCHESTRATOR)
    with reading(url, headers={"Origin": f"http://{urlsplit(url).netloc}"}) as reader:
        assert reader.status == 200
        assert not [name for name, _ in reader.response.getheaders() if name.lower().startswith("access-control")]


def test_other_requests_are_answered_in_words_and_healthz_needs_no_token(shared: Mesh) -> None:
    url = shared.subscribe(ORCHESTRATOR)
    root = f"http://{urlsplit(url).netloc}"
    with reading(f"{root}/healthz") as reader:
        assert (reader.status, json.loads(reader.rest())) == (200, {"status": "ok"})
    for path in ("/", "/inbox/", "/inbox/x", "/inbox/x/stream/", "//", "/healthz/x", "/inbox/..%2f..%2fx/y"):
        with reading(root + path) as reader:
            assert (reader.status, reader.error[:21]) == (404, "there is nothing here"), path
    for method in ("POST", "OPTIONS", "DELETE", "HEAD"):
        with reading(url, method=method) as reader:
            assert (reader.status, reader.response.getheader("Allow")) == (405, "GET")
            assert (reader.rest() == b"") is (method == "HEAD")
    with reading(f"{root}/inbox/x/stream?{'a=1&' * 20}") as reader:
        assert reader.status == 400


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00" * 9,
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"x" * 70_000,
        b"GET / HTTP/1.1\r\nA: " + b"x" * 70_000,
    ],
)
def test_what_is_no_request_is_refused_and_others_go_on(shared: Mesh, garbage: bytes) -> None:
    url = shared.subscribe(ORCHESTRATOR)
    with reading(url) as reader:
        with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=10) as sock:
            sock.sendall(garbage)
            sock.shutdown(socket.SHUT_WR)
            answer = sock.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 4")
        message_id = shared.send(ORCHESTRATOR, "fine")
        assert reader.next().payload == "fine"
        ack_message(shared.ledger, ORCHESTRATOR, message_id)
    assert shared.server.stderr == ""


def test_an_inbox_has_five_streams_and_room_again_when_one_closes(mesh: Mesh) -> None:
    one, other = (mesh.subscribe(agent_id) for agent_id in mesh.agents)
    with ExitStack() as readers:
        five: list[Reader] = [readers.enter_context(reading(one)) for _ in range(5)]
        assert [reader.status for reader in five] == [200] * 5
        with reading(one) as sixth:
            assert (sixth.status, sixth.error[:9]) == (429, "5 streams")
        with reading(other) as reader:
            assert reader.status == 200
        mesh.send(mesh.agents[0], "to all five")
        assert [reader.next().payload for reader in five] == ["to all five"] * 5
        for reader in five:
            # at once, as a reader does that was cut off
            reader.close()
            assert readers.enter_context(reading(one)).status == 200


# -- coming back ------------------------------------------------------------------------------------------------------


def test_a_reader_that_comes_back_with_the_last_id_misses_nothing_even_after_a_restart(ledger_file: Path) -> None:
    with serving(ledger_file) as mesh:
        one = mesh.agents[0]
        first, second = (mesh.send(one, payload) for payload in ("first", "second"))
        url = mesh.subscribe(one)
        with reading(url) as reader:
            last = reader.take(2)[0].id
        third = mesh.send(one, "third")
        ack_message(mesh.ledger, one, first)
        with reading(url, last) as reader:
            told = reader.take(3)
            assert [(event.event, event.data["message_id"]) for event in told] == [
                ("message", second),
                ("message", third),
                ("ack", first),
            ]
            last = told[-1].id
        ack_message(mesh.ledger, one, third)
        fourth = mesh.send(one, "fourth")
        end_well(mesh)
    with serving(ledger_file) as mesh:
        with reading(url.replace(urlsplit(url).netloc, urlsplit(mesh.subscribe(one)).netloc), last) as reader:
            assert reader.status == 403
        with reading(mesh.subscribe(one), last) as reader:
            told = reader.take(2)
            assert [event.data["message_id"] for event in told] == [fourth, third]
        with reading(mesh.subscribe(one), "nothing anybody said") as reader:
            assert [event.data["message_id"] for event in reader.take(2)] == [second, fourth]


# -- ending -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["stdin", "SIGTERM"])
def test_a_server_with_open_streams_ends_promptly_and_ends_them_cleanly(mesh: Mesh, ending: str) -> None:
    urls = [mesh.subscribe(agent_id) for agent_id in mesh.agents]
    for _ in range(60):
        mesh.send(mesh.agents[1], "x" * 65_536)
    with reading(urls[0]) as reader, reading(urls[0]) as other, stuck_reader(urls[1]):
        mesh.send(mesh.agents[0], "last words")
        assert reader.next().payload == other.next().payload == "last words"
        if ending == "SIGTERM":
            mesh.server.process.send_signal(signal.SIGTERM)
        end_well(mesh)
        assert reader.rest() == other.rest() == b""


def test_a_reader_that_never_reads_hinders_nobody(mesh: Mesh) -> None:
    one = mesh.agents[0]
    url = mesh.subscribe(one)
    with stuck_reader(url), reading(url) as reader:
        for number in range(100):
            mesh.send(one, f"{number} " + "x" * 60_000)
        assert [payload.partition(" ")[0] for payload in reader.payloads(100)] == [str(n) for n in range(100)]
        assert said_in(mesh.server.call("ping"))["status"] == "ok"
        end_well(mesh)


def test_an_agent_s_server_offers_no_streams_and_binds_no_port(ledger_file: Path) -> None:
    prepared = prepare(ledger_file)
    environ = environ_for(ledger_file, MESHFLEET_AGENT_ID=prepared.agents[0])
    with raw_server(environ, STRICT) as server:
        tools = server.ask(line("tools/list", 1))["result"]["tools"]
        assert "subscribe_inbox" not in [tool["name"] for tool in tools]
        answer = server.ask(line("tools/call", 2, name="subscribe_inbox", arguments={"agent_id": prepared.agents[0]}))
        assert answer["error"]["message"].startswith("there is no tool 'subscribe_inbox'")
        assert psutil.Process(server.process.pid).net_connections("inet") == []


@pytest.mark.slow
def test_a_server_whose_streams_idle_uses_next_to_no_processor(mesh: Mesh) -> None:
    process = psutil.Process(mesh.server.process.pid)

    def used() -> float:
        times = process.cpu_times()
        return times.user + times.system

    with reading(mesh.subscribe(ORCHESTRATOR)):
        before = used()
        with pytest.raises(subprocess.TimeoutExpired):
            mesh.server.process.wait(2)
        assert used() - before < 2 * 0.1


def test_readers_that_leave_are_let_go_of(mesh: Mesh) -> None:
    url = mesh.subscribe(ORCHESTRATOR)
    for _ in range(12):
        with reading(url) as reader:
            assert reader.status == 200
    process = psutil.Process(mesh.server.process.pid)
    wait_until(lambda: [one.status for one in process.net_connections("inet")] == [psutil.CONN_LISTEN])
    end_well(mesh)
