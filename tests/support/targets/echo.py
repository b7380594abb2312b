"""A WebSocket server that says back what it hears, of any length, compressed where the client asks for it."""

from aiohttp import WSMsgType, web

from support.targets.base import Seen, Target


class EchoSocket(Target):
    NAMES = ("echo.test",)

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            if message.type == WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket
