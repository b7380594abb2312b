"""The control API: agents ask first, operators reload and look, machines check health.

    GET  /health, /healthz     the process answers            {"status":"ok"}
    GET  /readyz               each failing check by name     503 when one fails; details for the operator's token
    GET  /metrics              Prometheus text
    POST /v1/check             Bearer = an agent's token      {"action":..., "target":...} -> a decision
    GET  /v1/chron/{id}        Bearer = that agent's token or the operator's
    POST /v1/reload            Bearer = the operator's token

It has its own listener and is not reachable through the proxy. A question asked here and a request on the
wire are decided by the same code and stand in the same Chron.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pydantic
from aiohttp import web

from chron import ChronError
from mappings import DocumentError
from policies import Credential, Outcome
from proxy.config import Address
from proxy.pipeline import Gate

_log = logging.getLogger(__name__)

_MAX_BODY_BYTES = 64 * 1024
_STOP_TIMEOUT_S = 5
_MOST_FAULTS = 10
"""Of a malformed question; a body of nothing but unknown keys has thousands."""

type Reload = Callable[[], Awaitable[str]]
type Faults = Callable[[], Sequence["Failing"]]
type ReadRecord = Callable[[str], Awaitable[dict[str, object] | None]]


@dataclass(frozen=True, slots=True)
class Failing:
    """A check that fails, by its name."""

    name: str
    summary: str
    """For whoever asks: no path and no rule."""
    detail: str = ""
    """For the operator."""


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


class Api:
    """The aiohttp application and its listener."""

    def __init__(
        self, gate: Gate, operator_token: str, *, reload: Reload, faults: Faults, read_record: ReadRecord
    ) -> None:
        self._gate = gate
        self._operator_token = operator_token.encode()
        self._reload = reload
        self._faults = faults
        self._read_record = read_record
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_problems])
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/healthz", self._health),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
                web.post("/v1/check", self._check),
                web.get("/v1/chron/{id}", self._record),
                web.post("/v1/reload", self._reload_rules),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_STOP_TIMEOUT_S)

    async def start(self, listen: Address) -> Address:
        """Open the listener; returns where it is. Raises OSError when it cannot."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, listen.host, listen.port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return Address(host, port)

    async def stop(self) -> None:
        """Close the listener and finish what is under way."""
        await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        # Details name files and rules, and an agent can ask as well as a machine: they need the operator's token.
        detailed = "Authorization" in request.headers and self._is_operator(_bearer(request))
        faults = {
            failing.name: f"{failing.summary}: {failing.detail}" if detailed and failing.detail else failing.summary
            for failing in self._faults()
        }
        status = 503 if faults else 200
        return web.json_response({"status": "failing" if faults else "ok", "faults": faults}, status=status)

    async def _metrics(self, _: web.Request) -> web.Response:
        # https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
        media = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=self._gate.metrics.text(), headers={"Content-Type": media})

    async def _check(self, request: web.Request) -> web.Response:
        who = self._agent(request)
        question = await _read_question(request)
        if question.agent is not None and question.agent != who.agent:
            raise _problem(403, "agent.other", f'this token is not of agent "{question.agent}"')
        client = request.remote or ""
        try:
            checked = await self._gate.check(who, question.action, question.target, question.environment or "", client)
        except ValueError as error:
            raise _problem(400, "check.action", str(error)) from None
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

    async def _record(self, request: web.Request) -> web.Response:
        reader = self._operator_or_agent(request)
        record = await self._read_record(request.match_info["id"])
        # A record of another agent looks like none at all: an agent does not learn what others do.
        if record is None or (reader is not None and record.get("agent") != reader.agent):
            raise _problem(404, "chron.unknown", "no such record for this caller")
        return web.json_response(record)

    async def _reload_rules(self, request: web.Request) -> web.Response:
        if not self._is_operator(_bearer(request)):
            raise _problem(403, "operator.required", "send the operator's token")
        try:
            digest = await self._reload()
        except DocumentError as error:
            return web.json_response({"status": "refused", "faults": str(error).splitlines()}, status=422)
        return web.json_response({"status": "loaded", "digest": digest})

    def _agent(self, request: web.Request) -> Credential:
        """Whose token the request brings, known and in good standing; raises an HTTP error otherwise."""
        token_sha256 = hashlib.sha256(_bearer(request)).hexdigest()
        agent = self._gate.book.policies.agent_of_token(token_sha256)
        if agent is None:
            raise _problem(401, "agent.unknown", "no agent has this token")
        return Credential(agent, token_sha256)

    def _operator_or_agent(self, request: web.Request) -> Credential | None:
        """None for the operator, else the agent."""
        if self._is_operator(_bearer(request)):
            return None
        who = self._agent(request)
        denied = self._gate.book.policies.identify(who, self._gate.now())
        if denied is not None and denied.outcome is Outcome.DENY:
            raise _problem(403, denied.code, denied.reason)
        return who

    def _is_operator(self, token: bytes) -> bool:
        return hmac.compare_digest(token, self._operator_token)


def _bearer(request: web.Request) -> bytes:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:  # RFC 6750, 2.1
        raise _problem(401, "agent.no-credentials", "send Authorization: Bearer TOKEN")
    # aiohttp reads bytes that are not UTF-8 as lone surrogates.
    return token.strip().encode("utf-8", "surrogatepass")


async def _read_question(request: web.Request) -> _Question:
    try:
        return _Question.model_validate_json(await request.read())
    except pydantic.ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc']) or 'body'}: {fault['msg'].lower()}"
            for fault in error.errors(include_input=False, include_url=False)[:_MOST_FAULTS]
        )
        raise _problem(400, "check.body", faults) from None


def _problem(status: int, code: str, reason: str) -> web.HTTPException:
    kinds: dict[int, type[web.HTTPException]] = {
        400: web.HTTPBadRequest,
        401: web.HTTPUnauthorized,
        403: web.HTTPForbidden,
        404: web.HTTPNotFound,
        500: web.HTTPInternalServerError,
        503: web.HTTPServiceUnavailable,
    }
    body = {"type": f"urn:claiim:{code}", "title": reason, "status": status, "code": code, "reason": reason}
    headers = {"WWW-Authenticate": 'Bearer realm="claiim"'} if status == 401 else None
    return kinds[status](text=json.dumps(body), content_type="application/problem+json", headers=headers)


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every failure with a problem body, never with a trace and never with a permission."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/problem+json":
            raise
        failure = error
    except ChronError as error:
        _log.error("cannot record an answer of the control API, so it is refused: %s", error)
        raise _problem(503, "gate.audit-unavailable", "the decision cannot be recorded") from None
    except Exception:  # noqa: BLE001 -- without it aiohttp answers in its own words
        _log.exception("the control API failed at %s", request.path)
        raise _problem(500, "gate.error", "internal error") from None
    body = {"type": "about:blank", "title": failure.reason, "status": failure.status, "code": "http"}
    kept = {name: value for name, value in failure.headers.items() if name == "Allow"}  # RFC 9110, 15.5.6
    return web.json_response(body, status=failure.status, headers=kept, content_type="application/problem+json")
