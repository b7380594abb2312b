"""Makes the decision that a finding is for an agent: who, by which texts, in which mode; decides nothing itself.

decided      for an agent that proved who it is
weighed      the same, with all that came up while it was weighed
anonymous    for somebody who proved nothing: no human, no organisation, no skill is named
broken       for a fault inside: a DENY that no mode lets through
"""

from __future__ import annotations

import string
from dataclasses import replace

from policies.rules import Finding
from policies.standing import Standing
from policies.values import Credential, Decision, Mode, Outcome
from policies.weighing import Weighing

_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "._@+-")
_NEVER_OBSERVED = frozenset({"agent", "anchor", "org"})


def decided(standing: Standing, finding: Finding, observed: str, enforced: bool = False) -> Decision:
    """Return what a finding means for an agent; `enforced` takes no account of its mode."""
    agent = standing.agent
    # If the second condition is removed, a suspended agent in observe mode goes on acting.
    watched = not enforced and finding.stage not in _NEVER_OBSERVED
    return Decision(
        outcome=finding.outcome,
        mode=agent.mode if watched else Mode.ENFORCE,
        reason=finding.reason,
        code=finding.code,
        stage=finding.stage,
        agent=agent.id,
        anchor=agent.anchor,
        org=agent.org,
        rule=finding.rule,
        pattern=finding.pattern,
        policy=finding.policy,
        skill=agent.skill,
        policies=agent.policies,
        error="",
        observed=observed,
    )


def weighed(standing: Standing, finding: Finding, weighing: Weighing) -> Decision:
    """Return what a finding means, with what came up on the way to it."""
    granted = finding.outcome is not Outcome.DENY
    return replace(
        decided(standing, finding, weighing.observed),
        untold="; ".join(weighing.untold),
        holds=tuple(weighing.holds) if granted else (),
        # Of a DENY too: a denial that is only observed goes on, and is a use.
        limits=weighing.matched.limits(standing.agent),
        redact=weighing.redact,
        exception=weighing.exception.id if weighing.exception and granted else "",
    )


def anonymous(credential: Credential | None, finding: Finding, error: str = "") -> Decision:
    """Return what a finding means for somebody who proved nothing."""
    return Decision(
        outcome=Outcome.DENY,
        mode=Mode.ENFORCE,
        reason=finding.reason,
        code=finding.code,
        stage=finding.stage,
        agent=shown_name(getattr(credential, "agent", "")),
        anchor="",
        org="",
        rule="",
        pattern="",
        policy=None,
        skill=None,
        policies=(),
        error=error,
    )


def unknown(credential: Credential) -> Decision:
    """Return the DENY for an agent that nobody knows."""
    reason = f"agent:{shown_name(credential.agent) or '?'} -- unknown"
    return anonymous(credential, Finding(Outcome.DENY, "agent", reason, "agent.unknown"))


def broken(credential: Credential | None, error: Exception) -> Decision:
    """Return the DENY for a fault inside."""
    finding = Finding(Outcome.DENY, "error", "policy -- the decision failed; see the gate's log", "policy.error")
    return anonymous(credential, finding, where(error))


def where(error: Exception) -> str:
    """Return which error, and where it was raised."""
    # The type and the line, not the message: a message may quote what was presented.
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(error).__name__
    return f"{type(error).__name__} in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"


def shown_name(claimed: object) -> str:
    """Return a claimed agent name that is safe to print: what no name can hold becomes "?"."""
    text = claimed if isinstance(claimed, str) else ""
    return "".join(c if c in _ID_CHARACTERS else "?" for c in text[:64])
