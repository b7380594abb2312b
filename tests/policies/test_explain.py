"""Explanations: the same decision, every stage of it, and the nearest thing that is allowed."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import Credential, Outcome

POLICY = "policy: no-prod-v1\nallow: [deploy:staging, 'pr:*']\ndeny: ['infra:*']\n"
WATCH = "policy: watch\nmode: observe\ndeny: ['deploy:*']\n"


@settings(deadline=None)  # a busy machine is no failure
@given(
    action=st.sampled_from(["deploy:staging", "deploy:production", "infra:x", "pr:merge", "Deploy:Staging", "x y"])
    | st.text(max_size=9),
    token=st.sampled_from(["secret", "wrong"]),
    agent=st.sampled_from(["", "state: suspended", "mode: observe", "skill: "]),
    human=st.sampled_from(["", "state: suspended", "org: other"]),
)
def test_same_decision(action, token, agent, human, build, ask, agents_text, skill_text) -> None:
    """An explanation carries the very decision, and exactly one stage in it decides."""
    rules = build(skill_text, POLICY, WATCH, agents=agents_text(agent=agent, human=human))
    question = ask(action, token=token)
    explanation = rules.explain(question)
    assert explanation.decision == rules.decide(question)
    deciding = [stage for stage in explanation.stages if stage.verdict in ("deny", "allow")]
    assert len(deciding) == 1
    assert deciding[0].detail == explanation.decision.reason
    assert deciding[0].verdict.upper() == explanation.decision.outcome.value
    assert deciding[0].place == explanation.decision.rule
    reached = [stage.verdict for stage in explanation.stages]
    assert set(reached[reached.index(deciding[0].verdict) + 1 :]) <= {"not reached"}


def test_without_a_token(build, ask, skill_text, agents_text) -> None:
    """An empty digest asks what would be if the token were right; it never makes `decide` say so."""
    rules = build(skill_text, agents=agents_text(agent="tokens: []"))
    question = replace(ask("deploy:staging"), credential=Credential("deploy-bot", ""))
    explanation = rules.explain(question)
    assert explanation.decision.outcome is Outcome.ALLOW
    assert ("token", "not asked") in [(stage.name, stage.verdict) for stage in explanation.stages]
    assert rules.decide(question).code == "agent.wrong-token"
    suspended = build(skill_text, agents=agents_text(agent="tokens: []; state: suspended"))
    assert suspended.explain(question).decision.code == "agent.suspended"


def test_stages_in_words(build, ask, skill_text) -> None:
    """Each stage stands in the order of the contract, with its line; later ones say what they would have said."""
    explanation = build(skill_text, POLICY, WATCH).explain(ask("deploy:production"))
    assert [(stage.name, stage.verdict, stage.detail, stage.place) for stage in explanation.stages] == [
        ("agent", "pass", "agent:deploy-bot -- active", "agents.yaml:6:3"),
        ("token", "pass", "agent:deploy-bot -- right token", ""),
        ("anchor", "pass", "anchor:alice@acme.test -- active", "agents.yaml:6:3"),
        ("org", "pass", "org:acme -- the same for both", "agents.yaml:6:3"),
        ("policy deny", "pass", "policy:no-prod-v1 -- action not in deny list", ""),
        ("policy deny", "would deny", "policy:watch -- action in deny list", "policies/watch.yaml:3:8"),
        ("policy allow", "deny", "policy:no-prod-v1 -- action not in allow list", "policies/no-prod-v1.yaml:2:1"),
        ("skill deny", "not reached", "skill:deploy-v2 -- action in deny list", "policies/deploy-v2.yaml:6:3"),
        ("skill allow", "not reached", "skill:deploy-v2 -- action not in allow list", "policies/deploy-v2.yaml:2:1"),
    ]
    assert explanation.decision.observed == "policy:watch -- action in deny list"


def test_unknown_agent(build, ask, skill_text) -> None:
    """There is nothing to say about an agent that does not exist, but who asked is said."""
    explanation = build(skill_text).explain(ask("x", agent="ghost"))
    assert [(stage.verdict, stage.detail) for stage in explanation.stages] == [("deny", "agent:ghost -- unknown")]


NEAREST = {
    "typing error": ("deploy:stagin", "deploy:staging (policies/deploy-v2.yaml:3:3)"),
    "another environment": ("deploy:production", "deploy:staging (policies/deploy-v2.yaml:3:3)"),
    "nothing like it": ("zzz", ""),
}


@pytest.mark.parametrize(("action", "expected"), NEAREST.values(), ids=NEAREST)
def test_nearest_allow(action, expected, build, ask, skill_text) -> None:
    """The nearest allow pattern is named with its line, or not at all."""
    assert build(skill_text).explain(ask(action)).nearest_allow == expected
