"""What little an attacker sends does not cost much: neither memory, nor processor time, nor other agents' answers.

A plain request costs so much processor time for each of its bytes; nothing may cost a hundred times as much for each of
its own. Hundreds of clients that are slow in every way there is hold connections and little else.
"""

import contextlib
import gzip
import json
import socket
import ssl
import statistics
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import h2.connection
import pytest
import trustme

from support.gate import OTHER_TOKEN, TOKEN, LiveGate
from support.load import KINDS, exchange, tunnel_to
from support.memory import Process
from support.raw import authorization, status
from support.rules import ORIGIN_MAPPINGS
from support.serving import Serving
from support.targets import Origin
from support.torture.numbers import how_many, tell
from support.until import until

MIB = 2**20
MOST_TIMES = 100
"""Envoy's threat model takes what costs 100 times as much for a denial of service (docs/threat-model.md)."""
ESTABLISHED = 1
"""As TCP_INFO tells it: linux/include/net/tcp_states.h."""
READ = KINDS["read"][0]
PLAIN = (
    b"GET /echo?page=2 HTTP/1.1\r\nHost: origin.test\r\nUser-Agent: python-httpx/0.28.1\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nAuthorization: Bearer %s\r\n\r\n" % (b"a" * 100)
)
"""As SDKs send it."""

RULES = {
    **ORIGIN_MAPPINGS,
    "rules": [
        *ORIGIN_MAPPINGS["rules"],
        {
            "id": "backtracks",  # where anything did, these would (CWE-1333)
            "match": {"host": "origin.test", "method": "GET", "path": "/{a}-{b}-{c}-{d}/{rest+}/end"},
            "action": "data:read",
            "target": "${a}",
        },
    ],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, target_ca: trustme.CA, target_ca_pem: Path) -> Iterator[Serving]:
    """A gate in a process of its own, and behind it the target."""
    folder = tmp_path_factory.mktemp("asymmetry") / "gate"
    with Origin(target_ca) as origin:
        LiveGate(folder, origin, target_ca=target_ca_pem, mappings=RULES)
        with Serving(folder) as serving:
            yield serving


def ca(serving: Serving) -> str:
    return str(serving.folder / "state" / "ca.pem")


def agents_tunnel(serving: Serving) -> ssl.SSLSocket:
    return tunnel_to(serving.proxy_address, ca(serving), "deploy-bot", TOKEN)


def others_tunnel(serving: Serving) -> ssl.SSLSocket:
    return tunnel_to(serving.proxy_address, ca(serving), "other-bot", OTHER_TOKEN)


def dial(serving: Serving) -> socket.socket:
    host, _, port = serving.proxy_address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


# --- slow clients --------------------------------------------------------------------------------------


def half_a_head(serving: Serving) -> socket.socket:
    raw = dial(serving)
    raw.sendall(b"GET http://origin.test/ HTTP/1.1\r\n" + authorization())
    return raw


def half_a_body(serving: Serving) -> socket.socket:
    raw = agents_tunnel(serving)
    raw.sendall(
        b"POST /runs HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n"
        + b" " * 10_000
    )
    return raw


def reads_nothing(serving: Serving) -> socket.socket:
    raw = agents_tunnel(serving)
    raw.sendall(b"GET /download?mb=64 HTTP/1.1\r\nHost: origin.test\r\n\r\n")
    return raw


def says_nothing(serving: Serving) -> socket.socket:
    return agents_tunnel(serving)


def opens_no_window(serving: Serving) -> socket.socket:
    """HTTP/2 with a window of nothing, in which downloads are asked for."""
    host, _, port = serving.proxy_address.rpartition(":")
    raw = socket.create_connection((host, int(port)), timeout=60)
    raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization() + b"\r\n")
    while b"\r\n\r\n" not in (said := raw.recv(1000)):
        pass
    assert status(said) == 200
    context = ssl.create_default_context(cafile=ca(serving))
    context.set_alpn_protocols(["h2"])
    secured = context.wrap_socket(raw, server_hostname="origin.test")
    peer = h2.connection.H2Connection()
    peer.update_settings({4: 0})  # RFC 9113, 6.5.2: SETTINGS_INITIAL_WINDOW_SIZE
    peer.initiate_connection()
    for stream in (1, 3):
        head = [(":method", "GET"), (":scheme", "https"), (":authority", "origin.test"), (":path", "/download?mb=64")]
        peer.send_headers(stream, head, end_stream=True)
    secured.sendall(peer.data_to_send())
    return secured


