"""Limits of what one client may cost, each over real sockets: what is too much is refused, and others go on."""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.clients import client_of
from support.gate import OTHER_TOKEN, TOKEN, LiveGate, running
from support.raw import authorization, connect, dial, read_all, read_head, status, tunnel
from support.targets import Origin
from support.timed import TimedGate
from support.until import until

OTHER = authorization("other-bot", OTHER_TOKEN)

type Made = Callable[..., TimedGate]


@pytest.fixture
def made(tmp_path: Path, origin: Origin, plain_origin: Origin, target_ca_pem: Path) -> Iterator[Made]:
    """Runs a gate with these limits; checks at its end that nothing is counted as under way any more."""
    with ExitStack() as stack:

        def make(**limits: Any) -> TimedGate:
            gate = TimedGate(tmp_path / "gate", origin, plain_origin, target_ca=target_ca_pem, limits=limits)
            stack.enter_context(running(gate))
            stack.callback(lambda: until(lambda: gate.in_use() == 0))
            return gate

        yield make


def ask(raw: socket.socket, method: str = "GET", path: str = "/echo", more: bytes = b"", body: bytes = b"") -> bytes:
    """Send a request on a tunnel and read the head of its answer."""
    raw.sendall(f"{method} {path} HTTP/1.1\r\nHost: origin.test\r\n".encode() + more + b"\r\n" + body)
    return read_head(raw)


def answered(head: bytes, raw: socket.socket) -> dict[str, Any]:
    """The JSON that follows a head."""
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = b""
    while len(body) < length:
        body += raw.recv(length - len(body))
    found: dict[str, Any] = json.loads(body)
    return found


def others_go_on(gate: LiveGate) -> None:
    """Another agent is answered."""
    with client_of(gate, proxy=gate.proxy("other-bot", OTHER_TOKEN)) as client:
        assert client.get("https://origin.test/echo").status_code == 200


# --- heads ---------------------------------------------------------------------------------------------

HEADS: dict[str, tuple[str, bytes, int, str]] = {
    "too many fields": ("/echo", b"".join(b"X-%d: a\r\n" % n for n in range(60)), 431, "wire.fields-too-many"),
    "a long field": ("/echo", b"X-A: " + b"a" * 3000 + b"\r\n", 431, "wire.field-too-long"),
    "a long name": ("/echo", b"X" * 3000 + b": a\r\n", 431, "wire.field-too-long"),
    "a long target": ("/echo?q=" + "a" * 2000, b"", 414, "wire.target-too-long"),
    "many parameters": ("/echo?" + "&".join(f"a{n}" for n in range(40)), b"", 400, "wire.query.too-many"),
    "many fields that are long together": (
        "/echo",
        b"".join(b"X-%d: %s\r\n" % (n, b"a" * 500) for n in range(20)),
        431,
        "wire.head-too-long",
    ),
    "a head without an end": ("/echo", b"X-A: " + b"a" * 20_000, 431, "wire.head-too-long"),
}
SMALL = {"head_fields": 50, "field_bytes": 2000, "target_bytes": 1000, "parameters": 30, "head_bytes": 9000}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_is_too_large_is_refused_and_recorded(made: Made, origin: Origin, name: str) -> None:
    """The answer names the limit, the record the agent, and nothing reaches the target; a smaller one does."""
    path, more, expected, code = HEADS[name]
    gate = made(**SMALL)
    with tunnel(gate) as raw:
        head = ask(raw, path=path, more=more)
        assert status(head) == expected
        assert answered(head, raw)["code"] == code
    (record,) = gate.records()
    assert (record["outcome"], record["code"], record["agent"]) == ("DENY", code, "deploy-bot")
    assert gate.outcome_of(record)["result"] == "blocked"
    assert origin.seen == []
    with tunnel(gate) as raw:
        assert status(ask(raw, path="/echo?a=b", more=b"X-A: b\r\n")) == 200


def test_json_that_is_nested_without_end_is_unreadable(made: Made, origin: Origin) -> None:
    """What a rule reads and cannot be parsed is a refusal, however it was made."""
    gate = made()
    with client_of(gate) as client:
        for body in ("[" * 500_000, '{"a":' * 150_000 + "1" + "}" * 150_000, "9" * 900_000):
            sent = {"content": body, "headers": {"content-type": "application/json"}}
            assert client.post("https://origin.test/runs", **sent).json()["code"] == "mapping.unreadable"  # type: ignore[arg-type]
    assert origin.seen == []


