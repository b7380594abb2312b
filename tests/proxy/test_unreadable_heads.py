"""What stands before a request, or in its place: passed over, or refused at once and in plain words."""

import pytest

from support.gate import LiveGate
from support.raw import authorization, connect, dial, read_all, read_head, status, tunnel
from support.targets import Origin

GET = b"GET /echo HTTP/1.1\r\nHost: origin.test\r\nConnection: close\r\n\r\n"
PROXIED = b"GET http://plain.test/echo HTTP/1.1\r\nHost: plain.test\r\n"


def test_an_empty_line_before_a_request_is_passed_over(gate: LiveGate, origin: Origin) -> None:
    """RFC 9112, 2.2: one of them, also when it comes by itself, and before each request of a connection."""
    with tunnel(gate) as secure:
        secure.sendall(b"\r")
        secure.sendall(b"\n")
        secure.sendall(GET.replace(b"Connection: close\r\n", b""))
        head = read_head(secure)
        assert status(head) == 200
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while length:
            length -= len(secure.recv(length))
        secure.sendall(b"\r\n" + GET)
        assert status(read_all(secure)) == 200
    assert [seen.path for seen in origin.seen] == ["/echo", "/echo"]


@pytest.mark.parametrize("before", [b"\r\n\r\n", b"\n", b"\r\r\n", b"\r\n\n"], ids=["two", "bare", "CR CR LF", "mixed"])
def test_more_before_a_request_is_refused_at_once(gate: LiveGate, origin: Origin, before: bytes) -> None:
    """What the engine would wait behind until the client gives up is answered, recorded, and closed."""
    with tunnel(gate) as secure:
        secure.sendall(before + GET)
        assert status(read_all(secure)) == 400
    assert origin.connections == 0
    assert [record["code"] for record in gate.records()] == ["wire.malformed"]


HEADS = {
    "no HTTP": b"nothing\r\n\r\n",
    "CONNECT that is no ASCII": b"CONNECT \xc3\xa4.test:443 HTTP/1.1\r\n\r\n",
    "two lengths": PROXIED + authorization() + b"Content-Length: 0\r\nContent-Length: 1\r\n\r\n",
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_cannot_be_read_is_called_that(gate: LiveGate, plain_origin: Origin, name: str) -> None:
    """Nobody is sent to look for credentials that could not be read either."""
    with dial(gate) as raw:
        raw.sendall(HEADS[name])
        assert status(read_all(raw)) == 400
    assert plain_origin.connections == 0
    (record,) = gate.records()
    assert (record["code"], record["reason"]) == ("wire.malformed", "wire -- the request head is not valid HTTP/1")
    assert record["outcome"] == "DENY"


@pytest.mark.parametrize("secure", [True, False], ids=["in TLS", "plain"])
def test_a_connect_inside_a_tunnel_is_refused_in_our_words(gate: LiveGate, origin: Origin, secure: bool) -> None:
    """The reason says what is wrong, and not how our engine is configured."""
    raw = tunnel(gate) if secure else connect(gate)
    with raw:
        raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n")
        assert status(read_head(raw)) == 400
    assert origin.connections == 0
    (record,) = gate.records()
    assert (record["code"], record["reason"]) == (
        "wire.malformed",
        "wire -- a CONNECT inside a tunnel, or to a target, opens nothing",
    )


def test_no_reason_names_the_engine(gate: LiveGate) -> None:
    """Of all that its checks can say: who reads it should not have to know what we are made of."""
    with tunnel(gate) as secure:
        both = b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        secure.sendall(b"GET /echo HTTP/1.1\r\nHost: origin.test\r\n" + both)
        assert status(read_head(secure)) == 400
    (record,) = gate.records()
    assert record["code"] == "wire.malformed"
    assert not any(word in record["reason"] for word in ("mitmproxy", "validate_inbound_headers", "option"))
