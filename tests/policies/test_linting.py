"""The lint: each check finds what it is for, says where and what to do, and is quiet about what is fine."""

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.documents import read_document
from policies import Activations, PolicyError
from policies.knownactions import KnownActions
from policies.lintchecks import CHECKS, Lint
from policies.linting import Hits, lint

ROOT = Path(__file__).parents[2]
NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
WORDS = ("deploy:*", "deploy:rollback-*", "health:check", "infra:destroy", "infra:update", "pr:merge", "secret:read")
GITHUB = frozenset({"github:pulls/merge", "github:repos/delete"})
KNOWN = KnownActions(WORDS, frozenset({"github", "kubernetes"}), lambda family: GITHUB if family == "github" else None)
TOKEN = "0" * 63

HUMANS = "humans:\n- {id: alice@acme.test, org: acme, state: active}\n- {id: bob@acme.test, org: acme, state: active}\n"
AGENT = "{id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, skill: a"


def found(
    *texts: str,
    agent: str = "",
    humans: str = HUMANS,
    more: str = "",
    tests: Sequence[str] = ("version: 1\ntests: a\n",),
    hits: Hits | None = None,
) -> list[Lint]:
    """Lint texts, the skill of the one agent being "a"; each text is the file with its own name."""
    registry = f"version: 1\n{more}{humans}agents:\n- {AGENT}{agent}}}\n"
    rules = [
        read_document(text, f"{re.match('[a-z]+: ([a-z0-9-]+)', text)[1]}.yaml", error=PolicyError) for text in texts
    ]
    asked = [read_document(text, "a.test.yaml", error=PolicyError) for text in tests]
    agents = read_document(registry, "agents.yaml", error=PolicyError)
    return lint(agents, rules, asked, at=NOW, known=KNOWN, hits=hits)


def ids(findings: Sequence[Lint]) -> list[str]:
    """The checks that found something, but for advice about words."""
    return [each.check for each in findings if each.check not in ("deny-without-why",)]


def skill(*lines: str) -> str:
    return "skill: a\n" + "".join(f"{line}\n" for line in lines)


FINE = skill("allow: ['deploy:staging', 'health:check']", "deny: ['deploy:production']")


def test_what_is_fine_is_fine() -> None:
    """A plain skill with tests, an active agent and an active human: advice at most."""
    assert ids(found(FINE)) == []


