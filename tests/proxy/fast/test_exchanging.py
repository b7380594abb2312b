"""Requests of the fast engine of which something fails: no part of one passes for it, and none is left behind."""

from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from proxy.fast.exchanging import Serving
from proxy.fast.http1 import Http1Call
from proxy.fast.http2agents import Http2Call
from support.clients import client_of
from support.gate import LiveGate
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
