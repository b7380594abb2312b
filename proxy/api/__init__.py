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

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

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
from proxy.wire.sockets import Where

__all__ = [
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

_MAX_BODY_BYTES = 64 * 1024
_STOP_TIMEOUT_S = 5


class RouteGroup(Protocol):
    """Routes that belong together."""

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""


class Api:
    """The aiohttp application and its listener."""

    def __init__(self, groups: Sequence[RouteGroup]) -> None:
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[problems])
        app.on_response_prepare.append(name_request)
        for group in groups:
            app.add_routes(group.routes())
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_STOP_TIMEOUT_S)

    async def start(self, *listen: Where) -> Address:
        """Open the listener; returns where it is. Raises OSError when it cannot."""
        await self._runner.setup()
        for each in listen:
            await self._site(each).start()
        host, port = self._runner.addresses[0][:2]
        return Address(host, port)

    def _site(self, where: Where) -> web.BaseSite:
        if isinstance(where, Address):
            return web.TCPSite(self._runner, where.host, where.port)
        return web.SockSite(self._runner, where)

    async def stop(self) -> None:
        """Close the listener and finish what is under way."""
        await self._runner.cleanup()
