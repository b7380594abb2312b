"""The questions of `/v1/check` in the form of AuthZEN, the Authorization API 1.0 (openid/authzen).

    GET  /.well-known/authzen-configuration   where the other two are
    POST /access/v1/evaluation                one question
    POST /access/v1/evaluations               many; what stands beside `evaluations` holds where one is silent

    {"subject": {"type": "agent", "id": "deploy-bot"}, "action": {"name": "deploy:production"},
     "resource": {"type": "target", "id": "api-v2", "properties": {"environment": "production"}}}
    ->  200 {"decision": false, "context": {"chron_id": ..., "outcome": "DENY", "reason_user": {"en": ...}, ...}}

A resource of another type is the target "<type>/<id>". Of all properties and of `context` only `environment` is read:
the caller wrote them, and no agent vouches for itself. A HOLD is `decision: false`; `outcome` says what it is.
An agent asks about itself. A human asks about the agents they answer for, and the operator's token about all; that
they are who they are is then supposed, and the record says who asked. What is no question is a 400, and in a batch
`decision: false` with `error`; neither is recorded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic
from aiohttp import web
from aiohttp.hdrs import VIA

from mappings import canonical_action
from policies import Credential, Human, Outcome
from proxy.api.callers import Callers
from proxy.api.problems import problem, read_body
from proxy.pdp import EVALUATION, EVALUATIONS, asked_via
from proxy.pipeline import Gate
from proxy.verdicts import Checked, Inquiry

_METADATA = "/.well-known/authzen-configuration"
_MOST_EVALUATIONS = 100
"""In one request: each is a record."""
_MAX_ENVIRONMENT_CHARS = 128
_STOP_AT = {"execute_all": None, "deny_on_first_deny": False, "permit_on_first_permit": True}


class _Open(pydantic.BaseModel):
    # Authorization API 1.0: members that are not known are ignored.
    model_config = pydantic.ConfigDict(extra="ignore", frozen=True, strict=True)


class _Entity(_Open):
    type: str = pydantic.Field(min_length=1, max_length=128)
    id: str = pydantic.Field(max_length=2048)
    properties: dict[str, Any] = {}


class _Action(_Open):
    name: str = pydantic.Field(min_length=1, max_length=512)
    properties: dict[str, Any] = {}


class _Evaluation(_Open):
    subject: _Entity
    action: _Action
    resource: _Entity
    context: dict[str, Any] = {}


class _Options(_Open):
    evaluations_semantic: Literal["execute_all", "deny_on_first_deny", "permit_on_first_permit"] = "execute_all"


class _Batch(_Open):
    evaluations: Annotated[list[dict[str, Any]], pydantic.Field(max_length=_MOST_EVALUATIONS)] = []
    subject: Any = None
    action: Any = None
    resource: Any = None
    context: Any = None
    options: _Options = _Options()

    def each(self) -> list[dict[str, Any]]:
        """Return the evaluations with what stands beside them filled in: whole members, never parts of one."""
        names = ("subject", "action", "resource", "context")
        shared = {name: value for name in names if (value := getattr(self, name)) is not None}
        return [{**shared, **one} for one in self.evaluations]


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks; the operator where both are None."""

    agent: Credential | None = None
    human: Human | None = None

    @property
    def asked_by(self) -> str:
        if self.agent is not None:
            return ""
        return "operator" if self.human is None else f"human:{self.human.id}"


@dataclass(frozen=True, slots=True)
class _Unaskable:
    """An evaluation that is no question, or not this caller's to ask."""

    status: int
    code: str
    message: str


