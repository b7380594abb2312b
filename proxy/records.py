"""The fields of the records the proxy writes: flat, redacted, and the same for wire and API.

Nothing here writes. No token, header value, query value or body goes into a record: of the query only
the names of its keys, of the path what looks like no credential.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from chron import redacted_path, redacted_text
from mappings import Mappings, Operation
from mappings.places import printable
from policies import Credential, Decision, Policies, Question, TextRef
from policies.changes import agents_text, tokens_digest
from proxy import manifests
from proxy.destinations import Route
from proxy.facts import Facts, Inbound, request_digest
from proxy.questions import (
    FORWARD,
    REDACTED,
    WIRE,
    FieldValues,
    asked_fields,
    limit_fields,
    recorded,
    recorded_target,
)
from proxy.verdicts import Ending, Verdict

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context, 3.2
_SHIPPED = "pack:"
"""How the id of a mapping text begins that is not the operator's."""
_MOST_NAMES = 4096
"""The longest list of names. Uncut, some thousand policies would make every record larger than the Chron takes."""


_redacted = lru_cache(1024)(redacted_text)
"""For texts that come again and again: agents and reasons."""
_MOST_KEPT = 4096
_kept: dict[int, tuple[Decision, FieldValues]] = {}
"""What decisions say, by which object each is: a set of rules gives the same one for the same question."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the records of one run of the gate have in common."""

    session: str
    engine: str
    engine_version: str
    """Said once, when rules are loaded, and not with each request."""
    engines: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Name and version of the engines of listeners that have another one, by the listeners' names."""


def channel(inbound: Inbound) -> str:
    """Return how a request came to be judged: through this gate, or told of by another proxy that forwards it."""
    return FORWARD if inbound.delegated else WIRE


def wire_fields(
    origin: Origin,
    request_id: str,
    inbound: Inbound,
    facts: Facts | None,
    route: Route | None,
    rules_digest: str,
) -> FieldValues:
    """What the records of one wire request have in common."""
    engine, engine_version = origin.engines.get(inbound.listener, (None, None))
    fields: FieldValues = {
        "channel": channel(inbound),
        "session": origin.session,
        "client": inbound.client,
        "listener": inbound.listener or None,
        "request": request_id,
        "rules_digest": rules_digest,
        "engine": engine,
        "engine_version": engine_version,
    }
    if facts is None:
        # Nothing of an unreadable request is trusted to be what it says; it is kept as text, cut short.
        fields["method"] = recorded(printable(inbound.method))
        fields["path"] = recorded(printable(redacted_path(inbound.target.partition("?")[0])))
        if inbound.tunnel:
            fields["host"], fields["port"] = inbound.tunnel
        else:
            named = inbound.uri_authority.rpartition("@")[2]  # no user:password
            host, colon, port = named.rpartition(":")
            if colon and not host:
                named = ""  # a port alone names nothing: mitmproxy's ":0" of a request that names no host
            elif host and port.isdecimal() and len(port) <= 5:
                named, fields["port"] = host.removeprefix("[").removesuffix("]"), int(port)
            fields["host"] = recorded(printable(redacted_text(named)))
        return fields
    request = facts.request
    fields["method"] = request.method
    fields["scheme"] = request.scheme
    fields["host"] = request.host
    fields["port"] = request.port
    fields["path"] = recorded(redacted_path(request.path))
    if request.query:
        fields["query_keys"] = _query_keys(request.query)
    fields["request_digest"] = request_digest(facts)
    if request.body is not None and request.body_complete:
        fields["request_bytes"] = len(request.body)
    if facts.upgrade:
        fields["upgrade"] = facts.upgrade
    if facts.opaque:
        fields["opaque"] = True
    fields["traceparent"] = _traceparent(request.header("traceparent"))
    if route is not None:
        fields["address"] = f"{route.address[0]} {route.address[1]}"
        if route.parent:
            fields["via"] = route.parent.shown
        fields["upstream_verified"] = route.verify if request.scheme == "https" else None
    return fields


def _query_keys(query: Iterable[tuple[str, str]]) -> str:
    return recorded(printable(redacted_text(" ".join(dict.fromkeys([key for key, _ in query])))))


def proof_fields(who: Credential) -> FieldValues:
    """What was proven of the caller beside a token: the certificate or workload identity that it acted with."""
    return {"identities": recorded(_redacted(" ".join(who.identities)))} if who.identities else {}


NOTHING_NAMED = "unmapped"
"""The action of a record where nothing was to be named: the request was refused before, or is none."""


def operation_fields(operation: Operation | None, unnamed: str = "", target: str | None = None) -> FieldValues:
    """What names the operation, what is known of it, and which mapping text named it.

    `unnamed` is what stands in the place of the name where there is none: ``github:unrecognised``; `target` the
    target as it was judged, where it was.
    """
    if operation is None:
        return {"action": unnamed or NOTHING_NAMED, "target": ""}
    known = operation.attributes
    fields: FieldValues = {
        "operation": recorded(operation.name),
        "action": recorded(operation.action),
        "target": recorded_target(operation.target) if target is None else target,
        "environment": operation.environment or None,
    }
    if known:
        fields["access"] = known.get("access") or None
        fields["executes"] = True if "executes" in known else None
        fields["mints"] = True if "mints" in known else None
        fields["known"] = False if "known" in known else None
    if rule := operation.rule:
        fields |= {
            "mapping_rule": rule.id,
            "mapping_pack": rule.pack or None,
            "mapping_place": rule.place,
        }
    return fields


