"""Reads the gate's answer; decides only whether it is one.

A question is an AuthZEN evaluation request (openid/authzen, Authorization API 1.0). A good answer is 200,
`application/json`, one object, no key twice, a boolean `decision`, and a `context` with every field of
`CheckResult`: non-empty strings (`anchor` excepted), `reason` as `reason_user.en`, `outcome` exactly `ALLOW`, `DENY`
or `HOLD`, `ALLOW` exactly where `decision` is true, and about the action, target and agent that were asked.
Failures, all GateUnavailable: `{"decision": true}` (no context), `{"decision": "true"}` (type), true with
`"outcome": "DENY"`, an ALLOW for another action, a 204, a login page; of many, one answer too few.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields

from claiim.errors import GateError, GateUnavailable, NotAuthenticated

# A ULID in Crockford's base 32 behind the Chron's prefix.
_CHRON_ID = re.compile(r"chr_[0-9a-hjkmnp-tv-z]{26}")
# Empty when the gate has nothing to put there: an unknown agent has no anchor.
_MAY_BE_EMPTY = frozenset({"anchor"})
_OUTCOMES = ("ALLOW", "DENY", "HOLD")
_NOT_AUTHENTICATED = (401, 403)
_MAX_HINT_CHARS = 300


@dataclass(frozen=True)
class Asked:
    """One question: what the answer has to be about."""

    agent: str
    action: str
    target: str
    environment: str | None = None
    context: dict[str, object] | None = None

    def evaluation(self) -> dict[str, object]:
        """Returns it as an AuthZEN evaluation; what was not given is left out."""
        resource: dict[str, object] = {"type": "target", "id": self.target}
        if self.environment is not None:
            resource["properties"] = {"environment": self.environment}
        asked: dict[str, object] = {
            "subject": {"type": "agent", "id": self.agent},
            "action": {"name": self.action},
            "resource": resource,
        }
        return asked if self.context is None else {**asked, "context": self.context}


@dataclass(frozen=True)
class CheckResult:
    """What the gate decided, and where that is written down."""

    outcome: str
    """`ALLOW`, `DENY`, or `HOLD`: a human has to approve it, and the gate asks them when it is done."""
    reason: str
    """For people: `policy:no-prod-v1 -- action not in allow list`."""
    code: str
    """For programs: a stable machine code of the reason."""
    chron_id: str
    """The record of this decision: `chr_` and a ULID."""
    action: str
    target: str
    agent: str
    anchor: str
    """The accountable human."""
    mode: str
    """`enforce`, or `observe` where the gate only watches this agent or policy."""

    @property
    def allowed(self) -> bool:
        """Returns True for ALLOW and for nothing else, also under `observe`."""
        return self.outcome == "ALLOW"

    @property
    def held(self) -> bool:
        """Returns True for HOLD: neither allowed nor denied yet."""
        return self.outcome == "HOLD"

    def __bool__(self) -> bool:
        return self.allowed


def read_answer(status: int, content_type: str, body: bytes, asked: Asked) -> CheckResult:
    """Returns the answer to `asked`; raises GateUnavailable or NotAuthenticated for all else."""
    return _result(_answered(status, content_type, body, asked.agent), asked)


def read_answers(status: int, content_type: str, body: bytes, asked: Sequence[Asked]) -> list[CheckResult]:
    """Returns the answers to `asked`, in that order: one for each, or raises as `read_answer` does."""
    listed = _answered(status, content_type, body, asked[0].agent).get("evaluations")
    if not isinstance(listed, list) or len(listed) != len(asked):
        raise GateUnavailable("the gate's answer has not one evaluation for each question")
    return [_result(each, question) for each, question in zip(listed, asked, strict=True)]


def _answered(status: int, content_type: str, body: bytes, agent: str) -> dict[str, object]:
    if status in _NOT_AUTHENTICATED:
        raise NotAuthenticated(f'the gate does not accept the token of agent "{agent}"{_hint(body)}')
    if status != 200:
        raise GateUnavailable(f"the gate answered {status} instead of a decision{_hint(body)}")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise GateUnavailable("the gate's answer is not JSON; check the address")
    return _object(body)


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise GateUnavailable(f"the gate's answer is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise GateUnavailable("the gate's answer is not a JSON object")
    return value


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two readers of {"decision": false, "decision": true} may each keep another one.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key twice")
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _result(value: object, asked: Asked) -> CheckResult:
    decision = value.get("decision") if isinstance(value, dict) else None
    context = value.get("context") if isinstance(value, dict) else None
    if not isinstance(decision, bool):
        raise GateUnavailable('the gate\'s answer has no usable "decision"')
    if not isinstance(context, dict):
        raise GateUnavailable('the gate\'s answer has no usable "context"')
    if isinstance(context.get("error"), dict):
        raise _failure(context["error"], asked.agent)
    result = _fields(context)
    # If this is removed, a gate that says both is believed in what suits the caller.
    if decision is not result.allowed:
        raise GateUnavailable("the gate's answer says one thing as decision and another as outcome")
    _about(result, asked)
    return result


def _failure(error: dict[str, object], agent: str) -> GateError:
    """Returns what to raise for an evaluation that was not evaluated."""
    if error.get("status") in _NOT_AUTHENTICATED:
        return NotAuthenticated(f'the gate does not accept the token of agent "{agent}"{_hint_of(error)}')
    return GateUnavailable(f"the gate did not take this for a question{_hint_of(error)}")


def _fields(context: dict[str, object]) -> CheckResult:
    told = context.get("reason_user")
    flat = {**context, "reason": told.get("en") if isinstance(told, dict) else None}
    found: dict[str, str] = {}
    for name in (field.name for field in fields(CheckResult)):
        text = flat.get(name)
        if not isinstance(text, str) or (not text and name not in _MAY_BE_EMPTY):
            raise GateUnavailable(f'the gate\'s answer has no usable "{name}"')
        found[name] = text
    if found["outcome"] not in _OUTCOMES:
        raise GateUnavailable('the gate\'s answer has an outcome other than "ALLOW", "DENY" and "HOLD"')
    if found["mode"] not in ("enforce", "observe"):
        raise GateUnavailable('the gate\'s answer has a mode other than "enforce" and "observe"')
    if not _CHRON_ID.fullmatch(found["chron_id"]):
        raise GateUnavailable("the gate's answer names no Chron record")
    return CheckResult(**found)


def _about(result: CheckResult, asked: Asked) -> None:
    # The gate folds the case of actions; nothing else may differ from the question.
    if result.action.casefold() != asked.action.casefold():
        raise GateUnavailable("the gate answered about another action")
    if result.target != asked.target:
        raise GateUnavailable("the gate answered about another target")
    if result.agent != asked.agent:
        raise GateUnavailable("the gate answered about another agent")


def _hint(body: bytes) -> str:
    """Returns ": reason" from a problem answer (RFC 9457), made safe for a terminal, or nothing."""
    try:
        return _hint_of(_object(body))
    except GateUnavailable:
        return ""


def _hint_of(value: object) -> str:
    names = ("reason", "detail", "title", "message")
    text = next((value[name] for name in names if value.get(name)), None) if isinstance(value, dict) else None
    if not isinstance(text, str):
        return ""
    return ": " + "".join(c if c.isprintable() else " " for c in text[:_MAX_HINT_CHARS])
