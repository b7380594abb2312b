"""Two humans make an exception (break-glass); see `proxy.breakglass`.

GET  /v1/exceptions                 Bearer = a human's token, or the operator's
POST /v1/exceptions                 Bearer = a human's token
                                    {"agent":..., "action":..., "target":..., "minutes": 30, "reason":...}
POST /v1/exceptions/{id}/approve    Bearer = another human's token
POST /v1/exceptions/{id}/end        Bearer = a human's token: refuses a request, ends a grant
"""

from collections.abc import Awaitable

import pydantic
from aiohttp import web

from mappings import canonical_pattern
from proxy.api.callers import Callers
from proxy.api.problems import problem, read_body
from proxy.approvals import ApprovalError
from proxy.breakglass import MAX_MINUTES, AgentException
from proxy.pipeline import Gate
from proxy.vouching import may_speak

_STATUS = {"exception.unknown": 404, "exception.agent": 404, "exception.not-eligible": 403}


class _Request(pydantic.BaseModel):
    """The body of `POST /v1/exceptions`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    agent: str = pydantic.Field(min_length=1, max_length=128)
    action: str = pydantic.Field(min_length=1, max_length=512)
    target: str = pydantic.Field(min_length=1, max_length=1024)
    minutes: int = pydantic.Field(ge=1, le=MAX_MINUTES)
    reason: str = pydantic.Field(min_length=1, max_length=500, pattern=r"\S")


class Excepting:
    """The routes on which exceptions are asked for, granted and ended."""

    def __init__(self, gate: Gate, callers: Callers) -> None:
        self._gate = gate
        self._callers = callers

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.get("/v1/exceptions", self._list),
            web.post("/v1/exceptions", self._request),
            web.post("/v1/exceptions/{id}/approve", self._approve),
            web.post("/v1/exceptions/{id}/end", self._end),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        human = None if self._callers.is_operator(request) else self._callers.human(request)
        policies, at = self._gate.book.policies, self._gate.now()
        shown = [
            self._described(one)
            for one in self._gate.exceptions
            if human is None or may_speak(policies, human.id, one.agent, at)
        ]
        return web.json_response({"exceptions": shown})

    async def _request(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        asked = await read_body(request, _Request, "exception.body")
        action = _scope(asked.action)
        return await self._answered(
            self._gate.exceptions.request(
                human,
                self._gate.book.policies,
                agent=asked.agent,
                action=action,
                target=asked.target,
                minutes=asked.minutes,
                reason=asked.reason,
            )
        )

    async def _approve(self, request: web.Request) -> web.Response:
        human, desk = self._callers.human(request), self._gate.exceptions
        return await self._answered(desk.approve(request.match_info["id"], human, self._gate.book.policies))

    async def _end(self, request: web.Request) -> web.Response:
        human, desk = self._callers.human(request), self._gate.exceptions
        return await self._answered(desk.end(request.match_info["id"], human, self._gate.book.policies))

    async def _answered(self, done: Awaitable[AgentException]) -> web.Response:
        try:
            return web.json_response(self._described(await done))
        except ApprovalError as error:
            raise problem(_STATUS.get(error.code, 409), error.code, error.reason) from None

    def _described(self, one: AgentException) -> dict[str, object]:
        return {
            "exception": one.id,
            "state": one.stand(self._gate.now()).value,
            "agent": one.agent,
            "action": one.action,
            "target": one.target,
            "minutes": one.minutes,
            "reason": one.reason,
            "requested_by": one.by,
            "approved_by": one.approved_by,
            "until": one.until.isoformat(timespec="seconds"),
        }


def _scope(action: str) -> str:
    """The canonical pattern of the actions an exception is for; raises a 400 for none, and for everything."""
    try:
        pattern = canonical_pattern(action)
    except ValueError as error:
        raise problem(400, "exception.scope", str(error)) from None
    if "*" in pattern.partition(":")[0]:
        raise problem(400, "exception.scope", f'"{action}" is nearly everything; name at least the first segment')
    return pattern
