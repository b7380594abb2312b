"""What the processes of a gate are made of, one by one: frames, sums, sockets, and counts in memory that they share."""

import dataclasses
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwk
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from chron.frames import unpacked
from mappings import Request, load_mappings
from mappings.documents import read_document
from policies import Credential, Question, compile_policies, credential
from proxy.config import Address, JwtIssuer
from proxy.facts import Inbound
from proxy.identity.workload import load_issuers
from proxy.limits import Limits
from proxy.quotas import CONNECTIONS, REQUESTS, TOO_FAST, Quotas
from proxy.wire.sockets import address_of, reserve
from proxy.workers import frames
from proxy.workers.counting import Totals, samples
from proxy.workers.tally import Rows, Tally
from support.identity import AUDIENCE, ISSUER, JWT_IDENTITY, TokenIssuer

TEXT = st.text(max_size=20)
FIELDS = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5).map(tuple)
PLACES = st.none() | st.tuples(TEXT, st.integers(0, 65_535))
OF_INBOUND: dict[str, st.SearchStrategy[Any]] = {
    "method": TEXT, "scheme": TEXT, "target": TEXT, "fields": FIELDS, "client": TEXT, "tunnel": PLACES,
    "sni": st.none() | TEXT, "uri_authority": TEXT, "bodiless": st.booleans(), "listener": TEXT, "fixed": st.booleans(),
    "port": st.none() | st.integers(0, 65_535), "delegated": st.booleans(), "glimpse": st.binary(max_size=20),
}  # fmt: skip
INBOUND = st.builds(Inbound, **OF_INBOUND)
WHO = st.builds(
    Credential, TEXT, TEXT, st.lists(TEXT, max_size=3).map(tuple), st.none() | st.datetimes(timezones=st.just(UTC))
)


@settings(max_examples=30)
@given(inbound=INBOUND, who=WHO)
def test_a_request_is_the_same_on_the_other_side(inbound: Inbound, who: Credential) -> None:
    """Whatever bytes its fields have."""
    sent = frames.packed({"judge": 1, **frames.of_request(inbound, who)})
    assert frames.to_request(unpacked(sent[frames.SIZES_BYTES :])) == (inbound, who)
    # What is added to a request has to cross over as well.
    assert OF_INBOUND.keys() == {each.name for each in dataclasses.fields(Inbound)}


STRANGE: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a field too many": {"inbound": {"method": "GET", "fields": [], "tunnel": None, "admitted": True}, "who": {}},
    "no fields": {"inbound": {"method": "GET"}, "who": {}},
    "fields that are no bytes": {"inbound": {"fields": [["\u0100", ""]], "tunnel": None}, "who": {}},
}


@pytest.mark.parametrize("head", STRANGE.values(), ids=STRANGE)
def test_what_is_no_request_is_none(head: dict[str, Any]) -> None:
    """It raises, and whoever asked gets no verdict."""
    with pytest.raises((ValueError, TypeError, KeyError)):
        frames.to_request(head)


def test_rules_mean_the_same_on_the_other_side() -> None:
    """Mappings that keep answers at hand cross over, and answer alike: what is kept at hand is not theirs."""
    here = load_mappings([])
    asked = {
        "aws": Request("POST", "https", "ec2.eu-west-1.amazonaws.com", 443, "/", (), (), b"Action=TerminateInstances"),
        "github": Request("DELETE", "https", "api.github.com", 443, "/repos/a/b", (), (), b""),
        "nothing": Request("GET", "https", "nowhere.test", 443, "/", (), (), b""),
    }
    found = {name: here.resolve(request) for name, request in asked.items()}  # its catalogues are open from now on
    there = frames.unpickled(frames.pickled(here))
    assert {name: there.resolve(request) for name, request in asked.items()} == found
    assert there.digest == here.digest