@pytest.mark.parametrize(
    ("check", "lines", "said"),
    [
        (
            "dead-allow",
            ["allow: ['deploy:staging']", "deny: ['deploy:*']"],
            'a.yaml:2:9: "deploy:staging" allows nothing: "deploy:*" (a.yaml:3:8) denies it; take one of the two out',
        ),
        ("dead-allow", ["allow: ['deploy:*']", "deny: ['deploy:*']"], None),
        ("dead-allow", ["allow: ['health:check']", "approve: ['deploy:staging']", "deny: ['deploy:*']"], None),
        (
            "never-counts",
            ["allow: [{action: 'deploy:staging', when: {environment: a}, unless: {environment: a}}]"],
            'a.yaml:2:9: "deploy:staging" never counts: "unless" holds whenever it could; narrow what stands under "',
        ),
        ("never-counts", ["allow: [{action: 'deploy:staging', unless: {target: '*'}}]"], None),
        ("always-true", ["allow: [{action: 'deploy:staging', when: {target: ['*']}}]"], None),
        (
            "always-true",
            ["allow: ['deploy:*']", "deny: [{action: 'deploy:eu', unless: {target: '*'}}]"],
            'a.yaml:3:8: "deploy:eu" counts only where its conditions cannot be told: "unless" holds whenever it could',
        ),
        (
            "always-true",
            ["allow: [{action: 'deploy:staging', when: {client: ['0.0.0.0/0', '::/0']}}]"],
            'a.yaml:2:9: "deploy:staging": the condition "client" leaves nothing out; remove it, or name what is meant',
        ),
        ("always-true", ["allow: [{action: 'deploy:staging', when: {time: {zone: UTC}}}]"], None),
        ("always-true", ["allow: [{action: 'deploy:staging', unless: {target: '*', environment: b}}]"], None),
        ("duplicate", ["allow: ['deploy:staging', {action: 'deploy:staging', why: again}]"], None),
        (
            "duplicate",
            ["allow: ['deploy:staging', 'health:check', 'deploy:staging']"],
            'a.yaml:2:43: "deploy:staging" stands here and at a.yaml:2:9; keep one',
        ),
        ("ended", ["allow: [{action: 'deploy:staging', until: '2026-05-31'}]"], None),
        (
            "ended",
            ["until: '2026-05-31'", "allow: ['deploy:staging']"],
            'a.yaml:2:8: skill "a" ended on 2026-05-31; remove it, or give it another end',
        ),
        (
            "idle-rule",
            ["allow: ['deploy:staging']", "require: [{action: 'pr:*', header: x-ticket}]"],
            'a.yaml:3:11: no agent that this is for may do "pr:*" anyhow; correct the pattern, or take it out',
        ),
        ("idle-rule", ["allow: ['deploy:staging']", "limits: [{action: 'pr:merge', most: 1, per: day}]"], None),
        (
            "limit-of-zero",
            ["allow: ['deploy:*']", "limits: [{action: 'deploy:eu', most: 0, per: day}]"],
            'a.yaml:3:10: a limit of 0 denies "deploy:eu"; say so with a deny',
        ),
        (
            "no-approver",
            ["approve: [{action: 'deploy:staging', approvers: {who: ['*@other.test']}}]"],
            'a.yaml:2:11: "deploy:staging" can never be approved for agent "deploy-bot": somebody must say yes to it, '
            '0 may; correct "approvers", or add humans',
        ),
        ("no-approver", ["approve: [{action: 'deploy:staging', approvers: {count: 3}}]"], None),
        (
            "no-approver",
            ["approve: [{action: 'deploy:staging', approvers: {who: ['alice@acme.test'], anchor: false}}]"],
            None,
        ),
        ("no-exception", ["allow: ['health:check']", "deny: [{action: 'deploy:*', overridable: break-glass}]"], None),
        (
            "reaches-production",
            ["allow: ['deploy:**']"],
            'a.yaml:2:9: "deploy:**" lets agents do "deploy:production"; name what they may do, or deny that',
        ),
        (
            "shadowed",
            ["allow: ['deploy:staging', 'deploy:*']"],
            'a.yaml:2:9: "deploy:staging" is part of "deploy:*" (a.yaml:2:27); take one of the two out',
        ),
        ("shadowed", ["allow: ['deploy:*', {action: 'deploy:eu', when: {environment: a}}]"], None),
        ("shadowed", ["allow: ['health:check']", "deny: ['deploy:*', 'deploy:production']"], None),
        (
            "unknown-action",
            ["allow: ['infra:destory']"],
            'a.yaml:2:9: no known action fits "infra:destory"; did you mean "infra:destroy"',
        ),
        (
            "unknown-action",
            ["allow: ['github:pulls/merg']"],
            'a.yaml:2:9: no known action fits "github:pulls/merg"; did',
        ),
        (
            "unknown-action",
            ["allow: ['deploi:staging']"],
            'a.yaml:2:9: no known action fits "deploi:staging"; did you ',
        ),
        ("unnamed-action", ["allow: ['billing:refund']"], None),
    ],
)
def test_lines(check: str, lines: list[str], said: str | None) -> None:
    """Each check over lines of one skill, alone and with its place."""
    text = skill(*lines)
    named = [each for each in found(text) if each.check == check]
    assert len(named) == 1, found(text)
    assert [each for each in ids(found(text)) if CHECKS[each].severity == "error"] == (
        [check] if CHECKS[check].severity == "error" else []
    )
    if said is not None:
        assert str(named[0]).startswith(said), str(named[0])


