"""What happens inside the pods of the small Kubernetes API: commands are said back, ports echo.

kubectl exec web-1 -- echo hello        over WebSocket (v5.channel.k8s.io) or SPDY
kubectl port-forward pod/web-1 :80      over SPDY, or SPDY inside a WebSocket
"""

import asyncio
import json
from collections.abc import Callable

from aiohttp import WSMsgType, web

from support.targets.spdy import Spdy

_STDOUT, _ERROR = 1, 3
"""Channels of a command over WebSocket (kubernetes.io, "Streaming protocols of kubectl exec")."""
_SUCCESS = json.dumps({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}).encode()
_TUNNEL = "SPDY/3.1+portforward.k8s.io"


def is_upgrade(request: web.Request) -> bool:
    """Whether the client wants to speak something else than HTTP."""
    return "upgrade" in request.headers.get("connection", "").lower()


async def upgraded(request: web.Request, subresource: str) -> web.StreamResponse:
    """Serve an exec or a port-forward in the protocol that was asked for."""
    if request.headers["upgrade"].lower() == "websocket":
        return await (_exec if subresource == "exec" else _forward)(request)
    protocol = "v4.channel.k8s.io" if subresource == "exec" else "portforward.k8s.io"
    return await _spdy(request, protocol, _commands(request) if subresource == "exec" else _echo())


def _said(request: web.Request) -> bytes:
    return f"ran {' '.join(request.query.getall('command'))}\n".encode()


async def _exec(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
    await socket.prepare(request)
    await socket.send_bytes(bytes([_STDOUT]) + _said(request))
    await socket.send_bytes(bytes([_ERROR]) + _SUCCESS)
    await socket.close()
    return socket


async def _forward(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=[_TUNNEL])
    await socket.prepare(request)
    spdy = _echo()
    async for message in socket:
        if message.type == WSMsgType.BINARY and (sent := spdy.receive(message.data)):
            await socket.send_bytes(sent)
    return socket


def _commands(request: web.Request) -> Spdy:
    """Without stdin and terminal kubectl opens error, stdout and stderr, in this order."""
    opened: list[int] = []

    def on_open(stream: int) -> None:
        opened.append(stream)
        if len(opened) == 3:
            spdy.data(opened[1], _said(request), end=True)
            spdy.data(opened[2], b"", end=True)
            spdy.data(opened[0], _SUCCESS, end=True)

    spdy = Spdy(on_open, lambda *_: None)
    return spdy


def _echo() -> Spdy:
    """For each connection kubectl opens an error stream, which it ends at once, and one for the data."""
    errors: list[int] = []

    def on_data(stream: int, data: bytes, end: bool) -> None:
        if end and not data and stream % 4 == 1:
            errors.append(stream)
            return
        spdy.data(stream, data, end=end)
        if end and errors:
            spdy.data(errors.pop(), b"", end=True)

    spdy = Spdy(lambda _: None, on_data)
    return spdy


async def _spdy(request: web.Request, protocol: str, spdy: Spdy) -> web.StreamResponse:
    transport = request.transport
    assert transport is not None
    over = asyncio.get_running_loop().create_future()
    head = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: SPDY/3.1"]
    head.append(f"X-Stream-Protocol-Version: {protocol}")
    transport.write("\r\n".join([*head, "", ""]).encode())
    transport.set_protocol(_Switched(transport, request.protocol, spdy.receive, over))
    await over
    return web.Response()


class _Switched(asyncio.Protocol):
    """Takes a connection over from the web server."""

    def __init__(
        self,
        transport: asyncio.Transport,
        web_server: asyncio.BaseProtocol,
        receive: Callable[[bytes], bytes],
        over: "asyncio.Future[None]",
    ) -> None:
        self._transport, self._web_server, self._receive, self._over = transport, web_server, receive, over

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._receive(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self._web_server.connection_lost(exc)
        if not self._over.done():
            self._over.set_result(None)
