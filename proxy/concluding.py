"""Makes the verdict of what was decided and recorded: an answer with the reason, or the permission to forward.

Pure. It takes no decision of its own: a verdict has a route exactly when every judgement lets the request go on and
there is a route; all else is an answer. The last resort is an answer without a record, which forwards nothing.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from mappings import Operation
from policies import Decision, Outcome
from proxy.answers import answer
from proxy.approvals import Approval
from proxy.destinations import Route
from proxy.facts import Facts, likely_request
from proxy.messages import judging
from proxy.questions import FORWARD
from proxy.records import NOTHING_NAMED, channel
from proxy.refusals import Answer, Refusal
from proxy.upgrades import WEBSOCKET
from proxy.verdicts import Case, Head, Verdict

_log = logging.getLogger(__name__)


def verdict_of(case: Case, route: Route | None, ids: tuple[str, ...], unreachable: str) -> Verdict:
    """The answer of the first denied operation, or permission to forward; `ids` are the records."""
    head, facts, resolution = case.head, case.facts, case.decided.resolution
    operations: Sequence[Operation | None] = resolution.operations or (None,)
    listed = list(zip(operations, case.decided.judgements, ids, strict=True))
    if refused := [each for each in listed if each[1].decision.forwards is not True]:
        # What is denied goes before what only needs approval: no approval would help.
        operation, judgement, chron_id = min(refused, key=lambda each: each[1].decision.outcome is not Outcome.DENY)
        return _answered(case, refusal_of(operation, judgement.decision, chron_id, resolution.unnamed), ids)
    permitted = refusal_of(operations[0], listed[0][1].decision, ids[0])
    family = _family(head, facts, resolution.family)
    if head.inbound.delegated:
        return Verdict(None, facts, None, ids[0], ids, permitted, head.started_ns, channel=FORWARD)
    if route is None or facts is None:
        lost = replace(permitted, code="upstream.unresolved", reason=f"upstream -- {unreachable}")
        reply = answer(lost, facts.request if facts else None, family)
        _require(reply)
        return Verdict(reply, facts, None, ids[0], ids, lost, head.started_ns, unreachable)
    messages = judging(resolution.packs) if facts.upgrade == WEBSOCKET else frozenset[str]()
    if not isinstance(messages, frozenset):
        raise TypeError("it was not said whether messages are decided on")  # silence would pass them on unread
    return Verdict(None, facts, route, ids[0], ids, permitted, head.started_ns, family=family, messages=messages)


def still_waiting(case: Case, ids: tuple[str, ...], approval: Approval, url: str, error: str = "") -> Verdict:
    """The answer to an agent whose request waits on; `url` is where its approval is asked after."""
    judgements = case.decided.judgements
    first = next(index for index, each in enumerate(judgements) if each.decision.outcome is Outcome.HOLD)
    operation = case.decided.resolution.operations[first]
    refusal = replace(
        refusal_of(operation, judgements[first].decision, ids[first]), approval=approval.id, approval_url=url
    )
    return _answered(case, refusal, ids, error)


def _answered(case: Case, refusal: Refusal, ids: tuple[str, ...], error: str = "") -> Verdict:
    head, facts = case.head, case.facts
    request = facts.request if facts else likely_request(head.inbound)
    reply = answer(refusal, request, _family(head, facts, case.decided.resolution.family))
    _require(reply)
    how = channel(head.inbound)
    return Verdict(reply, facts, None, refusal.chron_id, ids, refusal, head.started_ns, error, how)


def turned_away(case: Case) -> Verdict:
    """The refusal of one of too many, which is counted and not recorded."""
    return _answered(case, refusal_of(None, case.decided.judgements[0].decision, ""), ())


def unrecorded(head: Head, code: str, reason: str) -> Verdict:
    """A refusal with no record: the last resort, 503, nothing forwarded."""
    refusal = Refusal(
        outcome=Outcome.DENY.value,
        reason=reason,
        code=code,
        action="",
        target="",
        agent="",
        anchor="",
        chron_id="",
    )
    try:
        request = head.facts.request if head.facts else likely_request(head.inbound)
        reply = answer(refusal, request, _family(head, head.facts, ""))
        _require(reply)
    except Exception:  # noqa: BLE001 -- even then there is an answer, and it is no permission
        _log.exception("no answer could be made")
        reply = Answer(503, ((b"Content-Length", b"0"),), b"")
    return Verdict(reply, None, None, "", (), refusal, head.started_ns)


def _require(reply: object) -> None:
    """Raise TypeError for what is no answer: where a verdict has none, it is a permission."""
    if not isinstance(reply, Answer):
        raise TypeError("a refusal without an answer")


def _family(head: Head, facts: Facts | None, resolved: str) -> str:
    """The shape of answers that the caller parses: also where nobody got as far as to ask what its request does."""
    tunnel = head.inbound.tunnel
    host = facts.request.host if facts else tunnel[0] if tunnel else ""
    return resolved or (head.book.mappings.family(host) if host else "")


def refusal_of(operation: Operation | None, decision: Decision, chron_id: str, unnamed: str = "") -> Refusal:
    """The words about one operation, of its refusal or of its permission."""
    return Refusal(
        outcome=decision.outcome.value,
        reason=decision.reason,
        code=decision.code,
        action=operation.action if operation else unnamed or NOTHING_NAMED,
        target=operation.target if operation else "",
        agent=decision.agent,
        anchor=decision.anchor,
        chron_id=chron_id,
    )