@pytest.mark.parametrize(
    "lines",
    [
        ["allow: ['deploy:*']", "deny: ['deploy:production']"],
        ["allow: ['deploy:*']", "deny: [{action: 'deploy:*', when: {environment: production}}]"],
        ["allow: ['deploy:*']", "deny: [{action: 'deploy:*', until: '2027-01-01'}]"],
        ["allow: ['deploy:*', 'deploy:unknown']"],
        ["allow: [{action: 'deploy:*', when: {environment: a}}, 'deploy:staging']"],
        ["allow: ['deploy:*', {action: 'deploy:eu', why: promised to Eve}]"],
        ["allow: ['deploy:*', {action: 'deploy:*', when: {environment: a}, why: x}]"],
        ["allow: ['deploy:staging', {action: 'deploy:staging', when: {environment: a}, why: x}]"],
        ["allow: [{action: 'deploy:staging', when: {environment: a}, unless: {environment: b}}]"],
        ["allow: [{action: 'deploy:staging', when: {client: '0.0.0.0/0'}}]"],
        ["allow: [{action: 'deploy:staging', when: {environment: '*'}}]"],
        ["allow: ['kubernetes:**', 'github:pulls/*']"],
        ["allow: ['deploy:*']", "approve: ['deploy:production']"],
        ["allow: ['deploy:**']", "deny: ['deploy:production', 'deploy:rollback-production']"],
        ["allow: [{action: 'deploy:**', when: {environment: staging}}]"],
    ],
)
def test_what_looks_alike_and_is_fine(lines: list[str]) -> None:
    """A narrower guard, a reserved segment, words that are there to be read: nothing is found."""
    assert ids(found(skill(*lines))) == []


@pytest.mark.parametrize(
    ("check", "options", "said"),
    [
        (
            "anchor-inactive",
            {"humans": HUMANS.replace("state: active", "state: suspended", 1)},
            'agents.yaml:6:3: agent "deploy-bot" is active and its human "alice@acme.test" is suspended; '
            "give it another human, or stop it",
        ),
        (
            "expires-soon",
            {"agent": ", expires: '2026-06-10'"},
            'agents.yaml:6:3: agent "deploy-bot" ends on 2026-06-10',
        ),
        (
            "expires-soon",
            {"humans": HUMANS.replace("state: active", "state: active, expires: '2026-06-10'", 1)},
            'agents.yaml:3:3: human "alice@acme.test" ends on 2026-06-10; extend it in time',
        ),
        (
            "expires-soon",
            {"agent": f", tokens: [{{sha256: '{TOKEN}1', expires: '2026-06-10'}}]"},
            'agents.yaml:6:3: the last token of agent "deploy-bot" ends on 2026-06-10; run "claiim agent rotate"',
        ),
        ("ended", {"agent": ", expires: '2026-05-10'"}, 'agents.yaml:6:3: agent "deploy-bot" ended on 2026-05-10'),
        (
            "cross-grant-ended",
            {
                "more": "organisations: [{id: acme}, {id: other}]\n"
                "cross_grants: [{of: acme, into: other, until: '2026-05-01'}]\n"
            },
            'agents.yaml:3:16: the cross-grant of "acme" into "other" ended on 2026-05-01; remove it, or extend it',
        ),
        ("untested-skill", {"tests": ()}, 'a.yaml:1:8: no test is about the skill "a"; write "a.test.yaml"'),
    ],
)
def test_the_registry(check: str, options: dict[str, object], said: str) -> None:
    """What is wrong with agents, humans and organisations, at their places in the registry."""
    (only,) = [each for each in found(FINE, **options) if each.check != "deny-without-why"]
    assert only.check == check
    assert str(only).startswith(said), str(only)


@pytest.mark.parametrize(
    "options",
    [
        {"agent": ", expires: '2026-06-16'"},
        {"agent": f", tokens: [{{sha256: '{TOKEN}1', expires: '2026-06-10'}}, '{TOKEN}2']"},
        {"tests": ("version: 1\ncases: [{name: x, agent: deploy-bot, action: a, expect: DENY}]\n",)},
        {"tests": ("version: 1\ntests: a\n", "version: 1\nnonsense: 1\n")},
    ],
)
def test_the_registry_when_it_is_fine(options: dict[str, object]) -> None:
    """An end that is far, a token that outlives another, a skill that cases are about."""
    assert ids(found(FINE, **options)) == []


