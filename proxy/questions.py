"""The question that is put to the policies, and how it stands in the record: one home for both directions.

What a decision depends on besides the texts is in the record, as it was asked: `asked_fields` writes it,
`asked_again` reads it back. A text that was too long is cut before it is asked about, so that the answer never
depends on what no record holds.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from chron import redacted_text
from chron.times import time_text
from mappings import Operation
from policies import BreakGlass, Credential, Limit, Policies, Question
from policies.conditions import CUT, KEPT_OUT, MAX_TEXT_CHARS
from proxy.facts import Facts

type FieldValues = dict[str, str | int | bool | None]

REDACTED = KEPT_OUT
"""Stands in a record where a policy keeps something out; a condition on it can no longer be told."""
WIRE, FORWARD = "wire", "forward"
"""The channels of requests: those that this gate forwards, and those that another proxy forwards when it is told to."""
OF_REQUESTS = frozenset({WIRE, FORWARD})
_HEADER = "header."
"""How the names of attributes begin that are headers of the request."""
_RECORDED_ATTRIBUTES = ("method", "scheme", "host", "access")
_OTHER_METHODS = "other_methods"
"""The methods that a request could be taken to have instead of the one that was sent; then none is known of it."""


def recorded(text: str, most: int = MAX_TEXT_CHARS) -> str:
    """Return a text as a record keeps it: whole, or cut and marked."""
    return text if len(text) <= most else f"{text[:most]}{CUT}"


def recorded_target(text: str) -> str:
    """Return a target as it is judged and recorded."""
    return recorded(redacted_text(text))


def wire_question(
    who: Credential,
    operation: Operation,
    facts: Facts,
    at: datetime,
    client: str,
    policies: Policies,
    uses: Mapping[str, int],
    other_methods: tuple[str, ...] = (),
    approvers: tuple[str, ...] = (),
    exceptions: tuple[BreakGlass, ...] = (),
) -> Question:
    """Return the question that one operation of a request is; `other_methods` are those that it could have, too."""
    return Question(
        credential=who,
        action=operation.action,
        target=recorded_target(operation.target),
        environment=operation.environment,
        at=at,
        client=client,
        attributes=_attributes(operation, facts, policies.headers, other_methods),
        uses=uses,
        approvers=approvers,
        exceptions=exceptions,
    )


def _attributes(
    operation: Operation, facts: Facts, headers: Iterable[str], other_methods: tuple[str, ...]
) -> dict[str, str]:
    request = facts.request
    attributes = {
        "method": request.method,
        "scheme": request.scheme,
        "host": request.host,
        **_known(operation.attributes),
    }
    if other_methods:
        # Else a condition on the method that was sent would let through what some server takes for another one.
        del attributes["method"]
        attributes[_OTHER_METHODS] = " ".join(other_methods)
    for name in headers:
        values = [value for key, value in request.headers if key == name]
        attributes[f"{_HEADER}{name}"] = recorded(redacted_text(", ".join(values)))
    return attributes


def _known(known: Mapping[str, str]) -> Mapping[str, str]:
    """Return what is known of the operation itself; of one that no table holds, nothing is."""
    if not known:
        return known
    if "access" not in known or "known" in known:
        return {name: "true" for name in ("executes", "mints") if name in known}
    told = {name: "true" if name in known else "false" for name in ("executes", "mints")}
    return {"access": known["access"], **told}


def asked_fields(question: Question) -> FieldValues:
    """Return what the decision depends on and no other field of its record says."""
    fields: FieldValues = {"at": time_text(question.at)}
    headers = {name[len(_HEADER) :]: value for name, value in question.attributes.items() if name.startswith(_HEADER)}
    if headers:
        fields["headers"] = json.dumps(headers, sort_keys=True, ensure_ascii=False)
    if _OTHER_METHODS in question.attributes:
        fields[_OTHER_METHODS] = question.attributes[_OTHER_METHODS]
    if question.uses:
        fields["uses"] = json.dumps(dict(question.uses), sort_keys=True)
    if question.approvers:
        fields["approvers"] = " ".join(question.approvers)
    if question.exceptions:
        fields["exceptions"] = " ".join(grant.id for grant in question.exceptions)
    return fields


def asked_again(fields: Mapping[str, str | int | bool], exceptions: Mapping[str, BreakGlass]) -> Question | None:
    """Return the question that a decision record answers; None when it was none that texts could answer.

    `exceptions` are the break-glass grants of the log by id. The credential comes without its proof: that it was
    right is what the record's stage says.
    """

    def text(name: str) -> str:
        return str(fields.get(name, ""))

    if "at" not in fields:
        return None
    attributes = {name: text(name) for name in _RECORDED_ATTRIBUTES if name in fields}
    if fields.get("channel") in OF_REQUESTS:
        known = {name: "true" for name in ("executes", "mints") if fields.get(name) is True}
        if "access" in fields:
            known["access"] = text("access")
        if fields.get("known") is False:
            known["known"] = "false"
        attributes = {**{name: value for name, value in attributes.items() if name != "access"}, **_known(known)}
    if _OTHER_METHODS in fields:
        attributes.pop("method", None)
        attributes[_OTHER_METHODS] = text(_OTHER_METHODS)
    if "headers" in fields:
        attributes |= {f"{_HEADER}{name}": value for name, value in json.loads(text("headers")).items()}
    return Question(
        credential=Credential(text("agent"), ""),
        action=text("action"),
        target=text("target"),
        environment=text("environment"),
        at=datetime.fromisoformat(text("at")),
        client=text("client"),
        attributes=attributes,
        uses=json.loads(text("uses")) if "uses" in fields else {},
        approvers=tuple(text("approvers").split()),
        exceptions=tuple(exceptions[id_] for id_ in text("exceptions").split() if id_ in exceptions),
    )


def limit_fields(limits: Iterable[Limit]) -> FieldValues:
    """Return which limits a decision counts against."""
    return {"limits": json.dumps([limit.key for limit in limits]) if limits else None}
