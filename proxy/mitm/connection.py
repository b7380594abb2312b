"""One agent's connection: every engine hook ends here, and every exception in one is a refusal.

mitmproxy's add-on manager logs what a hook raises and lets the request through; this dispatcher replaces
it. `handle_hook` is the catch-all: whatever happens inside a hook, a flow leaves it with a permit, with an
answer, or killed, and an agent is not left without a word.

Order of hooks for one intercepted request:

    http_connect -> next_layer -> tls_clienthello -> tls_start_client -> next_layer
    -> requestheaders [-> request, when the body is read] -> server_connect -> tls_start_server
    -> responseheaders -> response | error
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from mitmproxy import http, tls
from mitmproxy.connection import Server
from mitmproxy.proxy import commands, events, layer, mode_specs, server, server_hooks
from mitmproxy.proxy.context import Context
from mitmproxy.websocket import WebSocketMessage

from mappings import CanonicalError, Problem, canonical_host
from policies import Decision
from proxy.chaining import told
from proxy.destinations import Parent, Route
from proxy.facts import Inbound
from proxy.messages import POLICY_VIOLATION, Word
from proxy.mitm import flows, layers
from proxy.mitm.arriving import first_layer
from proxy.mitm.flows import Exchange
from proxy.mitm.gathering import GatheringWriter
from proxy.mitm.leaving import Left, in_place_of, take_apart
from proxy.mitm.tls import agent_side, target_side
from proxy.mitm.tunnel import OPAQUE, Opaque, RefusedTunnel, opaque_layer
from proxy.upgrades import WEBSOCKET
from proxy.verdicts import Head, Verdict
from proxy.wire.arrivals import Arrival, Tunnel, named_tunnel
from proxy.wire.crowd import HEAD_TIME, Body, Seat
from proxy.wire.failing import internal_error, upstream_failure
from proxy.wire.passing import serialise
from proxy.wire.requests import Requests
from proxy.wire.signs import SignsOfLife, passes_over
from proxy.wire.sweeping import Refusing

if TYPE_CHECKING:
    from proxy.mitm.engine import Engine

_log = logging.getLogger(__name__)

_EXCHANGE = "claiim.exchange"
_MAX_HELD_BACK_BYTES = 4 * 2**20
"""How much of its answers may wait for an agent's HTTP/2 windows before targets are read no further."""
_MAX_UNREAD_BYTES = 2**20
"""How much an agent may send that waits for a verdict or a connection before it is read no further."""
_MODE = mode_specs.ProxyMode.parse("regular")


