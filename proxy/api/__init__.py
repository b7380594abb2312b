"""The control API: agents ask first, operators reload and look, machines check health.

    GET  /health, /healthz     the process answers            {"status":"ok"}
    GET  /readyz               each failing check by name     503 when one fails; details for the operator's token
    GET  /metrics              Prometheus text
    POST /v1/check             Bearer = an agent's token      {"action":..., "target":...} -> a decision
    GET  /v1/chron             the log, by a filter; what the caller may see (`proxy.api.records`)
    GET  /v1/chron/{id}        one record with its outcomes
    POST /v1/reload            Bearer = the operator's token
    GET, POST /v1/activations  Bearer = a human's token; which versions are in force (`proxy.api.activations`)
    ...  /v1/approvals         requests that wait for humans (`proxy.api.approvals`)
    ...  /v1/exceptions        break-glass (`proxy.api.exceptions`)
    POST /v1/simulations       Bearer = a human's token       records that a human vouches for a simulation
    POST /access/v1/...        the same questions by AuthZEN, one or many (`proxy.api.authzen`)
    ANY  /v1/forward-auth      a proxy asks about a request that it forwards itself (`proxy.api.forward`)
    POST /v1/checkpoints, ...  Bearer = the operator's token; the log's signatures (`proxy.api.evidence`)

It has its own listener and is not reachable through the proxy. A question asked here and a request on the
wire are decided by the same code and stand in the same Chron. Each module here holds one group of routes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from proxy.api.activations import Activations
from proxy.api.approvals import Approving
from proxy.api.authzen import AuthZen
from proxy.api.callers import Callers
from proxy.api.checks import Checks
from proxy.api.evidence import EvidenceRoutes
from proxy.api.exceptions import Excepting
from proxy.api.forward import ForwardAuth
from proxy.api.operations import Failing, Operations
from proxy.api.problems import name_request, problems
from proxy.api.records import Records
from proxy.api.removals import Removals
from proxy.api.simulations import Simulations
from proxy.config import Address
from proxy.wire.sockets import Where, options

__all__ = [
    "MOST_CONNECTIONS",
    "Activations",
    "Api",
    "Approving",
    "AuthZen",
    "Callers",
    "Checks",
    "EvidenceRoutes",
    "Excepting",
    "Failing",
    "ForwardAuth",
    "Operations",
    "Records",
    "Removals",
    "RouteGroup",
    "Simulations",
]

MOST_CONNECTIONS = 1024
"""At a time; each costs a file, and the proxy's connections come from the same store."""
_MAX_BODY_BYTES = 64 * 1024
_STOP_TIMEOUT_S = 5


_server_log = logging.getLogger(f"{__name__}.server")
_server_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
"""aiohttp's: without what somebody sent that is no HTTP, which it would tell of in twenty lines, to whoever asks."""


class RouteGroup(Protocol):
    """Routes that belong together."""

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""


class Api:
    """The aiohttp application and its listeners.

    aiohttp lets anybody connect, say nothing and stay for an hour. Where there are too many, one that asks nothing
    gives way to the new one: whoever fills the API with silence must not take the proxy's files.
    """

    def __init__(self, groups: Sequence[RouteGroup]) -> None:
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[self._note_asking, problems])
        app.on_response_prepare.append(name_request)
        for group in groups:
            app.add_routes(group.routes())
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_server_log,
            auto_decompress=False,  # nothing here needs it, and what cannot be unpacked is an error of aiohttp's own
            handle_signals=False,
            shutdown_timeout=_STOP_TIMEOUT_S,
        )
        self._asking: set[object] = set()
        """The connections whose request is being answered."""
        self._listening: list[asyncio.Server] = []

    async def start(self, *listen: Where) -> Address:
        """Open the listener; returns where it is. Raises OSError when it cannot."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for each in listen:
            self._listening.append(await loop.create_server(self._admit, **options(each)))
        host, port = self._listening[0].sockets[0].getsockname()[:2]
        return Address(host, port)

    def _admit(self) -> RequestHandler:
        server = self._runner.server
        if server is None:
            raise ConnectionAbortedError("the control API is closed")
        here = [each for each in server.connections if each.transport is not None]  # who was told to go has none
        if len(here) >= MOST_CONNECTIONS:
            next((each for each in here if each not in self._asking), here[0]).force_close()
        return server()

    @web.middleware
    async def _note_asking(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        connection = request.protocol
        self._asking.add(connection)
        try:
            return await handler(request)
        finally:
            self._asking.discard(connection)

    async def stop(self) -> None:
        """Close the listener and finish what is under way."""
        for each in self._listening:
            each.close()
        await self._runner.cleanup()
