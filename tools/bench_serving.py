"""One process beside a coordinator with workers: requests a second, CPU, memory and start-up of each.

    bench_serving.py [SECONDS [ROUNDS]]        a minute and a half

The fast engine, in turns, with 16 and with 256 connections, as `tools/bench.py` loads it. CPU is that of all processes
of a gate for each request, memory what they have in all with what they share counted once (proportional set size).
Load and target take two more cores: where there are no more than two, more workers cannot bring more requests.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

import bench
from bench import Proxy

WORKERS = (1, 2)
CONNECTIONS = (16, 256)


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _cpu_s(pid: int) -> float:
    """Processor time of a process and its children so far."""
    total = 0
    for each in _tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _memory_mb(pid: int) -> float:
    rollups = (Path(f"/proc/{each}/smaps_rollup").read_text() for each in _tree(pid))
    return sum(int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Pss:")) / 1024


def _measured(gates: list[Proxy], port: int, connections: int, rounds: int, seconds: float) -> None:
    rates: dict[str, list[float]] = {gate.name: [] for gate in gates}
    costs: dict[str, list[float]] = {gate.name: [] for gate in gates}
    for gate in gates:
        bench._measure(gate, port, connections, 0.5)
    for _ in range(rounds):
        for gate in gates:
            assert gate.process is not None
            before = _cpu_s(gate.process.pid)
            rate, latencies = bench._measure(gate, port, connections, seconds)
            rates[gate.name].append(rate)
            costs[gate.name].append((_cpu_s(gate.process.pid) - before) / len(latencies) * 1e6)
    for gate in gates:
        rate, cost = statistics.median(rates[gate.name]), statistics.median(costs[gate.name])
        print(f"  {gate.name:<10}{connections:>5} connections{rate:>8.0f} requests/s{cost:>8.0f} us CPU a request")


def main(seconds: float = 4.0, rounds: int = 3) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="claiim-bench-", dir=Path.cwd()) as temporary:
        folder = Path(temporary)
        with bench.target(folder) as (target_ca, port):
            gates = [bench._start_claiim(folder, target_ca, port, "fast", workers) for workers in WORKERS]
            try:
                for connections in CONNECTIONS:
                    _measured(gates, port, connections, rounds, seconds)
                for gate in gates:
                    assert gate.process is not None
                    print(f"  {gate.name:<10}start-up {gate.startup_s:.2f} s, {_memory_mb(gate.process.pid):.0f} MB")
            finally:
                for gate in gates:
                    assert gate.process is not None
                    gate.process.terminate()
                    gate.process.wait()


if __name__ == "__main__":
    load_before = os.getloadavg()[0]
    main(*map(float, sys.argv[1:2]), *map(int, sys.argv[2:3]))
    print(f"  load average {load_before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores")
