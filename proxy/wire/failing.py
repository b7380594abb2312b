"""What an agent is told when its request was allowed and came to nothing, or when the gate itself failed."""

from dataclasses import replace

from proxy.answers import answer
from proxy.chaining import REFUSED_WORDS
from proxy.facts import Inbound, likely_request
from proxy.pipeline import Gate
from proxy.refusals import Answer, Refusal
from proxy.verdicts import Verdict
from proxy.wire.crowd import HEAD_TIME


def internal_error() -> Answer:
    """The gate failed, and there is no verdict to speak of."""
    return answer(Refusal("DENY", "gate -- internal error", "gate.error", "", "", "", "", ""))


def late_head(gate: Gate, inbound: Inbound) -> Answer:
    """A head that has not come in time, of which there is no record but the count of those that a limit has ended."""
    host = inbound.tunnel[0] if inbound.tunnel else ""
    family = gate.book.mappings.family(host) if host else ""
    late = Refusal("DENY", "limit -- the head of the request did not come in time", HEAD_TIME, "", "", "", "", "")
    return answer(late, likely_request(inbound), family)


def upstream_failure(verdict: Verdict, permitted: Refusal, message: str, *, timed_out: bool) -> Answer:
    """The target of an allowed request did not answer; `permitted` are the words of its permission."""
    code = "upstream.timeout" if timed_out or "connect timeout" in message else "upstream.failed"
    if message.startswith(REFUSED_WORDS):
        code = "upstream.proxy"
    failed = replace(permitted, code=code, reason=f"upstream -- {message[:200]}")
    return answer(failed, verdict.facts.request if verdict.facts else None, verdict.family)