def test_an_agent_without_a_skill_and_a_skill_without_an_agent() -> None:
    """Each is told where it stands."""
    humans = f"{HUMANS}"
    registry = (
        f"version: 1\n{humans}agents:\n- {{id: idle, anchor: alice@acme.test, org: acme, state: active}}\n"
        "- {id: gone, anchor: alice@acme.test, org: acme, state: revoked}\n"
    )
    agents = read_document(registry, "agents.yaml", error=PolicyError)
    texts = [read_document(FINE, "a.yaml", error=PolicyError)]
    said = [str(each) for each in lint(agents, texts, [], at=NOW, known=KNOWN) if each.check != "deny-without-why"]
    assert said == [
        'a.yaml:1:8: no agent has the skill "a" and no text extends it; remove it [unused-skill]',
        'agents.yaml:6:3: agent "idle" has no skill and is denied everything; give it one [no-skill]',
    ]


def test_a_pin_that_is_left_behind() -> None:
    """An agent and a text that name a version which is not in force are told."""
    base = "skill: base-v1\nversion: {}\nallow: ['health:check']\n"
    texts = [base.format(1), base.format(2), skill("version: 1", "extends: [base-v1@1]", "allow: ['deploy:staging']")]
    said = found(*texts, skill("version: 2", "allow: ['deploy:staging']"), agent="@1")
    assert [str(each).removesuffix(" [pinned-elsewhere]") for each in said if each.check == "pinned-elsewhere"] == [
        'a.yaml:3:11: skill "a" extends "base-v1@1" and version 2 is in force; move the pin',
        'agents.yaml:6:3: agent "deploy-bot" is pinned to "a@1" and version 2 is in force; move the pin',
    ]
    said = found(*texts)
    assert [str(each) for each in said if each.check == "pinned-elsewhere"] == [
        'a.yaml:3:11: skill "a" extends "base-v1@1" and version 2 is in force; move the pin [pinned-elsewhere]'
    ]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("policy: no-prod\nallow: ['health:*']\n", ['"deploy:staging" is kept from every agent with this skill by']),
        ("policy: no-prod\ndeny: ['deploy:*']\n", ['by policy "no-prod", which wins; take it out here, or correct']),
        ("policy: no-prod\nmode: observe\ndeny: ['deploy:*']\n", []),
        ("policy: no-prod\napplies_to: {agents: [other]}\ndeny: ['deploy:*']\n", []),
        ("policy: no-prod\ndeny: [{action: 'deploy:*', when: {environment: production}}]\n", []),
        ("policy: no-prod\napprove: ['deploy:*']\n", []),
    ],
)
def test_a_policy_that_disagrees_with_a_skill(policy: str, said: list[str]) -> None:
    """What a policy keeps from every agent with the skill is told in the skill, with the one that wins."""
    told = [each for each in found(FINE, policy) if each.check == "disagreement"]
    assert len(told) == len(said)
    assert all(text in each.message and each.place == "a.yaml:2:9" for text, each in zip(said, told, strict=True))


def test_rules_of_a_policy_for_what_nobody_does() -> None:
    """A policy's approval for an action that no skill under it allows is idle; one that some skill allows is not."""
    told = found(FINE, "policy: p\napprove: ['secret:read', 'deploy:*']\n")
    assert [each.place for each in told if each.check == "idle-rule"] == ["p.yaml:2:11"]


def test_two_humans_with_tokens_can_make_an_exception() -> None:
    """With them a deny that may be lifted can be."""
    humans = "humans:\n" + "".join(
        f"- {{id: {name}@acme.test, org: acme, state: active, tokens: ['{TOKEN}{number}']}}\n"
        for number, name in enumerate(("alice", "bob"))
    )
    text = skill("allow: ['health:check']", "deny: [{action: 'deploy:*', overridable: break-glass, why: x}]")
    assert ids(found(text, humans=humans)) == []
    assert ids(found(text)) == ["no-exception"]


