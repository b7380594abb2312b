"""A bug in each function that runs while a request is decided, of each kind: nothing leaves, and the gate goes on.

The functions are found by looking at what runs between the arrival of some fifty requests and their way to the
target: every way in, every kind of body, every reason to refuse. `make torture` plants every kind of bug in every one
of them, before a request that is allowed and one that is not; `make test` one kind in each of a choice of them.

All of them take hours. A run that is ended with ctrl-C says how far it has come, and the next goes on from there:

    CLAIIM_TORTURE=1 CLAIIM_SEED=4711 CLAIIM_PLANT_FROM=proxy.facts.read_facts pytest tests/torture/test_planted.py
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.planting.bench import Benches, Way
from support.planting.bugs import KINDS
from support.planting.requests import Request
from support.planting.sites import Site
from support.targets import H2Origin
from support.torture.numbers import SEED, how_many, tell

SHARE = {"mitmproxy": 5, "fast": 20}
"""By engine, every how many of the functions `make test` breaks; which ones, its seed says."""
FROM = os.environ.get("CLAIIM_PLANT_FROM", "")
"""The function to begin with, by the name that a run before has said."""
IN = tuple(os.environ.get("CLAIIM_PLANT_IN", "").split(","))
"""How the names of the functions begin that are broken; all of them without it."""


@pytest.fixture
def benches(memory: Path, h2_origin: H2Origin, target_ca_pem: Path) -> Iterator[Benches]:
    """Gates to plant bugs in, one after the other."""
    with Benches(memory, h2_origin, target_ca_pem) as several:
        yield several


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the writer's, where it is shut
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # of what a bug did not call
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:Assigning a code object of non-matching type:DeprecationWarning")  # that is how
def test_a_bug_in_any_function_on_the_way_forwards_nothing(benches: Benches) -> None:
    """Exceptions, cancellations, wrong types and hangs: what is refused stays refused, what is allowed is refused or
    arrives as it should, a failure of ours says so, and the next request is served."""
    ways = benches.bench.walk()
    sites = _sites(ways)
    assert len(sites) > 500
    faults, counts, planted_in, silent = [], Counter[str](), dict[str, None](), set[tuple[Site, str]]()
    try:
        for site, kind, request, last_of in _chosen(sites, SHARE[benches.bench.gate.engine_name]):
            planted_in[site.plain_name] = None
            if (site, kind) in silent:
                continue  # it was the answer that was not sent, and each of these would be waited for
            meant = benches.meant(request)  # first, while nothing is broken
            ran = benches.bench.run(site, kind, request, look_after=last_of)
            counts[kind] += 1
            counts["met"] += ran.met
            if ran.answer.late:
                silent.add((site, kind))
            counts["arrived all the same"] += bool(ran.arrived)
            if fault := ran.fault(meant):
                faults.append(f"{ran.title}: {fault}")
            if not ran.serves:
                benches.renew()
    finally:
        bugs, last = sum(counts[kind] for kind in KINDS), next(reversed(planted_in), "nowhere")
        tell(f"planted: {len(planted_in)} of {len(sites)} functions, {bugs} bugs, up to {last}: {dict(counts)}")
        for fault in faults:
            tell(f"planted, and not as it should be: {fault}")
    assert not faults, "\n".join(faults)


def _sites(ways: list[Way]) -> dict[Site, list[Request]]:
    """Every function on a way, and the requests that pass it."""
    found: dict[Site, list[Request]] = {}
    for way in ways:
        for site in way.sites:
            found.setdefault(site, []).append(way.request)
    return dict(sorted(found.items(), key=lambda each: (each[0].name, each[0].code.co_firstlineno)))


def _chosen(sites: dict[Site, list[Request]], share: int) -> Iterator[tuple[Site, str, Request, bool]]:
    """Which bugs are planted where, and which request meets them; in torture all, else one in each of some.

    The last value says whether the next requests must be served, too: after the last of those that one bug meets.

    What one site gets hangs on its own name alone: a function more, or one that only some runs pass, changes nothing
    for the others.
    """
    begun = not FROM
    for site, requests in sites.items():
        begun = begun or site.plain_name == FROM
        if not begun or not site.plain_name.startswith(IN):
            continue
        chance = random.Random(f"{SEED} {site.plain_name}")
        if how_many(chance.randrange(share) > 0, False):
            continue
        allowed = [request for request in requests if request.allowed]
        denied = [request for request in requests if not request.allowed]
        for kind in how_many((chance.choice(KINDS),), KINDS):
            # What would let a denied request pass is looked for with one; what stops a gate, with one that is allowed.
            lets_pass = kind in ("wrong type", "nothing")
            if how_many(True, False):
                yield site, kind, chance.choice((denied if lets_pass else allowed) or requests), True
                continue
            if allowed:
                yield site, kind, chance.choice(allowed), True
            # Each is denied by something else, and one alone may hang on this function; a record is like any other.
            each_counts = lets_pass and not site.plain_name.startswith("chron.")
            meet = denied if each_counts else denied and [chance.choice(denied)]
            for request in meet:
                yield site, kind, request, request is meet[-1]