class AuthZen:
    """The routes of AuthZEN; `base` is the address that this API is reached at."""

    def __init__(self, gate: Gate, callers: Callers, base: Callable[[], str]) -> None:
        self._gate = gate
        self._callers = callers
        self._base = base

    def routes(self) -> list[web.RouteDef]:
        """What is served here."""
        return [
            web.get(_METADATA, self._metadata),
            web.post(EVALUATION, self._evaluate),
            web.post(EVALUATIONS, self._evaluate_many),
        ]

    async def _metadata(self, _: web.Request) -> web.Response:
        base = self._base()
        return web.json_response(
            {
                "policy_decision_point": base,
                "access_evaluation_endpoint": base + EVALUATION,
                "access_evaluations_endpoint": base + EVALUATIONS,
            }
        )

    async def _evaluate(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        return await self._answer_one(request, caller, await read_body(request, _Evaluation, "authzen.body"))

    async def _evaluate_many(self, request: web.Request) -> web.Response:
        caller = self._caller(request)
        batch = await read_body(request, _Batch, "authzen.body")
        if not batch.evaluations:
            # Authorization API 1.0, "Access Evaluations API": then it is a single one.
            return await self._answer_one(request, caller, await read_body(request, _Evaluation, "authzen.body"))
        asked = [self._read(request, caller, one) for one in batch.each()]
        said = await self._answer(caller, asked, _STOP_AT[batch.options.evaluations_semantic])
        return web.json_response({"evaluations": said})

    async def _answer_one(self, request: web.Request, caller: _Caller, evaluation: _Evaluation) -> web.Response:
        asked = self._inquiry(request, caller, evaluation)
        if isinstance(asked, _Unaskable):
            raise problem(asked.status, asked.code, asked.message)
        (said,) = await self._answer(caller, [asked], None)
        return web.json_response(said)

    async def _answer(
        self, caller: _Caller, asked: Sequence[Inquiry | _Unaskable], stop_at: bool | None
    ) -> list[dict[str, Any]]:
        if stop_at is False:
            # An evaluation that is none is a denial, and nothing behind a denial is asked.
            first = next((index for index, each in enumerate(asked) if isinstance(each, _Unaskable)), len(asked))
            asked = asked[: first + 1]
        inquiries = [each for each in asked if isinstance(each, Inquiry)]
        checked = iter(await self._gate.checking.check_all(inquiries, stop_at) if inquiries else ())
        said: list[dict[str, Any]] = []
        for each in asked:
            if isinstance(each, _Unaskable):
                said.append(_failed(each))
            elif (one := next(checked, None)) is not None:
                said.append(_described(one, whole=caller.agent is None))
            else:
                break
            if said[-1]["decision"] is stop_at:
                break
        return said

    def _caller(self, request: web.Request) -> _Caller:
        """Who asks; raises a 401 for a token that is nobody's, and a 400 for this gate's own question."""
        via = request.headers.get(VIA, "")
        if self._gate.pdp is not None and self._gate.pdp.asked_itself(via):
            raise problem(400, "pdp.loop", "this gate is asking itself; give it another PDP")
        asked_via.set(via)
        if self._callers.is_operator(request):
            return _Caller()
        human = self._callers.find_human(request)
        return _Caller(human=human) if human is not None else _Caller(agent=self._callers.agent(request))

    def _read(self, request: web.Request, caller: _Caller, one: dict[str, Any]) -> Inquiry | _Unaskable:
        try:
            evaluation = _Evaluation.model_validate(one)
        except pydantic.ValidationError as error:
            places = sorted({".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False)})
            return _Unaskable(400, "authzen.body", f"not usable: {', '.join(places)}")
        return self._inquiry(request, caller, evaluation)

    def _inquiry(self, request: web.Request, caller: _Caller, evaluation: _Evaluation) -> Inquiry | _Unaskable:
        subject, resource = evaluation.subject, evaluation.resource
        if subject.type != "agent":
            return _Unaskable(400, "authzen.subject", 'only subjects of type "agent" are known here')
        if not self._may_ask(caller, subject.id):
            return _Unaskable(403, "agent.other", f'this token may not ask about agent "{subject.id}"')
        try:
            action = canonical_action(evaluation.action.name)
        except ValueError as error:
            return _Unaskable(400, "authzen.action", str(error))
        environment = _environment(evaluation)
        if isinstance(environment, _Unaskable):
            return environment
        return Inquiry(
            caller.agent or Credential(subject.id, ""),
            action,
            resource.id if resource.type == "target" else f"{resource.type}/{resource.id}",
            environment,
            request.remote or "",
            caller.asked_by,
        )

    def _may_ask(self, caller: _Caller, agent: str) -> bool:
        if caller.agent is not None:
            return agent == caller.agent.agent
        if caller.human is None:
            return True
        known = self._gate.book.policies.agents.get(agent)
        return known is not None and known.anchor == caller.human.id


def _environment(evaluation: _Evaluation) -> str | _Unaskable:
    """The environment, wherever it is named; "" where it is not."""
    places = (evaluation.resource.properties, evaluation.action.properties, evaluation.context)
    named = [place["environment"] for place in places if "environment" in place]
    if not all(isinstance(each, str) and len(each) <= _MAX_ENVIRONMENT_CHARS for each in named):
        return _Unaskable(400, "authzen.environment", "environment is not a short text")
    if len(set(named)) > 1:
        return _Unaskable(400, "authzen.environment", "several environments are named")
    return named[0] if named else ""


def _described(checked: Checked, *, whole: bool) -> dict[str, Any]:
    """The answer. Where a line stands is for people: an agent is told the reason and the record, never a path."""
    decision = checked.decision
    context: dict[str, Any] = {
        "chron_id": checked.chron_id,
        "outcome": decision.outcome.value,
        "code": decision.code,
        "reason_user": {"en": decision.reason},
        "mode": decision.mode.value,
        "action": checked.action,
        "target": checked.target,
        "agent": decision.agent,
        "anchor": decision.anchor,
    }
    context |= {kind: str(ref) for kind, ref in (("policy", decision.policy), ("skill", decision.skill)) if ref}
    if whole:
        context["reason_admin"] = {"en": f"{decision.stage}: {decision.reason}"}
        context |= {"rule": decision.rule} if decision.rule else {}
    # If this becomes "not DENY", what waits for a human is allowed.
    return {"decision": decision.outcome is Outcome.ALLOW, "context": context}


def _failed(asked: _Unaskable) -> dict[str, Any]:
    error = {"status": asked.status, "message": asked.message}
    return {"decision": False, "context": {"code": asked.code, "error": error}}
