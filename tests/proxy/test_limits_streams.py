"""Limits of what is kept until its end has come, and of frames that bring nothing further; over real sockets."""

import contextlib
import json
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import hyperframe.frame as frames
import pytest
import trustme

from support.clients import client_of
from support.gate import running
from support.raw import read_all, read_head, status, tunnel
from support.targets import Origin
from support.targets.base import Target
from support.timed import TimedGate
from support.until import until

MIB = 2**20
type Made = Callable[..., TimedGate]


@pytest.fixture
def made(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[Made]:
    """Runs a gate with these limits."""
    with ExitStack() as stack:

        def make(*targets: Target, **limits: Any) -> TimedGate:
            gate = TimedGate(tmp_path / "gate", origin, *targets, target_ca=target_ca_pem, limits=limits)
            stack.enter_context(running(gate))
            return gate

        yield make


def told(gate: TimedGate) -> dict[str, int]:
    """The codes of what was ended without a request to blame, and how often; all of one agent."""
    (record,) = gate.refusals()
    assert record["agent"] == "deploy-bot"
    codes: dict[str, int] = json.loads(record["codes"])
    return codes


# --- HTTP/2 --------------------------------------------------------------------------------------------


class Peer:
    """An HTTP/2 client that can also send frames by hand."""

    def __init__(self, raw: ssl.SSLSocket) -> None:
        self.raw = raw
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.statuses: dict[int, str] = {}
        self.ended: set[int] = set()
        self.goodbye: h2.events.ConnectionTerminated | None = None

    def flush(self) -> None:
        self.raw.sendall(self.h2.data_to_send())

    def ask(self, path: str = "/echo", method: str = "GET", *, end: bool = True) -> int:
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", "origin.test"), (":path", path)]
        self.h2.send_headers(stream, head, end_stream=end)
        return stream

    def read(self) -> bool:
        """Take what comes; False when the connection has ended."""
        try:
            data = self.raw.recv(65_536)
        except (ConnectionError, ssl.SSLError):
            return False
        for event in self.h2.receive_data(data) if data else ():
            match event:
                case h2.events.ResponseReceived(stream_id=stream, headers=headers):
                    self.statuses[stream] = dict(headers)[":status"]  # type: ignore[arg-type,index]
                case h2.events.StreamEnded(stream_id=stream):
                    self.ended.add(stream)
                case h2.events.DataReceived(flow_controlled_length=length, stream_id=stream):
                    self.h2.acknowledge_received_data(length, stream)
                case h2.events.ConnectionTerminated():
                    self.goodbye = event
        return bool(data)

    def finish(self, *streams: int) -> None:
        """Read until these streams have ended."""
        self.flush()
        while not self.ended.issuperset(streams):
            assert self.read(), "the connection ended"
            self.flush()


def reset_streams(peer: Peer) -> None:
    for _ in range(60):
        stream = peer.ask()
        peer.h2.reset_stream(stream)


def _by_hand(make: Callable[[int], frames.Frame], count: int) -> Callable[[Peer], None]:
    def send(peer: Peer) -> None:
        peer.flush()
        peer.raw.sendall(b"".join(make(number).serialize() for number in range(count)))

    return send


def _continued(number: int) -> frames.Frame:
    """A head that goes on for ever, a little below what a frame may have."""
    if number == 0:
        return frames.HeadersFrame(1, data=b"", flags=[])
    return frames.ContinuationFrame(1, data=b"\x00" * 4000)


def _priority(number: int) -> frames.Frame:
    return frames.PriorityFrame(2 * number + 1, depends_on=0, stream_weight=1)


FLOODS: dict[str, tuple[Callable[[Peer], None], str]] = {
    "requests that are taken back": (reset_streams, "limit.http2-frames"),
    "pings": (_by_hand(lambda n: frames.PingFrame(0, opaque_data=struct.pack("!Q", n)), 600), "limit.http2-frames"),
    "settings": (_by_hand(lambda n: frames.SettingsFrame(0, settings={4: 65_535 + n}), 600), "limit.http2-frames"),
    "priorities": (_by_hand(_priority, 600), "limit.http2-frames"),
    "windows": (_by_hand(lambda _: frames.WindowUpdateFrame(0, window_increment=1), 600), "limit.http2-frames"),
    "frames that nobody knows": (
        _by_hand(lambda _: frames.ExtensionFrame(type=0x42, stream_id=0), 600),
        "limit.http2-frames",
    ),
    "a head that never ends": (_by_hand(_continued, 40), "wire.head-too-long"),
    "a head of empty pieces": (
        _by_hand(lambda n: frames.ContinuationFrame(1, data=b"") if n else frames.HeadersFrame(1, data=b""), 600),
        "limit.http2-frames",
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_frames_that_bring_nothing_further_end_the_connection(made: Made, name: str) -> None:
    """GOAWAY with ENHANCE_YOUR_CALM (RFC 9113, 7), and the agent's other connections go on."""
    flood, code = FLOODS[name]
    gate = made(http2_frames_per_s=50)
    with tunnel(gate, alpn="h2") as raw, client_of(gate, http2=True) as other:
        assert other.get("https://origin.test/echo").http_version == "HTTP/2"
        peer = Peer(raw)
        peer.finish(peer.ask())
        with suppress(ConnectionError, ssl.SSLError):  # the gate may have closed before all is sent
            flood(peer)
            peer.flush()
        while peer.read():
            pass
        assert peer.goodbye is None or peer.goodbye.error_code == 0xB
        assert other.get("https://origin.test/echo").status_code == 200
    assert told(gate) == {code: 1}


def test_a_busy_connection_is_no_flood(made: Made) -> None:
    """What clients do, many times over: requests beside each other, some taken back, windows, pings, a download."""
    gate = made(http2_frames_per_s=50)
    with tunnel(gate, alpn="h2") as raw:
        peer = Peer(raw)
        for _ in range(5):
            streams = [peer.ask() for _ in range(20)]
            taken_back = streams.pop()
            peer.h2.reset_stream(taken_back)
            peer.h2.ping(b"12345678")
            peer.finish(*streams)
        peer.finish(peer.ask("/download?mb=2"))
        assert set(peer.statuses.values()) == {"200"}
        assert peer.goodbye is None
    assert gate.refusals() == []


def test_an_http2_agent_has_only_so_many_streams(made: Made, origin: Origin) -> None:
    """The gate says how many (RFC 9113, 5.1.2), and who opens more breaks the protocol."""
    gate = made(http2_streams=3)
    with tunnel(gate, alpn="h2") as raw:
        peer = Peer(raw)
        peer.flush()
        until(lambda: peer.read() and peer.h2.remote_settings.max_concurrent_streams == 3)
        peer.finish(*[peer.ask() for _ in range(3)])
    with tunnel(gate, alpn="h2") as raw:
        peer = Peer(raw)
        for _ in range(8):
            peer.ask("/slow")
        peer.flush()
        while peer.read():
            pass
    assert len(origin.seen) <= 6


# --- what is not read yet ------------------------------------------------------------------------------


def test_an_upload_to_a_target_that_does_not_answer_is_not_kept(
    tmp_path: Path, origin: Origin, target_ca_pem: Path
) -> None:
    """While its connection is being made, the agent is read no further than a little, and others are not concerned."""
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and never says a word of TLS
        more = {"config": {"proxy": {"drain_timeout_s": 0}}}
        gate = TimedGate(tmp_path / "gate", origin, target_ca=target_ca_pem, **more)
        place = {"api.origin.test": {"address": f"127.0.0.1:{mute.getsockname()[1]}"}}
        rule = {"host": "api.origin.test", "method": "POST", "path": "/{what+}"}
        gate.write(
            "mappings/mute.yaml",
            {"version": 1, "rules": [{"id": "m", "match": rule, "action": "data:write", "target": "m"}]},
        )
        gate = again(gate, place)
        with running(gate), tunnel(gate, "api.origin.test:443", sni="api.origin.test") as raw:
            raw.sendall(b"POST /up HTTP/1.1\r\nHost: api.origin.test\r\nContent-Length: 1000000000\r\n\r\n")
            pushing = threading.Thread(target=push, args=(raw,))
            pushing.start()
            full = MIB // 8 if gate.engine_name == "fast" else MIB  # the fast engine reads 256 KiB ahead and no more
            until(lambda: gate.unread_bytes() > full)
            with client_of(gate) as client:
                for _ in range(20):
                    assert client.get("https://origin.test/echo").status_code == 200
                    assert gate.unread_bytes() < 2 * MIB
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)
            pushing.join()


def again(gate: TimedGate, place: dict[str, Any]) -> TimedGate:
    """The same gate with one more place."""
    from dataclasses import replace

    from proxy.config import ResolveEntry, parse_address

    entries = {name: ResolveEntry(parse_address(entry["address"]), None) for name, entry in place.items()}
    gate.config = replace(gate.config, resolve={**gate.config.resolve, **entries})
    return gate


def push(raw: ssl.SSLSocket) -> None:
    """Send until it is over."""
    raw.settimeout(None)
    try:
        while True:
            raw.sendall(b"\0" * MIB)
    except OSError:
        pass


def test_a_line_between_two_chunks_has_an_end(made: Made, origin: Origin) -> None:
    """Extensions of chunks (RFC 9112, 7.1.1) and trailers are not kept without limit."""
    gate = made()
    for endless in (b"5;" + b"a" * 300_000, b"1\r\na\r\n0\r\nX: " + b"a" * 300_000):
        with tunnel(gate) as raw:
            raw.sendall(b"POST /upload HTTP/1.1\r\nHost: origin.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            origin.wait_seen()
            with suppress(ConnectionError, ssl.SSLError):
                raw.sendall(endless)
            read_all(raw)
        until(lambda: gate.connections == 0)
        assert not any(seen.complete for seen in origin.seen)
        origin.clear()
    assert {record["result"] for record in gate.records("outcome")} >= {"failed"}


class Endless(Target):
    """Answers with bytes that go on until nobody takes them."""

    NAMES = ("endless.test",)

    def __init__(self, ca: trustme.CA, begins: bytes) -> None:
        super().__init__(ca)
        self._begins = begins
        self.sent_bytes = 0

    async def serve(self, stopped: Any, ready: Callable[[int], None]) -> None:
        import asyncio

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self._begins)
                while True:
                    writer.write(b"a" * 65_536)
                    self.sent_bytes += 65_536
                    await writer.drain()
                    await asyncio.sleep(0)  # draining what is lost waits for nothing, so nobody would hear of the loss
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=self._ssl)
        ready(listener.sockets[0].getsockname()[1])
        await stopped.wait()
        listener.close()


@pytest.mark.parametrize(
    "begins",
    [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"],
    ids=["a head", "a line between chunks"],
)
def test_what_a_target_never_ends_is_not_kept(
    tmp_path: Path, target_ca: trustme.CA, target_ca_pem: Path, begins: bytes
) -> None:
    """The gate gives up, and says so; it does not read on until the memory is full."""
    rules = [{"id": "r", "match": {"host": "endless.test", "path": "/{what+}"}, "action": "data:read", "target": "t"}]
    with Endless(target_ca, begins) as endless:
        mappings = {"version": 1, "rules": rules}
        gate = TimedGate(tmp_path / "gate", endless, target_ca=target_ca_pem, mappings=mappings)
        with running(gate), tunnel(gate, "endless.test:443", sni="endless.test") as raw:
            raw.sendall(b"GET /x HTTP/1.1\r\nHost: endless.test\r\n\r\n")
            said = status(read_head(raw))
            assert said == (502 if begins.endswith(b"X: ") else 200)
            if said == 200:
                read_all(raw)  # to its end
            (record,) = gate.records()
            outcome = gate.outcome_of(record)
            assert (outcome["result"], "too long" in str(outcome["error"])) == ("failed", True)


# --- WebSockets ----------------------------------------------------------------------------------------


UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def websocket(gate: TimedGate, extensions: str = "") -> ssl.SSLSocket:
    raw = tunnel(gate)
    more = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
    raw.sendall(UPGRADE % b"origin.test" + more.encode() + b"\r\n")
    head = read_head(raw)
    assert status(head) == 101
    assert not extensions or b"permessage-deflate" in head.lower()
    return raw


def frame(data: bytes, *, opcode: int = 2, last: bool = True, packed: bool = False) -> bytes:
    """A frame as a client sends it (RFC 6455, 5.2), masked with zeros."""
    first = (0x80 if last else 0) | (0x40 if packed else 0) | opcode
    if len(data) < 126:
        length = bytes([0x80 | len(data)])
    elif len(data) < 65_536:
        length = bytes([0x80 | 126]) + struct.pack("!H", len(data))
    else:
        length = bytes([0x80 | 127]) + struct.pack("!Q", len(data))
    return bytes([first]) + length + b"\0\0\0\0" + data


def close_code(raw: ssl.SSLSocket) -> int:
    """The code that the gate closes with; what comes before it is passed over."""
    received = read_all(raw)
    at = received.rfind(b"\x88")
    return int(struct.unpack("!H", received[at + 2 : at + 4])[0])


def bomb(mib: int) -> bytes:
    """So many MiB of zeros, packed (RFC 7692, 7.2.1)."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = b"".join(packer.compress(b"\0" * MIB) for _ in range(mib))
    return (packed + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


MESSAGES: dict[str, tuple[str, Callable[[], Iterator[bytes]]]] = {
    "one long frame": ("", lambda: iter([frame(b"a" * (2 * MIB))])),
    "fragments without an end": (
        "",
        lambda: iter([frame(b"a", last=False), *[frame(b"a" * 60_000, opcode=0, last=False)] * 60]),
    ),
    "empty fragments without an end": (
        "",
        lambda: iter([frame(b"", last=False), frame(b"", opcode=0, last=False) * 70_000]),
    ),
    "a gigabyte in a megabyte": ("permessage-deflate", lambda: iter([frame(bomb(256), packed=True)])),
}


@pytest.mark.engines("mitmproxy")  # the other passes what is not judged as it comes, and keeps nothing of it
@pytest.mark.parametrize("name", MESSAGES)
def test_a_websocket_message_is_kept_only_so_far(made: Made, origin: Origin, name: str) -> None:
    """1009 (RFC 6455, 7.4.1) to the agent; nothing of it reaches the target."""
    extensions, pieces = MESSAGES[name]
    gate = made(message_bytes=MIB)
    with websocket(gate, extensions) as raw:
        raw.sendall(frame(b"hello"))
        until(lambda: origin.heard == [b"hello"])
        try:
            for piece in pieces():
                raw.sendall(piece)
        except (ConnectionError, ssl.SSLError):
            pass
        assert close_code(raw) == 1009
        raw.close()
    assert origin.heard == [b"hello"]
    assert told(gate) == {"limit.message-bytes": 1}


@pytest.mark.engines("mitmproxy")  # likewise
def test_a_message_from_a_target_is_kept_only_so_far(
    tmp_path: Path, target_ca: trustme.CA, target_ca_pem: Path
) -> None:
    """The agent is told 1009, and what the target goes on to send is not read."""
    upgraded = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    endless_frame = b"\x82\x7f" + struct.pack("!Q", 2**40)
    rules = [{"id": "r", "match": {"host": "endless.test", "path": "/{what+}"}, "action": "data:read", "target": "t"}]
    with Endless(target_ca, upgraded + endless_frame) as endless:
        limits, mappings = {"message_bytes": MIB}, {"version": 1, "rules": rules}
        gate = TimedGate(tmp_path / "gate", endless, target_ca=target_ca_pem, limits=limits, mappings=mappings)
        with running(gate):
            with tunnel(gate, "endless.test:443", sni="endless.test") as raw:
                raw.sendall(UPGRADE % b"endless.test" + b"\r\n")
                assert status(read_head(raw)) == 101
                assert close_code(raw) == 1009
            until(lambda: gate.connections == 0)
            assert told(gate) == {"limit.message-bytes": 1}