# --- what an agent has under way -----------------------------------------------------------------------


def test_an_agent_has_only_so_many_requests_under_way(made: Made, origin: Origin) -> None:
    """One more is told to come back; others are not concerned, and room comes back with each answer."""
    gate = made(each_agent={"requests": 2}, agents={"other-bot": {"requests": 3}})
    with ExitStack() as stack:
        slow = [stack.enter_context(tunnel(gate)) for _ in range(2)]
        for raw in slow:
            raw.sendall(b"GET /slow HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        origin.wait_seen(2)
        with tunnel(gate) as raw:
            head = ask(raw)
            assert status(head) == 429
            assert b"Retry-After: 1\r\n" in head
            assert answered(head, raw)["code"] == "limit.requests"
            others_go_on(gate)
            origin.release()
            assert all(status(read_head(each)) == 200 for each in slow)
            for each in slow:
                each.close()
            until(lambda: gate.in_use() == 1)  # the connection alone
            assert status(ask(raw)) == 200
    (record,) = gate.records(outcome="DENY")
    assert (record["code"], record["agent"], record["host"]) == ("limit.requests", "deploy-bot", "origin.test")


def test_what_is_given_up_is_under_way_no_more(made: Made, origin: Origin) -> None:
    """However a request ends, its place is free: given up while it is read, while it is judged, while it waits."""
    gate = made(each_agent={"requests": 1})
    for started in (
        b"GET /slow HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        b"POST /runs HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        b"POST /echo HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 9\r\n\r\n1",
        b"DELETE /echo HTTP/1.1\r\nHost: origin.test\r\n\r\n",
        b"GET /reset HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    ):
        with tunnel(gate) as raw:
            raw.sendall(started)
            until(lambda: gate.service.gate.quotas._in_use["deploy-bot"].requests > 0 or gate.records("outcome"))
        until(lambda: gate.in_use() == 0)
    with tunnel(gate) as raw:
        assert status(ask(raw)) == 200


def test_an_agent_has_only_so_many_connections(made: Made) -> None:
    """The next one is refused at its CONNECT; one that ends makes room."""
    gate = made(each_agent={"connections": 2})
    with connect(gate) as first, connect(gate):
        with dial(gate) as raw:
            raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
            head = read_head(raw)
            assert status(head) == 429
            assert answered(head, raw)["code"] == "limit.connections"
        others_go_on(gate)
        first.close()
        until(lambda: gate.in_use() == 1)
        with tunnel(gate) as raw:
            assert status(ask(raw)) == 200
    (record,) = gate.records(outcome="DENY")
    assert (record["code"], record["agent"]) == ("limit.connections", "deploy-bot")


def test_requests_come_only_so_fast(made: Made) -> None:
    """So many at once, then as time goes by."""
    gate = made(agents={"deploy-bot": {"requests_per_s": 3}})
    with tunnel(gate) as raw:

        def ask_again() -> int:
            head = ask(raw)
            answered(head, raw)
            return status(head)

        assert [ask_again() for _ in range(5)] == [200, 200, 200, 429, 429]
        others_go_on(gate)
        gate.pass_(1)
        assert [ask_again() for _ in range(4)] == [200, 200, 200, 429]
    assert {record["code"] for record in gate.records(outcome="DENY")} == {"limit.requests-per-s"}


def test_bodies_that_are_read_take_only_so_much_memory(made: Made, origin: Origin) -> None:
    """Of all requests of an agent together; what is judged is kept no more."""
    gate = made(each_agent={"held_bytes": 2**16})
    head = b"Content-Type: application/json\r\nContent-Length: 50000\r\n"
    with tunnel(gate) as first, tunnel(gate) as second:
        first.sendall(b"POST /runs HTTP/1.1\r\nHost: origin.test\r\n" + head + b"\r\n" + b" " * 40_000)
        until(lambda: gate.service.gate.quotas._in_use["deploy-bot"].held_bytes == 40_000)
        said = ask(second, "POST", "/runs", head, b" " * 40_000)
        assert (status(said), answered(said, second)["code"]) == (429, "limit.held-bytes")
        first.sendall(b" " * 9_998 + b"{}")
        assert status(read_head(first)) == 200
    assert [record["code"] for record in gate.records(outcome="DENY")] == ["limit.held-bytes"]
    assert len(origin.seen) == 1


# --- time ----------------------------------------------------------------------------------------------

BEGUN: dict[str, Callable[[TimedGate], socket.socket]] = {
    "nothing": dial,
    "half a head": lambda gate: sent(dial(gate), b"GET http://plain.test/ HTTP/1.1\r\n" + authorization()),
    "no credentials": lambda gate: refused(sent(dial(gate), b"GET http://plain.test/ HTTP/1.1\r\n\r\n")),
    "a CONNECT and no TLS": connect,
    "a CONNECT and half a hello": lambda gate: sent(connect(gate), b"\x16\x03\x01\x02\x00\x01"),
    "TLS and half a head": lambda gate: sent(tunnel(gate), b"GET /echo HTTP/1.1\r\nHost: ori"),
    "half a head after an answer": lambda gate: sent(echoed(tunnel(gate)), b"GET /echo HTTP/1.1\r\n"),
    "half of an HTTP/2 preface": lambda gate: sent(tunnel(gate, alpn="h2"), b"PRI * HTTP/2.0\r\n"),
    "half of an HTTP/2 frame": lambda gate: sent(tunnel(gate, alpn="h2"), PREFACE + b"\x00\x00\x40\x01\x04\x00"),
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


def sent[S: socket.socket](raw: S, data: bytes) -> S:
    raw.sendall(data)
    return raw


def refused(raw: socket.socket) -> socket.socket:
    assert status(read_head(raw)) == 407
    return raw


def echoed(raw: ssl.SSLSocket) -> ssl.SSLSocket:
    head = ask(raw)
    answered(head, raw)
    return raw


@pytest.mark.parametrize("begun", BEGUN)
def test_a_head_that_does_not_come_is_not_waited_for(made: Made, begun: str) -> None:
    """Its connection is closed when its time is over, and not before; who is complete stays."""
    gate = made(head_s=30)
    with echoed(tunnel(gate)) as quiet, BEGUN[begun](gate) as slow:
        until(lambda: gate.connections == 2)
        others_go_on(gate)
        until(lambda: gate.connections == 2)
        gate.pass_(29)
        assert gate.connections == 2
        gate.pass_(4)
        rest = read_all(slow)
        until(lambda: gate.connections == 1)
        assert b"200" not in rest
        if "half a head" in begun:
            assert status(rest) == 408
        assert status(ask(quiet)) == 200
    (told,) = gate.refusals()
    assert json.loads(told["codes"]) == {"limit.head-time": 1}


def test_a_body_that_does_not_come_is_refused_and_recorded(made: Made, origin: Origin) -> None:
    """408 with the reason, and a record: the request was understood but for the body that a rule needs."""
    gate = made(body_s=120)
    half = b"POST /runs HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with tunnel(gate) as raw:
        raw.sendall(half)
        until(lambda: gate.service.gate.quotas._in_use["deploy-bot"].held_bytes)
        gate.pass_(100)
        raw.sendall(b" ")
        gate.pass_(30)
        head = read_head(raw)
        assert (status(head), answered(head, raw)["code"]) == (408, "limit.body-time")
        assert read_all(raw) == b""
    (record,) = gate.records()
    assert (record["outcome"], record["code"], record["agent"]) == ("DENY", "limit.body-time", "deploy-bot")
    assert gate.outcome_of(record)["status"] == 408
    assert origin.seen == []


def test_a_connection_on_which_nothing_moves_is_closed(made: Made, origin: Origin) -> None:
    """Between requests, and when a stream is not read; not while a target is waited for."""
    gate = made(idle_s=600)
    with echoed(tunnel(gate)) as idle, tunnel(gate) as waiting, tunnel(gate) as unread:
        waiting.sendall(b"GET /slow HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert status(ask(unread, path="/download?mb=64")) == 200
        origin.wait_seen(3)
        until_still(gate)
        gate.pass_(2)
        gate.pass_(599)
        assert gate.connections == 3
        gate.pass_(10)
        assert read_all(idle) == b""
        until(lambda: gate.connections == 1)
        origin.release()
        assert status(read_head(waiting)) == 200
    assert json.loads(gate.refusals()[0]["codes"]) == {"limit.idle": 2}
    assert sorted(str(record["result"]) for record in gate.records("outcome")) == ["failed", "sent", "sent"]


def until_still(gate: TimedGate) -> None:
    """Until nothing moves on any connection, although the gate and its log have had many turns."""
    before: list[int] = []

    def still() -> bool:
        nonlocal before
        for _ in range(20):
            gate.settle_log()
        now = [each.moved() for each in list(gate.service.engine._connections)]
        same, before = now == before, now
        return same

    until(still)


def test_a_handshake_that_does_not_come_is_not_waited_for(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """TLS and SOCKS with the gate itself have a time of their own."""
    listener = {"socks": {"mode": "socks5", "listen": "127.0.0.1:0"}}
    config = {"listeners": listener}
    gate = TimedGate(tmp_path / "gate", origin, target_ca=target_ca_pem, limits={"handshake_s": 1}, config=config)
    with running(gate):
        place = gate.service.listener_addresses["socks"]
        with socket.create_connection((place.host, place.port), timeout=20) as raw:
            raw.sendall(b"\x05")
            assert raw.recv(1) == b""
        until(lambda: gate.connections == 0)
        (told,) = gate.refusals()
    assert json.loads(told["codes"]) == {"limit.handshake-time": 1}


# --- strangers -----------------------------------------------------------------------------------------


def test_who_says_nothing_gives_way_to_who_speaks(made: Made) -> None:
    """However many connections an address holds open, the next one from there gets in; the longest silent one goes."""
    gate = made(unproven_connections=5)
    with ExitStack() as stack:
        proven = stack.enter_context(echoed(tunnel(gate)))
        silent = [stack.enter_context(dial(gate)) for _ in range(5)]
        until(lambda: gate.connections == 6)
        others_go_on(gate)
        assert reset(silent[0])
        assert status(ask(proven)) == 200
        others_go_on(gate)
    assert json.loads(gate.refusals()[0]["codes"])["limit.unproven-connections"] >= 1


def reset(raw: socket.socket) -> bool:
    """Whether the connection was broken off."""
    try:
        return raw.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_full_gate_takes_no_more_but_for_who_gives_way(made: Made) -> None:
    """All connections together have a limit; agents that are there stay."""
    gate = made(connections=3)
    with ExitStack() as stack:
        proven = [stack.enter_context(echoed(tunnel(gate))) for _ in range(2)]
        silent = stack.enter_context(dial(gate))
        until(lambda: gate.connections == 3)
        last = stack.enter_context(echoed(tunnel(gate)))
        assert reset(silent)
        with dial(gate) as one_more:
            assert reset(one_more)
        assert all(status(ask(raw)) == 200 for raw in (*proven, last))
    assert json.loads(gate.refusals()[0]["codes"]) == {"limit.all-connections": 2}


def test_a_flood_of_strangers_does_not_fill_the_log(made: Made, origin: Origin) -> None:
    """Each is refused; so many a minute have a record each, the others one together that counts them by reason."""
    gate = made(unproven_records_per_min=10)
    wrong = authorization("deploy-bot", TOKEN[::-1])
    for number in range(60):
        with dial(gate) as raw:
            head = b"CONNECT origin.test:443 HTTP/1.1\r\n" + (wrong if number % 2 else b"") + b"\r\n"
            raw.sendall(head)
            said = read_head(raw)
            assert status(said) == 407
            assert (b"X-Chron-Id" in said) is (number < 10)
    others_go_on(gate)
    (told,) = gate.refusals()
    assert (told["client"], told["refusals"]) == ("127.0.0.1", 50)
    assert json.loads(told["codes"]) == {"agent.no-credentials": 25, "agent.wrong-token": 25}
    assert len(gate.records(outcome="DENY")) == 10
    gate.pass_(6)
    with dial(gate) as raw:
        raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n\r\n")
        assert b"X-Chron-Id" in read_head(raw)


def test_an_agents_excess_does_not_fill_the_log(made: Made) -> None:
    """What is refused for being too fast is counted for its agent when it is too much to record."""
    gate = made(unproven_records_per_min=5, agents={"deploy-bot": {"requests_per_s": 1}})
    with tunnel(gate) as raw:
        for _ in range(41):
            answered(ask(raw), raw)
    (told,) = gate.refusals()
    assert (told["agent"], told["refusals"], told["codes"]) == ("deploy-bot", 35, '{"limit.requests-per-s": 35}')
    assert len(gate.records(outcome="DENY")) == 5
