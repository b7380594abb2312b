"""WebSocket conformance through a gate: the Autobahn cases as kosoku runs them, let through and refused.

short    247 cases: frames, pings, fragments, UTF-8, closing (1 to 7, 10)
long     all 517: limits and speed (9), compression (12 and 13), too

All have ended as they should, in groups 12 and 13 not all where other work kept the cores busy: each case has a
limit of time of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from support.gate import LiveGate, running
from support.targets import EchoSocket
from support.torture.numbers import how_many, tell

TESTS = Path(__file__).parents[1]
LEFT_OUT = how_many(["9.*", "12.*", "13.*"], [])
CASES = how_many(247, 517)
MOST_S = how_many(300, 14_400)
CONFORMANT = {"OK", "NON-STRICT", "INFORMATIONAL"}

MAPPINGS = {
    "version": 1,
    "rules": [
        {"id": path[1:], "match": {"host": "echo.test", "path": path}, "action": action, "target": "echo.test"}
        for path, action in (("/allowed", "data:read"), ("/denied", "infra:destroy"))
    ],
}


@pytest.fixture
def echo(target_ca: trustme.CA) -> Iterator[EchoSocket]:
    with EchoSocket(target_ca) as target:
        yield target


@pytest.fixture
def gate(tmp_path: Path, echo: EchoSocket, target_ca_pem: Path) -> Iterator[LiveGate]:
    with running(LiveGate(tmp_path, echo, target_ca=target_ca_pem, mappings=MAPPINGS)) as live:
        yield live


def results(gate: LiveGate, echo: EchoSocket, path: str) -> dict[str, tuple[str, str]]:
    """How the messages and the closing of every case went, whose connection came by CONNECT and TLS."""
    arguments = [gate.proxy(), f"{echo.name}:{echo.port}", str(gate.ca), path, *LEFT_OUT]
    done = subprocess.run(
        [sys.executable, "-m", "support.torture.conformance", *arguments],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        timeout=MOST_S,
        check=True,
    )
    return {case: (messages, closing) for case, messages, closing in json.loads(done.stdout)}


# The other passes frames unread, and then it is the target that conforms or does not: of the 247 aiohttp fails case
# 7.9.5, driven directly as well as behind the fast engine.
@pytest.mark.engines("mitmproxy")
def test_an_allowed_websocket_conforms_to_the_standard(gate: LiveGate, echo: EchoSocket) -> None:
    """Whatever the client does with its frames, it is answered as RFC 6455 and RFC 7692 say."""
    found = results(gate, echo, "/allowed")
    assert len(found) == CASES
    assert {case: kinds for case, kinds in found.items() if not {*kinds} <= CONFORMANT} == {}
    assert len(gate.records(outcome="ALLOW")) == len(gate.records("outcome", result="sent")) == CASES
    strict = sum(kinds == ("OK", "OK") for kinds in found.values())
    tell(f"WebSocket conformance: {len(found)} cases, {strict} of them strictly")


def test_a_denied_websocket_carries_nothing(gate: LiveGate, echo: EchoSocket) -> None:
    """Whatever follows a refused upgrade, the target is not even connected to."""
    found = results(gate, echo, "/denied")
    assert len(found) == CASES
    assert {messages for messages, _ in found.values()} == {"ERROR"}
    assert {record["action"] for record in gate.records(outcome="DENY")} == {"infra:destroy"}
    assert len(gate.records(outcome="DENY")) == CASES
    assert (echo.connections, echo.seen) == (0, [])