SLOW: tuple[Callable[[Serving], socket.socket], ...] = (
    half_a_head,
    half_a_body,
    reads_nothing,
    says_nothing,
    opens_no_window,
)


class Flood:
    """An agent that asks as fast as it is answered, on several connections."""

    def __init__(self, serving: Serving, connections: int) -> None:
        self._serving = serving
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(connections)]
        self.answers = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Flood":
        for thread in self._threads:
            thread.start()
        until(lambda: self.answers > len(self._threads))
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with agents_tunnel(self._serving) as raw:
            while not self._over.is_set():
                exchange(raw, READ)
                with self._lock:
                    self.answers += 1


class Slow:
    """So many clients that are slow in turns in all ways; whoever is cut off comes back."""

    def __init__(self, serving: Serving, number: int) -> None:
        self._serving = serving
        self._held: list[socket.socket | None] = [None] * number
        self.came = 0
        """How often one of them came."""

    def fill(self) -> None:
        """Have all of them there."""
        for number, raw in enumerate(self._held):
            if raw is not None and established(raw):
                continue
            if raw is not None:
                raw.close()
            self._held[number] = SLOW[number % len(SLOW)](self._serving)
            self.came += 1

    def close(self) -> None:
        """Let all of them go."""
        for raw in self._held:
            if raw is not None:
                raw.close()


def established(raw: socket.socket) -> bool:
    """Whether the gate holds its end of a connection, of which nothing is read here."""
    return raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


def test_the_slow_and_the_fast_starve_nobody(served: Serving) -> None:
    """While hundreds are slow and one agent floods, each request of another is answered, in its turn.

    Its turn: in the time of its answers, each connection of the flood gets about as many, and not many times more.
    """
    slow, asked, rounds, flooding = how_many(50, 500), how_many(40, 600), how_many(1, 75), 4
    process = Process(served.process.pid)
    beside_slow, theirs = list[float](), 0
    with contextlib.ExitStack() as stack:
        mine = stack.enter_context(others_tunnel(served))
        alone = [timed(mine) for _ in range(asked)]
        before = process.rss_bytes
        crowd = Slow(served, slow)
        stack.callback(crowd.close)
        for _ in range(rounds):
            crowd.fill()
            beside_slow += [timed(mine) for _ in range(asked)]
            with Flood(served, flooding) as flood:
                began = flood.answers
                for _ in range(asked):
                    timed(mine)
                with others_tunnel(served) as fresh:  # who comes anew is let in
                    timed(fresh)
                theirs += flood.answers - began
        crowd.fill()
        each_bytes = (process.rss_bytes - before) // slow
    tell(
        f"{slow} slow clients, {crowd.came} in {rounds} rounds: {each_bytes // 1024} KiB each; p99 of another agent "
        f"{p99(alone):.1f} ms alone, {p99(beside_slow):.1f} ms beside them; {asked * rounds} answers while {flooding} "
        f"flooding connections got {theirs}"
    )
    assert theirs < 4 * flooding * asked * rounds
    assert each_bytes < MIB


def timed(raw: ssl.SSLSocket) -> float:
    """Ask and be answered; how long that took, in ms."""
    began = time.perf_counter()
    assert exchange(raw, READ) == 200
    return (time.perf_counter() - began) * 1000


def p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[98]


# --- what bytes cost -----------------------------------------------------------------------------------


def request(method: str, target: str, *more: str, body: bytes = b"") -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"{method} {target} HTTP/1.1", "Host: origin.test", *more))
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


JSON = "Content-Type: application/json"

