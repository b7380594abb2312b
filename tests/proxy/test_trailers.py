"""Trailers: a request's go nowhere, a response's go on but for what belongs into a head, over either HTTP."""

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trustme

from support.children import child
from support.gate import LiveGate, running
from support.needed import needed
from support.raw import read_all, read_head, status, tunnel
from support.rules import ORIGIN_MAPPINGS
from support.targets.base import Target

ANSWER_TRAILERS = (
    b"X-Checksum: 5d41402a\r\nServer-Timing: db;dur=53\r\nX-Chron-Id: chr_forged\r\nContent-Length: 900\r\n"
    b'Set-Cookie: a=b\r\nAlt-Svc: h3=":443"\r\nTransfer-Encoding: chunked\r\n'
)
PASSED = {"x-checksum": "5d41402a", "server-timing": "db;dur=53"}


class Trailing(Target):
    """Keeps the bytes of each request with a chunked body; answers with a chunked body and trailers."""

    ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n" + ANSWER_TRAILERS + b"\r\n"

    async def serve(self, stopped: asyncio.Event, ready: Callable[[int], None]) -> None:
        self.received: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            with_body = b"transfer-encoding: chunked"
            try:
                while True:
                    request = await reader.readuntil(b"\r\n\r\n")
                    if with_body in request.lower():
                        request += await reader.readuntil(b"\r\n0\r\n") + await reader.readuntil(b"\r\n")
                    self.received.append(request)
                    writer.write(self.ANSWER)
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self._ssl)
        ready(server.sockets[0].getsockname()[1])
        async with server:
            await stopped.wait()


@pytest.fixture
def target(target_ca: trustme.CA) -> Iterator[Trailing]:
    with Trailing(target_ca) as opened:
        yield opened


@pytest.fixture
def gate(tmp_path: Path, target: Trailing, target_ca_pem: Path) -> Iterator[LiveGate]:
    with running(LiveGate(tmp_path / "gate", target, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)) as live:
        yield live


HIDDEN = {
    "any field": b"X-Late: 1",
    "a framing field": b"Content-Length: 3",
    "another host": b"Host: other.test",
    "an override": b"X-HTTP-Method-Override: DELETE",
}


@pytest.mark.parametrize("path", ["/runs", "/upload"])
@pytest.mark.parametrize("name", HIDDEN)
def test_trailers_of_a_request_go_nowhere(gate: LiveGate, target: Trailing, name: str, path: str) -> None:
    """Neither behind a body that is read nor behind one that streams; the request and the next one are as they were."""
    request = (
        b"POST %s HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\n"
        b"Trailer: X-Late\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n%s\r\n\r\n" % (path.encode(), HIDDEN[name])
    )
    with tunnel(gate) as secure:
        for _ in range(2):
            secure.sendall(request)
            assert status(read_head(secure)) == 200
            assert read_head(secure).startswith(b"5\r\nhello\r\n0\r\n")
    assert [received.partition(b"\r\n\r\n")[2] for received in target.received] == [b"2\r\n{}\r\n0\r\n\r\n"] * 2
    assert not any(b"late" in received.lower() for received in target.received)
    assert [record["outcome"] for record in gate.records()] == ["ALLOW", "ALLOW"]
    assert {gate.outcome_of(record)["request_bytes"] for record in gate.records()} == {2}


def test_trailers_of_a_request_go_nowhere_by_http2(gate: LiveGate, target: Trailing) -> None:
    """The same behind an HTTP/2 body, and the response's trailers come as HTTP/2 has them."""
    agent = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    agent.initiate_connection()
    head = [(":method", "POST"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/upload")]
    agent.send_headers(1, head)
    agent.send_data(1, b"{}")
    agent.send_headers(1, [("x-late", "1")], end_stream=True)
    trailers: list[tuple[str, str]] = []
    with tunnel(gate, alpn="h2") as secure:
        secure.sendall(agent.data_to_send())
        ended = False
        while not ended:
            received = secure.recv(65536)
            assert received
            events = agent.receive_data(received)
            secure.sendall(agent.data_to_send())
            for event in events:
                if isinstance(event, h2.events.TrailersReceived):
                    trailers = [(str(name), str(value)) for name, value in event.headers]
                ended = ended or isinstance(event, h2.events.StreamEnded)
    (arrived,) = target.received
    assert arrived.endswith(b"\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
    assert b"late" not in arrived.lower()
    assert dict(trailers) == PASSED


def test_trailers_of_a_response_go_on(gate: LiveGate, target: Trailing) -> None:
    """Byte by byte: what belongs into a head is dropped, the rest comes behind the last chunk, and the next follows."""
    with tunnel(gate) as secure:
        request = b"GET /x HTTP/1.1\r\nHost: origin.test\r\n"
        secure.sendall(request + b"\r\n" + request + b"Connection: close\r\n\r\n")
        first, second = read_all(secure).split(b"HTTP/1.1 200 OK\r\n")[1:]
    for answer in (first, second):
        ending = b"0\r\nx-checksum: 5d41402a\r\nserver-timing: db;dur=53\r\n\r\n"
        assert answer.partition(b"\r\n\r\n")[2] == b"5\r\nhello\r\n" + ending
    assert [gate.outcome_of(record)["result"] for record in gate.records()] == ["sent", "sent"]
    assert len(target.received) == 2


NODE = """
const https = require("https"), tls = require("tls"), http = require("http");
const [proxy, credentials, ca] = process.argv.slice(1);
http.request({host: proxy.split(":")[0], port: proxy.split(":")[1], method: "CONNECT", path: "origin.test:443",
              headers: {Host: "origin.test:443", "Proxy-Authorization": "Basic " + btoa(credentials)}})
  .on("connect", (_, socket) => {
    const secure = tls.connect({socket, servername: "origin.test", ca: require("fs").readFileSync(ca)});
    https.get({headers: {Host: "origin.test"}, path: "/x", createConnection: () => secure}, (response) => {
      response.resume();
      response.on("end", () => { console.log(JSON.stringify(response.trailers)); secure.end(); socket.end(); });
    });
  }).end();
"""


@pytest.mark.needs("node")
def test_a_client_reads_them(gate: LiveGate, target: Trailing) -> None:
    """Node's own HTTP client hands its user the trailers that passed."""
    address, (agent, token) = gate.service.proxy_address, gate.proxy()[7:].partition("@")[0].split(":")
    command = [needed("node"), "-e", NODE, str(address), f"{agent}:{token}", str(gate.ca)]
    with child(*command, stdout=-1) as node:
        assert node.stdout is not None
        assert json.loads(node.stdout.read()) == PASSED
    assert len(target.received) == 1


def test_trailers_without_end_are_cut_off(gate: LiveGate, target: Trailing) -> None:
    """Neither a chunk's head nor trailers are kept without limit; the exchange ends as failed."""
    for endless in (b"5;" + b"x" * 200_000, b"0\r\n" + b"X-Late: 1\r\n" * 20_000):
        with tunnel(gate) as secure:
            secure.sendall(b"POST /upload HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                secure.sendall(endless)
                assert read_all(secure)[:12] in (b"", b"HTTP/1.1 400")
            except (ConnectionError, ssl.SSLError):
                pass
    assert {gate.outcome_of(record)["result"] for record in gate.records()} == {"failed"}
    assert target.received == []
