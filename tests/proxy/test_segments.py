"""What goes on for long shows before it ends, and what a crash cut off is listed."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from support.clients import client_of
from support.gate import LiveGate
from support.rules import ORIGIN_MAPPINGS
from support.serving import Serving, in_thread
from support.targets import Origin
from support.waiting import WaitingGate, waiting_gate

SEGMENT_S = 300
"""As configured by default."""


@pytest.fixture
def gate(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> Iterator[WaitingGate]:
    """A gate whose clock is the test's."""
    with waiting_gate(tmp_path / "gate", origin, target_ca=target_ca_pem) as live:
        yield live


def test_a_long_stream_is_told_of_while_it_lasts(gate: WaitingGate, origin: Origin) -> None:
    """Every five minutes a segment says how far it is; its end has an outcome as ever, and no segment follows it."""
    with client_of(gate) as client, client.stream("GET", "https://origin.test/sse") as response:
        lines = response.iter_lines()
        assert next(lines) == "data: first"
        gate.clock.wait_timers(SEGMENT_S, 1)
        for _ in range(2):
            gate.pass_(SEGMENT_S)
        origin.release()
        assert "data: last" in list(lines)
    (decision,) = gate.records()
    segments = gate.records("segment", ref=decision["id"])
    assert [segment["response_bytes"] for segment in segments] == [len("data: first\n\n")] * 2
    assert segments[0]["duration_us"] < segments[1]["duration_us"]
    assert gate.outcome_of(decision)["result"] == "sent"
    gate.clock.wait_timers(SEGMENT_S, 0)
    gate.pass_(SEGMENT_S)
    assert len(gate.records("segment")) == 2


def test_an_exchange_that_ends_at_once_has_no_segment(gate: WaitingGate) -> None:
    """Most requests are over before there is anything to tell."""
    with client_of(gate) as client:
        assert client.get("https://origin.test/echo").status_code == 200
    assert len(gate.records()) == 1
    gate.clock.wait_timers(SEGMENT_S, 0)
    assert gate.records("segment") == []


def indoubt(folder: Path, *arguments: str) -> Result:
    """Run the command on the Chron of a site, without its configuration."""
    result = CliRunner().invoke(main, ["chron", "indoubt", "--chron", str(folder / "state/chron.db"), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def test_what_a_killed_gate_left_is_listed(tmp_path: Path, origin: Origin, target_ca_pem: Path) -> None:
    """Under way and after kill -9 it is open, after the next start in doubt; who, for whom and what is told."""
    site = LiveGate(tmp_path / "site", origin, target_ca=target_ca_pem, mappings=ORIGIN_MAPPINGS).folder
    with Serving(site) as gate, gate.client() as client:
        assert indoubt(site).output == "every decision about a request has its outcome\n"
        assert indoubt(site).exit_code == 0
        with in_thread(lambda: client.get("https://origin.test/slow")):
            origin.wait_seen(1)
            assert indoubt(site).exit_code == 1
            gate.signal(signal.SIGKILL)
            assert gate.wait_exit() == -signal.SIGKILL
    left = json.loads(indoubt(site, "--json").output)
    (decision,) = gate.records()
    whom = {"agent": "deploy-bot", "anchor": "alice@acme.test", "action": "data:read", "target": "origin.test/slow"}
    at = {"id": decision["id"], "ts": decision["ts"], "host": "origin.test"}
    assert left == {"state": "open", **at, **whom, "segment": None}
    with Serving(site):
        pass
    found = indoubt(site)
    assert found.exit_code == 1
    assert "in doubt  deploy-bot <- alice@acme.test  data:read on origin.test/slow" in found.output
    assert json.loads(indoubt(site, "--json").output) == {**left, "state": "in doubt"}
