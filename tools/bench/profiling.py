"""Where the time of a request goes: the fast gate under load, looked at by py-spy, in shares of its busy threads."""

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from bench.proxies import TOOLS, Site, environ, module

_RATE_HZ = 250
_PHASES = (
    ("TLS", r"proxy/fast/tls\.py"),
    ("the log: records checked and handed in", r"/chron/"),
    ("naming the request", r"/mappings/"),
    ("deciding", r"/policies/"),
    ("making the record", r"proxy/(records|recording|questions)\.py"),
    ("reading what was asked", r"proxy/facts\.py"),
    ("the rest of the pipeline", r"proxy/(?!fast|wire|cli)[a-z]+\.py|proxy/identity/"),
    ("HTTP: heads, bodies, exchanges", r"proxy/(fast|wire)/"),
    ("event loop and sockets", r"."),
)
"""By the innermost frame of ours in a stack; the first that fits counts."""


def profile(site: Site, connections: int, duration_s: float) -> None:
    """Samples by phase, and the functions that were seen most often."""
    tool = TOOLS.parent / ".bench" / "bin" / "py-spy"
    if not tool.exists():
        print("\nno profile: `make bench` fetches py-spy")
        return
    gate = site.claiim("fast, looked at")
    assert gate.process is not None
    with tempfile.NamedTemporaryFile() as stacks:
        command = module(
            "load", "requests", gate.address, gate.ca, str(site.port), str(connections), str(duration_s + 2)
        )
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ()) as client:
            looking = [str(tool), "record", "--pid", str(gate.process.pid), "--format", "raw", "--rate", str(_RATE_HZ)]
            looking += ["--duration", str(int(duration_s)), "--output", stacks.name]
            done = subprocess.run(looking, capture_output=True, text=True, check=False)
            client.wait()
        if done.returncode:
            print(f"\nno profile: {done.stderr.strip().splitlines()[-1:]}")
            return
        _tell(Path(stacks.name).read_text().splitlines(), connections)


def _tell(lines: list[str], connections: int) -> None:
    phases: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        phases[_phase(frames)] += int(count)
        functions[re.sub(r":[0-9]+\)$", ")", frames[-1])] += int(count)
    total = phases.total() or 1
    print(f"\nwhere the time of the fast engine goes, {connections} connections, {total} samples of busy threads")
    for name, count in phases.most_common():
        print(f"  {name:<42}{count / total:>7.1%}")
    print("  seen innermost:")
    for name, count in functions.most_common(15):
        print(f"    {name:<60}{count / total:>7.1%}")


def _phase(frames: list[str]) -> str:
    if any("chron/writer.py" in frame for frame in frames):
        return "the log: its own thread, with SQLite"
    for frame in reversed(frames):
        if re.search(r"(?:^|[ /(])(?:proxy|chron|mappings|policies)/", frame):
            return next(name for name, shape in _PHASES if re.search(shape, frame.replace("(", "/")))
    return _PHASES[-1][0]
