"""What an agent is told when its request was allowed and came to nothing, or when the gate itself failed."""

from dataclasses import replace

from proxy.answers import answer
from proxy.chaining import REFUSED_WORDS
from proxy.refusals import Answer, Refusal
from proxy.verdicts import Verdict


def internal_error() -> Answer:
    """The gate failed, and there is no verdict to speak of."""
    return answer(Refusal("DENY", "gate -- internal error", "gate.error", "", "", "", "", ""))


def upstream_failure(verdict: Verdict, permitted: Refusal, message: str, *, timed_out: bool) -> Answer:
    """The target of an allowed request did not answer; `permitted` are the words of its permission."""
    code = "upstream.timeout" if timed_out or "connect timeout" in message else "upstream.failed"
    if message.startswith(REFUSED_WORDS):
        code = "upstream.proxy"
    failed = replace(permitted, code=code, reason=f"upstream -- {message[:200]}")
    return answer(failed, verdict.facts.request if verdict.facts else None, verdict.family)
