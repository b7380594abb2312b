"""A connection before its first request: TLS with the gate and SOCKS, as far as its listener speaks them.

Whatever goes wrong here ends the connection with nothing forwarded. What the agent did wrong is recorded and, where it
can be read, answered.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import assert_never, cast

from OpenSSL import SSL

from mappings import Problem
from policies import Credential
from proxy.config import ListenerConfig
from proxy.facts import Inbound
from proxy.identity import NOBODY, ClientCertificate, Unproven
from proxy.pipeline import Gate
from proxy.verdicts import Head, Verdict
from proxy.wire import socks
from proxy.wire.arrivals import Arrival, Tunnel, fixed_tunnel
from proxy.wire.listener import NoTls, SecuredStream
from proxy.wire.passing import serialise
from proxy.wire.redirected import original_destination


class Entrance:
    """What one connection goes through before it is served."""

    def __init__(
        self,
        gate: Gate,
        listener: ListenerConfig | None,
        context: SSL.Context | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        begin: Callable[[str], Problem | None],
    ) -> None:
        self.reader, self.writer = reader, writer
        self.socket = writer
        """The connection's own, below any TLS."""
        self._gate = gate
        self._begin = begin
        """Counts a request of an agent; the problem if it is one too many."""
        self._listener = listener
        self._secured = SecuredStream(context, reader, writer) if context is not None else None
        if self._secured is not None:
            # One object is both to the engine, which only reads, writes, waits and closes.
            self.reader = cast(asyncio.StreamReader, self._secured)
            self.writer = cast(asyncio.StreamWriter, self._secured)
        self.client = str(writer.get_extra_info("peername")[0])
        self._certificate: ClientCertificate | None = None
        self._asked: socks.Asked | None = None

    async def shake_hands(self) -> None:
        """Hear who comes and where to. Raises NoTls, NoSocks, or OSError when the agent went away."""
        if self._secured is not None:
            self._certificate = await self._secured.handshake()
        if self._listener is not None and self._listener.mode == "socks5":
            self._asked = await socks.read_request(self.reader, self.writer.write)

    async def arrive(self) -> Arrival | None:
        """What is known of the connection; None when it leads nowhere, which is recorded and answered."""
        listener = self._listener
        if listener is None:
            return self._arrival(None)
        match listener.mode:
            case "proxy":
                return self._arrival(None)
            case "reverse":
                return self._arrival(fixed_tunnel(listener))
            case "socks5":
                tunnel = await self._opened()
                return self._arrival(tunnel) if tunnel else None
            case "transparent":
                redirected = await self._redirected()
                return replace(self._arrival(None), redirected=redirected) if redirected else None
            case _:
                assert_never(listener.mode)

    def _arrival(self, tunnel: Tunnel | None) -> Arrival:
        return Arrival(self._listener, self._certificate, tunnel)

    async def refuse(self, failed: NoTls | socks.NoSocks) -> None:
        """Record a connection that came to nothing because of what the agent sent, and answer it."""
        try:
            if isinstance(failed, NoTls):
                await self._refuse_no_tls(failed)
            else:
                await self._refuse_no_socks(failed)
        finally:
            self.writer.close()

    async def _refuse_no_tls(self, failed: NoTls) -> None:
        problem = Unproven("wire.tls", f"wire -- no TLS with the gate: {failed}")
        verdict = await self._gate.judge(self._gate.malformed_head(self._inbound("", ""), NOBODY, problem), None)
        if failed.plain and verdict.answer is not None and self._secured is not None:
            self._secured.answer_plainly(serialise(verdict.answer))

    async def _redirected(self) -> tuple[str, int] | None:
        """Where the connection was going; None when nobody redirected it, which is recorded."""
        found = original_destination(self.writer.get_extra_info("socket"))
        if found is None:
            problem = Unproven("wire.redirect", "wire -- no redirect led here; this listener is nobody's proxy")
            await self._gate.judge(self._gate.malformed_head(self._inbound("", ""), NOBODY, problem), None)
            self.writer.close()
        return found

    # --- SOCKS ---------------------------------------------------------------------------------------

    async def _refuse_no_socks(self, failed: socks.NoSocks) -> None:
        asked = failed.asked
        problem: Problem = Unproven("wire.socks", f"wire -- no SOCKS with the gate: {failed}")
        who: Credential | Unproven = NOBODY
        if asked is not None:
            who = self._who(asked.presented)
            problem = who if isinstance(who, Unproven) else Problem("wire.socks", str(failed))
        inbound = self._inbound("", asked.authority if asked else "")
        head = self._gate.malformed_head(inbound, NOBODY if isinstance(who, Unproven) else who, problem)
        await self._gate.judge(head, None)
        self.writer.write(failed.answer)

    async def _opened(self) -> Tunnel | None:
        """The tunnel that was asked for, decided on as a CONNECT is; None when it was refused."""
        asked = self._asked
        if asked is None:
            raise RuntimeError("nothing was asked for yet")
        who = self._who(asked.presented)
        opened = await self._gate.open_tunnel(self._inbound("CONNECT", asked.authority), who, asked.authority)
        unread: tuple[Head, Verdict] | None = None
        if isinstance(opened, Head) and opened.facts is not None:
            request, verdict = opened.facts.request, await self._judge_unread(opened)
            unread, opened = (opened, verdict), (request.host, request.port) if verdict.answer is None else verdict
        if not isinstance(opened, tuple) or isinstance(who, Unproven):
            # SOCKS has no words for why; the record has.
            self.writer.write(socks.answer(socks.NOT_ALLOWED))
            self.writer.close()
            return None
        self.writer.write(socks.answer(socks.SUCCEEDED))
        host, port = opened
        return Tunnel(host, port, who, asked.presented, unread=unread)

    async def _judge_unread(self, head: Head) -> Verdict:
        """The verdict on a tunnel that is to pass unread; let through, it is a request under way of its agent."""
        agent = head.credential.agent
        if too_much := self._begin(agent):
            return await self._gate.judge(self._gate.malformed_head(head.inbound, head.credential, too_much), None)
        counts = False
        try:
            verdict = await self._gate.judge(head, None)
            counts = verdict.answer is None
            return verdict
        finally:
            if not counts:
                self._gate.quotas.end(agent)

    def _who(self, presented: tuple[str, ...]) -> Credential | Unproven:
        arrived = self._listener.identities(self.client) if self._listener else ()
        return self._gate.who(presented, self._certificate, arrived)

    def _inbound(self, method: str, authority: str) -> Inbound:
        return Inbound(
            method=method,
            scheme="http",
            target="/" if method else "",
            fields=(),
            client=self.client,
            uri_authority=authority,
            listener=self._listener.name if self._listener else "",
        )
