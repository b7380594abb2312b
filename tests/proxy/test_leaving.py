"""What a request and a connection took goes with them, before any collector looks for it."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from mitmproxy import http
from OpenSSL import SSL

from mappings.reading import Reading
from mappings.request import Request
from proxy.facts import Facts
from proxy.fast.connection import AgentConnection
from proxy.fast.http2agents import Http2Agent
from proxy.fast.http2targets import Http2Target
from proxy.fast.streams import Secure, Tcp
from proxy.fast.tls import Tls
from proxy.mitm import connection as mitm
from proxy.mitm import trailers
from proxy.mitm.leaving import Left
from proxy.verdicts import Verdict
from support.clients import client_of
from support.gate import TOKEN, LiveGate, running
from support.load import KINDS, exchange, run_load, tunnel_to
from support.raw import read_all
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.until import until

OF_A_REQUEST = (http.HTTPFlow, Facts, Verdict, Request, Reading)
REQUESTS = 30
OF_A_CONNECTION = (*OF_A_REQUEST, SSL.Connection, AgentConnection, Http2Agent, Http2Target, Secure, Tcp, Tls)
AT_MOST = 2
"""Of a connection that is open: its CONNECT, and a request that is just ending."""


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[LiveGate]:
    """A gate that has made what it makes at first use; from here on only references that end free anything."""
    live = LiveGate(tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS)
    with running(live):
        run_load(address(live), str(live.ca), 8)
        live.settle()
        until(lambda: not live.service.engine._connections)
        gc.collect()
        gc.freeze()  # what is there already is not counted, and takes no time to look through
        gc.disable()
        try:
            yield live
        finally:
            gc.enable()
            gc.unfreeze()


def address(gate: LiveGate) -> str:
    return str(gate.service.proxy_address)


def kept(*kinds: type) -> Counter[str]:
    """How many objects of each kind there are, reachable or not."""
    return Counter(type(each).__name__ for each in gc.get_objects() if type(each) in kinds)


def test_a_request_that_has_ended_keeps_nothing(gate: LiveGate) -> None:
    """Its flow, its facts with the body, its verdict: on a connection that stays they are gone with the answer."""
    before = kept(*OF_A_REQUEST)
    with tunnel_to(address(gate), str(gate.ca), "deploy-bot", TOKEN) as raw:
        for request, right in list(KINDS.values()) * 5:
            assert exchange(raw, request) in right
        gate.settle()
        until(lambda: max((kept(*OF_A_REQUEST) - before).values(), default=0) <= AT_MOST)


def test_a_stream_of_http2_that_has_ended_keeps_nothing(gate: LiveGate) -> None:
    """The same with many requests on one connection of HTTP/2."""
    before = kept(*OF_A_REQUEST)
    with client_of(gate, http2=True) as client:
        for number in range(REQUESTS):
            sent = client.post("https://origin.test/runs", json={"destroy": number % 2 == 0})
            assert (sent.status_code, sent.http_version) == (403 if number % 2 == 0 else 200, "HTTP/2")
        gate.settle()
        until(lambda: max((kept(*OF_A_REQUEST) - before).values(), default=0) <= AT_MOST)


def test_a_connection_that_has_ended_keeps_no_tls(gate: LiveGate) -> None:
    """The TLS state towards the agent and towards the target, and the flow of the CONNECT, are gone with it."""
    before = kept(*OF_A_CONNECTION)
    assert run_load(address(gate), str(gate.ca), REQUESTS, per_connection=3).wrong == []
    until(lambda: kept(*OF_A_CONNECTION) <= before)  # what earlier tests left may go meanwhile


def test_an_agent_that_leaves_in_the_middle_leaves_no_tls(gate: LiveGate, origin: Origin) -> None:
    """The same when its request is still at the target."""
    before = kept(*OF_A_CONNECTION)
    for count in range(1, 4):
        with tunnel_to(address(gate), str(gate.ca), "deploy-bot", TOKEN) as raw:
            raw.sendall(b"GET /slow HTTP/1.1\r\nHost: origin.test\r\n\r\n")
            until(lambda count=count: sum(seen.path == "/slow" for seen in origin.seen) == count)  # type: ignore[misc]
    until(lambda: kept(*OF_A_CONNECTION) <= before)  # what earlier tests left may go meanwhile


@pytest.mark.engines("mitmproxy")
@pytest.mark.parametrize("fails", ["", "AgentConnection._finish", "GatheringWriter.flush"])
def test_what_was_allowed_when_its_agent_had_gone_ends(
    gate: LiveGate, origin: Origin, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the layers broke off and never heard of the end: nothing is dialled, the decision has its outcome, and
    what the connection took is let go, also where its ending fails, or what was still to be sent.
    """
    ones: list[mitm.AgentConnection] = []
    judged, release = mitm.AgentConnection._judged, mitm.AgentConnection.release
    released = asyncio.Event()

    async def judged_late(one: mitm.AgentConnection, *arguments: Any) -> Verdict:
        verdict = await judged(one, *arguments)
        await released.wait()
        ones.append(one)
        return verdict

    def released_now(one: mitm.AgentConnection) -> None:
        try:
            release(one)
        finally:
            released.set()

    with tunnel_to(address(gate), str(gate.ca), "deploy-bot", TOKEN) as raw:
        # An answer first: what makes a tunnel goes on in the gate when the agent has its half of it.
        request, right = KINDS["denied"]
        assert exchange(raw, request) in right
        gate.settle()
        monkeypatch.setattr(mitm.AgentConnection, "release", released_now)
        monkeypatch.setattr(mitm.AgentConnection, "_judged", judged_late)
        monkeypatch.setattr(trailers, "SetAside", Mock(side_effect=asyncio.CancelledError("planted")))
        if fails:
            monkeypatch.setattr(f"proxy.mitm.connection.{fails}", Mock(side_effect=RuntimeError("planted")))
        raw.sendall(b"GET /late HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        assert read_all(raw) == b""
    until(lambda: ones and isinstance(ones[0].layer, Left) and ones[0]._broken is None)
    (decision,) = gate.records(path="/late")
    assert (decision["outcome"], gate.outcome_of(decision)["result"]) == ("ALLOW", "failed")
    assert "/late" not in [seen.path for seen in origin.seen]
