"""Reading the Chron over the API; every answer stands in the Chron itself before it is given (PCI DSS 4, 10.2.1.3).

    GET /v1/chron?filter=outcome=DENY+since=24h&limit=100     {"records": [...], "cursor": "4711"}
    GET /v1/chron?filter=...&cursor=4711                      those before; "cursor" is null when there are none
    GET /v1/chron?filter=...&group_by=agent,action            {"counts": [{"count": 7, "values": {...}, ...}]}
    GET /v1/chron/{id}                                        one record with its outcomes

The operator reads all, a human the records that name them as the anchor, an agent its own. Filters are those of
`claiim chron query` (`chron.filtering`), and mean decisions unless they name another kind. A reader asks one question
at a time, and each is given a few seconds: looking at the log must not keep the gate from writing it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from chron import Chron, FilterError, redacted_text, show
from chron.filtering import All, Compare, Filter, check_field, decisions_unless_named, parse_filter
from chron.querying import counts, page
from chron.sources import Source
from proxy.api.callers import Callers
from proxy.api.problems import problem
from proxy.questions import FieldValues, recorded

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
MOST_S = 5.0
_AT_ONCE = 2
"""Questions that are looked up at the same time, of all readers."""
_MOST_FILTER_CHARS = 4096
_PARAMETERS = frozenset({"filter", "limit", "cursor", "group_by"})


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and which records they may see."""

    sort: str
    name: str
    """The human's or agent's; "" of the operator."""
    scope: Filter

    def may_see(self, fields: dict[str, object]) -> bool:
        """Whether one record is within the scope."""
        match self.scope:
            case Compare():
                return fields.get(self.scope.field) in self.scope.values
            case _:
                return self.sort == "operator"

    def fields(self) -> FieldValues:
        """As an access record names them."""
        return {
            "reader": self.sort,
            "by": self.name if self.sort == "human" else None,
            "agent": self.name if self.sort == "agent" else None,
        }


@dataclass(frozen=True, slots=True)
class _Question:
    asked: Filter
    text: str
    limit: int
    before: int
    grouped: tuple[str, ...]


class Records:
    """The routes on which records are read."""

    def __init__(
        self, path: Source, chron: Chron, callers: Callers, *, session: str, now: Callable[[], datetime]
    ) -> None:
        self._path = path
        self._chron = chron
        self._callers = callers
        self._session = session
        self._now = now
        self._asking: set[tuple[str, str]] = set()
        self._looking = asyncio.Semaphore(_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [web.get("/v1/chron", self._query), web.get("/v1/chron/{id}", self._show)]

    async def _query(self, request: web.Request) -> web.Response:
        reader = self._reader(request)
        try:
            question = self._question(request)
            async with self._turn(reader):
                answer, given = await asyncio.to_thread(self._answer, question, reader)
        except FilterError as error:
            raise problem(400, "chron.filter", str(error)) from None
        asked = recorded(redacted_text(question.text), _MOST_FILTER_CHARS) or None
        grouped = ",".join(question.grouped) or None
        await self._record(reader, request, "query", given, {"filter": asked, "grouped": grouped})
        return web.json_response(answer)

    async def _show(self, request: web.Request) -> web.Response:
        reader, id_ = self._reader(request), request.match_info["id"]
        shown = await asyncio.to_thread(show, self._path, id_)
        # A record of somebody else's looks like none at all: an agent does not learn what others do.
        visible = shown is not None and reader.may_see(dict(shown.record.fields))
        given = 1 + len(shown.outcomes) if shown and visible else 0
        await self._record(reader, request, "show", given, {"record": recorded(redacted_text(id_))})
        if shown is None or not visible:
            raise problem(404, "chron.unknown", "no such record for this caller")
        outcomes = [dict(outcome.fields) for outcome in shown.outcomes]
        return web.json_response({**shown.record.fields, "outcomes": outcomes})

    def _reader(self, request: web.Request) -> Reader:
        """Who asks; raises a 401 for nobody and a 403 for an agent that may not act."""
        if self._callers.is_operator(request):
            return Reader("operator", "", All(()))
        if human := self._callers.find_human(request):
            return Reader("human", human.id, Compare("anchor", "=", (human.id,)))
        agent = self._callers.agent_in_good_standing(request).agent
        return Reader("agent", agent, Compare("agent", "=", (agent,)))

    def _question(self, request: web.Request) -> _Question:
        given = request.query
        if unknown := sorted(set(given) - _PARAMETERS):
            raise FilterError(f'there is no parameter "{unknown[0]}"; these are {", ".join(sorted(_PARAMETERS))}')
        if len(given) > len(set(given)):
            raise FilterError("a parameter is given twice; give each once")
        text, grouped = given.get("filter", ""), given.get("group_by", "")
        fields = tuple(check_field(name.strip()) for name in grouped.split(",")) if grouped else ()
        limit = _number("limit", given.get("limit", str(DEFAULT_LIMIT)), MAX_LIMIT)
        before = _number("cursor", given["cursor"], 2**53) if "cursor" in given else 0
        asked = decisions_unless_named(parse_filter(text, self._now()))
        return _Question(asked, text, limit, before, fields)

    def _answer(self, question: _Question, reader: Reader) -> tuple[dict[str, object], int]:
        """The answer and how many records it tells of; blocks."""
        # If the scope is taken out here, every agent reads what all others do.
        asked = All((reader.scope, question.asked))
        if question.grouped:
            groups = counts(self._path, asked, question.grouped, limit=question.limit, most_s=MOST_S)
            told = [
                {
                    "count": each.records,
                    "values": dict(zip(question.grouped, each.values, strict=True)),
                    "first": each.first,
                    "last": each.last,
                }
                for each in groups
            ]
            return {"counts": told}, sum(each.records for each in groups)
        found = page(self._path, asked, limit=question.limit, before=question.before, most_s=MOST_S)
        records: Sequence[object] = [dict(record.fields) for record in found.records]
        return {"records": records, "cursor": str(found.cursor) if found.cursor else None}, len(records)

    @asynccontextmanager
    async def _turn(self, reader: Reader) -> AsyncIterator[None]:
        """One question of a reader at a time, and few of all; raises a 429 for a second one."""
        who = (reader.sort, reader.name)
        if who in self._asking:
            raise problem(429, "chron.busy", "your last question is still being answered; ask one at a time")
        self._asking.add(who)
        try:
            async with self._looking:
                yield
        finally:
            self._asking.discard(who)

    async def _record(self, reader: Reader, request: web.Request, event: str, given: int, what: FieldValues) -> None:
        fields: FieldValues = {"event": event, **reader.fields(), **what, "records": given}
        await self._chron.append("access", {**fields, "client": request.remote, "session": self._session})


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 16 and 1 <= int(text) <= most):
        raise FilterError(f'{name} "{text}" is not a number from 1 to {most}; write {name}={min(most, DEFAULT_LIMIT)}')
    return int(text)