def test_lines_that_decided_nothing() -> None:
    """By what the Chron says; a text it knows nothing of is left alone, and so is a policy's allow list."""
    policy = "policy: p\nallow: ['deploy:*', 'health:*']\ndeny: [{action: 'infra:destroy', why: x}]\n"
    digests = {text: read_document(text, "x").digest for text in (FINE, policy)}
    told = found(FINE, policy, hits={digests[FINE]: frozenset({"a.yaml:2:9"}), digests[policy]: frozenset()})
    assert [each.place for each in told if each.check == "never-hit"] == ["a.yaml:2:27", "a.yaml:3:8", "p.yaml:3:8"]
    assert [each for each in found(FINE, policy, hits={}) if each.check == "never-hit"] == []


def test_a_version_that_waits_is_looked_at_too() -> None:
    """What is wrong in a version that is not in force yet is told before anybody puts it in force."""
    worse = skill("version: 2", "allow: ['deploy:staging', 'infra:destory']", "deny: ['deploy:*']")
    texts = [
        read_document(FINE, "a.yaml", error=PolicyError),
        read_document(worse, "a2.yaml", error=PolicyError),
    ]
    agents = read_document(f"version: 1\n{HUMANS}agents:\n- {AGENT}}}\n", "agents.yaml", error=PolicyError)
    active = Activations({("skill", "a"): (1, texts[0].digest)})
    said = lint(agents, texts, [], at=NOW, known=KNOWN, activations=active)
    assert [(each.check, each.place) for each in said if each.check != "deny-without-why"] == [
        ("untested-skill", "a.yaml:1:8"),
        ("dead-allow", "a2.yaml:3:9"),
        ("unknown-action", "a2.yaml:3:27"),
    ]


def test_the_page_lists_every_check() -> None:
    """docs/lint.md has a row for each check, with the same words, in the same order, and no other."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (.+) \|$", (ROOT / "docs/lint.md").read_text(), re.MULTILINE)
    assert rows == [(id_, check.severity, check.finds) for id_, check in CHECKS.items()]


def test_findings_are_in_the_order_of_places() -> None:
    """The same texts have the same findings in the same order, whatever the order of files."""
    texts = [FINE, "policy: p\ndeny: ['pr:merge', 'pr:merge']\n"]
    assert found(*texts) == found(*reversed(texts))


WORD = st.sampled_from(["a", "b", "*", "a*", "**", "unknown"])
PATTERNS = st.lists(st.lists(WORD, min_size=1, max_size=2).map(":".join), max_size=4)
ACTIONS = [*"ab", *(f"{one}:{two}" for one in ("a", "b", "unknown") for two in ("a", "ab", "unknown")), "a:b:a"]
NEEDLESS = ("dead-allow", "duplicate", "shadowed")


@settings(deadline=None, max_examples=150)  # a busy machine is no failure
@given(allow=PATTERNS, deny=PATTERNS)
def test_a_line_that_is_called_needless_is(build, ask, allow: list[str], deny: list[str]) -> None:
    """Without a line that the lint calls dead, double or shadowed, every action has the answer it had."""

    def text(allow: Sequence[str], deny: Sequence[str]) -> str:
        lists = {"allow": allow, "deny": deny}
        written = [f"{name}:\n" + "".join(f'- "{one}"\n' for one in lines) for name, lines in lists.items() if lines]
        return "skill: deploy-v2\n" + "".join(written)

    def answers(written: str) -> list[str]:
        policies = build(written)
        return [policies.decide(ask(action)).outcome.value for action in ACTIONS]

    whole = text(allow, deny)
    before = answers(whole)
    skill_document = read_document(whole, "deploy-v2.yaml", error=PolicyError)
    agents = read_document(f"version: 1\n{HUMANS}agents: []\n", "agents.yaml", error=PolicyError)
    for each in lint(agents, [skill_document], [], at=NOW, known=KNOWN):
        if each.check in NEEDLESS:
            line = int(each.place.split(":")[1])
            kept = [row for number, row in enumerate(whole.splitlines(keepends=True), 1) if number != line]
            rest = "".join(kept)
            # A list without lines is written without brackets here; its key goes with the last of them.
            rest = re.sub(r"^(allow|deny):\n(?!- )", "", rest, flags=re.MULTILINE)
            assert answers(rest) == before, (each, whole)
