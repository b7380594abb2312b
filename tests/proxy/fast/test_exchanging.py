"""Requests of the fast engine of which something fails: no part of one passes for it, and none is left behind."""

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from time import sleep
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from proxy.fast.calls import Broken
from proxy.fast.exchanging import Serving
from proxy.fast.http1 import Http1Call
from proxy.fast.http2agents import Http2Call
from support.clients import client_of
from support.gate import LiveGate, running
from support.plainserver import serving
from support.raw import authorization, dial
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin
from support.until import until

_ASKED = "https://origin.test/runs"


def _fails(*_: object, **__: object) -> None:
    raise RuntimeError("planted")


@pytest.mark.engines("fast")
def test_an_ending_that_fails_keeps_no_request_under_way(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that stays the agent may make as many requests as before; with its end comes the outcome."""
    with LiveGate(tmp_path, origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS) as gate:
        engine, quotas = gate.service.engine, gate.service.gate.quotas
        with client_of(gate, http2=True) as client:
            with monkeypatch.context() as planted:
                planted.setattr(Serving, "finish", _fails)
                assert client.post(_ASKED, json={"destroy": False}).status_code == 200
                until(lambda: [use[1] for _, use in quotas.uses()] == [0])
            assert client.post(_ASKED, json={"destroy": False}).status_code == 200
        until(lambda: not engine._connections)
        assert not len(engine._exchanges)
        first, second = (gate.outcome_of(decision) for decision in gate.records(path="/runs"))
    assert (first["result"], first["error"]) == ("failed", "the connection ended")
    assert (second["result"], second["status"]) == ("sent", 200)


@pytest.mark.engines("fast")
@pytest.mark.parametrize("path", ["/runs", "/data"], ids=["judged by its body", "passed on as it comes"])
@pytest.mark.parametrize("call", [Http1Call, Http2Call])
def test_a_body_that_is_said_to_end_before_it_does_is_none(
    tmp_path: Path, origin: Origin, target_ca_pem: Path, monkeypatch: pytest.MonkeyPatch, call: type, path: str
) -> None:
    """No target gets a request without the body that its agent has sent."""
    with LiveGate(tmp_path, origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS) as gate:
        monkeypatch.setattr(call, "read", AsyncMock(return_value=None))
        with client_of(gate, http2=call is Http2Call) as client:
            assert client.post(f"https://origin.test{path}", json={"destroy": False}).status_code >= 500
    assert not any(seen.complete for seen in origin.seen)


@pytest.mark.engines("fast")
@pytest.mark.parametrize("status", [b"100", b"103"])
def test_a_target_that_only_ever_says_that_it_will_answer_is_left(tmp_path: Path, status: bytes) -> None:
    """Interim responses are written whether the agent reads them or not; without end they would fill the memory."""
    told = 0

    def speak(connection: socket.socket) -> None:
        nonlocal told
        piece = (b"HTTP/1.1 " + status + b" \r\nLink: </" + b"a" * 1000 + b">\r\n\r\n") * 64
        with suppress(OSError):
            connection.recv(65_536)
            connection.settimeout(20)
            while told < 256 * 2**20:
                connection.sendall(piece)
                told += len(piece)

    with serving(speak) as address:
        config = {"resolve": {"plain.test": {"address": address}}}
        with running(LiveGate(tmp_path, mappings=ORIGIN_MAPPINGS, config=config)) as gate, dial(gate) as raw:
            raw.sendall(b"GET http://plain.test/a HTTP/1.1\r\nHost: plain.test\r\n" + authorization() + b"\r\n")
            until(lambda: gate.records("outcome"))
            (outcome,) = gate.records("outcome")
    assert (outcome["result"], outcome["error"]) == ("failed", "too many interim responses")
    assert told < 256 * 2**20


@pytest.mark.engines("fast")
def test_the_time_for_an_answer_also_ends_what_is_dialled(tmp_path: Path, target_ca_pem: Path) -> None:
    """It is looked at once: what was not given up then would wait for ever."""
    config = {"upstream": {"response_timeout_s": 1, "connect_timeout_s": 60}}
    with serving(lambda connection: connection.recv(1) and sleep(3)) as address:
        config |= {"resolve": {"origin.test": {"address": address, "ca": str(target_ca_pem)}}}
        with running(LiveGate(tmp_path, mappings=ORIGIN_MAPPINGS, config=config)) as gate:
            with client_of(gate) as client:
                answered = client.get("https://origin.test/a")
            (outcome,) = gate.records("outcome")
    assert (answered.status_code, answered.json()["code"]) == (504, "upstream.timeout")
    assert (outcome["result"], outcome["error"]) == ("failed", "connect timeout")


async def test_what_is_dialled_may_be_given_up_again_before_it_is_seen_to_be() -> None:
    """Its time runs out, and its agent is revoked: an error there would leave the other connections as they were."""
    serving: Any = object.__new__(Serving)
    serving._sending = serving._asked = serving._carried = serving._dialling = None
    serving.exchange = SimpleNamespace(timed_out=True)
    dialling = asyncio.ensure_future(serving._in_time(asyncio.Event().wait()))
    await asyncio.sleep(0)
    serving.break_off()
    while not serving._dialling.expired():
        await asyncio.sleep(0)
        serving.break_off()  # whenever it comes
        if serving._dialling is None:
            break
    with pytest.raises(Broken, match="connect timeout"):
        await dialling
