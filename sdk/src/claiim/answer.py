"""Reads the gate's answer; decides only whether it is one.

A good answer is 200, `application/json`, one object, no key twice, every field of `CheckResult` present as a
non-empty string (`anchor` and `environment`-like blanks excepted), `outcome` exactly `ALLOW` or `DENY`, and
about the action, target and agent that were asked. Failures, all GateUnavailable: `{"outcome": "allow"}`
(case), `{"outcome": true}` (type), an ALLOW for another action, a 204, a login page.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields

from claiim.errors import GateUnavailable, NotAuthenticated

# A ULID in Crockford's base 32 behind the Chron's prefix.
_CHRON_ID = re.compile(r"chr_[0-9a-hjkmnp-tv-z]{26}")
# Empty when the gate has nothing to put there: an unknown agent has no anchor.
_MAY_BE_EMPTY = frozenset({"anchor"})
_MAX_HINT_CHARS = 300


@dataclass(frozen=True)
class CheckResult:
    """What the gate decided, and where that is written down."""

    outcome: str
    """`ALLOW` or `DENY`."""
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

    def __bool__(self) -> bool:
        return self.allowed


def read_answer(status: int, content_type: str, body: bytes, asked: dict[str, object]) -> CheckResult:
    """Returns the answer to `asked`; raises GateUnavailable or NotAuthenticated for all else."""
    if status in (401, 403):
        raise NotAuthenticated(f'the gate does not accept the token of agent "{asked["agent"]}"{_hint(body)}')
    if status != 200:
        raise GateUnavailable(f"the gate answered {status} instead of a decision{_hint(body)}")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise GateUnavailable("the gate's answer is not JSON; check the address")
    result = _result(_object(body))
    _about(result, asked)
    return result


def _object(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise GateUnavailable(f"the gate's answer is not JSON: {type(error).__name__}") from error
    if not isinstance(value, dict):
        raise GateUnavailable("the gate's answer is not a JSON object")
    return value


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Two readers of {"outcome": "DENY", "outcome": "ALLOW"} may each keep another one.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key twice")
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _result(value: dict[str, object]) -> CheckResult:
    found: dict[str, str] = {}
    for name in (field.name for field in fields(CheckResult)):
        text = value.get(name)
        if not isinstance(text, str) or (not text and name not in _MAY_BE_EMPTY):
            raise GateUnavailable(f'the gate\'s answer has no usable "{name}"')
        found[name] = text
    if found["outcome"] not in ("ALLOW", "DENY"):
        raise GateUnavailable('the gate\'s answer has an outcome other than "ALLOW" and "DENY"')
    if found["mode"] not in ("enforce", "observe"):
        raise GateUnavailable('the gate\'s answer has a mode other than "enforce" and "observe"')
    if not _CHRON_ID.fullmatch(found["chron_id"]):
        raise GateUnavailable("the gate's answer names no Chron record")
    return CheckResult(**found)


def _about(result: CheckResult, asked: dict[str, object]) -> None:
    # The gate folds the case of actions; nothing else may differ from the question.
    if result.action.casefold() != str(asked["action"]).casefold():
        raise GateUnavailable("the gate answered about another action")
    if result.target != asked["target"]:
        raise GateUnavailable("the gate answered about another target")
    if result.agent != asked["agent"]:
        raise GateUnavailable("the gate answered about another agent")


def _hint(body: bytes) -> str:
    """Returns ": reason" from a problem answer (RFC 9457), made safe for a terminal, or nothing."""
    try:
        value = _object(body)
    except GateUnavailable:
        return ""
    text = value.get("reason") or value.get("detail") or value.get("title")
    if not isinstance(text, str):
        return ""
    return ": " + "".join(c if c.isprintable() else " " for c in text[:_MAX_HINT_CHARS])
