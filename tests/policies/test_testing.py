"""Tests of policies: what passes, what fails and why, and what counts as met."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mappings.documents import read_document
from policies import Policies, PolicyError, Question
from policies.testcases import Refused, Result, same_place
from policies.testing import Report, run_tests
from policies.testschema import CasesError, RequestEntry

POLICY = "policy: calm\nlimits:\n- {id: wipes, action: 'infra:destroy', most: 2, per: day}\n"
SKILL = """\
skill: ops-v1
allow:
- deploy:*
- {action: "infra:destroy", when: {environment: [staging]}}
- {action: "office:open", when: {time: {days: [mon], from: "09:00", to: "17:00", zone: UTC}}}
deny:
- {action: "deploy:production", overridable: break-glass}
approve:
- {action: "iam:change", approvers: {count: 2, anchor: false}}
require:
- {action: "deploy:eu", header: x-ticket, like: "OPS-*"}
"""
HEAD = "version: 1\nagents:\n- {id: tester, org: acme, skill: ops-v1}\n"


def nobody_names(entry: RequestEntry, question: Question, policies: Policies) -> Sequence[Question] | Refused:
    return ("mapping.unmapped", "mapping -- no rule names this request")


def run(tests: str, *rules: str, agents: str | None = None, resolve=nobody_names) -> Report:
    texts = [
        read_document(text, f"policies/{number}.yaml", error=PolicyError)
        for number, text in enumerate(rules or (SKILL, POLICY))
    ]
    registry = read_document(agents, "agents.yaml", error=PolicyError) if agents else None
    return run_tests(registry, texts, [read_document(tests, "t.test.yaml", error=CasesError)], resolve)


def only(tested: Report) -> Result:
    (result,) = tested.results
    return result


def case(text: str) -> Report:
    return run(f"{HEAD}cases:\n- {{name: it, agent: tester, {text}}}\n")


@pytest.mark.parametrize(
    "text",
    [
        'action: "deploy:staging", expect: ALLOW, reason: "skill:ops-v1 -- action in allow list", rule: "0.yaml:3"',
        'action: "deploy:production", expect: DENY, code: skill.denied, rule: "policies/0.yaml:7:3"',
        'action: "deploy:production", exceptions: [{action: "deploy:*"}], expect: ALLOW, code: skill.allowed',
        'action: "infra:destroy", environment: staging, expect: ALLOW',
        'action: "infra:destroy", environment: production, expect: DENY',
        'action: "infra:destroy", expect: DENY, code: skill.not-in-allow-list',
        'action: "infra:destroy", environment: staging, uses: {"policy:calm/wipes": 1}, expect: ALLOW',
        'action: "infra:destroy", environment: staging, uses: {"policy:calm/wipes": 2}, expect: DENY',
        'action: "office:open", expect: ALLOW',
        'action: "office:open", now: "2026-01-05T18:00:00Z", expect: DENY',
        'action: "deploy:eu", expect: DENY, code: skill.requirement',
        'action: "deploy:eu", headers: {x-ticket: OPS-1}, expect: ALLOW',
        'action: "iam:change", expect: HOLD',
        'action: "iam:change", approvers: [a@x, b@x], expect: ALLOW, code: approval.granted',
        'action: "iam:change", approvers: [a@x, anchor@test], expect: HOLD',
        'request: {url: "https://nobody.test/"}, expect: DENY, code: mapping.unmapped',
    ],
)
def test_a_case_asks_what_the_gate_would_ask(text: str) -> None:
    """Conditions, times, headers, uses, approvers, exceptions and raw requests are part of a case."""
    assert only(case(text)).failures == ()


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (
            'action: "deploy:production", expect: ALLOW',
            "expected ALLOW, is DENY: skill:ops-v1 -- action in deny list (policies/0.yaml:7:3)",
        ),
        (
            'action: "deploy:staging", expect: ALLOW, reason: other',
            'expected reason "other", is "skill:ops-v1 -- action in allow list"',
        ),
        ('action: "deploy:staging", expect: ALLOW, code: other', 'expected code "other", is "skill.allowed"'),
        (
            'action: "deploy:staging", expect: ALLOW, rule: "0.yaml:4"',
            'expected rule "0.yaml:4", is "policies/0.yaml:3:3"',
        ),
        (
            'action: "deploy:staging", expect: ALLOW, uses: {"policy:calm/wipe": 1}',
            'no limit of this agent is called "policy:calm/wipe"; there are: policy:calm/wipes',
        ),
    ],
)
def test_a_failure_says_what_is(text: str, failure: str) -> None:
    """The answer that was given stands beside the one that was expected."""
    found = only(case(text))
    assert found.place == "t.test.yaml:5:3"
    assert [each.split(", policy:calm")[0].removesuffix("/86400s") for each in found.failures] == [failure]


def test_several_operations_have_one_answer() -> None:
    """A request that is two operations is refused when one of them is, whichever comes first."""

    def both(entry: RequestEntry, question: Question, policies: Policies) -> list[Question]:
        return [replace(question, action=action) for action in ("deploy:staging", "deploy:production")]

    text = f'{HEAD}cases:\n- {{name: it, agent: tester, request: {{url: "https://a.test/"}}, expect: DENY}}\n'
    assert only(run(text, resolve=both)).failures == ()


def test_operations_of_one_request_use_a_limit_up_together() -> None:
    """As in the gate, the third operation of a request meets the limit of two."""

    def three(entry: RequestEntry, question: Question, policies: Policies) -> list[Question]:
        return [replace(question, action="infra:destroy", environment="staging")] * 3

    asked = 'agent: tester, request: {url: "https://a.test/"}, expect: DENY, code: policy.limit'
    assert only(run(f"{HEAD}cases:\n- {{name: it, {asked}}}\n", resolve=three)).failures == ()


def test_what_was_used_before_counts_together_with_the_request() -> None:
    """With one use before, the second operation of a request meets the limit of two."""

    def twice(entry: RequestEntry, question: Question, policies: Policies) -> list[Question]:
        return [replace(question, action="infra:destroy", environment="staging")] * 2

    asked = 'agent: tester, request: {url: "https://a.test/"}, uses: {"policy:calm/wipes": 1}, expect: DENY'
    assert only(run(f"{HEAD}cases:\n- {{name: it, {asked}}}\n", resolve=twice)).failures == ()


def test_a_misspelt_agent_is_no_denial() -> None:
    """Nobody is denied by a name that nobody has, unless the test says that this is what it is about."""
    text = (
        "version: 1\nagents: [{id: tester, skill: ops-v1}]\ncases:\n- {name: it, agent: testr, action: a, expect: DENY"
    )
    assert only(run(f"{text}}}\n")).failures == ('no agent is called "testr"; did you mean "tester"',)
    assert only(run(f"{text}, code: agent.unknown}}\n")).failures == ()


def test_agents_of_the_registry_are_there_too(agents_text) -> None:
    """A test may name an agent of the registry; one that is suspended is refused before its request is read."""
    skill = "skill: deploy-v2\nallow: ['deploy:*']\n"
    registry = agents_text(agent="state: suspended")
    text = (
        "version: 1\ncases:\n"
        '- {name: it, agent: deploy-bot, request: {url: "https://a.test/"}, expect: DENY, code: agent.suspended}\n'
    )
    assert only(run(text, skill, agents=registry)).failures == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "version: 1\ncases:\n- {name: x, agent: a, expect: DENY}\n",
            't.test.yaml:3:3: case "x" has neither "action" nor',
        ),
        (
            'version: 1\ncases:\n- {name: x, agent: a, action: a, request: {url: "http://a"}, expect: DENY}\n',
            't.test.yaml:3:3: case "x" has an action and a request; keep one',
        ),
        (
            'version: 1\ncases:\n- {name: x, agent: a, target: t, request: {url: "http://a"}, expect: DENY}\n',
            't.test.yaml:3:3: case "x" has a request, which says "target"',
        ),
        (
            'version: 1\ncases:\n- {name: x, agent: a, action: "deploy:*", expect: DENY}\n',
            't.test.yaml:3:31: "deploy:*" is a pattern, not an action',
        ),
        (
            "version: 1\ncases:\n- {name: x, agent: a, request: {url: a.test}, expect: DENY}\n",
            't.test.yaml:3:38: "a.test" is not a URL; write',
        ),
        (
            "version: 1\ntests: ops-v2\n",
            't.test.yaml:2:8: no skill or policy is called "ops-v2"; did you mean "ops-v1"',
        ),
        ("version: 1\ncase: []\n", 't.test.yaml:2:1: unknown key "case"; did you mean "cases"'),
    ],
)
def test_a_fault_has_its_place(text: str, fault: str) -> None:
    """What cannot be asked is a fault of the file of tests, with its place and a remedy."""
    with pytest.raises(CasesError) as caught:
        run(text)
    assert str(caught.value).startswith(fault)


def test_an_agent_given_inline_is_checked_like_any_other() -> None:
    """A skill that is not there is a fault where the test names it."""
    with pytest.raises(PolicyError) as caught:
        run("version: 1\nagents:\n- {id: a, skill: ops-v9}\n")
    assert str(caught.value) == 't.test.yaml:3:18: skill "ops-v9" does not exist; did you mean "ops-v1"'


def test_what_is_met() -> None:
    """Lines that decided or were passed are met; an allow that was not reached is not, a deny that agrees is."""
    policy = "policy: none\nallow: ['health:check']\nlimits:\n- {action: '**', most: 9, per: day}\n"
    skill = "skill: ops-v1\nallow:\n- deploy:staging\n- health:check\ndeny:\n- infra:destroy\n- infra:*\n"
    cases = "".join(
        f'- {{name: "{action}", agent: tester, action: "{action}", expect: {expect}}}\n'
        for action, expect in [("deploy:staging", "DENY"), ("health:check", "ALLOW"), ("infra:destroy", "DENY")]
    )
    tested = run(f"{HEAD}cases:\n{cases}", policy, skill)
    assert tested.failed == ()
    assert [(line.kind, line.pattern) for line in tested.coverage.missed] == [
        ("deny", "infra:*"),
        ("allow", "deploy:staging"),
    ]
    assert (tested.coverage.percent, len(tested.coverage.lines)) == (66, 6)


def test_nothing_to_meet_is_met_in_full() -> None:
    """Texts without a line are covered: there is no division by nothing."""
    assert run("version: 1\n", "skill: a\n").coverage.percent == 100


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a.yaml:3", "policies/a.yaml:3:1", True),
        ("policies/a.yaml:3:1", "/site/policies/a.yaml:3:1", True),
        ("a.yaml:3:2", "policies/a.yaml:3:1", False),
        ("a.yaml:3", "policies/b-a.yaml:3:1", False),
        ("a.yaml", "policies/a.yaml:3:1", False),
        ("a.yaml:3", "", False),
    ],
)
def test_places(expected: str, found: str, same: bool) -> None:
    """A test names a place as shortly as is clear; the column may be left out, the line may not."""
    assert same_place(expected, found) is same


PAGE_SKILL = """\
skill: ops-v1
allow:
- deploy:staging
- {action: "deploy:production", when: {time: {from: "09:00", to: "17:00", zone: UTC}}}
approve:
- pr:merge
"""


def test_the_example_of_the_page() -> None:
    """The file in docs/policy-tests.md runs as it stands against a skill that does what its cases say."""
    page = (Path(__file__).parents[2] / "docs/policy-tests.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]

    def merges(entry: RequestEntry, question: Question, policies: Policies) -> list[Question]:
        return [replace(question, action="pr:merge")]

    tested = run(example, PAGE_SKILL, resolve=merges)
    assert [(each.name, each.failures) for each in tested.failed] == []
    assert len(tested.results) == 5
