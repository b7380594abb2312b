"""`make bench`: the gate beside stock mitmdump and squid, in one run, on one machine, as ratios; also by parts.

    PYTHONPATH=tools python -m bench                    everything, in some minutes
    PYTHONPATH=tools python -m bench requests large     these parts

What is compared over the wire (`bench.proxies`) is intercepted HTTPS to a loopback target, in alternating rounds;
medians of the rounds are shown. Target and load are processes of their own that share the cores with the proxy, so
absolute figures are this machine's, and of this hour; only the ratios mean something elsewhere.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from bench import profiling, wire
from bench.proxies import Proxy, Site, site


def _per_call() -> None:
    """What one mapping and one decision cost, in this process, single-threaded."""
    from bench_calls import decisions_per_s, mapping_costs_us  # beside this file

    print("\nper call, in process")
    for name, cost_us in mapping_costs_us().items():
        print(f"  mapping   {name:<28}{cost_us:>8.1f} us")
    for name, rate in decisions_per_s().items():
        print(f"  decision  {name:<28}{1e6 / rate:>8.2f} us  ({rate:,.0f}/s)")


def _steps() -> None:
    from bench_steps import main as counted

    print("\nsteps of the interpreter, a request")
    counted()


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


def _bytes() -> None:
    from bench_bytes import main as counted

    print("\nChron, bytes a record")
    counted()


def _workers() -> None:
    from bench_workers import main as together

    print("\nChron, written by several processes")
    together()


def _postgres() -> None:
    from bench_postgres import main as on_a_server

    print("\nChron, in PostgreSQL")
    on_a_server()


_BY_THEMSELVES: dict[str, Callable[[], None]] = {
    "calls": _per_call,
    "steps": _steps,
    "mappings": _mappings,
    "policies": _policies,
    "simulation": _simulation,
    "replay": _replay,
    "chron": _chron,
    "durable": _durable,
    "bytes": _bytes,
    "workers": _workers,
    "postgres": _postgres,
}
_WIRE = ("requests", "handshakes", "large", "tunnels", "processes", "sizes", "profile")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"wire, {', '.join((*_WIRE, *_BY_THEMSELVES))}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    options = parser.parse_args()
    asked = [part for each in options.parts for part in (_WIRE if each == "wire" else (each,))]
    parts = asked or [*_WIRE, *_BY_THEMSELVES]
    if unknown := set(parts) - {*_WIRE, *_BY_THEMSELVES}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    _machine()
    over_the_wire = [part for part in _WIRE if part in parts]
    if over_the_wire:
        with _folder() as folder, site(folder) as place:
            _on_the_wire(place, over_the_wire, options.rounds, options.seconds)
    for part in parts:
        if part in _BY_THEMSELVES:
            _BY_THEMSELVES[part]()
    _machine()


def _on_the_wire(place: Site, parts: list[str], rounds: int, duration_s: float) -> None:
    compared = {"requests", "handshakes", "large", "tunnels", "processes"} & set(parts)
    proxies: list[Proxy] = place.all() if compared else []
    for part in parts:
        match part:
            case "requests":
                wire.requests(place, proxies, rounds, duration_s)
            case "handshakes":
                wire.handshakes(place, proxies, rounds, duration_s)
            case "large":
                wire.large(place, proxies, rounds)
            case "tunnels":
                wire.tunnels(place, proxies)
            case "processes":
                wire.processes(proxies)
            case "sizes":
                wire.sizes(place, rounds, duration_s)
            case "profile":
                profiling.profile(place, 16, 10)


def _machine() -> None:
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, load {load}, Python {sys.version.split()[0]}"
    )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """On the disk that is measured."""
    folder = Path(tempfile.mkdtemp(prefix="claiim-bench-", dir=Path.cwd()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
