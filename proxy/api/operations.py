"""What machines and operators ask of a gate: is it well, what does it count, load your rules."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from aiohttp import web

from mappings import DocumentError
from policies.narrowing import NarrowedError
from proxy.api.callers import Callers
from proxy.pipeline import Gate

type Reload = Callable[[], Awaitable[str]]
type Faults = Callable[[], Sequence["Failing"]]
type Counted = Callable[[], Awaitable[bytes]]
type Waiting = Callable[[], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Failing:
    """A check that fails, by its name."""

    name: str
    summary: str
    """For whoever asks: no path and no rule."""
    detail: str = ""
    """For the operator."""
    only_warns: bool = False
    """Everything works; somebody should look before it does not."""

    def told(self, *, detailed: bool) -> str:
        """What is said of it; the detail is for the operator alone."""
        return f"{self.summary}: {self.detail}" if detailed and self.detail else self.summary


class Operations:
    """The routes for machines and operators."""

    def __init__(
        self,
        gate: Gate,
        callers: Callers,
        *,
        reload: Reload,
        faults: Faults,
        metrics: Counted,
        waiting: Waiting,
    ) -> None:
        self._gate = gate
        self._callers = callers
        self._reload = reload
        self._faults = faults
        self._counted = metrics
        self._waiting = waiting

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.get("/health", self._health),
            web.get("/healthz", self._health),
            web.get("/readyz", self._ready),
            web.get("/metrics", self._metrics),
            web.post("/v1/reload", self._reload_rules),
        ]

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        # Details name files and rules, and an agent can ask as well as a machine: they need the operator's token.
        detailed = "Authorization" in request.headers and self._callers.is_operator(request)
        found = self._faults()
        faults = {each.name: each.told(detailed=detailed) for each in found if not each.only_warns}
        status = 503 if faults else 200
        answer: dict[str, object] = {"status": "failing" if faults else "ok", "faults": faults}
        if warnings := {each.name: each.told(detailed=detailed) for each in found if each.only_warns}:
            answer["warnings"] = warnings
        if detailed:
            # No fault: older versions are in force because somebody wants to be asked first.
            answer["waiting"] = list(self._waiting())
        return web.json_response(answer, status=status)

    async def _metrics(self, _: web.Request) -> web.Response:
        # https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
        media = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=await self._counted(), headers={"Content-Type": media})

    async def _reload_rules(self, request: web.Request) -> web.Response:
        self._callers.require_operator(request)
        try:
            digest = await self._reload()
        except DocumentError as error:
            narrowed = isinstance(error, NarrowedError)
            body = {"status": "refused", "faults": str(error).splitlines(), "narrowed": narrowed}
            return web.json_response(body, status=422)
        return web.json_response({"status": "loaded", "digest": digest})
