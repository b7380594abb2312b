"""A human vouches for a simulation: `POST /v1/simulations`, recorded under their name.

{"report": "<sha256>", "texts": ["skill:deploy-v2@3:<sha256>"], "since": ..., "until": ...,
 "decisions": 4127, "flips": 3}   ->   {"chron_id": "chr_...", "by": "alice@acme.test"}

Nothing is computed again here: what the record says is that this human showed the gate the digest of a report and
stands by it. Who keeps the report can show later what it said.
"""

from typing import Annotated

import pydantic
from aiohttp import web

from chron import Chron
from proxy.api.callers import Callers
from proxy.api.problems import read_body

MAX_TEXTS = 40
"""Texts in one simulation: their names and digests stand in one record."""

_SHA256 = r"[0-9a-f]{64}"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_TEXT = rf"(?:skill|policy):[a-z0-9][a-z0-9._-]{{0,63}}@[1-9][0-9]{{0,8}}:{_SHA256}"

type _Time = Annotated[str, pydantic.Field(pattern=f"^{_TIME}$")]
type _Text = Annotated[str, pydantic.Field(pattern=f"^{_TEXT}$")]
type _Count = Annotated[int, pydantic.Field(ge=0, lt=2**53)]


class _Simulation(pydantic.BaseModel):
    """The body of `POST /v1/simulations`."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    report: str = pydantic.Field(pattern=f"^{_SHA256}$")
    texts: tuple[_Text, ...] = pydantic.Field(min_length=1, max_length=MAX_TEXTS)
    since: _Time
    until: _Time
    decisions: _Count
    flips: _Count


class Simulations:
    """The route on which humans vouch for simulations."""

    def __init__(self, chron: Chron, callers: Callers, *, session: str) -> None:
        self._chron = chron
        self._callers = callers
        self._session = session

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [web.post("/v1/simulations", self._record)]

    async def _record(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        said = await read_body(request, _Simulation, "simulation.body")
        fields = {**said.model_dump(), "texts": " ".join(said.texts), "by": human.id, "session": self._session}
        receipt = await self._chron.append("policy", {"event": "simulated", **fields})
        return web.json_response({"chron_id": receipt.id, "by": human.id})