POLICIES = {
    "agents": """
version: 1
humans: [{id: bob@acme.test, org: acme, state: active}]
agents:
- {id: bot, anchor: bob@acme.test, org: acme, state: active, skill: s, tokens: [RIGHT]}
- {id: stopped, anchor: bob@acme.test, org: acme, state: suspended, skill: s, tokens: [STOPPED]}
""".replace("RIGHT", credential("", "right").token_sha256).replace("STOPPED", credential("", "stopped").token_sha256),
    "s": "skill: s\nallow: [plain:read]\ndeny: [never:do]\n",
}


def test_policies_decide_alike_on_the_other_side() -> None:
    """Also by what is compared by identity there: that nothing stands against an action."""
    agents, skill = (read_document(text, f"{name}.yaml") for name, text in POLICIES.items())
    here = compile_policies(agents, [skill])
    at = datetime.now(UTC)
    questions = [
        Question(credential(agent, token), action, "in/x", "", at, "127.0.0.1")
        for agent in ("bot", "stopped", "unknown")
        for token in ("right", "stopped")
        for action in ("plain:read", "never:do", "other:read")
    ]
    found = [here.decide(question) for question in questions]
    there = frames.unpickled(frames.pickled(here))
    assert [there.decide(question) for question in questions] == found
    assert [each.outcome.value for each in found[:3]] == ["ALLOW", "DENY", "DENY"]


def test_issuers_are_believed_alike_on_the_other_side(tmp_path: Path) -> None:
    """Keys of every kind cross over, as they are published; OpenSSL's own objects do not."""
    at = datetime.now(UTC)
    keys = {"ES256": jwk.ECKey.generate_key("P-256"), "RS256": jwk.RSAKey.generate_key(2048)}
    keys["Ed25519"] = jwk.OKPKey.generate_key("Ed25519")
    issuer = TokenIssuer(**keys)
    there = frames.unpickled(
        frames.pickled(load_issuers([JwtIssuer(ISSUER, AUDIENCE, issuer.write(tmp_path / "jwks.json"), tuple(keys))]))
    )
    for algorithm in keys:
        proof = there.read(issuer.sign(issuer.claims(at), kid=algorithm, alg=algorithm), at)
        assert getattr(proof, "identity", proof) == JWT_IDENTITY
        other = TokenIssuer(**{algorithm: type(keys[algorithm]).generate_key()})
        forged = other.sign(issuer.claims(at), kid=algorithm, alg=algorithm)
        assert there.read(forged, at) == "workload token not signed by its issuer"


def registry(decided: int, open_: int, *seconds: float) -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("decisions", "Decided.", ("outcome",), registry=made).labels("ALLOW").inc(decided)
    Gauge("open", "Open.", registry=made).set(open_)
    histogram = Histogram("seconds", "Taken.", buckets=(1, 2), registry=made)
    for each in seconds:
        histogram.observe(each)
    return made


def told(text: bytes) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines if "_created" not in name}


def test_metrics_add_up_and_never_go_down() -> None:
    """Counters and histograms of all, also of who is gone, once of who is back; gauges of those that live."""
    totals, first, second = Totals(), samples(registry(3, 2, 0.5)), samples(registry(4, 1, 1.5, 9))
    both = told(totals.text([first, second]))
    assert both == {
        'decisions_total{outcome="ALLOW"}': 7, "open": 3, 'seconds_bucket{le="1.0"}': 1, 'seconds_bucket{le="2.0"}': 2,
        'seconds_bucket{le="+Inf"}': 3, "seconds_count": 3, "seconds_sum": 11,
    }  # fmt: skip
    totals.left("second", second)
    assert told(totals.text([first])) == {**both, "open": 2}
    totals.came("second")
    assert told(totals.text([first, second])) == both
    for number in range(200):
        totals.left(f"gone-{number}", samples(registry(1, 1)))
    assert told(totals.text([first, second]))['decisions_total{outcome="ALLOW"}'] == 207


def test_a_port_that_is_shared_is_nobody_elses() -> None:
    """Each process has a socket of its own at the same port; another gate that would share it is refused."""
    ((first, second, third),) = reserve(Address("127.0.0.1", 0), 3)
    with first, second, third:
        assert len({address_of(each) for each in (first, second, third)}) == 1
        first.listen()
        with pytest.raises(OSError, match="in use"):
            reserve(address_of(first), 2)
        with pytest.raises(OSError, match="in use"):
            reserve(address_of(first), 1)