class AgentConnection(server.LiveConnectionHandler):
    """Judges everything that happens on one client connection."""

    def __init__(
        self,
        engine: "Engine",
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        arrival: Arrival,
        seat: Seat,
    ) -> None:
        super().__init__(reader, writer, engine.options, _MODE)
        self._arrival = arrival
        self._seat = seat
        self._writer = GatheringWriter(writer)
        self.transports[self.client].writer = cast(asyncio.StreamWriter, self._writer)
        self._engine = engine
        self._gate = engine.gate
        self._client_ip = str(self.client.peername[0])
        self._tunnel = arrival.tunnel
        self._sni: str | None = None
        self._routes: dict[tuple[str, int], Route] = {}
        """Addresses that a verdict has permitted on this connection; others are not dialled."""
        self._parents: dict[tuple[str, int], Parent] = {}
        """The proxies that some of them are reached through, by their own address."""
        self._beneath: dict[tuple[str, int], Server] = {}
        """What carries the connection to an address that is reached through one."""
        self._dialling: dict[str, asyncio.TimerHandle] = {}
        self._requests = Requests(engine, arrival, seat, self._client_ip)
        self._heard = 0
        self._telling: set[asyncio.Future[None]] = set()
        self._http: layers.GateHttpLayer | None = None
        """What speaks HTTP to the agent; None while a tunnel is being found out."""
        self._inner: layer.NextLayer | None = None
        """What follows an accepted CONNECT, while it is being found out."""
        self._progress: asyncio.Event | None = None
        """Set at the next event, when something waits for one."""
        self._broken: layer.Layer | None = None
        """The layers, when they have failed in the middle of an event: what they make of the next may be wrong."""
        self._hooks = 0
        """How many are at work for the layers."""
        self._released = False
        self._unread: Opaque | None = None
        """What passes unread, when the whole connection does."""
        context = self.layer.context
        context.layers.clear()
        if self._tunnel is not None and self._tunnel.unread is not None:
            self.layer = self._unread_layer(context, self._tunnel, *self._tunnel.unread)
        else:
            self.layer = first_layer(context, arrival, engine.limits)
        if isinstance(self.layer, layers.GateHttpLayer):
            self._http = self.layer

    # --- backpressure --------------------------------------------------------------------------------

    async def server_event(self, event: events.Event) -> None:
        """Let the layers handle an event; one from the agent may have opened an HTTP/2 window."""
        try:
            await super().server_event(event)
        except asyncio.CancelledError:
            # Out of a layer, or before they got the event. This task would end alone, and the agent wait for ever.
            _log.exception("the layers broke off; the connection is closed")
            self._break_off()
            raise
        self._writer.flush()
        inner = self._inner
        if inner is not None and inner.layer is not None and not inner.events:
            # The CONNECT is over and its layers only pass on what the inner ones do: step over them, for
            # a quarter of the time that the engine takes for a request.
            self.layer = inner.layer
            self._inner = None
        unread = self._unread
        if unread is not None and unread.stands and unread.told and unread.layer is not None:
            self.layer = unread.layer  # likewise
        if isinstance(event, events.ConnectionEvent) and event.connection is self.client:
            self._heard += 1
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    async def drain_writers(self) -> None:
        """Wait until what was written is on its way and what was read is understood, before more is read.

        The engine waits for sockets only: what an agent's closed HTTP/2 window holds back it would buffer without
        limit, so a slow agent could fill the gate's memory with one download, and what an agent sends while its
        request waits for a verdict or for a connection as well, so any could with one upload.
        """
        await super().drain_writers()
        try:
            await self._understood()
        except Exception:
            # The engine would end what reads this connection, and leave the agent with neither an answer nor an end.
            _log.exception("what waits on a connection could not be told; it is closed")
            self._close_client()

    async def _understood(self) -> None:
        agent = self.transports.get(self.client)
        if agent is None or self._http is None:
            return
        http = self._http
        if asyncio.current_task() is agent.handler:
            while self.client.connected and http.unread_bytes() > _MAX_UNREAD_BYTES:
                await self._next_event()
        else:
            while self.client.connected and http.held_back_bytes() > _MAX_HELD_BACK_BYTES:
                await self._next_event()

    async def _next_event(self) -> None:
        if self._progress is None:
            self._progress = asyncio.Event()
        await self._progress.wait()

    def unread_bytes(self) -> int:
        """How much is kept that the agent has sent and that was not read yet."""
        return self._http.unread_bytes() if self._http is not None else 0

    # --- what it costs -------------------------------------------------------------------------------

    def moved(self) -> int:
        """A number that changes when the agent sends, or is sent, anything."""
        return self._heard + self._writer.sent

    def heads(self) -> int:
        """How many requests have begun."""
        return self._requests.begun

    def beginning(self) -> bool:
        """Whether a head has begun and is not complete, or what follows a CONNECT."""
        if self._unread is not None or (self._tunnel is not None and self._tunnel.unread is not None):
            return False
        return self._http is None or self._http.beginning

    def waits(self) -> bool:
        """Whether a request waits for a verdict, or for its target to answer."""
        return self._requests.wait()

    def bodies(self) -> Iterable[Body]:
        """What is being read to be judged."""
        return self._requests.bodies()

    def end(self, code: str) -> None:
        """Close the connection, for a limit; where a head did not come in time, with an answer."""
        if code == HEAD_TIME:
            self._tell(layers.SlowHead(self._late_head), then=self._close_client)
        else:
            self._close_client()

    def _tell(self, event: events.Event, then: Callable[[], None] = lambda: None) -> None:
        """Let the layers handle an event of ours, soon."""

        async def tell() -> None:
            await self.server_event(event)
            then()

        task = asyncio.ensure_future(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    def _on_limit(self, code: str) -> None:
        self._requests.limited(code)

    # --- crashes -------------------------------------------------------------------------------------

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        """Log for the engine; a crash of its layers, which it only logs, ends the connection.

        Without this an exchange whose layer has crashed (h11 trailers from a target do that) would hang
        until somebody's patience ends.
        """
        super().log(message, level, exc_info)
        if exc_info is not None and level >= logging.ERROR:
            self._break_off()

    def _break_off(self) -> None:
        """Close the connection, and let the layers handle nothing more.

        If this is removed, a body of which they have lost a piece is judged without it.
        """
        if self._broken is None:
            # Whatever waits to be handled as well: it may have asked for its turn before this.
            self._broken, self.layer = self.layer, in_place_of(self.layer)
            self._inner = self._unread = None
        self._close_client()

    # --- the catch-all -------------------------------------------------------------------------------

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Run the hook; an exception, of whatever kind, refuses."""
        subject: Any = None
        try:
            method = getattr(self, f"_on_{hook.name}", None)
            if method is None:
                return
            subject = next(iter(vars(hook).values()))  # hooks have one field; their args() is ten times slower
            pending = method(subject)
            if pending is not None:
                with self.timeout_watchdog.disarm():  # a judgement is no inactivity
                    await pending
            self._require_an_end(hook.name, subject)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                _log.exception("the hook %s failed; its request is refused", hook.name)
            try:
                self._fail_closed(hook.name, subject)
            except BaseException:
                # Also a cancellation: it would end this task, and the agent would wait for an answer for ever.
                _log.exception("even the refusal failed; the connection is closed")
                self._close_client()
                if isinstance(subject, http.HTTPFlow) and subject.killable:
                    subject.kill()  # else the engine would go on first, and say of a CONNECT that it is accepted
            task = asyncio.current_task()
            if isinstance(error, KeyboardInterrupt | SystemExit) or (task is not None and task.cancelling()):
                raise

    def _require_an_end(self, name: str, subject: Any) -> None:
        """Raise RuntimeError where a hook has left its agent with nothing that follows."""
        if name == "http_connect" and subject.response is None and self._tunnel is None and self._unread is None:
            raise RuntimeError("a CONNECT was neither answered nor accepted")  # the engine would say that it was
        if name == "next_layer" and subject.layer is None and layers.is_told(subject) is not False:
            raise RuntimeError("nothing reads what the agent sends")  # it would wait for an answer for ever

    def _fail_closed(self, name: str, subject: Any) -> None:
        """Leave nothing behind that could be forwarded."""
        match subject:
            case http.HTTPFlow() if name == "websocket_message":
                subject.metadata[layers.REFUSED] = layers.Refused(1011, "the gate failed")  # RFC 6455, 7.4.1
            case http.HTTPFlow() if name == "http_connect_upstream":
                self._close_client()  # what it carries is no flow of an agent's
            case http.HTTPFlow():
                subject.metadata.pop(layers.PERMIT, None)
                self._finish(subject, "failed", error=f"the gate failed in {name}")
                if subject.response is None or name in ("requestheaders", "request", "http_connect"):
                    flows.respond(subject, internal_error())
                    subject.request.stream = True
                else:
                    subject.kill()
            case server_hooks.ServerConnectionHookData():
                subject.server.error = "refused by the gate"
            case layer.NextLayer():
                self._close_client()
            case tls.TlsData():
                subject.ssl_conn = None  # the engine closes a connection that has no TLS context
            case _:
                self._close_client()  # also of a TLS ClientHello: nobody knows which name was asked for

    def _close_client(self) -> None:
        agent = self.transports.get(self.client)
        if agent is not None and agent.handler is not None:
            agent.handler.cancel("refused by the gate")
        elif agent is not None and not self._writer.is_closing():
            self._writer.close()
            asyncio.get_running_loop().call_soon(self._close_client)  # nobody reads it yet; who will is to end

    # --- tunnels and TLS -----------------------------------------------------------------------------

    async def _on_http_connect(self, flow: http.HTTPFlow) -> None:
        flow.response = None
        presented = flows.presented(flow, None)
        request = Inbound(
            method="CONNECT",
            scheme="http",
            target="/",
            fields=flow.request.headers.fields,
            client=self._client_ip,
            uri_authority=flow.request.data.authority.decode("latin-1"),
            listener=self._arrival.name,
        )
        opened, who = await self._requests.connect(request, presented)
        if isinstance(opened, Verdict):
            assert opened.answer is not None
            flows.respond(flow, opened.answer)
            return
        assert who is not None
        if isinstance(opened, Head):
            exchange = self._requests.under_way[flow.id] = Exchange(opened, presented, who.agent, flow=flow)
            await self._pass_unread(exchange)
            return
        self._tunnel = Tunnel(opened[0], opened[1], who, presented)
        self._http = None

    # --- what passes unread --------------------------------------------------------------------------

    async def _pass_unread(self, exchange: Exchange) -> None:
        """Judge a CONNECT as what it is: the whole of what its agent does there."""
        flow = exchange.flow
        flow.metadata[_EXCHANGE] = exchange
        await self._judge(exchange, None)
        if flow.response is None:
            self._unread = flow.metadata[OPAQUE] = self._opaque(exchange)
        elif flow.response.status_code < 300:
            raise RuntimeError("a refusal would tell the agent that its tunnel is open")  # RFC 9110, 9.3.6

    def _opaque(self, exchange: Exchange) -> Opaque:
        facts = exchange.head.facts
        assert facts is not None
        tunnel = self._gate.book.mappings.tunnel(facts.request.host, facts.request.port)
        anything = tunnel is not None and not tunnel.tls
        return Opaque(exchange, None if anything else facts.request.host)

    def _unread_layer(self, context: Context, tunnel: Tunnel, head: Head, verdict: Verdict) -> layer.Layer:
        """What carries a tunnel that was let through before there was a connection: by SOCKS."""
        flow = flows.connect_flow(self.client, context.server, tunnel.host, tunnel.port)
        exchange = Exchange(head, tunnel.presented or (), head.credential.agent, verdict, flow=flow)
        flow.metadata[_EXCHANGE] = self._requests.under_way[flow.id] = exchange
        self._permit(exchange, verdict)
        return opaque_layer(context, self._opaque(exchange))

    def _on_tunnel_open(self, flow: http.HTTPFlow) -> None:
        self._engine.answered(flow.id)

    async def _on_tunnel_refused(self, refused: RefusedTunnel) -> None:
        exchange = refused.carried.exchange
        self._requests.end(exchange.flow.id)
        verdict = await self._requests.refuse_tunnel(exchange.flow.id, exchange, refused.why)
        assert verdict.answer is not None
        refused.answer = serialise(verdict.answer)

    def _on_tunnel_end(self, flow: http.HTTPFlow) -> None:
        self._finish(flow, "sent")

    # --- TLS -----------------------------------------------------------------------------------------

    def _on_next_layer(self, nextlayer: layer.NextLayer) -> None:
        if self._tunnel is None and self._arrival.redirected is None:
            # Only an accepted CONNECT has something behind it, and what was redirected here.
            raise RuntimeError("a layer was asked for outside a tunnel")
        if layers.inside_tls(nextlayer) is False:
            self._inner = nextlayer
        nextlayer.layer = layers.next_layer(nextlayer, self._engine.limits)
        if isinstance(nextlayer.layer, layers.GateHttpLayer):
            self._http = nextlayer.layer

    def _on_tls_clienthello(self, hello: tls.ClientHelloData) -> None:
        self._sni = hello.client_hello.sni
        if self._tunnel is None and self._arrival.redirected is not None:
            self._tunnel = named_tunnel(self._arrival.redirected, self._sni)

    def _on_tls_start_client(self, start: tls.TlsData) -> None:
        assert self._tunnel is not None
        host = self._tunnel.host
        if self._sni:
            # Where it asks for another name than it came for, each request is refused for that. Shown a
            # certificate for the name it came for, it would hang up, and neither it nor the record had a reason.
            with contextlib.suppress(CanonicalError):
                host = canonical_host(self._sni)
        start.ssl_conn = agent_side(self._engine.authority, host, self._engine.now())

    def _on_tls_start_server(self, start: tls.TlsData) -> None:
        assert isinstance(start.conn, Server)
        address = start.conn.address
        assert address is not None
        route = self._routes[address[0], address[1]]
        start.conn.sni = route.host
        offered = tuple(start.context.client.alpn_offers)
        start.ssl_conn = target_side(route, self._engine.roots, offered)

    # --- requests ------------------------------------------------------------------------------------

    async def _on_requestheaders(self, flow: http.HTTPFlow) -> None:
        self._requests.begun += 1
        flow.response = None
        tunnel = self._tunnel
        presented = flows.presented(flow, tunnel)
        malformed = flow.metadata.get(layers.MALFORMED)
        head, agent = self._requests.head(self._inbound(flow), presented, malformed, tunnel)
        exchange = Exchange(head, presented, agent, flow=flow)
        flow.metadata[_EXCHANGE] = exchange
        if agent:
            self._requests.under_way[flow.id] = exchange
        if head.needs_body:
            flow.metadata[layers.BODY_LIMIT] = self._engine.max_body_bytes
            flow.metadata[layers.HOLD] = lambda data: self._requests.hold(exchange, data)
            exchange.reading = Body(lambda: self._tell(layers.SlowBody(flow)))
        else:
            await self._judge(exchange, None)

    def _inbound(self, flow: http.HTTPFlow) -> Inbound:
        redirected = self._arrival.redirected
        port = redirected[1] if redirected and self._tunnel is None else None
        return flows.inbound(flow, self._client_ip, self._tunnel, self._sni, self._arrival.name, port)

    async def _on_request(self, flow: http.HTTPFlow) -> None:
        exchange: Exchange = flow.metadata[_EXCHANGE]
        if exchange.verdict is not None:
            return  # judged by its head, and streamed since
        exchange.reading = None
        self._requests.body_read(exchange, flow.metadata.get(layers.GIVEN_UP))
        prefix: bytes | None = flow.metadata.get(layers.BODY_PREFIX)
        if prefix is not None:
            # Exactly so much: what is judged and recorded does not hang on the pieces in which it came.
            await self._judge(exchange, prefix[: self._engine.max_body_bytes], complete=False)
        else:
            body = flows.body(flow)
            exchange.request_bytes = len(body)
            await self._judge(exchange, body)

    async def _judge(self, exchange: Exchange, body: bytes | None, *, complete: bool = True) -> None:
        verdict = await self._judged(exchange, body, complete)
        flow = exchange.flow
        exchange.verdict = verdict
        flow.request.stream = exchange.count_request
        if verdict.answer is not None:
            self._requests.end(flow.id)
            flows.respond(flow, verdict.answer)
            return
        self._permit(exchange, verdict)

    def _permit(self, exchange: Exchange, verdict: Verdict) -> None:
        """Let an exchange go on as its verdict says; from here on it needs an ending."""
        flow = exchange.flow
        self._requests.let_go(exchange)
        assert verdict.route is not None
        # First of all, so that whatever fails from here on is the outcome of the decision.
        self._requests.opened(flow.id, exchange, lambda: self.give_up(exchange))
        flows.forward(flow, verdict)
        self._routes[verdict.route.address] = verdict.route
        if parent := verdict.route.parent:
            self._routes[parent.route.address] = parent.route
            self._parents[parent.route.address] = parent
        if verdict.facts is not None and verdict.facts.upgrade == WEBSOCKET:
            most = self._engine.limits.message_bytes
            judged = min(most, self._engine.max_body_bytes) if verdict.messages else most
            flow.metadata[layers.MESSAGE_LIMIT] = (judged, most)
        flow.metadata[layers.PERMIT] = verdict

    async def _judged(self, exchange: Exchange, body: bytes | None, complete: bool) -> Verdict:
        if not exchange.head.may_hold:
            return await self._gate.judge(exchange.head, body, complete=complete)
        exchange.gone = asyncio.get_running_loop().create_future()
        engine, request = self._engine, exchange.flow.request
        user_agent = request.headers.get("user-agent", "")
        wanted = passes_over(exchange.head.inbound.method, request.data.http_version, user_agent)
        every_s = engine.keep_alive_s if wanted else 0
        signs = SignsOfLife(lambda: self._sign_of_life(exchange.flow), every_s, engine.later)
        try:
            return await self._gate.judge(exchange.head, body, complete=complete, gone=exchange.gone)
        finally:
            signs.cancel()

    def _on_stream_gone(self, flow: http.HTTPFlow) -> None:
        exchange: Exchange | None = flow.metadata.get(_EXCHANGE)
        if exchange is not None:
            exchange.leave()

    async def _sign_of_life(self, flow: http.HTTPFlow) -> None:
        """Send an interim response, so that the client does not take a waiting request for a dead connection."""
        await self.server_event(layers.SignOfLife(flow))

    # --- upstream ------------------------------------------------------------------------------------

    def _on_server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        address = data.server.address
        assert address is not None
        if (address[0], address[1]) not in self._routes:
            raise RuntimeError("the engine asked for an address that no verdict has permitted")
        if self._released:
            raise RuntimeError("the agent has gone")  # nobody would close what is dialled now
        task = asyncio.current_task()
        assert task is not None
        self._dialling[data.server.id] = asyncio.get_running_loop().call_later(
            self._engine.connect_timeout_s, task.cancel, "connect timeout"
        )

    def _on_http_connect_upstream(self, flow: http.HTTPFlow) -> None:
        """Write the CONNECT for the proxy beyond: where it was permitted to go, and what the gate is known by there."""
        assert isinstance(flow.server_conn, Server)
        assert flow.server_conn.address is not None
        data, parent = flow.request.data, self._parents[flow.server_conn.address[0], flow.server_conn.address[1]]
        shown = f"[{data.host}]" if ":" in data.host else data.host
        data.authority = f"{shown}:{data.port}".encode("ascii")
        data.headers = http.Headers([(b"Host", data.authority)])
        if parent.authorization:
            data.headers[b"Proxy-Authorization"] = parent.authorization
        self._beneath[data.host, data.port] = flow.server_conn

    def _on_server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        self._dialling.pop(data.server.id).cancel()
        if data.server.tls:
            self._dialling[data.server.id] = asyncio.get_running_loop().call_later(
                self._engine.connect_timeout_s, self._hang_up, data.server
            )

    def _hang_up(self, server: Server) -> None:
        """End a connection whose target has not finished its TLS handshake in time."""
        self._dialling.pop(server.id, None)
        for exchange in self._requests.open.values():
            assert exchange.verdict is not None
            route = exchange.verdict.route
            assert route is not None
            dialled = route.parent.route if route.parent else route
            if dialled.address == server.address and not exchange.answered:
                exchange.timed_out = True
        if server in self.transports:
            self.close_connection(server)

    def _on_tls_established_server(self, data: tls.TlsData) -> None:
        self._dialled(data.conn.id)

    def _on_tls_failed_server(self, data: tls.TlsData) -> None:
        self._dialled(data.conn.id)

    def _on_server_disconnected(self, data: server_hooks.ServerConnectionHookData) -> None:
        self._dialled(data.server.id)
        if self._released:  # it was dialled for an agent who had gone
            self._leave_soon()

    def _on_server_connect_error(self, data: server_hooks.ServerConnectionHookData) -> None:
        self._dialled(data.server.id)

    def _dialled(self, server_id: str) -> None:
        if timer := self._dialling.pop(server_id, None):
            timer.cancel()

    def give_up(self, exchange: Exchange) -> None:
        """End an exchange whose target has not begun to answer in time."""
        server = exchange.flow.server_conn
        if server.via is not None and server.address is not None:
            server = self._beneath.get((server.address[0], server.address[1]), server)
        if server in self.transports:
            self.close_connection(server)
        else:
            self.abort()

    def abort(self) -> None:
        """Close the agent's connection now; what is open on it ends as failed."""
        self._close_client()

    def cut(self, refusal: Refusing) -> list[Decision]:
        """Break the connection off when somebody on it may no longer act; why, once for each exchange that ends."""
        stopped = self._requests.stopped(refusal)
        if stopped:
            # Not closed: what waits in a buffer would still be sent, in both directions.
            for transport in self.transports.values():
                if transport.writer is not None:
                    cast(asyncio.StreamWriter, transport.writer).transport.abort()
            self._close_client()
        return list(stopped.values())

    def ends(self) -> Iterable[datetime | None]:
        """When the proofs end that what is open here was asked with."""
        return self._requests.ends()

    async def serve(self) -> None:
        """Serve it until it ends."""
        await self.handle_client()

    def release(self) -> None:
        """Close what is still open when the agent is gone.

        The engine leaves a target's socket to the collector when its dialling is cancelled at the moment it
        succeeds.
        """
        self._released = True
        self._requests.end_all()
        self._leave_soon()
        for transport in self.transports.values():
            try:
                if transport.writer is not None:
                    transport.writer.close()
            except Exception:
                _log.exception("what was still to be sent is lost")

    async def hook_task(self, hook: commands.StartHook) -> None:
        """Run a hook for the layers, and tell them; they stay for as long as one is at work."""
        self._hooks += 1
        try:
            await super().hook_task(hook)
        finally:
            self._hooks -= 1
            if self._released:
                self._leave_soon()

    def _leave_soon(self) -> None:
        # Not now: a hook may run inside the layers that started it.
        asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        """Let go of what handled the connection, unless something of it still goes on."""
        # By what handles them: one that broke off has left its transport behind.
        handlers = [each.handler for each in self.transports.values() if each.handler is not None]
        top = self._broken or self.layer
        if self._hooks or not all(handler.done() for handler in handlers) or isinstance(top, Left):
            return
        self._requests.end_all()  # what was let through when the agent had gone
        self._http = self._inner = self._unread = self._broken = self._seat.served = None
        self.layer = take_apart(top)

    # --- responses -----------------------------------------------------------------------------------

    def _on_responseheaders(self, flow: http.HTTPFlow) -> None:
        exchange: Exchange = flow.metadata[_EXCHANGE]
        if layers.PERMIT not in flow.metadata:
            return  # our own answer
        assert exchange.verdict is not None
        assert flow.response is not None
        self._engine.answered(flow.id)
        flows.mark_response(flow, exchange.verdict.chron_id)
        flows.redirect_here(flow, self._tunnel)
        flow.response.stream = exchange.count_response

    def _on_response(self, flow: http.HTTPFlow) -> None:
        assert flow.response is not None
        if flow.response.status_code != 101:
            self._finish(flow, "sent")

    def _on_relay_end(self, flow: http.HTTPFlow) -> None:
        self._finish(flow, "sent")

    async def _on_websocket_message(self, flow: http.HTTPFlow) -> None:
        assert flow.websocket is not None
        exchange: Exchange = flow.metadata[_EXCHANGE]
        message = flow.websocket.messages[-1]
        assert exchange.verdict is not None
        # Until here it was dropped, by the layer; what fails on the way leaves it so.
        if message.from_client and exchange.verdict.messages:
            await self._judge_message(exchange, exchange.verdict.messages, message)
        else:
            message.dropped = False
        if message.from_client:
            exchange.request_bytes += len(message.content)
        else:
            exchange.response_bytes += len(message.content)
        # The engine keeps every message for its user interface; a gate that runs for weeks must not.
        flow.websocket.messages.clear()

    async def _judge_message(self, exchange: Exchange, packs: frozenset[str], message: WebSocketMessage) -> None:
        refused = await self._requests.judge_message(exchange, packs, message.content, is_text=message.is_text)
        if refused is Word.ALLOWED:
            message.dropped = False
        else:
            exchange.flow.metadata[layers.REFUSED] = layers.Refused(POLICY_VIOLATION, *refused)

    def _on_websocket_end(self, flow: http.HTTPFlow) -> None:
        self._finish(flow, "sent")

    def _on_error(self, flow: http.HTTPFlow) -> None:
        exchange: Exchange | None = flow.metadata.get(_EXCHANGE)
        message = told(flow.error.msg) if flow.error else "unknown error"
        self._finish(flow, "failed", error=message)
        if flow.response is not None:
            return
        verdict = exchange.verdict if exchange else None
        if exchange is None or verdict is None or verdict.refusal is None:
            flows.respond(flow, internal_error())
        else:
            flows.respond(flow, upstream_failure(verdict, verdict.refusal, message, timed_out=exchange.timed_out))

    def _finish(self, flow: http.HTTPFlow, result: str, *, error: str = "") -> None:
        """Record the ending of a forwarded flow, once."""
        self._requests.end(flow.id)
        status = flow.response.status_code if flow.response and not error else None
        self._requests.finish(flow.id, result, status=status, error=error)

    def _on_client_disconnected(self, _: object) -> None:
        # Streams hear of most ends themselves; one whose layer has crashed or was cut off does not.
        self._requests.end_all()

    # --- heads that are no HTTP ----------------------------------------------------------------------

    def _late_head(self, glimpse: bytes) -> bytes:
        return self._requests.late(self._tunnel, glimpse)

    async def _on_malformed_head(self, head: layers.UnreadableHead) -> None:
        problem = Problem(head.code, head.reason)
        head.answer = await self._requests.unreadable(problem, self._tunnel, head.glimpse)
