"""What goes over the wire: requests, handshakes, large bodies, idle tunnels; of every proxy, in turns."""

import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.proxies import Proxy, Site, descriptors, environ, module

LARGE_BYTES = 100 * 2**20
WANTED_TUNNELS = 10_000
_SPARE_DESCRIPTORS = 500
_SLOW = ("mitmdump", "claiim, mitm")
"""Who takes ten milliseconds and more for a handshake."""


@dataclass
class Rounds:
    """What was measured of one proxy."""

    rates: list[float] = field(default_factory=list)
    latencies_us: Counter[int] = field(default_factory=Counter)
    errors: int = 0
    cpu_s: float = 0
    client_s: float = 0

    @property
    def rate(self) -> float:
        """Of the median round."""
        return statistics.median(self.rates)

    @property
    def requests(self) -> int:
        """That were answered."""
        return self.latencies_us.total()

    def percentile_ms(self, percent: int) -> float:
        """Over all rounds; not a number where nothing was answered."""
        left = self.requests * percent // 100
        for latency_us, count in sorted(self.latencies_us.items()):
            if left < count:
                return latency_us / 1000
            left -= count
        return float("nan")

    def take(self, measured: dict[str, Any], cpu_s: float) -> None:
        """Add a round."""
        latencies_us = Counter({int(latency): count for latency, count in measured["latencies_us"].items()})
        self.rates.append(latencies_us.total() / measured["seconds"])
        self.latencies_us += latencies_us
        self.errors += measured["errors"]
        self.cpu_s += cpu_s
        self.client_s += measured["cpu_s"]


def load(what: str, proxy: Proxy, port: int, *arguments: object) -> dict[str, Any]:
    """Let the client measure."""
    command = module("load", what, proxy.address, proxy.ca, str(port), *map(str, arguments))
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environ())
    measured: dict[str, Any] = json.loads(done.stdout)
    return measured


def compare(
    site: Site, proxies: Sequence[Proxy], what: str, connections: int, rounds: int, duration_s: float
) -> dict[str, Rounds]:
    """So many rounds of each, in turns, so that a noisy neighbour hits all alike."""
    found = {proxy.name: Rounds() for proxy in proxies}
    for proxy in proxies:
        load(what, proxy, site.port, connections, 0.5)  # warm: certificates, caches, branch predictors
    for _ in range(rounds):
        for proxy in proxies:
            before_s = proxy.cpu_s()
            measured = load(what, proxy, site.port, connections, duration_s)
            found[proxy.name].take(measured, proxy.cpu_s() - before_s)
    return found


def table(title: str, found: dict[str, Rounds]) -> None:
    """A line for each, with its ratio to mitmdump and to squid, as far as they are there."""
    others = [name for name in ("mitmdump", "squid") if name in found]
    print(f"\n{title}")
    heads = "".join(f"{f': {name}':>12}" for name in others)
    print(f"  {'':<14}{'each s':>10}{heads}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'CPU us':>9}{'client us':>11}")
    for name, each in found.items():
        ratios = "".join(f"{each.rate / (found[other].rate or float('nan')):>12.2f}" for other in others)
        per = 1e6 / max(1, each.requests)
        latencies = f"{each.percentile_ms(50):>9.2f}{each.percentile_ms(99):>9.2f}"
        costs = f"{each.errors:>8}{each.cpu_s * per:>9.0f}{each.client_s * per:>11.0f}"
        print(f"  {name:<14}{each.rate:>10.0f}{ratios}{latencies}{costs}")


def requests(site: Site, proxies: Sequence[Proxy], rounds: int, duration_s: float) -> None:
    """Kept connections: 16, 1 and 256 of them."""
    for connections in (16, 1, 256):
        title = f"requests over intercepted HTTPS, kept connections: {connections}"
        table(title, compare(site, proxies, "requests", connections, rounds, duration_s))


def handshakes(site: Site, proxies: Sequence[Proxy], rounds: int, duration_s: float) -> None:
    """New connections, eight at a time."""
    found = compare(site, proxies, "handshakes", 8, rounds, duration_s)
    table("new connections with TLS and one request each, 8 at a time", found)


def large(site: Site, proxies: Sequence[Proxy], rounds: int) -> None:
    """100 MiB down and up, and how much memory that has taken."""
    print(f"\n{LARGE_BYTES // 2**20} MiB in one body")
    print(f"  {'':<14}{'down MB/s':>11}{'of direct':>11}{'up MB/s':>11}{'of direct':>11}{'RSS MB':>9}{'grown MB':>10}")
    direct: dict[str, float] = {}
    for proxy in proxies:
        before_mb = proxy.rss_mb()
        cells = ""
        for what in ("download", "upload"):
            try:
                seconds = [load(what, proxy, site.port, LARGE_BYTES)["seconds"] for _ in range(rounds)]
            except subprocess.CalledProcessError as error:
                print(f"  {proxy.name}, {what}: {error.stderr.strip().splitlines()[-1]}")
                cells += f"{'failed':>11}{'':>11}"
                continue
            rate = LARGE_BYTES / 1e6 / statistics.median(seconds)
            cells += f"{rate:>11.0f}{rate / direct.setdefault(what, rate):>11.2f}"
        print(f"  {proxy.name:<14}{cells}{proxy.rss_mb():>9.0f}{proxy.rss_mb() - before_mb:>10.0f}")


def tunnels(site: Site, proxies: Sequence[Proxy]) -> None:
    """Tunnels with TLS in which nothing happens."""
    most = descriptors()
    # A proxy that dials the target at once needs two descriptors for each.
    count = min(WANTED_TUNNELS, (most - _SPARE_DESCRIPTORS) // 2)
    print(f"\nidle tunnels with TLS: {count} ({most} descriptors are allowed), of mitmproxy's engine a tenth")
    print(f"  {'':<14}{'open':>8}{'errors':>8}{'RSS MB':>9}{'grown MB':>10}{'KB each':>9}{'opened in s':>13}")
    for proxy in proxies:
        if proxy.process is None:
            continue
        before_mb = proxy.rss_mb()
        command = module(
            "load", "tunnels", proxy.address, proxy.ca, str(site.port), str(count // (10 if proxy.name in _SLOW else 1))
        )
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ()) as client:
            assert client.stdout is not None
            told = json.loads(client.stdout.readline() or '{"open": 0, "errors": 0, "seconds": 0}')
            grown_mb = proxy.rss_mb() - before_mb
            cells = f"{told['open']:>8}{told['errors']:>8}{before_mb + grown_mb:>9.0f}{grown_mb:>10.0f}"
            print(f"  {proxy.name:<14}{cells}{grown_mb * 1024 / max(1, told['open']):>9.1f}{told['seconds']:>13.1f}")
        time.sleep(1)  # to close so many takes it a while, which is not to be the next one's


def processes(proxies: Sequence[Proxy]) -> None:
    """How long they took to start, and what they take."""
    print("\nprocess")
    for proxy in proxies:
        if proxy.process:
            print(f"  {proxy.name:<14}start-up {proxy.startup_s:.2f} s   RSS {proxy.rss_mb():.0f} MB")


def sizes(site: Site, rounds: int, duration_s: float) -> None:
    """The fast engine with few and with many rules and agents."""
    gates = [site.claiim(f"fast, {count}", rules=count, agents=count) for count in (10, 10_000)]
    table("rules and agents, 16 connections", compare(site, gates, "requests", 16, rounds, duration_s))
    processes(gates)
