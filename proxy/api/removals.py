"""What keeps the log from growing for ever, asked of the running gate.

POST /v1/segments                   the operator: seal what is there -> {"segment": "chron-1-1204.db"}
POST /v1/archives  {"before": ...}  the operator: move older bodies into their segments alone; with "to", a folder,
                                    the segments are moved there
GET  /v1/removals                   what waits for a second human
POST /v1/removals                   {"what": "erase", "records": ["chr_..."], "basis": "GDPR art. 17"}, by a human
                                    {"what": "erase", "first": 17, "last": 40, ...}
                                    {"what": "forget", "human": "alice@acme.test", ...}
POST /v1/removals/{id}/approve      by another human: {"bodies": 3}
POST /v1/removals/{id}/refuse       {"reason": "..."}
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pydantic
from aiohttp import web

from chron import Chron, ChronError
from chron.living import archive, seal
from proxy.api.callers import Callers
from proxy.api.problems import problem, read_body
from proxy.removing import MAX_RECORDS, Removal, RemovalRefused, Removing, described
from proxy.retention import RetentionConfig


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class _Archive(_Body):
    """The body of `POST /v1/archives`."""

    before: pydantic.AwareDatetime
    to: str = pydantic.Field(default="", max_length=4096, pattern=r"^(/[^\x00]*)?$")
    """A folder of the gate's host, from its root on; "" for the one that is configured."""


class _Asked(_Body):
    """The body of `POST /v1/removals`."""

    what: Literal["erase", "forget", "prune"]
    basis: str = pydantic.Field(min_length=1, max_length=512)
    """Why: a law, a ticket; it is recorded, so it must not name whom it is about."""
    records: list[str] = pydantic.Field(default=[], max_length=MAX_RECORDS)
    first: int = pydantic.Field(default=0, ge=0, lt=2**53)
    last: int = pydantic.Field(default=0, ge=0, lt=2**53)
    human: str = pydantic.Field(default="", max_length=320)
    before: pydantic.AwareDatetime | None = None

    @pydantic.model_validator(mode="after")
    def _one_of(self) -> "_Asked":
        named = {
            "erase": bool(self.records) + bool(self.first or self.last),
            "forget": int(bool(self.human)),
            "prune": int(self.before is not None),
        }
        if named[self.what] != 1 or sum(named.values()) != 1:
            raise ValueError('to erase, name "records", or "first" and "last"; to forget, "human"; to prune, "before"')
        return self


class _Refusal(_Body):
    """The body of a refusal."""

    reason: str = pydantic.Field(default="", max_length=512)


class Removals:
    """The routes."""

    def __init__(self, chron: Chron, config: RetentionConfig, removing: Removing, callers: Callers) -> None:
        self._chron, self._config, self._removing, self._callers = chron, config, removing, callers

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.post("/v1/segments", self._seal),
            web.post("/v1/archives", self._archive),
            web.get("/v1/removals", self._waiting),
            web.post("/v1/removals", self._ask),
            web.post("/v1/removals/{id}/approve", self._approve),
            web.post("/v1/removals/{id}/refuse", self._refuse),
        ]

    async def _seal(self, request: web.Request) -> web.Response:
        self._callers.require_operator(request)
        file = await self._do(lambda: seal(self._chron, self._config.folder))
        return web.json_response({"segment": str(file) if file else None})

    async def _archive(self, request: web.Request) -> web.Response:
        self._callers.require_operator(request)
        asked = await read_body(request, _Archive, "archive.body")
        to = Path(asked.to) if asked.to else self._config.archive_folder
        moved = await self._do(lambda: archive(self._chron, [self._config.folder], asked.before, to))
        return web.json_response({"archived": [each.file for each in moved]})

    async def _waiting(self, request: web.Request) -> web.Response:
        if not self._callers.is_operator(request):
            self._callers.human(request)
        return web.json_response({"waiting": [described(each) for each in await self._removing.waiting()]})

    async def _ask(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        asked = await read_body(request, _Asked, "removal.body")
        records = tuple(id_.lower() for id_ in asked.records)
        try:
            wanted = Removal(asked.what, asked.basis, records, (asked.first, asked.last), asked.human, asked.before)
            removal = await self._removing.ask(human, wanted)
        except RemovalRefused as refused:
            raise problem(refused.status, refused.code, str(refused)) from None
        return web.json_response(described(removal), status=202)

    async def _approve(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        try:
            gone = await self._removing.agree(human, request.match_info["id"])
        except RemovalRefused as refused:
            raise problem(refused.status, refused.code, str(refused)) from None
        except ChronError as error:
            raise problem(503, "audit_unavailable", str(error)) from None
        return web.json_response({"id": request.match_info["id"], "bodies": gone})

    async def _refuse(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        refusal = await read_body(request, _Refusal, "removal.body")
        try:
            await self._removing.refuse(human, request.match_info["id"], refusal.reason)
        except RemovalRefused as refused:
            raise problem(refused.status, refused.code, str(refused)) from None
        return web.json_response({"id": request.match_info["id"], "status": "refused"})

    async def _do[T](self, act: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(act)
        except ChronError as error:
            raise problem(503, "audit_unavailable", str(error)) from None
