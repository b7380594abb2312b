"""What happens inside the pods of the small Kubernetes API: commands are said back, ports echo.

kubectl exec web-1 -- echo hello        over WebSocket (v5.channel.k8s.io) or SPDY
kubectl attach web-1                    the same, of what runs there already
kubectl cp web-1:/path/file file        the same: `tar` and `test` run for real, and their files are this machine's
kubectl port-forward pod/web-1 :80      over SPDY, or SPDY inside a WebSocket
"""

import asyncio
import json
import subprocess
from collections.abc import Callable

from aiohttp import WSMsgType, web

from support.targets.spdy import Spdy

_STDIN, _STDOUT, _ERROR, _CLOSE = 0, 1, 3, 255
"""Channels of a command over WebSocket (k8s.io/apimachinery, `remotecommand` constants); the last ends another."""
STREAMED = ("exec", "attach", "portforward")
"""The subresources of a pod that begin with an upgrade."""
SAID = "said by what runs in the pod\n"
_TUNNEL = "SPDY/3.1+portforward.k8s.io"


def is_upgrade(request: web.Request) -> bool:
    """Whether the client wants to speak something else than HTTP."""
    return "upgrade" in request.headers.get("connection", "").lower()


async def upgraded(request: web.Request, subresource: str) -> web.StreamResponse:
    """Serve an exec, an attach or a port-forward in the protocol that was asked for."""
    if request.headers["upgrade"].lower() == "websocket":
        return await (_forward if subresource == "portforward" else _command)(request)
    if subresource == "portforward":
        return await _spdy(request, "portforward.k8s.io", _echo())
    return await _spdy(request, "v4.channel.k8s.io", _commands(request))


def _ran(request: web.Request, stdin: bytes) -> tuple[bytes, bytes]:
    """What a command prints, and the Status it ends with; it may block."""
    command = request.query.getall("command", [])
    if not command:
        return SAID.encode(), _status(0)
    if command[0] not in ("tar", "test"):
        return f"ran {' '.join(command)}\n".encode(), _status(0)
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    return done.stdout, _status(done.returncode)


def _status(code: int) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure" if code else "Success"}
    if code:
        cause = {"reason": "ExitCode", "message": str(code)}
        status |= {"reason": "NonZeroExitCode", "message": f"exit code {code}", "details": {"causes": [cause]}}
    return json.dumps(status).encode()


def _has_stdin(request: web.Request) -> bool:
    return request.query.get("stdin") == "true"


async def _command(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(protocols=["v5.channel.k8s.io"])
    await socket.prepare(request)
    stdin = b""
    if _has_stdin(request):
        async for message in socket:
            if message.data == bytes([_CLOSE, _STDIN]):
                break
            assert message.data[0] == _STDIN
            stdin += message.data[1:]
    out, status = _ran(request, stdin)
    await socket.send_bytes(bytes([_STDOUT]) + out)
    await socket.send_bytes(bytes([_ERROR]) + status)
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
    """Without a terminal kubectl opens error, stdin where it has any, stdout and stderr, in this order."""
    opened: list[int] = []
    stdin = bytearray()

    def run() -> None:
        out, status = _ran(request, bytes(stdin))
        spdy.data(opened[-2], out, end=True)
        spdy.data(opened[-1], b"", end=True)
        spdy.data(opened[0], status, end=True)

    def on_open(stream: int) -> None:
        opened.append(stream)
        if len(opened) == 3 and not _has_stdin(request):
            run()

    def on_data(stream: int, data: bytes, end: bool) -> None:
        if _has_stdin(request) and stream == opened[1]:
            stdin.extend(data)
            if end:
                run()

    spdy = Spdy(on_open, on_data)
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
