"""Humans put versions in force: each act needs a human's own token, and each is recorded before it counts.

    GET  /v1/activations               what waits, for a human or the operator
    POST /v1/activations               {"verb": "activate", "texts": ["deploy-v2@3"]}   200 done, 202 waits
    POST /v1/activations/{id}/approve  {"digests": [...]}                               by another human
    POST /v1/activations/{id}/refuse   {"reason": "..."}

What does not load is refused with 422 and every fault, and changes nothing.
"""

from collections.abc import Awaitable
from typing import Literal

import pydantic
from aiohttp import web

from mappings import DocumentError
from policies.versions import Request
from proxy.activating import MAX_TEXTS, Activating, ActivationRefused, Done
from proxy.api.callers import Callers
from proxy.api.problems import problem, read_body

_SHA256_OR_NOTHING = "^([0-9a-f]{64})?$"


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class _Act(_Body):
    """The body of `POST /v1/activations`."""

    verb: Literal["activate", "rollback", "retire"]
    texts: list[str] = pydantic.Field(min_length=1, max_length=MAX_TEXTS)
    """Names as they are typed: "deploy-v2", "skill:deploy-v2@3"."""
    simulation: str = pydantic.Field(default="", pattern=_SHA256_OR_NOTHING)
    """The digest of a simulation's report."""


class _Approval(_Body):
    """The body of an approval: what the approver looked at."""

    digests: list[str] = pydantic.Field(max_length=MAX_TEXTS)
    """Of the texts, in the order of the request; "" for one that is put out of force."""


class _Refusal(_Body):
    """The body of a refusal."""

    reason: str = pydantic.Field(default="", max_length=512)


class Activations:
    """The routes on which humans put versions in force."""

    def __init__(self, activating: Activating, callers: Callers) -> None:
        self._activating = activating
        self._callers = callers

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.get("/v1/activations", self._list),
            web.post("/v1/activations", self._ask),
            web.post("/v1/activations/{id}/approve", self._approve),
            web.post("/v1/activations/{id}/refuse", self._refuse),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        if not self._callers.is_operator(request):
            self._callers.human(request)
        return web.json_response({"waiting": [_described(each) for each in self._activating.requests()]})

    async def _ask(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        act = await read_body(request, _Act, "activation.body")
        return await _answer(self._activating.ask(human, act.verb, act.texts, act.simulation))

    async def _approve(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        approval = await read_body(request, _Approval, "activation.body")
        return await _answer(self._activating.approve(human, request.match_info["id"], approval.digests))

    async def _refuse(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        refusal = await read_body(request, _Refusal, "activation.body")
        try:
            refused = await self._activating.refuse(human, request.match_info["id"], refusal.reason)
        except ActivationRefused as error:
            raise problem(error.status, error.code, str(error)) from None
        return web.json_response({"status": "refused", **_described(refused)})


async def _answer(act: Awaitable[Done]) -> web.Response:
    try:
        done = await act
    except ActivationRefused as error:
        raise problem(error.status, error.code, str(error)) from None
    except DocumentError as error:
        return web.json_response({"status": "does not load", "faults": str(error).splitlines()}, status=422)
    status = "in force" if done.in_force else "waiting"
    return web.json_response({"status": status, **_described(done.request)}, status=200 if done.in_force else 202)


def _described(request: Request) -> dict[str, object]:
    return {
        "id": request.id,
        "by": request.by,
        "at": request.at.isoformat(timespec="seconds"),
        "simulation": request.simulation,
        "changes": [
            {
                "kind": change.ref.kind,
                "id": change.ref.id,
                "version": change.ref.version,
                "digest": change.ref.digest,
                "previous": change.previous,
            }
            for change in request.changes
        ],
    }
