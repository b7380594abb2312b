"""What the gate forwards, read by eight servers of other people: they agree with each other, and with the Chron."""

import ssl
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from chron.redact import redacted_path
from mappings.canonical import canonical_target
from proxy.questions import recorded
from support.garden import END_TARGET, READERS, Garden, Reading, disagreements, leaves, refused_by_some
from support.garden.driving import MAPPINGS, PLAIN, SECURE, SKILLS, drive
from support.garden.parsers import PARSERS
from support.garden.recorder import Connection, Recorder
from support.garden.routing import routed_elsewhere
from support.gate import LiveGate
from support.needed import needed
from support.torture.numbers import SEED, how_many, tell

WANTED = how_many(2_000, 100_000)
"""Of requests that are forwarded; for each, another is refused."""
_A_ROUND = 500
_MOST_ROUNDS = 3 * WANTED // _A_ROUND


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What came of all drafts."""

    whole: int
    refused: int
    connections: list[Connection]
    decisions: list[dict[str, Any]]
    outcomes: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def forwarded(tmp_path_factory: pytest.TempPathFactory, target_ca: trustme.CA, target_ca_pem: Path) -> Forwarded:
    """Every draft, through one gate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    target_ca.issue_cert(SECURE).configure_cert(tls)
    with Recorder(tls) as recorder:
        resolve = {
            PLAIN: {"address": f"127.0.0.1:{recorder.port}"},
            SECURE: {"address": f"127.0.0.1:{recorder.secure_port}", "ca": str(target_ca_pem)},
        }
        folder = tmp_path_factory.mktemp("garden-gate")
        with LiveGate(folder, mappings=MAPPINGS, skills=SKILLS, config={"resolve": resolve}) as gate:
            for number in range(_MOST_ROUNDS):
                if recorder.whole < WANTED:
                    drive(gate, _A_ROUND, f"{SEED} {number}")
            refused = len(gate.records(channel="wire")) - len(gate.records(channel="wire", outcome="ALLOW"))
            decisions = gate.records(channel="wire", outcome="ALLOW")
            outcomes = {outcome["ref"]: outcome for outcome in gate.records("outcome")}
    return Forwarded(recorder.whole, refused, recorder.connections, decisions, outcomes)


@pytest.fixture(scope="module")
def readings(forwarded: Forwarded, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, dict[str, Reading]]]:
    """What came on each connection, with what eight readers made of it."""
    node, nginx = needed("node"), needed("nginx")
    with Garden(tmp_path_factory.mktemp("nginx"), node=node, nginx=nginx) as garden:
        return [
            (stream, garden.read(stream, ends=ends))
            for each in forwarded.connections
            for stream, ends in _streams(each.requests)
        ]


def _streams(requests: list[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The requests of a connection, one behind the other, but for those behind which a server may let go.

    Whether it surely does by itself stands beside.
    """
    together = b""
    for request in requests:
        if refused_by_some(request):
            yield request, leaves(request)
            continue
        together += request
        if leaves(request):
            yield together, True
            together = b""
    if together:
        yield together, False


def test_eight_readers_see_the_same_requests(forwarded: Forwarded, readings: Any) -> None:
    """Count, method, host, target and body of every forwarded request are the same to all of them."""
    wrong = [(told, stream) for stream, read in readings if (told := disagreements(read))]
    assert wrong == [], f"seed {SEED}"
    assert {tuple(read) for _, read in readings} == {READERS}
    assert forwarded.whole >= WANTED
    assert forwarded.refused > WANTED // 10, "mutations are meant to be refused as well"
    told = f"{forwarded.whole} forwarded, {forwarded.refused} refused, {len(readings)} streams"
    tell(f"garden: {told}, read by {len(READERS)} readers, 0 disagree")


def test_what_is_cut_off_is_no_request_to_anybody(forwarded: Forwarded) -> None:
    """Bytes behind the last whole request are a beginning that no reader takes for one."""
    assert [connection.fault for connection in forwarded.connections if connection.fault] == []
    for connection in forwarded.connections:
        if connection.rest:
            read = {name: parser(connection.rest) for name, parser in PARSERS.items()}
            assert {name for name, reading in read.items() if reading.requests} == set(), connection.rest


def test_the_log_names_what_was_forwarded(forwarded: Forwarded, readings: Any) -> None:
    """Each forwarded request has a decision with its method, host, path and length; no other says "sent"."""
    reads = [request for _, read in readings for request in read["h11"].requests if request.target != END_TARGET]
    seen = Counter(
        (read.method, read.host, recorded(redacted_path(canonical_target(read.target).path)), len(read.body))
        for read in reads
    )
    sent: Counter[tuple[str, str, str, int]] = Counter()
    broken: Counter[tuple[str, str, str]] = Counter()
    for decision in forwarded.decisions:
        outcome, named = forwarded.outcomes[decision["id"]], (decision["method"], decision["host"], decision["path"])
        if outcome["result"] == "sent":
            sent[*named, outcome["request_bytes"]] += 1
        elif outcome["result"] != "blocked":
            broken[named] += 1
    assert sent - seen == Counter()
    # Of an agent that left in between, as an end of its HTTP/2 connection makes it, a request may have got there.
    assert Counter(key[:3] for key in (seen - sent).elements()) <= broken
    assert broken.total() < sent.total() // 3


def test_every_server_routes_as_we_read(readings: Any) -> None:
    """Path and query are, to those who route by them, what rules saw, or another reading that rules were asked."""
    wrong = [told for _, read in readings for told in routed_elsewhere(read)]
    assert wrong == []
