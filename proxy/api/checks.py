"""Agents ask first: `POST /v1/check`, decided by the code that decides on the wire, recorded in the same Chron.

{"action": "deploy:staging", "target": "api-v2"}  ->  {"outcome": "ALLOW", "reason": ..., "chron_id": ...}
"""

import pydantic
from aiohttp import web

from proxy.api.callers import Callers
from proxy.api.problems import problem, read_body
from proxy.pipeline import Gate


class _Question(pydantic.BaseModel):
    """The body of `POST /v1/check`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    action: str = pydantic.Field(min_length=1, max_length=512)
    target: str = pydantic.Field(default="", max_length=2048)
    environment: str | None = pydantic.Field(default=None, max_length=128)
    agent: str | None = None
    """Who the caller thinks it is; must be whose token it holds."""
    context: dict[str, str | int | bool | None] | None = None
    """Accepted for forward compatibility; no rule reads it, since the agent wrote it."""


class Checks:
    """The routes on which agents ask."""

    def __init__(self, gate: Gate, callers: Callers) -> None:
        self._gate = gate
        self._callers = callers

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [web.post("/v1/check", self._check)]

    async def _check(self, request: web.Request) -> web.Response:
        who = self._callers.agent(request)
        question = await read_body(request, _Question, "check.body")
        if question.agent is not None and question.agent != who.agent:
            raise problem(403, "agent.other", f'this token is not of agent "{question.agent}"')
        client = request.remote or ""
        try:
            checked = await self._gate.checking.check(
                who, question.action, question.target, question.environment or "", client
            )
        except ValueError as error:
            raise problem(400, "check.action", str(error)) from None
        decision = checked.decision
        return web.json_response(
            {
                "outcome": decision.outcome.value,
                "reason": decision.reason,
                "code": decision.code,
                "chron_id": checked.chron_id,
                "action": question.action,
                "target": checked.target,
                "agent": decision.agent,
                "anchor": decision.anchor,
                "mode": decision.mode.value,
            }
        )