def decision_fields(decision: Decision, question: Question | None = None) -> FieldValues:
    """Who was decided about, how, why, by which texts, and on what it hung."""
    asked = asked_fields(question) if question else {}
    kept = _kept.get(id(decision))
    # The object is compared as well: another one may have been made where one stood that is gone.
    if kept is None or kept[0] is not decision:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        kept = _kept[id(decision)] = (decision, _of_decision(decision))
    return {**asked, **kept[1]}


def _of_decision(decision: Decision) -> FieldValues:
    return {
        **limit_fields(decision.limits),
        "agent": recorded(_redacted(decision.agent)),
        "anchor": decision.anchor,
        "org": decision.org,
        "outcome": decision.outcome.value,
        "mode": decision.mode.value,
        "reason": recorded_reason(decision),
        "code": decision.code,
        "stage": decision.stage,
        "rule": decision.rule or None,
        "pattern": decision.pattern or None,
        "policies": recorded(" ".join(f"{ref.id}@{ref.version}" for ref in decision.policies), _MOST_NAMES) or None,
        "observed": recorded(decision.observed) or None,
        "untold": recorded(decision.untold) or None,
        "exception": decision.exception or None,
        "error": recorded(decision.error) or None,
        **_reference("policy", decision.policy),
        **_reference("skill", decision.skill),
    }


def outcome_fields(verdict: Verdict, ending: Ending, ref: str, duration_us: int) -> FieldValues:
    """What became of one decision about a request."""
    return {
        "channel": verdict.channel,
        "ref": ref,
        "result": ending.result,
        "status": ending.status,
        "request_bytes": ending.request_bytes,
        "response_bytes": ending.response_bytes,
        "duration_us": duration_us,
        "error": redacted_text(ending.error)[:256] or None,
    }


def stopped_fields(denied: Decision, exchanges: int, origin: Origin) -> FieldValues:
    """Whose open exchanges were cut, how many, and why."""
    return {
        "event": "cut",
        "agent": denied.agent,
        "anchor": denied.anchor or None,
        "org": denied.org or None,
        "reason": denied.reason,
        "code": denied.code,
        "exchanges": exchanges,
        "session": origin.session,
    }


def recorded_reason(decision: Decision) -> str:
    """Return the reason of a decision as its record has it."""
    return recorded(_redacted(decision.reason))


def without(fields: FieldValues, redact: Collection[str]) -> FieldValues:
    """Return a record without what a policy keeps out of it, and with a note of what that was."""
    if not redact:
        return fields
    kept_out = [name for name in sorted(set(redact)) if fields.get(name)]
    if not kept_out:
        return fields
    return {**fields, **dict.fromkeys(kept_out, REDACTED), "redacted": " ".join(kept_out)}


def _reference(kind: str, ref: TextRef | None) -> FieldValues:
    if ref is None:
        return {}
    return {kind: ref.id, f"{kind}_version": ref.version}


def _traceparent(text: str | None) -> str | None:
    return text if text and _TRACEPARENT.fullmatch(text) else None


def loaded_fields(
    mappings: Mappings, policies: Policies, rules_digest: str, origin: Origin, bundles: Iterable[str] = ()
) -> FieldValues:
    """Which rules are in force from now on. Each text has a record of its own; here the operator's are named.

    And what reads the requests that they are asked about.
    """
    ids = [text.id for text in mappings.texts if text.kind == "mapping"]
    own = [name for name in ids if not name.startswith(_SHIPPED)]
    names = [f"{text.kind}:{text.id}@{text.version}" for text in policies.texts if text.version]
    names += [f"mapping:{name}" for name in own]
    kinds = Counter(text.kind for text in policies.texts)
    return {
        "event": "loaded",
        "rules_digest": rules_digest,
        "manifest": manifests.digest_of(manifests.written(mappings, policies)),
        "texts": recorded(" ".join(names), _MOST_NAMES) or None,
        "agents": len(policies.agents),
        "agents_digest": agents_text(policies).digest,
        "tokens_digest": tokens_digest(policies),
        "skills": kinds["skill"],
        "policies": kinds["policy"],
        "mappings": len(own),
        "packs": len(ids) - len(own),
        "bundles": recorded(" ".join(bundles), _MOST_NAMES) or None,
        "session": origin.session,
        "engine": origin.engine,
        "engine_version": origin.engine_version,
    }


def narrowed_fields(mappings: Mappings, policies: Policies, rules_digest: str, session: str) -> FieldValues:
    """Which rules are left from now on of those in force, by the registry alone."""
    return {
        "event": "narrowed",
        "rules_digest": rules_digest,
        "manifest": manifests.digest_of(manifests.written(mappings, policies)),
        "agents": len(policies.agents),
        "agents_digest": policies.narrowed_by[-1].digest,
        "tokens_digest": tokens_digest(policies),
        "session": session,
    }


def refused_fields(faults: str, session: str) -> FieldValues:
    """Which rules were not taken, and why; those in force stay."""
    return {
        "event": "refused",
        "error": recorded(redacted_text(faults), _MOST_NAMES),
        "faults": len(faults.splitlines()),
        "session": session,
    }