COSTLY: dict[str, bytes] = {
    "10 KiB": request("GET", "/echo", "X-A: " + "a" * 10_000),
    "10,000 fields": request("GET", "/echo", *["a: b"] * 10_000),
    "1,000 parameters": request("GET", "/echo?" + "&".join(f"a{n}=%41" for n in range(999))),
    "10,000 parameters": request("GET", "/echo?" + "&".join(f"a{n}=b" for n in range(10_000))),
    "a path for a pattern that backtracks": request("GET", "/" + "a-" * 2000 + "/" + "a/" * 200 + "en"),
    "a path of escapes": request("GET", "/" + "%41" * 2500),
    "a megabyte of brackets": request("POST", "/runs", JSON, body=b"[" * (MIB - 10)),
    "a megabyte of keys": request("POST", "/runs", JSON, body=json.dumps({f"{n}": n for n in range(60_000)}).encode()),
    "a megabyte of digits": request("POST", "/runs", JSON, body=b"9" * (MIB - 10)),
    "a packed body, 1,000 to 1": request(
        "POST", "/runs", JSON, "Content-Encoding: gzip", body=gzip.compress(b" " * (64 * MIB))
    ),
    "a form of 100,000 fields": request(
        "POST", "/runs", "Content-Type: application/x-www-form-urlencoded", body=b"a=b&" * 100_000
    ),
}


def test_no_byte_costs_a_hundred_times_as_much(served: Serving) -> None:
    """Processor time for each byte sent, beside that of a plain request; and memory, whatever is sent."""
    process = Process(served.process.pid)
    plain = cost(served, process, PLAIN, how_many(200, 3000))
    lines = []
    for name, sent in COSTLY.items():
        process.forget_peak()
        before = process.rss_bytes
        times = cost(served, process, sent, how_many(1, 5) * max(1, 100_000 // len(sent))) / plain
        growth = process.peak_bytes - before
        lines.append(f"{name} {times:.2f}x, {growth / MIB:.0f} MiB")
        assert times < MOST_TIMES, name
        assert growth < 64 * MIB, name
    tell(f"cost of a byte beside a plain request's ({plain * 1e6:.1f} us), and memory: " + "; ".join(lines))


def cost(serving: Serving, process: Process, sent: bytes, count: int) -> float:
    """The processor seconds of the gate for each byte, when this is sent so often."""
    before = process.cpu_s
    for _ in range(max(1, count // 50)):
        raw = agents_tunnel(serving)
        try:
            for _ in range(min(count, 50)):
                if exchange(raw, sent) not in (200, 403):
                    raw.close()
                    raw = agents_tunnel(serving)  # closed behind the answer
        except (OSError, ValueError):
            pass  # cut off before its end, which is an answer too
        finally:
            raw.close()
    return (process.cpu_s - before) / (len(sent) * max(1, count // 50) * min(count, 50))


@pytest.mark.parametrize("way", ["down", "up"])
def test_a_stream_is_not_kept(served: Serving, way: str) -> None:
    """However long it is, memory stays where it was."""
    mib = how_many(32, 1024)
    process = Process(served.process.pid)
    with agents_tunnel(served) as raw:
        assert exchange(raw, READ) == 200
        process.forget_peak()
        before = process.rss_bytes
        if way == "down":
            assert exchange(raw, b"GET /download?mb=%d HTTP/1.1\r\nHost: origin.test\r\n\r\n" % mib) == 200
        else:
            raw.sendall(b"POST /upload HTTP/1.1\r\nHost: origin.test\r\nContent-Length: %d\r\n\r\n" % (mib * MIB))
            for _ in range(mib - 1):
                raw.sendall(b"\0" * MIB)
            assert exchange(raw, b"\0" * MIB) == 200
        growth = process.peak_bytes - before
    tell(f"a stream of {mib} MiB {way}: {growth / MIB:.1f} MiB more memory at most")
    assert growth < 64 * MIB


def test_a_websocket_bomb_is_not_unpacked(served: Serving) -> None:
    """A message that unpacks to a thousand times its size is ended when it is too long, and not when it is unpacked."""
    packer = zlib.compressobj(9, wbits=-15)
    packed = b"".join(packer.compress(b"\0" * MIB) for _ in range(how_many(256, 2048)))
    packed = (packed + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    process = Process(served.process.pid)
    with agents_tunnel(served) as raw:
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: origin.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        assert status(raw.recv(4096)) == 101
        process.forget_peak()
        before = process.rss_bytes
        with contextlib.suppress(OSError):
            raw.sendall(b"\xc2\xff" + len(packed).to_bytes(8) + b"\0\0\0\0" + packed)
        with contextlib.suppress(OSError):
            while raw.recv(65_536):
                pass
        growth = process.peak_bytes - before
    tell(f"a WebSocket message of {len(packed) // 1024} KiB, packed 1,000 to 1: {growth / MIB:.0f} MiB more memory")
    assert growth < 96 * MIB