def test_a_host_with_two_addresses_is_reserved_at_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """As asyncio listens at each."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = [(socket.AF_INET, 0, 0, "", (f"127.0.0.{last}", port)) for last in (1, 2, 2)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    groups = reserve(Address("both.test", port), 2)
    hosts = [[address_of(each).host for each in group] for group in groups]
    for each in (each for group in groups for each in group):
        each.close()
    assert hosts == [["127.0.0.1"] * 2, ["127.0.0.2"] * 2]


LIMITS = Limits(each_agent={"connections": 3, "requests": 4, "requests_per_s": 2, "held_bytes": 2**16})  # type: ignore[arg-type]


def two_workers() -> tuple[Tally, list[Quotas], list[float]]:
    """Quotas of two processes that share what they count, and their clock."""
    tally, at = Tally(2), [100.0]
    rows = Rows().of(["bot", "other"])
    made = []
    for number in range(2):
        column = tally.column(number)
        column.adopt(rows, ())
        made.append(Quotas(LIMITS, lambda: at[0], column))
    return tally, made, at


def test_what_an_agent_has_under_way_counts_together() -> None:
    """Connections, requests and bytes of all workers; another agent's, and what has ended, do not count."""
    _, (one, two), at = two_workers()
    assert [each.connect("bot") for each in (one, two, one, two)] == [None, None, None, CONNECTIONS]
    one.disconnect("bot")
    assert two.connect("bot") is None
    assert two.connect("other") is None
    for each in (one, two, one, two):
        assert each.begin("bot") is None
        at[0] += 1
    assert [each.begin("bot") for each in (one, two)] == [REQUESTS, REQUESTS]
    two.end("bot")
    assert one.begin("bot") is None
    assert one.hold("bot", 2**15)
    assert two.hold("bot", 2**15)
    assert not one.hold("bot", 1)
    two.let_go("bot", 1)
    assert one.hold("bot", 1)


def test_a_rate_counts_together() -> None:
    """As many at once as in a second, whichever worker; then as many as fill up again."""
    _, (one, two), at = two_workers()
    assert [each.begin("bot") for each in (one, two, one)] == [None, None, TOO_FAST]
    at[0] += 0.5
    assert [each.begin("bot") for each in (two, one)] == [None, TOO_FAST]
    at[0] += 60
    assert one.begin("bot") is None


def test_what_a_dead_worker_had_is_free_again() -> None:
    """Its column is cleared; and who takes over other rows tells there what is under way."""
    tally, (one, two), _ = two_workers()
    assert [each.connect("bot") for each in (one, one, two)] == [None, None, None]
    tally.clear(0)
    assert two.connect("bot") is None
    column = two._others
    assert column is not None
    column.adopt({"other": 0, "bot": 1}, two.uses())  # type: ignore[attr-defined]
    assert (column.total("bot", 0), column.total("other", 0)) == (2, 0)


def test_two_processes_read_what_the_other_has_written() -> None:
    """The memory is the same after a fork."""
    tally = Tally(2)
    pid = os.fork()
    if pid == 0:
        tally.write(7, 1, (5, 6, 7))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert [tally.total(7, kind) for kind in range(3)] == [5, 6, 7]


def test_agents_keep_their_rows() -> None:
    """Whoever comes and goes: what is under way is told where it was."""
    rows = Rows()
    first = rows.of(["a", "b"])
    assert rows.of(["c", "b"]) == {**first, "c": 2}


def test_each_worker_has_its_part_of_the_records_of_strangers() -> None:
    """At least one, and in all no fewer than were configured; what a process can carry stays whole."""
    whole = Limits(unproven_records_per_min=7)
    assert whole.divided(2) == whole.model_copy(update={"unproven_records_per_min": 4})
    assert whole.divided(100).unproven_records_per_min == 1
