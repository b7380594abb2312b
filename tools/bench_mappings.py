"""What naming a request costs: by number of rules, by family, and before the first one. Part of `make bench`.

Times are medians of many calls in one process; the ratios mean something elsewhere, the microseconds are this
machine's. Rules are timed twice: with the rules of an operation kept from the last request, as they are in a running
gate, and with nothing kept, as for an agent that makes up a new operation each time.
"""

import gzip
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools" / "selftest"), str(ROOT)]

from case import Case, case_of, mappings_of  # noqa: E402 - found by the line above

from mappings import Call, CanonicalError, Mappings, Recognition, Request, hostrules  # noqa: E402
from mappings.compile import compile_documents  # noqa: E402
from mappings.documents import read_document  # noqa: E402

SAMPLES = ROOT / "tests" / "mappings" / "catalogues" / "samples"
SIZES = (10, 100, 1_000, 10_000)
ASKED = 200
"""Different requests of one family."""
ROUNDS = 15


class _Pack:
    """Names a request by its path, at once: what is left of the time is that of the rules."""

    name = "bench"
    family = "bench"
    hosts = ("ops.test",)
    reads_prefix = False

    def needs_body(self, request: Request) -> bool:  # noqa: ARG002 - the protocol's shape
        return False

    def recognise(self, request: Request) -> Recognition:
        return Recognition((Call(f"bench:{request.path[1:]}", {}),))


KINDS: dict[str, tuple[str, str]] = {
    "exact op": ('{{op: "bench:things/n{0:05}"}}', "https://ops.test/things/n{0:05}"),
    "op glob, told apart by its start": ('{{op: "bench:things/n{0:05}-*"}}', "https://ops.test/things/n{0:05}-x"),
    "op glob, by its end": ('{{op: "bench:*-n{0:05}"}}', "https://ops.test/things-n{0:05}"),
    "op glob, by its middle": ('{{op: "bench:*-n{0:05}-*"}}', "https://ops.test/things-n{0:05}-x"),
    "path of a host": ('{{host: rules.test, path: "/n{0:05}/{{x}}"}}', "https://rules.test/n{0:05}/a"),
    "path of any host": ('{{path: "/n{0:05}/{{x}}"}}', "https://rules.test/n{0:05}/a"),
    "path with a glob": ('{{host: rules.test, path: "/{{x:n{0:05}-*}}"}}', "https://rules.test/n{0:05}-a"),
    "path of its own host": ('{{host: h{0:05}.test, path: "/{{x}}"}}', "https://h{0:05}.test/a"),
}
"""Rule and request that fits it, by number."""


def rule_costs_us(*, kept: bool) -> dict[str, dict[int, float]]:
    """Microseconds per `Mappings.resolve`, by kind of rule and number of rules."""
    found: dict[str, dict[int, float]] = {}
    most, hostrules.MAX_KEPT = hostrules.MAX_KEPT, hostrules.MAX_KEPT if kept else 0
    try:
        for kind, (match, url) in KINDS.items():
            sets = {size: (_with_rules(match, size).resolve, _requests(url, size)) for size in SIZES}
            # In turns, so that a noisy neighbour hits all sizes alike.
            rounds = [
                {size: _median_us(call, requests, rounds=2) for size, (call, requests) in sets.items()}
                for _ in range(ROUNDS)
            ]
            found[kind] = {size: statistics.median(costs[size] for costs in rounds) for size in SIZES}
    finally:
        hostrules.MAX_KEPT = most
    return found


