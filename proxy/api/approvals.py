"""Humans say yes or no to requests that wait, and agents see how theirs stand.

    GET  /v1/approvals                 Bearer = a human's token: those they may speak on; the operator's: all
    GET  /v1/approvals/{id}            also an agent's token, for its own approvals
    POST /v1/approvals/{id}/approve    Bearer = a human's token   {"fingerprint": ..., "reason": ...}
    POST /v1/approvals/{id}/refuse     Bearer = a human's token   {"reason": ...}
    POST /v1/approvals/{id}/callback   signed by the webhook's key
                                       {"decision": "approve", "human": ..., "fingerprint": ..., "reason": ...}

A yes names the fingerprint of what was shown, so that nobody approves one request and lets another run. What the gate
itself sends out is signed by the same key, but has none of the fields of a callback and is refused as one.
"""

from fnmatch import fnmatchcase
from typing import Literal

import pydantic
from aiohttp import web

from policies import Human
from proxy.api.callers import Callers, bearer
from proxy.api.problems import problem, read_body
from proxy.approvals import Approval, ApprovalError
from proxy.pipeline import Gate
from proxy.vouching import may_speak
from proxy.webhooks import SignatureError, Webhook, verify

_STATUS = {"approval.unknown": 404, "approval.not-eligible": 403}


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    reason: str = pydantic.Field(default="", max_length=500)


class _Yes(_Body):
    fingerprint: str = pydantic.Field(min_length=64, max_length=64)


class _No(_Body):
    pass


class _Callback(_Body):
    decision: Literal["approve", "refuse"]
    human: str = pydantic.Field(min_length=1, max_length=256)
    fingerprint: str = pydantic.Field(min_length=64, max_length=64)


class Approving:
    """The routes on which approvals are seen and decided."""

    def __init__(self, gate: Gate, callers: Callers, webhook: Webhook | None) -> None:
        self._gate = gate
        self._callers = callers
        self._webhook = webhook

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.get("/v1/approvals", self._list),
            web.get("/v1/approvals/{id}", self._show),
            web.post("/v1/approvals/{id}/approve", self._approve),
            web.post("/v1/approvals/{id}/refuse", self._refuse),
            web.post("/v1/approvals/{id}/callback", self._callback),
        ]

    async def _list(self, request: web.Request) -> web.Response:
        shown = [self._described(one) for one in self._gate.holding.all() if self._may_see(request, one)]
        return web.json_response({"approvals": shown})

    async def _show(self, request: web.Request) -> web.Response:
        bearer(request)  # before anything is looked up: without a token there is no answer, not even "no such"
        approval = self._get(request)
        if not self._may_see(request, approval):
            # As if there were none: an agent does not learn what others wait for.
            raise problem(404, "approval.unknown", f'there is no approval "{approval.id}"')
        return web.json_response(self._described(approval))

    async def _approve(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        said = await read_body(request, _Yes, "approval.body")
        return await self._decide(request, human, "approve", said.fingerprint, said.reason)

    async def _refuse(self, request: web.Request) -> web.Response:
        human = self._callers.human(request)
        said = await read_body(request, _No, "approval.body")
        return await self._decide(request, human, "refuse", "", said.reason)

    async def _callback(self, request: web.Request) -> web.Response:
        if self._webhook is None:
            raise problem(404, "approval.webhook", "no webhook is configured here")
        try:
            message = verify(self._webhook.key, request.headers, await request.read(), self._gate.now())
        except SignatureError as error:
            raise problem(401, "approval.signature", str(error)) from None
        said = await read_body(request, _Callback, "approval.body")
        human = self._vouched(self._webhook, said.human)
        if not self._gate.holding.fresh(message):
            raise problem(409, "approval.replayed", "this message was obeyed before")
        return await self._decide(request, human, said.decision, said.fingerprint, said.reason, message)

    def _vouched(self, webhook: Webhook, name: str) -> Human:
        human = self._gate.book.policies.humans.get(name)
        if human is None or not any(fnmatchcase(name, glob) for glob in webhook.vouches_for):
            raise problem(403, "approval.not-vouched", "the webhook does not vouch for this human")
        return human

    async def _decide(
        self, request: web.Request, human: Human, decision: str, fingerprint: str, reason: str, message: str = ""
    ) -> web.Response:
        holding, policies, name = self._gate.holding, self._gate.book.policies, request.match_info["id"]
        try:
            if decision == "approve":
                approval = await holding.approve(name, human, fingerprint, reason, policies, message)
            else:
                approval = await holding.refuse(name, human, reason, policies, message)
        except ApprovalError as error:
            raise problem(_STATUS.get(error.code, 409), error.code, error.reason) from None
        return web.json_response(self._described(approval))

    def _get(self, request: web.Request) -> Approval:
        self._gate.holding.sweep()
        try:
            return self._gate.holding.get(request.match_info["id"])
        except ApprovalError as error:
            raise problem(404, error.code, error.reason) from None

    def _may_see(self, request: web.Request, approval: Approval) -> bool:
        """Whether an approval is the caller's affair; raises a 401 for a caller that is nobody."""
        if self._callers.is_operator(request):
            return True
        human = self._callers.find_human(request)
        if human is None:
            return self._callers.agent_in_good_standing(request).agent == approval.asked.agent
        return may_speak(self._gate.book.policies, human.id, approval.asked.agent, self._gate.now())

    def _described(self, approval: Approval) -> dict[str, object]:
        asked = approval.asked
        return {
            "approval": approval.id,
            "state": self._gate.holding.phase(approval.id, self._gate.book.policies).value,
            "agent": asked.agent,
            "anchor": asked.anchor,
            "request": asked.request,
            "body_bytes": asked.body_bytes,
            "operations": [{"action": action, "target": target} for action, target in asked.operations],
            "reason": asked.reason,
            "needs": asked.needs,
            "who": sorted({glob for hold in asked.holds for glob in hold.who}),
            "anchor_may": all(hold.anchor for hold in asked.holds),
            "fingerprint": asked.fingerprint,
            "requested": approval.at.isoformat(timespec="seconds"),
            "expires": approval.expires.isoformat(timespec="seconds"),
            "approved_by": [{"human": word.human, "reason": word.reason} for word in approval.words],
            "ended": approval.why_ended() if approval.end else "",
        }
