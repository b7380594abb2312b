"""The load: a client on uvloop that does as little for each request as Python allows, in a process of its own.

    python -m bench.load requests PROXY CA PORT CONNECTIONS SECONDS
    python -m bench.load handshakes PROXY CA PORT CONNECTIONS SECONDS     a new connection for each request
    python -m bench.load download PROXY CA PORT BYTES
    python -m bench.load upload PROXY CA PORT BYTES
    python -m bench.load tunnels PROXY CA PORT COUNT                      holds them until its input ends

PROXY is "" for none. What was measured is printed as one JSON object; `cpu_s` is what this client itself has taken.
Each connection waits for an answer before it asks again. Certificates are verified, sessions are not resumed.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import sys
import time
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

TOKEN = "clm_bench-token-0123456789abcdef0123456789abcdef"
BODY = b'{"status":"ok"}'
_OPENED_AT_ONCE = 32
_CONNECT_S = 60
_CREDENTIALS = b64encode(f"bench:{TOKEN}".encode()).decode()


class _Connecting(asyncio.Protocol):
    """Waits for the answer to a CONNECT."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" in self._received and not self.opened.done():
            self.opened.set_result(b" 200 " in self._received.partition(b"\r\n")[0])

    def connection_lost(self, _: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_result(False)


class Asker(asyncio.Protocol):
    """Asks the same again and again, and keeps how long each answer took."""

    def __init__(self, head: bytes, stop_at_s: float, latencies_us: list[int]) -> None:
        self._head = head
        self._stop_at_s = stop_at_s
        self._latencies_us = latencies_us
        self._buffer = b""
        self.errors = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, transport: Any) -> None:
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._began_ns = time.perf_counter_ns()
        self._transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) < end + 4 + len(BODY):
            return
        self._latencies_us.append((time.perf_counter_ns() - self._began_ns) // 1000)
        if not self._buffer.startswith(b"HTTP/1.1 200"):
            self.errors += 1
        self._buffer = b""
        if time.monotonic() < self._stop_at_s:
            self._ask()
        else:
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.errors += 1
            self.done.set_result(None)

    def _end(self) -> None:
        self.done.set_result(None)
        self._transport.close()


class Load:
    """Connections through one proxy, or none, to the target."""

    def __init__(self, proxy: str, ca: str, port: int) -> None:
        self._proxy = proxy
        self._port = port
        self._context = _trusting(ca)
        self._head = f"GET /things/7 HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: */*\r\n\r\n".encode()
        self.latencies_us: list[int] = []
        self.errors = 0

    def asker(self, stop_at_s: float = 0) -> Asker:
        return Asker(self._head, stop_at_s, self.latencies_us)

    async def connect(self, protocol: asyncio.Protocol) -> Any:
        """A connection with TLS to the target; raises OSError when there is none."""
        loop = asyncio.get_running_loop()
        if not self._proxy:
            made = await loop.create_connection(
                lambda: protocol, "127.0.0.1", self._port, ssl=self._context, server_hostname="localhost"
            )
            return made[0]
        host, _, port = self._proxy.partition(":")
        transport, connecting = await loop.create_connection(_Connecting, host, int(port))
        transport.write(_connect(self._port))
        if not await asyncio.wait_for(connecting.opened, _CONNECT_S):
            transport.close()
            raise ConnectionError("no tunnel")
        return await loop.start_tls(
            transport, protocol, self._context, server_hostname="localhost", ssl_handshake_timeout=_CONNECT_S
        )

    async def requests(self, connections: int, duration_s: float) -> dict[str, Any]:
        """Requests on kept connections, all of which are open before the first is asked on."""
        askers = [self.asker(float("inf")) for _ in range(connections)]
        gathered = asyncio.Semaphore(_OPENED_AT_ONCE)

        async def opened(asker: Asker) -> Any:
            async with gathered:
                try:
                    return await self.connect(asker)
                except OSError:
                    self.errors += 1
                    return None

        transports = await asyncio.gather(*map(opened, askers))
        cpu_s, began = time.process_time(), time.monotonic()
        for asker, transport in zip(askers, transports, strict=True):
            asker._stop_at_s = began + duration_s
            if transport is not None:
                asker.begin(transport)
        await asyncio.gather(*(asker.done for asker, it in zip(askers, transports, strict=True) if it is not None))
        return self._measured(began, cpu_s) | {"errors": self.errors + sum(asker.errors for asker in askers)}

    def _measured(self, began: float, cpu_s: float) -> dict[str, Any]:
        return {
            "seconds": time.monotonic() - began,
            "latencies_us": counted(self.latencies_us),
            "cpu_s": time.process_time() - cpu_s,
        }

    async def tunnels(self, count: int) -> None:
        """Open so many connections that do nothing; told when they are there, and closed when the input ends."""
        gathered = asyncio.Semaphore(_OPENED_AT_ONCE)
        transports: list[Any] = []

        async def opened() -> None:
            async with gathered:
                try:
                    transports.append(await self.connect(asyncio.Protocol()))
                except OSError:
                    self.errors += 1

        began = time.monotonic()
        await asyncio.gather(*(opened() for _ in range(count)))
        print(
            json.dumps({"open": len(transports), "errors": self.errors, "seconds": time.monotonic() - began}),
            flush=True,
        )
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _trusting(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # squid's certificates do not name the key that has signed them
    return context


def counted(latencies_us: list[int]) -> dict[int, int]:
    """How often each latency came, in steps of a hundredth of it: a few hundred numbers for any length of time."""
    return Counter(int(float(f"{latency:.2e}")) for latency in latencies_us)


def _connect(port: int) -> bytes:
    return f"CONNECT localhost:{port} HTTP/1.1\r\nProxy-Authorization: Basic {_CREDENTIALS}\r\n\r\n".encode()


def handshakes(proxy: str, ca: str, port: int, connections: int, duration_s: float) -> dict[str, Any]:
    """A new connection, with its handshake, for each request; by threads, for asyncio would take as long again."""
    context = _trusting(ca)
    host, _, proxy_port = proxy.partition(":")
    head = f"GET /things/7 HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n".encode()
    latencies_us: list[int] = []
    errors = 0
    cpu_s, began = time.process_time(), time.monotonic()

    def one(_: int) -> int:
        failed = 0
        while time.monotonic() < began + duration_s:
            started_ns = time.perf_counter_ns()
            try:
                with _tunnel(host, int(proxy_port or port), port, context) as secure:
                    secure.sendall(head)
                    answer = b""
                    while not answer.endswith(BODY) and (more := secure.recv(65_536)):
                        answer += more
                if not answer.startswith(b"HTTP/1.1 200"):
                    raise ConnectionError("no answer")
                latencies_us.append((time.perf_counter_ns() - started_ns) // 1000)
            except OSError:
                failed += 1
        return failed

    with ThreadPoolExecutor(connections) as pool:
        errors = sum(pool.map(one, range(connections)))
    measured = {"seconds": time.monotonic() - began, "latencies_us": counted(latencies_us), "errors": errors}
    return measured | {"cpu_s": time.process_time() - cpu_s}


def _tunnel(host: str, proxy_port: int, port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection with TLS to the target; raises OSError when there is none."""
    raw = socket.create_connection((host or "127.0.0.1", proxy_port), timeout=_CONNECT_S)
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if host:
            raw.sendall(_connect(port))
            if b" 200 " not in raw.recv(65_536):  # nothing comes behind it before we speak
                raise ConnectionError("no tunnel")
        return context.wrap_socket(raw, server_hostname="localhost")
    except BaseException:
        raw.close()
        raise


def transfer(proxy: str, ca: str, port: int, size: int, *, upload: bool) -> dict[str, Any]:
    """One large body by a blocking socket, from the request to the end of the answer."""
    context = _trusting(ca)
    host, _, proxy_port = proxy.partition(":")
    with _tunnel(host, int(proxy_port or port), port, context) as secure:
        line, length = ("POST /things/upload", size) if upload else (f"GET /things/large-{size}", 0)
        began = time.monotonic()
        secure.sendall(f"{line} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: {length}\r\n\r\n".encode())
        if upload:
            piece = bytes(2**18)
            for _ in range(size // len(piece)):
                secure.sendall(piece)
        received = 0
        buffer = bytearray(2**18)
        while received < (len(BODY) if upload else size):
            count = secure.recv_into(buffer)
            if not count or (upload and not buffer.startswith(b"HTTP/1.1 200")):
                raise SystemExit(f"no good answer after {received} bytes: {bytes(buffer[:200])!r}")
            received += count
        return {"seconds": time.monotonic() - began}


def main(arguments: list[str]) -> None:
    """Measure what is asked for."""
    match arguments:
        case ["requests", proxy, ca, port, connections, duration_s]:
            load = Load(proxy, ca, int(port))
            print(json.dumps(uvloop.run(load.requests(int(connections), float(duration_s)))))
        case ["handshakes", proxy, ca, port, connections, duration_s]:
            print(json.dumps(handshakes(proxy, ca, int(port), int(connections), float(duration_s))))
        case ["tunnels", proxy, ca, port, count]:
            with contextlib.suppress(KeyboardInterrupt):
                uvloop.run(Load(proxy, ca, int(port)).tunnels(int(count)))
        case [("download" | "upload") as what, proxy, ca, port, size]:
            print(json.dumps(transfer(proxy, ca, int(port), int(size), upload=what == "upload")))


if __name__ == "__main__":
    main(sys.argv[1:])
