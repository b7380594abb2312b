"""An end that comes by itself: by the gate's clock, without a reload and without a request."""

import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from proxy.serve import Service
from support.clients import client_of
from support.gate import AGENTS, LiveGate, running
from support.rules import ORIGIN_MAPPINGS
from support.targets import Origin

END = datetime(2026, 6, 1, tzinfo=UTC)
EARLY = END - timedelta(microseconds=1)
ENDS = {
    "the agent": ("agents", "agent:deploy-bot -- expired"),
    "the human": ("humans", "anchor:alice@acme.test -- expired"),
}


@pytest.mark.parametrize("way", ["http/1.1", "h2", "without a tunnel"])
@pytest.mark.parametrize(("whose", "reason"), ENDS.values(), ids=ENDS)
def test_a_stream_is_cut_when_the_clock_says_so(
    tmp_path: Path,
    origin: Origin,
    plain_origin: Origin,
    target_ca_pem: Path,
    whose: str,
    reason: str,
    way: str,
) -> None:
    """Not before: while the clock stands just before the end, the stream goes on."""
    clock = [END - timedelta(milliseconds=20)]
    agents = copy.deepcopy(AGENTS)
    agents[whose][0]["expires"] = END.isoformat()
    gate = LiveGate(
        tmp_path / "gate", origin, plain_origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, agents=agents,
        prepare=lambda service: setattr(service.gate, "now", lambda: clock[0]),
    )  # fmt: skip
    with running(gate):
        gate.call(gate.service.reload())  # by this clock the end has not come
        url = f"{(plain_origin if way == 'without a tunnel' else origin).url}/sse"
        with client_of(gate, http2=way == "h2") as client, client.stream("GET", url) as events:
            parts = events.iter_raw()
            assert next(parts) == b"data: first\n\n"
            clock[0] = END
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                next(parts)
        (allowed,) = gate.records()
        assert (allowed["outcome"], allowed["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
        outcome = gate.outcome_of(allowed)
        assert (outcome["result"], outcome["error"]) == ("failed", reason)
        (told,) = gate.records("agent", event="cut")
        assert (told["agent"], told["reason"], told["exchanges"]) == ("deploy-bot", reason, 1)


def test_an_end_that_comes_while_its_streams_are_looked_through_is_not_missed(
    tmp_path: Path, origin: Origin, target_ca_pem: Path
) -> None:
    """A timer may be a moment early: then nothing is refused yet, and the end that comes meanwhile is still awaited."""
    agents = copy.deepcopy(AGENTS)
    agents["agents"][0]["expires"] = END.isoformat()
    clock = [END - timedelta(hours=1)]

    def prepare(service: Service) -> None:
        refusal = service.gate.refusal

        def asked(*question: Any) -> object:
            try:
                return refusal(*question)
            finally:
                if clock[0] == EARLY:
                    clock[0] = END

        service.gate.now, service.gate.refusal = (lambda: clock[0]), asked  # type: ignore[method-assign]

    gate = LiveGate(
        tmp_path / "gate", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS, agents=agents, prepare=prepare
    )
    with running(gate):
        gate.call(gate.service.reload())
        with client_of(gate) as client, client.stream("GET", f"{origin.url}/sse") as events:
            parts = events.iter_raw()
            assert next(parts) == b"data: first\n\n"
            clock[0] = EARLY
            gate.call(gate.service.reload())
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                next(parts)
        (allowed,) = gate.records()
        assert gate.outcome_of(allowed)["error"] == "agent:deploy-bot -- expired"


@pytest.mark.parametrize("version", [False, True], ids=["http/1.1", "h2"])
def test_a_bug_while_looking_closes_the_connection(gate: LiveGate, origin: Origin, version: bool) -> None:
    """What cannot be asked is not allowed to go on, and the next connections are looked through all the same."""
    with client_of(gate, http2=version) as client, client.stream("GET", f"{origin.url}/sse") as events:
        parts = events.iter_raw()
        assert next(parts) == b"data: first\n\n"
        with patch.object(gate.service.gate, "refusal", side_effect=ValueError("planted")):
            gate.call(gate.service.reload())
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                next(parts)
    (allowed,) = gate.records()
    assert (allowed["outcome"], gate.outcome_of(allowed)["result"]) == ("ALLOW", "failed")
    with client_of(gate) as client:
        assert client.get(f"{origin.url}/echo").status_code == 200
