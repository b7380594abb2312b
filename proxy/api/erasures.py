"""Two humans let what the log says of somebody go; see `proxy.erasing`.

GET  /v1/erasures                 what waits, for a human or the operator
POST /v1/erasures                 {"record": "chr_...", "basis": "..."}                     202
                                  {"first": 17, "last": 40, ...}  {"human": "alice@...", ...}
POST /v1/erasures/{id}/approve    {"what": "records 17 to 40"}                              by another human
POST /v1/erasures/{id}/refuse
"""

from typing import Self

import pydantic
from aiohttp import web

from proxy.api.callers import Callers
from proxy.api.problems import problem, read_body
from proxy.erasing import Erasing, ErasureRefused, Request, Wanted


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class _Ask(_Body):
    """The body of `POST /v1/erasures`: one of a record, a span, a person."""

    record: str = pydantic.Field(default="", max_length=64)
    first: int = pydantic.Field(default=0, ge=0, lt=2**53)
    last: int = pydantic.Field(default=0, ge=0, lt=2**53)
    human: str = pydantic.Field(default="", max_length=320)
    basis: str = pydantic.Field(min_length=1, max_length=500, pattern=r"\S")

    @pydantic.model_validator(mode="after")
    def _one(self) -> Self:
        if sum(map(bool, (self.record, self.first or self.last, self.human))) != 1:
            raise ValueError("name a record, or first and last, or a human")
        return self


class _Agreed(_Body):
    """The body of an approval: what the approver saw."""

    what: str = pydantic.Field(max_length=400)


class Erasures:
    """The routes on which erasures are asked for and agreed to."""

    def __init__(self, erasing: Erasing, callers: Callers) -> None:
        self._erasing, self._callers = erasing, callers

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.get("/v1/erasures", self._list),
            web.post("/v1/erasures", self._ask),
            web.post("/v1/erasures/{id}/approve", self._approve),
            web.post("/v1/erasures/{id}/refuse", self._refuse),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        if not self._callers.is_operator(request):
            self._callers.human(request)
        return web.json_response({"waiting": [_described(each) for each in await self._erasing.waiting()]})

    async def _ask(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        asked = await read_body(request, _Ask, "erasure.body")
        try:
            wanted = Wanted(asked.first, asked.last, asked.human)
            if asked.record:
                wanted = await self._erasing.find(asked.record)
            return web.json_response(_described(await self._erasing.ask(human, wanted, asked.basis)), status=202)
        except ErasureRefused as error:
            raise problem(error.status, error.code, str(error)) from None

    async def _approve(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        agreed = await read_body(request, _Agreed, "erasure.body")
        try:
            erased = await self._erasing.approve(human, request.match_info["id"], agreed.what)
        except ErasureRefused as error:
            raise problem(error.status, error.code, str(error)) from None
        return web.json_response({"id": request.match_info["id"], "what": agreed.what, "erased": erased})

    async def _refuse(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        try:
            return web.json_response(_described(await self._erasing.refuse(human, request.match_info["id"])))
        except ErasureRefused as error:
            raise problem(error.status, error.code, str(error)) from None


def _described(request: Request) -> dict[str, object]:
    return {
        "id": request.id,
        "what": str(request.wanted),
        "basis": request.basis,
        "by": request.by,
        "at": request.at.isoformat(timespec="seconds"),
    }
