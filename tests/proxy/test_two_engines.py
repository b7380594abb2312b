"""The same bytes through both engines, to one origin: the same decision, the same request there, the same record.

What is different all the same stands in a table of docs/why/014-two-engines.md, under a name by which a difference is
known here. One that has no name fails, and so does a name that nothing shows any more.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import trustme

from support.beside import DIFFERENCES, Beside, explained
from support.beside.sources import of_clients, of_the_corpus, of_the_garden, of_the_table, showing
from support.beside.streams import Stream
from support.beside.told import Told
from support.desync import CASES
from support.torture.numbers import SEED, TORTURE, how_many, tell

PAGE = Path(__file__).parents[2] / "docs" / "why" / "014-two-engines.md"
WANTED = how_many(250, 25_000)
"""Of mutated requests."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, target_ca: trustme.CA) -> Iterator[Beside]:
    """The two gates."""
    with Beside(tmp_path_factory.mktemp("beside"), target_ca) as gates:
        yield gates


def played(both: Beside, streams: Iterable[Stream]) -> tuple[list[Told], Counter[str]]:
    """Send streams through both: what came of them with mitmproxy's, and how often which difference was seen."""
    seen: Counter[str] = Counter()
    new, found = {}, []
    for stream, mitmproxy, fast in both.played(streams):
        names, left = explained(stream, mitmproxy, fast)
        seen.update(names)
        found.append(mitmproxy)
        if left:
            new[stream.title] = (stream.payload[:2000], left)
    assert new == {}, "a difference between the engines that docs/why/014-two-engines.md does not explain"
    return found, seen


def test_requests_of_real_clients_are_the_same(both: Beside) -> None:
    """curl, git, kubectl, terraform, gh, Go, Node, requests, httpx, boto3 and aws, as they were recorded."""
    found, seen = played(both, of_clients())
    assert set(seen) <= {"connection", "expect", "version"}
    assert all(exchange.allowed or exchange.rows[0]["outcome"] == "DENY" for told in found for exchange in told)
    requests = [exchange for told in found for exchange in told]
    assert sum(exchange.allowed and exchange.arrived is not None for exchange in requests) > len(requests) // 2
    tell(f"two engines: {len(requests)} requests of clients, {dict(seen)}")


def test_mutated_requests_are_the_same(both: Beside) -> None:
    """In the clear, in a tunnel, in TLS and by HTTP/2, several on a connection."""
    found, seen = played(both, of_the_garden(SEED, WANTED))
    requests = [exchange for told in found for exchange in told]
    forwarded = sum(exchange.arrived is not None for exchange in requests)
    assert forwarded > WANTED // 4
    tell(f"two engines: {len(found)} streams, {len(requests)} requests, {forwarded} forwarded, {dict(seen)}")


def test_a_long_body_is_recorded_alike(both: Beside) -> None:
    """Of one that is longer than what is read, the same beginning is judged, whatever the pieces in which it comes."""
    played(both, (stream for stream in of_the_table() if stream.title.startswith("attack B43 ")))


@pytest.mark.skipif(not TORTURE, reason="a minute: every attack is made on both engines by tests/attacks already")
def test_attacks_are_the_same(both: Beside) -> None:
    """Every row of the table."""
    found, seen = played(both, of_the_table())
    tell(f"two engines: {len(found)} attacks, {dict(seen)}")


# The corpus is others' and not shipped; the run that has it (.ci/run) names its folder.
@pytest.mark.skipif(not CASES, reason="CLAIIM_CORPORA names no folder with the corpus")
def test_framing_of_others_is_the_same(both: Beside) -> None:
    """The corpus that CLAIIM_CORPORA names."""
    found, seen = played(both, of_the_corpus())
    tell(f"two engines: {len(found)} framing cases, {dict(seen)}")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_that_is_explained_is_there(both: Beside, name: str) -> None:
    """Each has a stream that shows it, so that none outlives what it explains."""
    _, seen = played(both, [showing(name)])
    assert seen[name] == 1


def test_every_difference_stands_in_the_note() -> None:
    """The table and the tests know the same names."""
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert listed == list(DIFFERENCES)
