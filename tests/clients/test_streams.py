"""Exchanges that go on: server-sent events and WebSockets, decided once at their beginning."""

import subprocess
import sys

import pytest

import chron
from clients.conftest import Behind
from clients.tools import NOT_ALLOWED, ByEnvironment, in_both_ways
from support.children import child
from support.needed import needed
from support.targets import Origin

WEBSOCKET = """
import asyncio, sys
import aiohttp

async def main(url):
    # trust_env: aiohttp reads the proxy from its environment only when it is told to.
    async with aiohttp.ClientSession(trust_env=True) as session:
        try:
            async with session.ws_connect(url) as socket:
                for text in ("ping", "pong!"):
                    await socket.send_str(text)
                    print(await socket.receive_str())
                await socket.send_bytes(bytes(70_000))
                print(len(await socket.receive_bytes()))
        except aiohttp.WSServerHandshakeError as error:
            print(error.status, error.headers["x-chron-id"])
            return 1
    return 0

sys.exit(asyncio.run(main(sys.argv[1])))
"""


@pytest.mark.parametrize("version", ["http1.1", "http2"])
def test_events_pass_as_they_come(behind: Behind, origin: Origin, version: str) -> None:
    """The first event arrives while the target still holds the last one back."""
    gated = behind(origin)
    assert isinstance(gated, ByEnvironment)
    command = [needed("curl"), "-sS", "-N", f"--{version}", f"{origin.url}/sse"]
    with child(*command, stdout=subprocess.PIPE, env=gated.environment()) as curl:
        try:
            assert curl.stdout is not None
            assert curl.stdout.readline() == "data: first\n"
            (decision,) = chron.find(gated.live.config.chron, kind="decision")
            assert not list(chron.find(gated.live.config.chron, kind="outcome")), "it has not ended"
        finally:
            origin.release()
        assert curl.stdout.read() == "\ndata: last\n\n"
    assert curl.returncode == 0
    allowed = gated.only()
    assert allowed["id"] == decision.id
    assert (allowed["outcome"], allowed["action"]) == ("ALLOW", "data:read")
    assert allowed["reason"] == "skill:deploy-v2 -- action in allow list"
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["response_bytes"]) == ("sent", len("data: first\n\ndata: last\n\n"))


@in_both_ways
def test_a_websocket_is_decided_at_its_upgrade(behind: Behind, origin: Origin) -> None:
    """Once allowed it carries both ways, and the outcome counts what it carried."""
    gated = behind(origin)
    ran = gated.run(sys.executable, "-c", WEBSOCKET, f"{origin.url}/ws".replace("https", "wss"))
    assert (ran.code, ran.out.split()) == (0, ["ping", "pong!", "70000"]), ran.said
    allowed = gated.only()
    assert (allowed["outcome"], allowed["action"], allowed["target"]) == ("ALLOW", "data:read", "origin.test/ws")
    assert allowed["reason"] == "skill:deploy-v2 -- action in allow list"
    carried = len("ping") + len("pong!") + 70_000
    outcome = gated.outcome_of(allowed)
    assert (outcome["result"], outcome["status"]) == ("sent", 101)
    # One of the engines passes frames unread, and counts them with their heads: three messages and the closing.
    heads = (6 + 6 + 14 + 8, 2 + 2 + 10 + 4) if allowed.get("engine", gated.live.engine_name) == "fast" else (0, 0)
    assert (outcome["request_bytes"], outcome["response_bytes"]) == (carried + heads[0], carried + heads[1])
    assert len(origin.seen) == 1


def test_a_denied_websocket_is_never_opened(behind: Behind, origin: Origin) -> None:
    """The upgrade is answered 403 with the record; the target is not even connected to."""
    gated = behind(origin)
    ran = gated.run(sys.executable, "-c", WEBSOCKET, "wss://other.test/ws")
    denied = gated.only()
    assert (ran.code, ran.out.split()) == (1, ["403", denied["id"]]), ran.said
    assert (denied["outcome"], denied["action"]) == ("DENY", "secret:read")
    assert denied["reason"] == f"skill:deploy-v2 -- {NOT_ALLOWED}"
    assert (gated.outcome_of(denied)["status"], origin.connections) == (403, 0)
