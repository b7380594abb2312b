"""What changes between two texts, in a table; and that what is said of an action is what is decided about it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.documents import read_document
from policies import Outcome
from policies.comparing import Verdict, agent_speaker, compare, examples, grouped, text_speaker
from policies.rulebook import Rulebook
from policies.rules import TextRules

ACTIONS = ("deploy:staging", "deploy:production", "infra:destroy", "data:read", "deploy:unknown")


def rules(text: str) -> TextRules:
    book = Rulebook({}, complete=True)
    book.add(read_document(text, "text.yaml"))
    book.finish()
    assert not book.faults, book.faults
    ((candidate,),) = ([*versions.values()] for versions in book.candidates.values())
    return book.rules(candidate)


def differences(before: str, after: str, kind: str = "skill") -> list[str]:
    """Each difference as "action: direction, before -> after"."""
    old, new = (rules(f"{kind}: a\n{text}") if text else None for text in (before, after))
    actions = dict.fromkeys([*ACTIONS, *examples([old, new])])
    found = compare(text_speaker(old, kind), text_speaker(new, kind), actions)
    return [f"{each.action}: {each.direction}, {each.before} -> {each.after}" for each in found]


SKILLS: dict[str, tuple[str, str, list[str]]] = {
    "written in another way": ("allow: [deploy:staging, data:read]", "allow: [data:read, Deploy:Staging]", []),
    "an allow more": (
        "allow: [data:read]",
        "allow: [data:read, deploy:staging]",
        ["deploy:staging: gained, deny -> allow"],
    ),
    "a deny more": (
        "allow: [deploy:staging]",
        "allow: [deploy:staging]\ndeny: [deploy:staging]",
        ["deploy:staging: lost, allow -> deny"],
    ),
    "a deny of what nothing allowed": ("allow: [data:read]", "allow: [data:read]\ndeny: [infra:destroy]", []),
    "a wildcard instead of names": (
        "allow: [deploy:staging, deploy:production]",
        "allow: ['deploy:*']",
        ["deploy:other: gained, deny -> allow"],
    ),
    "a wildcard does not reach what nobody could name": (
        "allow: ['deploy:*']",
        "allow: ['deploy:*', deploy:unknown]",
        ["deploy:unknown: gained, deny -> allow"],
    ),
    "a condition": (
        "allow: [deploy:staging]",
        "allow: [{action: deploy:staging, when: {environment: [staging]}}]",
        ["deploy:staging: lost, allow -> allow when environment staging"],
    ),
    "a condition in another order": (
        "allow: [{action: deploy:staging, when: {environment: [staging, test]}}]",
        "allow: [{action: deploy:staging, when: {environment: [test, staging]}}]",
        [],
    ),
    "a condition beside a rule without": (
        "allow: [data:read]",
        "allow: [data:read, {action: data:read, when: {environment: [staging]}}]",
        [],
    ),
    "a condition of a deny": (
        "allow: [data:read]",
        "allow: [data:read]\ndeny: [{action: data:read, unless: {client: ['10.0.0.0/8']}}]",
        ["data:read: lost, allow -> allow; deny unless client 10.0.0.0/8"],
    ),
    "an end": (
        "allow: [data:read]",
        'allow: [{action: data:read, until: "2027-01-01"}]',
        ["data:read: lost, allow -> allow until 2027-01-01T00:00:00+00:00"],
    ),
    "an approval": (
        "allow: [infra:destroy]",
        "allow: [infra:destroy]\napprove: [infra:destroy]",
        ["infra:destroy: lost, allow -> hold (1 human)"],
    ),
    "more approvers": (
        "approve: [infra:destroy]",
        "approve: [{action: infra:destroy, approvers: {count: 2, who: ['*@acme.test'], anchor: false}}]",
        ["infra:destroy: changed, hold (1 human) -> hold (2 humans of *@acme.test, not its own)"],
    ),
    "an approval in some cases": (
        "",
        "approve: [{action: infra:destroy, when: {environment: [staging]}}]",
        ["infra:destroy: gained, deny -> hold (1 human) when environment staging; otherwise deny"],
    ),
    "a limit": (
        "allow: [infra:destroy]\nlimits: [{action: infra:destroy, most: 3, per: week}]",
        "allow: [infra:destroy]\nlimits: [{action: infra:destroy, most: 5, per: week, of: human}]",
        [
            "infra:destroy: changed, allow, at most 3 per week for each agent -> "
            "allow, at most 5 per week for each human"
        ],
    ),
    "a header": (
        "allow: [infra:destroy]",
        "allow: [infra:destroy]\nrequire: [{action: infra:destroy, header: x-ticket, like: 'OPS-*'}]",
        ['infra:destroy: changed, allow -> allow, needs header x-ticket like "OPS-*"'],
    ),
    "a deny that two humans may lift": (
        "deny: [infra:destroy]",
        "deny: [{action: infra:destroy, overridable: break-glass}]",
        ["infra:destroy: changed, deny -> deny but for break-glass"],
    ),
    "a skill that was not there": ("", "allow: [data:read]", ["data:read: gained, deny -> allow"]),
    "a skill that goes": ("allow: [data:read]", "", ["data:read: lost, allow -> deny"]),
}


@pytest.mark.parametrize(("before", "after", "expected"), SKILLS.values(), ids=SKILLS)
def test_two_skills_differ_by_what_they_say_of_actions(before: str, after: str, expected: list[str]) -> None:
    """Not by how it is written; a narrower permission is a loss."""
    assert differences(before, after) == expected


POLICIES: dict[str, tuple[str, str, list[str]]] = {
    "a deny": (
        "deny: [deploy:staging]",
        "deny: [data:read]",
        ["deploy:staging: gained, deny -> no objection", "data:read: lost, no objection -> deny"],
    ),
    "an allow list": (
        "deny: [infra:destroy]",
        "deny: [infra:destroy]\nallow: [data:read, deploy:staging]",
        [
            "deploy:production: lost, no objection -> deny",
            "deploy:unknown: lost, no objection -> deny",
        ],
    ),
    "one that was not there": ("", "deny: [infra:destroy]", ["infra:destroy: lost, no objection -> deny"]),
    "approval": (
        "deny: [infra:x]",
        "deny: [infra:x]\napprove: [infra:destroy]",
        ["infra:destroy: lost, no objection -> no objection; hold (1 human)"],
    ),
}


@pytest.mark.parametrize(("before", "after", "expected"), POLICIES.values(), ids=POLICIES)
def test_two_policies_differ_by_what_they_object_to(before: str, after: str, expected: list[str]) -> None:
    """A policy without an allow list does not mind what it does not deny."""
    assert differences(before, after, "policy") == expected


def test_differences_are_grouped_as_people_read_them() -> None:
    """What was gained first, then what was lost; in each, by the pattern that decides."""
    old, new = rules("skill: a\nallow: ['data:*']"), rules("skill: a\nallow: ['deploy:*']")
    found = compare(text_speaker(old, "skill"), text_speaker(new, "skill"), ACTIONS)
    assert grouped(found) == {
        ("gained", "deny", "allow"): {"deploy:*": ["deploy:staging", "deploy:production"]},
        ("lost", "allow", "deny"): {"data:*": ["data:read"]},
    }


def test_a_deny_that_nobody_can_lift_goes_before_one_that_can(build: Callable[..., Any]) -> None:
    """Whatever the names of the policies that say so."""
    lifted = "policy: a\ndeny: [{action: infra:destroy, overridable: break-glass}]\n"
    policies = build("skill: deploy-v2\nallow: ['**']\n", lifted, "policy: b\ndeny: [infra:destroy]\n")
    said, pattern = agent_speaker(policies.standings["deploy-bot"].rules)("infra:destroy")
    assert (str(said), pattern) == ("deny", "infra:destroy")


_PATTERNS = st.sampled_from(
    ["deploy:staging", "deploy:*", "data:read", "**", "*:destroy", "deploy:unknown", "infra:**"]
)
_LISTS = st.lists(_PATTERNS, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(("allow", "deny", "approve", "policy_allow", "policy_deny"), _LISTS)))
def test_what_is_said_of_an_action_is_what_is_decided(
    build: Callable[..., Any], ask: Callable[..., Any], lists: dict[str, list[str]]
) -> None:
    """Without conditions the verdict for an agent is the outcome of the decision, whatever the rules."""
    skill = "skill: deploy-v2\n" + "".join(f"{name}: {lists[name]}\n" for name in ("allow", "deny", "approve"))
    policy = f"policy: site\ndeny: {lists['policy_deny']}\nallow: {[*lists['policy_allow'], 'data:read']}\n"
    policies = build(skill, policy)
    speak = agent_speaker(policies.standings["deploy-bot"].rules)
    expected = {Verdict.DENY: Outcome.DENY, Verdict.HOLD: Outcome.HOLD, Verdict.ALLOW: Outcome.ALLOW}
    for action in ACTIONS:
        assert policies.decide(ask(action)).outcome is expected[speak(action)[0].verdict]


def test_what_is_unknown_is_held_by_a_line_that_does_not_permit_it(build, ask):
    """`approve: deploy:*` permits no `deploy:unknown`, but holds one that another line allows."""
    policies = build("skill: deploy-v2\nallow: [deploy:unknown]\napprove: ['deploy:*']\n")
    speak = agent_speaker(policies.standings["deploy-bot"].rules)
    assert policies.decide(ask("deploy:unknown")).outcome is Outcome.HOLD
    assert speak("deploy:unknown")[0].verdict is Verdict.HOLD
