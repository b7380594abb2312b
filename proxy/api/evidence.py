"""What an operator does with the evidence of a running gate: sign a checkpoint now, change the key, see the anchors.

POST /v1/checkpoints             -> {"note": "claiim/chr_01k...\\n1204\\n..."}
POST /v1/chron-key/rotation      -> the same, signed by the new key
GET  /v1/anchors                 -> {"fault": "", "anchors": [{"name": ..., "size": ..., "at": ..., "fault": ...}]}
"""

import asyncio

from aiohttp import web

from chron import Chron
from proxy.anchoring import Anchoring
from proxy.api.callers import Callers


class EvidenceRoutes:
    """The routes for the operator of the log."""

    def __init__(self, chron: Chron, anchoring: Anchoring, callers: Callers) -> None:
        self._chron, self._anchoring, self._callers = chron, anchoring, callers

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.post("/v1/checkpoints", self._checkpoint),
            web.post("/v1/chron-key/rotation", self._rotate),
            web.get("/v1/anchors", self._anchors),
        ]

    async def _checkpoint(self, request: web.Request) -> web.Response:
        self._callers.require_operator(request)
        return web.json_response({"note": await asyncio.to_thread(self._chron.checkpoint)})

    async def _rotate(self, request: web.Request) -> web.Response:
        self._callers.require_operator(request)
        return web.json_response({"note": await asyncio.to_thread(self._chron.rotate_key)})

    async def _anchors(self, request: web.Request) -> web.Response:
        self._callers.require_operator(request)
        anchors = [
            {
                "name": state.name,
                "size": state.size,
                "at": state.at.isoformat(timespec="seconds") if state.at else None,
                "fault": state.fault,
            }
            for state in self._anchoring.states
        ]
        return web.json_response({"fault": self._anchoring.fault(), "anchors": anchors})
