"""What a registry takes away counts even where the rest of the rules cannot be loaded, and nothing else does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.documents import read_document
from policies import Policies, PolicyError, Question, State
from policies.narrowing import narrowed
from policies.registry import set_state

type Build = Callable[..., Policies]
type Ask = Callable[..., Question]
type Registry = Callable[..., str]

CHANGES: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "skill.allowed"),
    "agent suspended": ({"agent": "state: suspended"}, "agent.suspended"),
    "agent revoked": ({"agent": "state: revoked"}, "agent.revoked"),
    "agent pending": ({"agent": "state: pending"}, "agent.pending"),
    "agent ended": ({"agent": 'expires: "2026-01-01"'}, "agent.expired"),
    "token gone": ({"agent": "tokens: []"}, "agent.wrong-token"),
    "human suspended": ({"human": "state: suspended"}, "anchor.suspended"),
    "human ended": ({"human": 'expires: "2026-01-01"'}, "anchor.expired"),
    "mode loosened": ({"agent": "mode: observe"}, "skill.allowed"),
}


@pytest.mark.parametrize(("changes", "code"), CHANGES.values(), ids=CHANGES)
def test_what_is_taken_away_counts(
    build: Build, ask: Ask, agents_text: Registry, skill_text: str, changes: dict[str, str], code: str
) -> None:
    """States, ends and tokens that are gone stop an agent by rules that were not loaded anew."""
    less = narrowed(build(skill_text), read_document(agents_text(**changes), "agents.yaml"))
    decision = less.decide(ask("deploy:staging"))
    assert (decision.code, decision.mode.value) == (code, "enforce")


def test_what_is_given_does_not_count(build: Build, ask: Ask, agents_text: Registry, skill_text: str) -> None:
    """Neither a state that is active again nor an end that is farther away widens what is in force."""
    stopped = build(skill_text, agents=agents_text(agent='state: suspended; expires: "2026-02-01"'))
    less = narrowed(stopped, read_document(agents_text(), "agents.yaml"))
    assert less.agents["deploy-bot"].state is State.SUSPENDED
    assert less.agents["deploy-bot"].expires == stopped.agents["deploy-bot"].expires
    added = agents_text(more="- {id: new, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}\n")
    assert set(narrowed(build(skill_text), read_document(added, "agents.yaml")).agents) == {"deploy-bot"}


def test_who_is_gone_acts_no_more(build: Build, ask: Ask, agents_text: Registry, skill_text: str) -> None:
    """An agent or a human that is no longer written down is nobody."""
    nobody = "version: 1\nhumans:\n- {id: bob@acme.test, org: acme, state: active}\n"
    rules = build(skill_text)
    assert narrowed(rules, read_document(nobody, "agents.yaml")).decide(ask("deploy:staging")).code == "agent.unknown"
    left = agents_text().replace("alice@acme.test, org", "carol@acme.test, org")
    assert narrowed(rules, read_document(left, "agents.yaml")).decide(ask("deploy:staging")).code == "anchor.revoked"


FIELDS = st.lists(
    st.sampled_from(
        [
            "state: suspended",
            "state: pending",
            'expires: "2026-01-01"',
            'expires: "2027-01-01"',
            "tokens: []",
            "org: other",
        ]
    ),
    max_size=3,
).map("; ".join)


@settings(deadline=None)  # a busy machine is no failure
@given(
    before=st.tuples(FIELDS, FIELDS), after=st.tuples(FIELDS, FIELDS), action=st.sampled_from(["deploy:staging", "x"])
)
def test_nobody_may_do_more(
    before: tuple[str, str],
    after: tuple[str, str],
    action: str,
    build: Build,
    ask: Ask,
    agents_text: Registry,
    skill_text: str,
) -> None:
    """Whatever registry it is given, the narrowed set lets nothing go on that the set in force would not."""
    rules = build(skill_text, agents=agents_text(agent=before[0], human=before[1]))
    less = narrowed(rules, read_document(agents_text(agent=after[0], human=after[1]), "agents.yaml"))
    question = replace(ask(action))
    assert rules.decide(question).forwards or not less.decide(question).forwards


def test_stopping_waits_for_no_policy(tmp_path: Path, agents_text: Registry, skill_text: str) -> None:
    """Somebody is suspended also while a policy cannot be read; nobody is let act again before it can."""
    registry, folder = tmp_path / "agents.yaml", tmp_path / "policies"
    folder.mkdir()
    registry.write_text(agents_text())
    (folder / "deploy-v2.yaml").write_text(skill_text)
    (folder / "broken.yaml").write_text("policy: p\ndenny: [x]\n")
    assert set_state(registry, [folder], "deploy-bot", State.SUSPENDED) is None
    assert "state: suspended" in registry.read_text()
    with pytest.raises(PolicyError, match=r'broken\.yaml:2:1: unknown key "denny"'):
        set_state(registry, [folder], "deploy-bot", State.ACTIVE)
    assert "state: suspended" in registry.read_text()
    with pytest.raises(PolicyError, match='agent "ghost" does not exist'):
        set_state(registry, [folder], "ghost", State.SUSPENDED)
