"""The fields of the records the proxy writes: flat, redacted, and the same for wire and API.

Nothing here writes. No token, header value, query value or body goes into a record: of the query only
the names of its keys, of the path what looks like no credential.
"""

import re
from dataclasses import dataclass

from chron import redacted_path, redacted_text
from mappings import Operation
from policies import Decision, TextRef
from proxy.destinations import Route
from proxy.facts import Facts, Inbound, request_digest

type FieldValues = dict[str, str | int | bool | None]

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, 3.2
_MOST_TEXT = 512
"""The longest text from a request that a record keeps; what is longer is cut and marked."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is the same in all records of one run of the gate."""

    session: str
    engine: str
    engine_version: str


def wire_fields(
    origin: Origin,
    request_id: str,
    inbound: Inbound,
    facts: Facts | None,
    route: Route | None,
    rules_digest: str,
) -> FieldValues:
    """What the records of one wire request have in common."""
    fields: FieldValues = {
        "channel": "wire",
        "session": origin.session,
        "client": inbound.client,
        "request": request_id,
        "rules_digest": rules_digest,
        "engine": origin.engine,
        "engine_version": origin.engine_version,
    }
    if facts is None:
        # Nothing of an unreadable request is trusted to be what it says; it is kept as text, cut short.
        fields["method"] = _text(inbound.method)
        fields["path"] = _text(redacted_path(inbound.target.partition("?")[0]))
        if inbound.tunnel:
            fields["host"], fields["port"] = inbound.tunnel
        else:
            fields["host"] = _text(redacted_text(inbound.uri_authority))
        return fields
    request = facts.request
    fields |= {
        "method": request.method,
        "scheme": request.scheme,
        "host": request.host,
        "port": request.port,
        "path": _text(redacted_path(request.path)),
        "query_keys": _text(redacted_text(" ".join(dict.fromkeys(key for key, _ in request.query)))),
        "request_digest": request_digest(facts),
        "request_bytes": None if request.body is None else len(request.body),
        "upgrade": facts.upgrade or None,
        "traceparent": _traceparent(request.header("traceparent")),
    }
    if route is not None:
        fields["address"] = f"{route.address[0]} {route.address[1]}"
        fields["upstream_verified"] = route.verify if request.scheme == "https" else None
    return fields


def operation_fields(operation: Operation | None) -> FieldValues:
    """What names the operation, and which mapping text named it."""
    if operation is None:
        return {"action": "unmapped", "target": ""}
    fields: FieldValues = {
        "operation": _text(operation.name),
        "action": _text(operation.action),
        "target": _text(redacted_text(operation.target)),
        "environment": operation.environment or None,
    }
    if rule := operation.rule:
        fields |= {
            "mapping_rule": rule.id,
            "mapping_pack": rule.pack,
            "mapping_place": rule.place,
            "mapping_digest": rule.digest,
        }
    return fields


def decision_fields(decision: Decision) -> FieldValues:
    """Who was decided about, how, why and by which texts."""
    return {
        "agent": _text(redacted_text(decision.agent)),
        "anchor": decision.anchor,
        "org": decision.org,
        "outcome": decision.outcome.value,
        "mode": decision.mode.value,
        "reason": _text(redacted_text(decision.reason)),
        "code": decision.code,
        "stage": decision.stage,
        "rule": decision.rule or None,
        "pattern": decision.pattern or None,
        "policies": " ".join(f"{ref.id}@{ref.version}" for ref in decision.policies) or None,
        "observed": _text(decision.observed) or None,
        "error": _text(decision.error) or None,
        **_reference("policy", decision.policy),
        **_reference("skill", decision.skill),
    }


def _reference(kind: str, ref: TextRef | None) -> FieldValues:
    if ref is None:
        return {}
    return {kind: ref.id, f"{kind}_version": ref.version, f"{kind}_digest": ref.digest}


def _traceparent(text: str | None) -> str | None:
    return text if text and _TRACEPARENT.fullmatch(text) else None


def _text(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
