"""GraphQL subscriptions over a WebSocket, by gql: each is decided on by its field, whatever the upgrade may."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.children import child
from support.gate import LiveGate, running
from support.targets.subscriptions import PROTOCOL, Subscriptions

PYTHON = Path(__file__).parents[2] / ".clients/bin/python"
MAPPINGS: dict[str, Any] = {
    "version": 1,
    "bind": [{"host": "graphql.test", "pack": "graphql"}],
    "rules": [
        {
            "id": "socket",
            "match": {"host": "graphql.test", "method": "GET", "path": "/graphql"},
            "action": "health:check",
            "target": "${host}",
        }
    ],
}
SKILLS = {
    "deploy-v2": {"skill": "deploy-v2", "allow": ["health:check", "graphql:subscription.price"]},
    "reader-v1": {"skill": "reader-v1", "allow": ["data:read"]},
}
SUBSCRIBE = """
import asyncio, sys
from gql import Client, gql
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportQueryError

async def main(url, query):
    # aiohttp reads the proxy from its environment only when it is told to.
    waits = {"connect_timeout": 60, "ack_timeout": 60}
    transport = AIOHTTPWebsocketsTransport(url, client_session_args={"trust_env": True}, **waits)
    async with Client(transport=transport) as session:
        try:
            async for result in session.subscribe(gql(query)):
                print(result["price"], flush=True)
        except TransportQueryError as error:
            print(error.errors[0]["message"], error.errors[0]["extensions"]["chron_id"])
            return 1
    return 0

sys.exit(asyncio.run(main(*sys.argv[1:])))
"""


@pytest.fixture
def server(target_ca: trustme.CA) -> Iterator[Subscriptions]:
    with Subscriptions(target_ca) as started:
        yield started


@pytest.fixture
def gate(tmp_path: Path, server: Subscriptions, target_ca_pem: Path) -> Iterator[LiveGate]:
    if not PYTHON.exists():
        pytest.skip('the vendors\' libraries are not here; "make clients" fetches them')
    live = LiveGate(tmp_path / "gate", server, target_ca=target_ca_pem, mappings=MAPPINGS, skills=SKILLS)
    (tmp_path / "gate/wiring").mkdir()
    with running(live):
        yield live


def command(server: Subscriptions, query: str) -> list[str]:
    url = f"{server.url}/graphql".replace("https", "wss")
    return [str(PYTHON), "-c", SUBSCRIBE, url, query]


def test_what_is_subscribed_to_comes_as_it_comes(gate: LiveGate, server: Subscriptions) -> None:
    """The first result arrives while the server still holds the second back."""
    with child(
        *command(server, "subscription { price }"), stdout=subprocess.PIPE, env=gate.environment()
    ) as subscriber:
        try:
            assert subscriber.stdout is not None
            assert subscriber.stdout.readline() == "1\n"
        finally:
            server.release()
        assert subscriber.stdout.read() == "2\n"
    assert subscriber.returncode == 0
    upgrade, allowed = gate.records()
    assert (upgrade["action"], allowed["action"]) == ("health:check", "graphql:subscription.price")
    assert (allowed["outcome"], allowed["reason"]) == ("ALLOW", "skill:deploy-v2 -- action in allow list")
    assert (gate.outcome_of(upgrade)["status"], gate.outcome_of(allowed)["result"]) == (101, "sent")
    assert len(server.subscribed) == 1
    assert PROTOCOL in (server.seen[0].header("sec-websocket-protocol") or "")


def test_another_field_is_refused(gate: LiveGate, server: Subscriptions) -> None:
    """The client raises the protocol's error, with our reason and the record; the server hears nothing of it."""
    ran = subprocess.run(
        command(server, "subscription { salaries }"),
        env=gate.environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    _, denied = gate.records()
    assert ran.returncode == 1, ran.stderr
    assert (denied["outcome"], denied["action"]) == ("DENY", "graphql:subscription.salaries")
    assert ran.stdout.startswith(f"skill:deploy-v2 -- action not in allow list [{denied['id']}]"), ran.stdout
    assert ran.stdout.split()[-1] == denied["id"]
    assert gate.outcome_of(denied)["result"] == "blocked"
    assert server.subscribed == []
