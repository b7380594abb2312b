"""A CONNECT that passes unread: dialled after its verdict, its TLS hello looked at, its bytes counted.

    CONNECT -> verdict -> dial -> 200 -> hello -> bytes both ways -> end

The agent is told that its tunnel is open when the target has answered the dialling, so a target that cannot be reached
is an answer it can read. Nothing of the agent's reaches the target before its hello has been found to name the host.
"""

import asyncio
import contextlib

from proxy.fast.calls import Broken
from proxy.fast.exchanging import Serving
from proxy.fast.relaying import both
from proxy.fast.streams import Stream
from proxy.fast.targets import Place
from proxy.hellos import HelloRefused, Hellos
from proxy.verdicts import Verdict
from proxy.wire.passing import serialise

_OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_UNRECOGNIZED_NAME = bytes((21, 3, 3, 0, 2, 2, 112))
"""A fatal TLS alert, unrecognized_name (RFC 8446, 6; RFC 6066, 3)."""


class Tunnelling(Serving):
    """Serves one such CONNECT: the whole of what its agent does there is one request."""

    async def _forward(self, verdict: Verdict) -> None:
        if verdict.route is None or verdict.facts is None or verdict.answer is not None:
            raise RuntimeError("no verdict lets this pass")
        self._interruptible = True
        try:
            target = await self._engine.targets.connect(Place(False, verdict.route, ()))
        except Broken as error:
            self._interruptible = False
            await self._tell_failure(verdict, str(error))
            return
        self._engine.answered(self.key)
        agent = self.call.switch()
        self._begun = True
        agent.write(_OPENED)
        request = verdict.facts.request
        tunnel = self._gate.book.mappings.tunnel(request.host, request.port)
        self._interruptible, self._carried = False, target
        await self._carry(agent, target, Hellos(request.host) if tunnel is None or tunnel.tls else None)
        self._carried = None
        target.close()
        self.finish("sent", status=200)

    async def _carry(self, agent: Stream, target: Stream, hellos: Hellos | None) -> None:
        exchange = self.exchange

        async def up() -> None:
            with contextlib.suppress(OSError):
                while data := await agent.read():
                    if allowed := data if hellos is None else hellos.from_agent(data):
                        target.write(exchange.count_request(allowed))
                        await target.drain()
                target.write_eof()
                await asyncio.Event().wait()  # the target may still speak, and its end is the end

        async def down() -> None:
            with contextlib.suppress(OSError):
                while data := await target.read():
                    if late := b"" if hellos is None else hellos.from_target(data):
                        target.write(exchange.count_request(late))
                    agent.write(exchange.count_response(data))
                    await agent.drain()

        try:
            await both(up(), down())
        except HelloRefused as refused:
            agent.write(await self._refuse_hello(refused))

    async def _refuse_hello(self, refused: HelloRefused) -> bytes:
        verdict = await self.connection.requests.refuse_tunnel(self.key, self.exchange, str(refused))
        if refused.tls or verdict.answer is None:
            return _UNRECOGNIZED_NAME
        return serialise(verdict.answer)

    def leave(self) -> None:
        """An agent that sends no more may still be sent something, but waits for no human."""
        self.exchange.leave()
