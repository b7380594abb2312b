"""A GraphQL server that streams: any subscription gets two results, the second after `release()`, and its end.

It speaks graphql-transport-ws (the enisdenjo/graphql-ws project, PROTOCOL.md) and knows one field by whatever name.
"""

import asyncio
import json
from typing import Any

from aiohttp import web

from support.targets.base import Seen, Target

PROTOCOL = "graphql-transport-ws"


class Subscriptions(Target):
    NAMES = ("graphql.test",)

    async def on_start(self) -> None:
        self._released = asyncio.Event()
        self.subscribed: list[str] = []
        """The queries that arrived."""

    async def on_stop(self) -> None:
        self._released.set()

    def release(self) -> None:
        """Send what comes second."""
        self.submit(self._released.set)

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=[PROTOCOL])
        await socket.prepare(request)
        async for message in socket:
            said: dict[str, Any] = json.loads(message.data)
            match said["type"]:
                case "connection_init":
                    await socket.send_json({"type": "connection_ack"})
                case "subscribe":
                    self.subscribed.append(said["payload"]["query"])
                    await self._stream(socket, said["id"])
        return socket

    async def _stream(self, socket: web.WebSocketResponse, name: str) -> None:
        await socket.send_json({"type": "next", "id": name, "payload": {"data": {"price": 1}}})
        await self._released.wait()
        await socket.send_json({"type": "next", "id": name, "payload": {"data": {"price": 2}}})
        await socket.send_json({"type": "complete", "id": name})
