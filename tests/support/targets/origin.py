"""A plain web server with the awkward habits that a proxy must stand.

ANY  /echo            the request as JSON
GET  /sse             an event at once, the last one only after `release()`
GET  /download?mb=N   N MiB, made as they are sent; &chunked=1 without a Content-Length
ANY  /upload          {"bytes": n, "sha256": "..."}, counted as it arrives
GET  /ws              a WebSocket that says back what it hears; /mcp and /graphql are the same
ANY  /status/NNN      that status, with a small body where the status has one
GET  /slow            nothing at all until `release()`, then 200
ANY  /reset           the connection is cut without an answer
GET  /truncated       promises 1000 bytes, sends 10 and cuts the connection
"""

import asyncio

from aiohttp import WSMsgType, web

from support.targets.base import Seen, Target, read_body

CHUNK = bytes(range(256)) * 256  # 64 KiB


class Origin(Target):
    NAMES = ("origin.test", "api.origin.test", "other.test")

    async def on_start(self) -> None:
        self._released = asyncio.Event()
        self.heard: list[str | bytes] = []
        """Every WebSocket message that arrived."""

    async def on_stop(self) -> None:
        self._released.set()

    def release(self) -> None:
        """Let /sse send its last event and /slow answer; both stay released until `hold()`."""
        self.submit(self._released.set)

    def hold(self) -> None:
        """Make the next /sse and /slow wait again."""
        self.submit(self._released.clear)

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        match request.path.strip("/").split("/"):
            case ["sse"]:
                return await self._sse(request)
            case ["download"]:
                return await self._download(request)
            case ["upload"]:
                await read_body(request, seen)
                return web.json_response({"bytes": seen.body_bytes, "sha256": seen.body_sha256})
            case ["ws" | "mcp" | "graphql"] if "upgrade" in request.headers:
                return await self._websocket(request)
            case ["status", code]:
                await read_body(request, seen)
                return web.Response(status=int(code), text=None if code in ("204", "304") else f"status {code}\n")
            case ["slow"]:
                await self._released.wait()
                return web.Response(text="at last\n")
            case ["reset"]:
                return self._cut(request, web.Response())
            case ["truncated"]:
                return await self._truncated(request)
            case _:
                return await self._echo(request, seen)

    async def _echo(self, request: web.Request, seen: Seen) -> web.Response:
        body = await read_body(request, seen)
        return web.json_response(
            {
                "method": seen.method,
                "path": seen.path,
                "headers": [list(header) for header in seen.headers],
                "body": body.decode("latin-1"),
            }
        )

    async def _sse(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self._released.wait()
        await response.write(b"data: last\n\n")
        await response.write_eof()
        return response

    async def _download(self, request: web.Request) -> web.StreamResponse:
        mb = int(request.query["mb"])
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        if "chunked" not in request.query:
            response.content_length = mb * 2**20
        await response.prepare(request)
        for _ in range(mb * 2**20 // len(CHUNK)):
            await response.write(CHUNK)
        await response.write_eof()
        return response

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        offered = request.headers.get("sec-websocket-protocol", "")
        socket = web.WebSocketResponse(autoclose=True, protocols=tuple(filter(None, offered.split(", "))))
        await socket.prepare(request)
        async for message in socket:
            self.heard.append(message.data)
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket

    async def _truncated(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1000
        await response.prepare(request)
        await response.write(b"0123456789")
        return self._cut(request, response)

    @staticmethod
    def _cut[R: web.StreamResponse](request: web.Request, response: R) -> R:
        assert request.transport is not None
        # close, not abort: what was written before is still delivered, and no answer follows it.
        request.transport.close()
        return response
