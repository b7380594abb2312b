"""What a request of the fast engine leaves behind when its ending fails."""

from pathlib import Path

import pytest

from proxy.fast.exchanging import Serving
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
                (seat,) = engine.crowd._seats
                until(lambda: not seat.served.requests.under_way)
            assert [use[1] for _, use in quotas.uses()] == [0]
            assert client.post(_ASKED, json={"destroy": False}).status_code == 200
        until(lambda: not engine._connections)
        assert not len(engine._exchanges)
        first, second = (gate.outcome_of(decision) for decision in gate.records(path="/runs"))
    assert (first["result"], first["error"]) == ("failed", "the connection ended")
    assert (second["result"], second["status"]) == ("sent", 200)
