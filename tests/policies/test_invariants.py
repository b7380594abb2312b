"""What must never be allowed: decided over the patterns, whatever the conditions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import Mode, Outcome
from policies.invariants import violations
from policies.testschema import NeverEntry


def never(*actions: str, **more: object) -> NeverEntry:
    return NeverEntry(actions=actions, **more)


def skill(*lines: str) -> str:
    return "skill: deploy-v2\n" + "".join(f"{line}\n" for line in lines)


BY = 'by "infra:**" (policies/deploy-v2.yaml:2:9)'


@pytest.mark.parametrize(
    ("lines", "entry", "found"),
    [
        (["allow: ['infra:**']"], never("*:destroy"), [f'may do "infra:destroy" {BY}']),
        (["allow: ['infra:**']", "deny: ['infra:destroy']"], never("*:destroy"), []),
        (["allow: ['infra:**']", "deny: ['infra:destroy']"], never("**:destroy"), ['may do "infra:']),
        (["allow: ['infra:plan']"], never("*:destroy"), []),
        (
            ["allow: ['infra:**']", "deny: [{action: 'infra:destroy', when: {client: 10.0.0.0/8}}]"],
            never("*:destroy"),
            ["may"],
        ),
        (
            ["allow: ['infra:**']", "deny: [{action: 'infra:destroy', until: '2099-01-01'}]"],
            never("*:destroy"),
            ["may"],
        ),
        (
            ["allow: ['infra:**']", "deny: [{action: 'infra:destroy', when: {environment: 'prod*'}}]"],
            never("*:destroy", environment=("production",)),
            [],
        ),
        (
            ["allow: ['infra:**']", "deny: [{action: 'infra:destroy', when: {environment: 'prod*'}}]"],
            never("*:destroy"),
            ["may"],
        ),
        (
            ["allow: [{action: 'infra:**', when: {environment: staging}}]"],
            never("*:destroy", environment=("production",)),
            [],
        ),
        (["approve: ['infra:**']"], never("*:destroy"), []),
        (["approve: ['infra:**']"], never("*:destroy", hold=False), ["may"]),
        (["allow: ['**']", "approve: ['infra:**']"], never("infra:destroy"), []),
        (["allow: ['**']", "approve: ['infra:**']"], never("infra:destroy", hold=False), ["may", "may"]),
        (["allow: ['deploy:*']"], never("deploy:unknown"), []),
        (["allow: ['deploy:unknown']"], never("deploy:*"), ['may do "deploy:unknown"']),
        (["allow: ['infra:**']", "limits: [{action: '**', most: 0, per: day}]"], never("*:destroy"), []),
    ],
)
def test_lines_of_a_skill(build, lines: list[str], entry: NeverEntry, found: list[str]) -> None:
    """An allow counts when it can hold, a deny when it always does; the action and the line are named."""
    said = list(violations(build(skill(*lines)), entry))
    assert len(said) == len(found), said
    assert all(each in one and one.startswith('agent "deploy-bot"') for each, one in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("policy", "fine"),
    [
        ("policy: p\nallow: ['deploy:*']\n", True),
        ("policy: p\nallow: ['infra:*']\n", False),
        ("policy: p\ndeny: ['*:destroy']\n", True),
        ("policy: p\nmode: observe\ndeny: ['*:destroy']\n", False),
        ("policy: p\nuntil: '2099-01-01'\ndeny: ['*:destroy']\n", False),
        ("policy: p\napplies_to: {agents: [other-bot]}\ndeny: ['*:destroy']\n", False),
        ("policy: p\napprove: ['infra:*']\n", True),
    ],
)
def test_policies_count(build, policy: str, fine: bool) -> None:
    """What a policy keeps from an agent for good is kept; what it only watches, or keeps for a while, is not."""
    found = list(violations(build(skill("allow: ['infra:**']"), policy), never("infra:destroy")))
    assert (found == []) is fine, found


def test_an_agent_under_observation_is_never_fine(build, agents_text) -> None:
    """Nothing is kept from an agent in observe mode, and the invariant says so."""
    policies = build(skill("deny: ['**']"), agents=agents_text(agent=f"mode: {Mode.OBSERVE.value}"))
    assert list(violations(policies, never("x"))) == [
        'agent "deploy-bot" is in observe mode, so nothing is kept from it (agents.yaml:6:3)'
    ]


def test_a_name_that_nobody_has(build) -> None:
    """An invariant about nobody holds nothing, so it fails."""
    found = list(violations(build(skill("allow: [a]")), never("a", agents=("deploy-bott",))))
    assert found == ['no agent is called deploy-bott; name one of the registry, or give one under "agents"']


def test_a_known_action_is_named_first(build) -> None:
    """Where a word of the vocabulary shows it, that is what a person reads."""
    found = list(violations(build(skill("allow: ['**']")), never("**"), ["deploy:production"]))
    assert found == ['agent "deploy-bot" may do "deploy:production" by "**" (policies/deploy-v2.yaml:2:9)']


WORD = st.sampled_from(["a", "b", "*", "a*", "**"])
PATTERNS = st.lists(st.lists(WORD, min_size=1, max_size=2).map(":".join), max_size=3)


@settings(deadline=None, max_examples=100)  # a busy machine is no failure
@given(allow=PATTERNS, deny=PATTERNS, listed=PATTERNS, forbidden=PATTERNS.filter(bool))
def test_what_holds_is_never_allowed(build, ask, allow, deny, listed, forbidden) -> None:
    """Where no violation is found, no action that matches is allowed; where one is, the action named is allowed."""
    policies = build(skill(f"allow: {allow!r}", f"deny: {deny!r}"), f"policy: p\nallow: {[*listed, 'a:*', 'b']!r}\n")
    found = list(violations(policies, never(*forbidden)))
    for text in found:
        assert policies.decide(ask(text.split('"')[3])).outcome is Outcome.ALLOW
    if not found:
        inside = build(f"skill: deploy-v2\nallow: {forbidden!r}\n")
        for action in ("a", "b", "a:a", "a:b", "b:a", "b:b", "a:b:a"):
            if inside.decide(ask(action)).outcome is Outcome.ALLOW:
                assert policies.decide(ask(action)).outcome is Outcome.DENY, action