def _requests(url: str, size: int) -> list[Request]:
    # As many for each size: what more requests cost the processor's caches is no cost of more rules.
    numbers = range(0, size, size // SIZES[0])
    return [Case("GET", url.format(number), frozenset()).request() for number in numbers]


def _with_rules(match: str, size: int) -> Mappings:
    lines = [f'- {{id: r{number}, match: {match.format(number)}, action: "x:n{number}"}}' for number in range(size)]
    # Each file has at most so many values, so there are several.
    texts = ["version: 1\nrules:\n" + "\n".join(lines[at : at + 5_000]) for at in range(0, size, 5_000)]
    texts.append("version: 1\nbind: [{host: rules.test, pack: http}]\n")
    documents = [read_document(text, f"rules{at}.yaml") for at, text in enumerate(texts)]
    return Mappings(compile_documents(documents, [_Pack()]), documents)


@dataclass(frozen=True, slots=True)
class FamilyCost:
    """What naming the requests of one family costs."""

    resolve_us: float
    recognise_us: float
    slow_us: float
    """Of `resolve`, the 99th percentile."""


def family_costs_us() -> dict[str, FamilyCost]:
    """Microseconds per request of each family's sample, and how much of that its packs take."""
    found = {}
    for path in sorted(SAMPLES.glob("*.jsonl.gz")):
        head, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        mappings = mappings_of(json.loads(head)["site"])
        requests = []
        for line in lines[:: max(1, len(lines) // ASKED)]:
            try:
                requests.append(case_of(line).request())
            except CanonicalError:
                continue
        costs = [_family_cost(mappings, requests) for _ in range(ROUNDS)]
        medians = (statistics.median(each) for each in zip(*costs, strict=True))
        found[path.name.partition(".")[0]] = FamilyCost(*medians)
    return found


def _family_cost(mappings: Mappings, requests: Sequence[Request]) -> tuple[float, float, float]:
    return (
        _median_us(mappings.resolve, requests, rounds=1),
        _median_us(lambda request: _recognise(mappings, request), requests, rounds=1),
        _median_us(mappings.resolve, requests, percentile=99, rounds=1),
    )


def _recognise(mappings: Mappings, request: Request) -> None:
    for pack in mappings._binding(request.host).packs:
        pack.recognise(request)


def loading_costs_ms() -> dict[str, float]:
    """Milliseconds of a new process: to import the room, to load all shipped mappings, to load them once more."""
    code = """
import time
marks = [time.perf_counter()]
import mappings
marks.append(time.perf_counter())
from mappings import load_mappings
import mappings.loading
marks.append(time.perf_counter())
load_mappings([])
marks.append(time.perf_counter())
load_mappings([])
marks.append(time.perf_counter())
print(*(1000 * (after - before) for before, after in zip(marks, marks[1:])))
"""
    runs = [
        [float(text) for text in subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()]
        for _ in range(5)
    ]
    names = ("import mappings", "import all that loading and resolving take", "load_mappings", "load_mappings again")
    return {name: statistics.median(run[at] for run in runs) for at, name in enumerate(names)}


def growth_mb() -> dict[str, float]:
    """Megabytes that a new process grows by with one request each to AWS (EC2), Google (Compute) and GitHub.

    The first counts what is imported only then; a gate has read its own files with pydantic before any request.
    """
    code = """
import sys
if sys.argv[1]:
    import pydantic.main
from mappings import Request, load_mappings
def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024
mappings = load_mappings([])
before = resident()
form = (("content-type", "application/x-www-form-urlencoded"),)
for host, method, path, headers, body in (
    ("ec2.eu-west-1.amazonaws.com", "POST", "/", form, b"Action=TerminateInstances&InstanceId.1=i-a"),
    ("compute.googleapis.com", "DELETE", "/compute/v1/projects/p/zones/z/instances/i", (), b""),
    ("api.github.com", "PUT", "/repos/acme/web/pulls/7/merge", (), b""),
):
    resolution = mappings.resolve(Request(method, "https", host, 443, path, (), headers, body))
    assert resolution.operations, resolution
print(resident() - before)
"""
    return {
        name: statistics.median(
            float(subprocess.check_output([sys.executable, "-c", code, known], text=True, cwd=ROOT)) for _ in range(5)
        )
        for name, known in (("of a bare process", ""), ("of one that has read its configuration", "pydantic"))
    }


def _median_us(
    call: Callable[[Request], object], requests: Sequence[Request], *, percentile: int = 50, rounds: int
) -> float:
    for request in requests:
        call(request)
    taken = []
    for _ in range(max(1, rounds * ASKED // len(requests))):
        for request in requests:
            began = time.perf_counter_ns()
            call(request)
            taken.append(time.perf_counter_ns() - began)
    return statistics.quantiles(taken, n=100)[percentile - 1] / 1000


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def main() -> None:
    """Print all tables."""
    _table(("ms, new process", "median"), [(name, f"{cost:.0f}") for name, cost in loading_costs_ms().items()])
    _table(("MB, new process", "growth"), [(name, f"{growth:.1f}") for name, growth in growth_mb().items()])
    for kept in (True, False):
        words = "rules of the operation kept" if kept else "nothing kept"
        rows = [
            (kind, *(f"{cost:.1f}" for cost in costs.values()), f"{costs[SIZES[-1]] / costs[SIZES[0]]:.2f}")
            for kind, costs in rule_costs_us(kept=kept).items()
        ]
        sizes = [f"{size:,}" for size in SIZES]
        _table((f"resolve p50, us; {words}", *sizes, f"{sizes[-1]} : {sizes[0]}"), rows)
    rows = [
        (
            name,
            f"{cost.resolve_us:.1f}",
            f"{cost.recognise_us:.1f}",
            f"{cost.resolve_us - cost.recognise_us:.1f}",
            f"{cost.slow_us:.1f}",
        )
        for name, cost in family_costs_us().items()
    ]
    _table(("family, us", "resolve p50", "of it recognise", "the rest", "resolve p99"), rows)


if __name__ == "__main__":
    main()
