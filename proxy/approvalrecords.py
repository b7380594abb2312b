"""How approvals stand in the Chron, and how they are read back from there: one home for both directions.

    approval  requested  approval, agent, anchor, action, target, operations, request, fingerprint, holds, ...
    approval  approved   approval, agent, anchor, fingerprint, by, reason
    approval  refused    approval, agent, anchor, fingerprint, by, reason
    approval  expired    approval, agent, anchor, fingerprint, expires
    approval  used       approval, agent, anchor, fingerprint, approvers

The Chron is the only memory there is: what a gate knows of approvals at its start it reads here. `used` is written in
one piece with the decision that it allows, before anything is forwarded.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from chron import redacted_text
from policies import Hold
from proxy.approvals import Approval, Approvals, Asked, Phase, Word
from proxy.questions import REDACTED, FieldValues, recorded, recorded_target

MAX_EXPIRE_S = 86_400
LOOK_BACK = timedelta(seconds=2 * MAX_EXPIRE_S)
"""How far back an approval can matter: it waited as long as it may, and its end was remembered as long again."""
_MOST_OPERATIONS_CHARS = 4096

type Fields = Mapping[str, str | int | bool]


def requested_fields(approval: Approval, kept_out: Iterable[str] = ()) -> FieldValues:
    """Return the record of a request for approval; `kept_out` are fields that a policy keeps out of records."""
    asked = approval.asked
    hidden = set(kept_out)
    operations = [(action, _target(target, hidden)) for action, target in asked.operations]
    action, target = operations[0]
    listed = json.dumps(operations, ensure_ascii=False)
    return {
        **_event("requested", approval),
        "action": action,
        "target": target,
        # A batch may have thousands; the fingerprint binds them all, this only shows them.
        "operations": listed if len(listed) <= _MOST_OPERATIONS_CHARS else None,
        "request": REDACTED if hidden & {"path", "target"} else asked.request,
        "body_bytes": asked.body_bytes,
        "reason": asked.reason,
        "needs": asked.needs,
        "holds": json.dumps([asdict(hold) for hold in asked.holds], ensure_ascii=False),
        "at": _written(approval.at),
        "expires": _written(approval.expires),
    }


def _target(target: str, hidden: set[str]) -> str:
    return REDACTED if "target" in hidden else recorded_target(target)


def word_fields(event: str, approval: Approval, word: Word, webhook: str = "") -> FieldValues:
    """Return the record of what a human said; `webhook` is the message that brought it, if one did."""
    return {
        **_event(event, approval),
        "by": word.human,
        "reason": recorded(redacted_text(word.reason)) or None,
        "at": _written(word.at),
        "webhook": webhook or None,
    }


def expired_fields(approval: Approval) -> FieldValues:
    """Return the record of an approval whose time is over."""
    return {**_event("expired", approval), "expires": _written(approval.expires)}


def used_fields(approval: Approval, approvers: Iterable[str]) -> FieldValues:
    """Return the record of the one run that an approval is good for."""
    at = approval.ended.at if approval.ended else approval.at
    return {**_event("used", approval), "approvers": " ".join(approvers), "at": _written(at)}


def _event(event: str, approval: Approval) -> FieldValues:
    asked = approval.asked
    return {
        "event": event,
        "approval": approval.id,
        "agent": asked.agent,
        "anchor": asked.anchor,
        "fingerprint": asked.fingerprint,
    }


def _written(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")


def restore(approvals: Approvals, records: Iterable[Fields]) -> set[str]:
    """Put approvals back as their records, oldest first, left them; the ids of webhook messages seen."""
    messages: set[str] = set()
    known: dict[str, Approval] = {}
    for fields in records:
        name = str(fields.get("approval", ""))
        if fields.get("event") == "requested":
            # A second one of the same approval is the same request under other rules.
            asked = _asked(fields)
            old = known.get(name)
            known[name] = replace(old, asked=asked) if old else _requested(name, asked, fields)
        elif name in known:
            known[name] = _after(known[name], fields)
        if "webhook" in fields:
            messages.add(str(fields["webhook"]))
    for approval in known.values():
        approvals.put(approval)
    return messages


def _requested(name: str, asked: Asked, fields: Fields) -> Approval:
    return Approval(name, asked, _moment(fields, "at"), _moment(fields, "expires"))


def _asked(fields: Fields) -> Asked:
    action, target = str(fields.get("action", "")), str(fields.get("target", ""))
    operations = json.loads(str(fields.get("operations") or "null")) or [(action, target)]
    holds = json.loads(str(fields["holds"]))
    return Asked(
        agent=str(fields["agent"]),
        anchor=str(fields.get("anchor", "")),
        fingerprint=str(fields["fingerprint"]),
        request=str(fields.get("request", "")),
        body_bytes=int(fields.get("body_bytes", 0)),
        operations=tuple((str(action), str(target)) for action, target in operations),
        holds=tuple(Hold(**{**hold, "who": tuple(hold["who"])}) for hold in holds),
    )


def _after(approval: Approval, fields: Fields) -> Approval:
    """Return what an event makes of an approval; an end is an end, in whatever order records were written."""
    event = fields.get("event")
    if event == "approved" and all(word.human != fields["by"] for word in approval.words):
        return replace(approval, words=(*approval.words, _word(fields)))
    if event == "used" or (event in ("refused", "expired") and approval.end is None):
        word = Word("", _moment(fields, "expires")) if event == "expired" else _word(fields)
        return replace(approval, end=Phase(event), ended=word)
    return approval


def _word(fields: Fields) -> Word:
    return Word(str(fields.get("by", "")), _moment(fields, "at"), str(fields.get("reason", "")))


def _moment(fields: Fields, name: str) -> datetime:
    return datetime.fromisoformat(str(fields[name]))
