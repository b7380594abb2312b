"""Messages of WebSockets that are decided on, without sockets."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

from wsproto.connection import Connection, ConnectionType
from wsproto.events import TextMessage

from proxy.fast.messages import relay_messages
from support.dialogues import Silent, Unread


def serving(said: object) -> Any:
    """What a conversation asks of its request: each message gets this word."""
    limits = SimpleNamespace(message_bytes=2**20)
    requests = SimpleNamespace(judge_message=AsyncMock(return_value=said))
    connection = SimpleNamespace(engine=SimpleNamespace(limits=limits, max_body_bytes=2**20), requests=requests)
    return SimpleNamespace(connection=connection, exchange=SimpleNamespace(request_bytes=0, response_bytes=0))


async def test_who_reads_no_refusals_is_not_read_on() -> None:
    """Each answer is waited for: unread, those to one connection would fill the memory."""
    client = Connection(ConnectionType.CLIENT)
    came = b"".join(client.send(TextMessage("x")) for _ in range(5_000))
    agent, asked = Unread([came]), serving(("denied", "no"))
    relaying = asyncio.ensure_future(relay_messages(asked, agent, Silent(()), frozenset({"mcp"})))
    for _ in range(1_000):
        await asyncio.sleep(0)
    assert asked.connection.requests.judge_message.await_count == 1
    assert 0 < len(agent.sent) < 100
    relaying.cancel()
