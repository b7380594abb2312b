"""`make bench`: the gate beside stock mitmdump, in one run, on one machine, as ratios.

What is compared: intercepted HTTPS with keep-alive to a loopback target, through

    direct      no proxy at all
    mitmdump    stock `mitmdump -q`, none of our code
    claiim      `claiim serve` as shipped: mapping, decision, durable Chron on
    fast        the same with `proxy.engine: fast`

in alternating rounds, so that a noisy neighbour hits all alike; medians of the rounds are shown. The load
comes from another process and waits for each answer before it sends the next request on that connection.
Absolute figures are this machine's; only the ratios mean something elsewhere.
"""

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme
import yaml

TOKEN = "clm_bench-token-0123456789abcdef0123456789abcdef"
BODY = b'{"status":"ok"}'


# --- the target and the load, each in a process of its own ----------------------------------------------


class _Target(asyncio.Protocol):
    """Answers every request head with the same small JSON; as little work as Python allows."""

    _answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._buffer = self._buffer[end + 4 :]
            self._transport.write(self._answer)  # type: ignore[attr-defined]


async def serve_target(certificate: str, port: int) -> None:
    """Serve for ever on a port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(_Target, "127.0.0.1", port, ssl=context)
    await server.serve_forever()


async def load(proxy: str, ca: str, port: int, connections: int, duration_s: float) -> None:
    """Print the latencies, in microseconds, of all requests that a number of connections made in a time."""
    context = ssl.create_default_context(cafile=ca)
    latencies: list[int] = []
    stop_at = time.monotonic() + duration_s

    async def one() -> None:
        reader, writer = await _connect(proxy, port, context)
        head = f"GET /things/7 HTTP/1.1\r\nHost: localhost:{port}\r\nAccept: */*\r\n\r\n".encode()
        while time.monotonic() < stop_at:
            began = time.perf_counter_ns()
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len(BODY))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {answer[:200]!r}")
            latencies.append((time.perf_counter_ns() - began) // 1000)
        writer.close()

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(connections)))
    print(json.dumps({"seconds": time.monotonic() - began, "latencies_us": latencies}))


async def _connect(proxy: str, port: int, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not proxy:
        return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    host, _, proxy_port = proxy.partition(":")
    reader, writer = await asyncio.open_connection(host, int(proxy_port))
    credentials = b64encode(f"bench:{TOKEN}".encode()).decode()
    writer.write(f"CONNECT localhost:{port} HTTP/1.1\r\nProxy-Authorization: Basic {credentials}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer:
        raise SystemExit(f"CONNECT refused: {answer[:200]!r}")
    await writer.start_tls(context, server_hostname="localhost")
    return reader, writer


# --- the proxies ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proxy:
    """One way to the target."""

    name: str
    address: str
    ca: str
    process: subprocess.Popen[bytes] | None
    startup_s: float


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes], began: float) -> float:
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return time.monotonic() - began
        if process.poll() is not None:
            raise SystemExit(f"a server did not start: {process.args!r}")
        time.sleep(0.01)


def _start_mitmdump(folder: Path, target_ca: Path) -> Proxy:
    port = _free_port()
    began = time.monotonic()
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("mitmdump")), "-q", "--listen-host", "127.0.0.1",
            "--listen-port", str(port), "--set", f"confdir={folder / 'mitm'}",
            "--set", f"ssl_verify_upstream_trusted_ca={target_ca}",
        ]
    )  # fmt: skip
    return Proxy("mitmdump", f"127.0.0.1:{port}", str(folder / "mitm" / "mitmproxy-ca-cert.pem"), process,
                 _wait_for(port, process, began))  # fmt: skip


def _start_claiim(
    folder: Path, target_ca: Path, target_port: int, engine: str = "mitmproxy", workers: int = 1
) -> Proxy:
    from policies import credential

    port, api_port = _free_port(), _free_port()
    name = "claiim" if engine == "mitmproxy" else engine
    name += f"-{workers}" if workers > 1 else ""
    home = folder / name
    (home / "policies").mkdir(parents=True)
    (home / "mappings").mkdir()
    _write(home / "claiim.yaml", {
        "version": 1,
        "proxy": {"listen": f"127.0.0.1:{port}", "allowed_ports": [target_port], "engine": engine,
                  "workers": workers},
        "api": {"listen": f"127.0.0.1:{api_port}"},
        "resolve": {"localhost": {"address": f"127.0.0.1:{target_port}", "ca": str(target_ca)}},
    })  # fmt: skip
    _write(home / "agents.yaml", {
        "version": 1,
        "humans": [{"id": "alice@acme.test", "name": "Alice", "org": "acme", "state": "active"}],
        "agents": [{"id": "bench", "anchor": "alice@acme.test", "org": "acme", "state": "active",
                    "skill": "reader", "tokens": [credential("bench", TOKEN).token_sha256]}],
    })  # fmt: skip
    _write(home / "policies" / "reader.yaml", {"skill": "reader", "allow": ["data:read"], "deny": ["infra:**"]})
    rule = {"id": "read", "match": {"host": "localhost", "method": "GET", "path": "/things/{id}"},
            "action": "data:read", "target": "things/${id}"}  # fmt: skip
    _write(home / "mappings" / "site.yaml", {"version": 1, "rules": [rule]})
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "claiim_gate", "serve", "-c", str(home / "claiim.yaml")], stderr=subprocess.DEVNULL
    )
    startup_s = _wait_for(port, process, began)
    return Proxy(name, f"127.0.0.1:{port}", str(home / "state" / "ca.pem"), process, startup_s)


def _write(path: Path, value: object) -> None:
    path.write_text(yaml.safe_dump(value, sort_keys=False))


@contextlib.contextmanager
def target(folder: Path) -> Iterator[tuple[Path, int]]:
    """A running target: the certificate of its CA, and its port."""
    ca = trustme.CA()
    target_ca = folder / "target-ca.pem"
    ca.cert_pem.write_to_path(str(target_ca))
    certificate = folder / "target.pem"
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    port = _free_port()
    process = subprocess.Popen([sys.executable, __file__, "--target", str(certificate), str(port)])
    try:
        _wait_for(port, process, time.monotonic())
        yield target_ca, port
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _proxies(folder: Path) -> Iterator[tuple[list[Proxy], int]]:
    started: list[subprocess.Popen[bytes]] = []
    with target(folder) as (target_ca, port), contextlib.ExitStack() as stack:
        stack.callback(_end, started)
        proxies = [Proxy("direct", "", str(target_ca), None, 0.0)]
        for start in (
            lambda: _start_mitmdump(folder, target_ca),
            lambda: _start_claiim(folder, target_ca, port),
            lambda: _start_claiim(folder, target_ca, port, "fast"),
        ):
            proxies.append(start())
            assert proxies[-1].process is not None
            started.append(proxies[-1].process)
        yield proxies, port


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in reversed(processes):
        process.terminate()
        process.wait()


# --- the comparison ------------------------------------------------------------------------------------


def _measure(proxy: Proxy, port: int, connections: int, duration_s: float) -> tuple[float, list[int]]:
    """Requests per second and latencies in microseconds of one round."""
    command = [sys.executable, __file__, "--load", proxy.address, proxy.ca, str(port), str(connections)]
    output = subprocess.run([*command, str(duration_s)], check=True, capture_output=True, text=True).stdout
    measured = json.loads(output)
    return len(measured["latencies_us"]) / measured["seconds"], measured["latencies_us"]


def _compare(proxies: list[Proxy], port: int, connections: int, rounds: int, duration_s: float) -> dict[str, tuple]:
    rates: dict[str, list[float]] = {proxy.name: [] for proxy in proxies}
    latencies: dict[str, list[int]] = {proxy.name: [] for proxy in proxies}
    for proxy in proxies:
        _measure(proxy, port, connections, 0.5)  # warm: certificates, caches, branch predictors
    for _ in range(rounds):
        for proxy in proxies:
            rate, one_round = _measure(proxy, port, connections, duration_s)
            rates[proxy.name].append(rate)
            latencies[proxy.name] += one_round
    return {name: (statistics.median(rates[name]), *_percentiles(latencies[name])) for name in rates}


def _percentiles(latencies_us: list[int]) -> tuple[float, float]:
    ordered = sorted(latencies_us)
    return ordered[len(ordered) // 2] / 1000, ordered[len(ordered) * 99 // 100] / 1000


def _print_table(title: str, measured: dict[str, tuple]) -> None:
    baseline = measured["mitmdump"]
    print(f"\n{title}")
    print(f"  {'':<10}{'requests/s':>12}{'ratio':>8}{'p50 ms':>10}{'ratio':>8}{'p99 ms':>10}")
    for name, (rate, p50_ms, p99_ms) in measured.items():
        ratios = f"{rate / baseline[0]:>8.2f}", f"{p50_ms / baseline[1]:>8.2f}"
        print(f"  {name:<10}{rate:>12.0f}{ratios[0]}{p50_ms:>10.2f}{ratios[1]}{p99_ms:>10.2f}")


def _rss_mb(process: subprocess.Popen[bytes]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def _per_call() -> None:
    """What one mapping and one decision cost, in this process, single-threaded."""
    from bench_calls import decisions_per_s, mapping_costs_us  # beside this file

    print("\nper call, in process")
    for name, cost_us in mapping_costs_us().items():
        print(f"  mapping   {name:<28}{cost_us:>8.1f} us")
    for name, rate in decisions_per_s().items():
        print(f"  decision  {name:<28}{1e6 / rate:>8.2f} us  ({rate:,.0f}/s)")


def _mappings() -> None:
    from bench_mappings import main as tables

    print("\nnaming a request")
    tables()


def _policies() -> None:
    from bench_policies import main as compared

    print()
    compared()


def _simulation() -> None:
    from bench_simulation import main as simulated

    print("\nsimulating, one process")
    simulated()


def _replay() -> None:
    from bench_replay import main as replayed

    print("\nreplaying, one process")
    replayed()


def _chron() -> None:
    from bench_chron import measure

    print("\nChron, on this disk")
    for name, value in measure().items():
        print(f"  {name:<38}{value:>12,.2f}" if isinstance(value, float) else f"  {name:<38}{value:>12}")


def _durable() -> None:
    from bench_durable import main as compared

    print("\nChron, beside other ways to write the same")
    compared()


def _workers() -> None:
    from bench_workers import main as together

    print("\nChron, written by several processes")
    together()


def _serving() -> None:
    from bench_serving import main as served

    print("\none process, and workers")
    served()


def _postgres() -> None:
    from bench_postgres import main as on_a_server

    print("\nChron, in PostgreSQL")
    on_a_server()


def main() -> None:
    """Run everything, or be one of the helper processes."""
    arguments = sys.argv[1:]
    match arguments:
        case ["--target", certificate, port]:
            with contextlib.suppress(KeyboardInterrupt):
                asyncio.run(serve_target(certificate, int(port)))
            return
        case ["--load", proxy, ca, port, connections, duration_s]:
            asyncio.run(load(proxy, ca, int(port), int(connections), float(duration_s)))
            return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, Python {sys.version.split()[0]}")
    folder = Path(tempfile.mkdtemp(prefix="claiim-bench-", dir=Path.cwd()))  # on the disk that is measured
    try:
        with _proxies(folder) as (proxies, port):
            busy = _compare(proxies, port, 16, options.rounds, options.seconds)
            _print_table("intercepted HTTPS, keep-alive, 16 connections", busy)
            quiet = _compare(proxies, port, 1, options.rounds, options.seconds / 2)
            _print_table("the same, 1 connection", quiet)
            print("\nprocess")
            for proxy in proxies:
                if proxy.process:
                    print(f"  {proxy.name:<10}start-up {proxy.startup_s:.2f} s   RSS {_rss_mb(proxy.process):.0f} MB")
            with urllib.request.urlopen(f"http://{_api_of(folder)}/metrics") as metrics:
                print(f"  claiim recorded {_decisions(metrics.read().decode()):.0f} decisions")
        _per_call()
        _mappings()
        _policies()
        _simulation()
        _replay()
        _chron()
        _durable()
        _workers()
        _serving()
        _postgres()
    finally:
        shutil.rmtree(folder)


def _api_of(folder: Path) -> str:
    listen: str = yaml.safe_load((folder / "claiim" / "claiim.yaml").read_text())["api"]["listen"]
    return listen


def _decisions(metrics: str) -> float:
    lines = (line for line in metrics.splitlines() if line.startswith("claiim_decisions_total"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


if __name__ == "__main__":
    main()
