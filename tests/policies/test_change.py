"""The smallest change: what an explanation says would turn a decision turns it, when it is done as it is said."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import yaml

from policies import Outcome, Question, TextRef

FREEZE = "policy: freeze\ndeny:\n- {action: 'deploy:*', when: {time: {from: '00:00', to: '18:00', zone: UTC}}}\n"
OFFICE = (
    "skill: deploy-v2\nallow:\n"
    "- {action: deploy:production, when: {time: {days: [mon], from: '09:00', to: '17:00', zone: Europe/Berlin}}}\n"
)
NETWORK = "skill: deploy-v2\nallow: [{action: deploy:production, when: {client: [10.20.0.0/16]}}]\n"
OUTSIDE = "skill: deploy-v2\nallow: [deploy:production]\ndeny: [{action: '**', when: {client: [127.0.0.0/8]}}]\n"
UNLESS = "skill: deploy-v2\nallow: [deploy:production]\ndeny: [{action: '**', unless: {header: {x-ticket: 'OPS-*'}}}]\n"
TICKET = "policy: tickets\nrequire: [{action: 'deploy:*', header: x-ticket, like: 'OPS-*'}]\n"
CALM = "policy: calm\nlimits: [{action: 'deploy:*', most: 3, per: day}]\n"
NEVER = "policy: calm\nlimits: [{action: 'deploy:*', most: 0, per: day}]\n"
ASK = (
    "policy: ask\napprove: [{action: 'deploy:*', approvers: {count: 2, who: '*@acme.test', anchor: false}}]\n".replace(
        "'*@acme.test'", "['*@acme.test']"
    )
)
ALLOWED = "skill: deploy-v2\nallow: [deploy:production]\n"
DENIED = "policy: no-prod\ndeny: [deploy:production]\n"
LISTED = "policy: listed\nallow: [pr:*]\n"

CHANGES = {
    "skill allow": (
        ["skill: deploy-v2\nallow: [deploy:staging]\n"],
        ['add "deploy:production" to allow of skill deploy-v2 (policies/deploy-v2.yaml:2:1) and raise its version'],
    ),
    "skill deny": (
        ["skill: deploy-v2\nallow: ['deploy:*']\ndeny:\n- deploy:prod*\n"],
        ['remove "deploy:prod*" from deny of skill deploy-v2 (policies/deploy-v2.yaml:4:3) and raise its version'],
    ),
    "policy deny": (
        [ALLOWED, DENIED],
        ["take out policy no-prod (policies/no-prod.yaml), which says nothing else"],
    ),
    "one of several lines": (
        [ALLOWED, "policy: no-prod\ndeny: [x, 'deploy:prod*']\n"],
        ['remove "deploy:prod*" from deny of policy no-prod (policies/no-prod.yaml:2:11) and raise its version'],
    ),
    "policy allow": (
        [ALLOWED, LISTED],
        ['add "deploy:production" to allow of policy listed (policies/listed.yaml:2:1) and raise its version'],
    ),
    "several, in order": (
        ["skill: deploy-v2\nallow: [x]\ndeny: [deploy:production]\n", DENIED, LISTED, TICKET],
        [
            "take out policy no-prod (policies/no-prod.yaml), which says nothing else",
            'add "deploy:production" to allow of policy listed (policies/listed.yaml:2:1) and raise its version',
            'remove "deploy:production" from deny of skill deploy-v2 (policies/deploy-v2.yaml:3:8) '
            "and raise its version",
            'add "deploy:production" to allow of skill deploy-v2 (policies/deploy-v2.yaml:2:1) and raise its version',
            'send header x-ticket like "OPS-*"',
        ],
    ),
    "a line of a base": (
        [
            "skill: deploy-v2\nextends: [base@1]\nallow: [deploy:production]\n",
            "skill: base\ndeny: [deploy:production]\n",
        ],
        [
            'remove "deploy:production" from deny of skill base (policies/base.yaml:2:8) and raise its version, '
            "raise deploy-v2 to extend that"
        ],
    ),
    "a later hour": (
        [ALLOWED, FREEZE],
        ["be asked outside 00:00-18:00 UTC, next at 2026-01-02T18:00:00+00:00"],
    ),
    "a later day": (
        [OFFICE],
        ["be asked within mon 09:00-17:00 Europe/Berlin, next at 2026-01-05T08:00:00+00:00"],
    ),
    "another place": ([NETWORK], ["be asked from 10.20.0.0/16"]),
    "any other place": ([OUTSIDE], ["be asked from outside 127.0.0.0/8"]),
    "a header that lifts a deny": ([UNLESS], ['send header x-ticket like "OPS-*"']),
    "a required header": ([ALLOWED, TICKET], ['send header x-ticket like "OPS-*"']),
    "a limit": ([ALLOWED, CALM], ["be asked when fewer than 3 uses lie within the last day"]),
    "a limit of none": (
        [ALLOWED, NEVER],
        ['raise "most" of the limit of policy calm (policies/calm.yaml:2:10) and raise its version'],
    ),
    "approval": ([ALLOWED, ASK], ["have it approved by 2 of *@acme.test, not by alice@acme.test"]),
    "a skill whose time is over": (
        ["skill: deploy-v2\nuntil: '2026-01-01'\nallow: [deploy:production]\n"],
        ['give skill deploy-v2 a later "until" (policies/deploy-v2.yaml:2:8) and raise its version'],
    ),
    "an allow": (
        [ALLOWED],
        ['add "deploy:production" to deny of skill deploy-v2 (policies/deploy-v2.yaml) and raise its version'],
    ),
}


class _Site:
    """Texts and a question, changed by the words of an explanation and by nothing else."""

    def __init__(self, texts: list[str], agents: str, question: Question) -> None:
        self.texts = {yaml.safe_load(text).get("skill") or yaml.safe_load(text)["policy"]: text for text in texts}
        self.files = {name: yaml.safe_load(text) for name, text in self.texts.items()}
        self.agents, self.question = agents, question

    def follow(self, words: str) -> None:
        for pattern, does in (
            (r'add "(\S+)" to (allow|deny) of (?:skill|policy) (\S+) ', self._add),
            (r"take out policy (\S+) ", lambda name: self.files.pop(name)),
            (r'remove "(\S+)" from deny of (?:skill|policy) (\S+) ', self._remove),
            (r"be asked (?:within|outside) .* next at (\S+)$", self._at),
            (r"be asked from (outside )?(\S+)$", self._from),
            (r'send header (\S+) like "(\S+)"', self._send),
            (r"be asked when fewer than (\d+) uses", self._wait),
            (r"have it approved by (\d+) of \*(\S+?),", self._approve),
            (r'give skill (\S+) a later "until"', lambda name: self.files[name].pop("until")),
            (r'raise "most" of the limit of policy (\S+) ', lambda name: self.files[name]["limits"][0].update(most=9)),
        ):
            if found := re.match(pattern, words):
                does(*found.groups())
                return
        raise AssertionError(words)

    def _add(self, action: str, where: str, name: str) -> None:
        self.files[name].setdefault(where, []).append(action)

    def _remove(self, pattern: str, name: str) -> None:
        rules = self.files[name]["deny"]
        self.files[name]["deny"] = [rule for rule in rules if pattern not in (rule, *rule[:0])]
        assert len(self.files[name]["deny"]) < len(rules)

    def _at(self, text: str) -> None:
        self.question = replace(self.question, at=datetime.fromisoformat(text))

    def _from(self, outside: str | None, network: str) -> None:
        self.question = replace(self.question, client="192.0.2.7" if outside else network.partition("/")[0])

    def _send(self, name: str, like: str) -> None:
        self.question = replace(self.question, attributes={f"header.{name}": like.replace("*", "12")})

    def _wait(self, most: str) -> None:
        uses = {key: min(used, int(most) - 1) for key, used in self.question.uses.items()}
        self.question = replace(self.question, uses=uses)

    def _approve(self, count: str, at: str) -> None:
        self.question = replace(self.question, approvers=tuple(f"human{n}{at}" for n in range(int(count))))

    def built(self, build):
        texts = (
            "".join(f"{key}: {json.dumps(value)}\n" for key, value in file.items()) for file in self.files.values()
        )
        return build(*(text.replace('"', "", 2) for text in texts), agents=self.agents)


@pytest.mark.parametrize(("texts", "expected"), CHANGES.values(), ids=CHANGES)
def test_it_turns_the_decision(texts, expected, build, ask, agents_text) -> None:
    """Each change is the one that is expected; done in that order they turn the decision, and one less does not."""
    question = ask("deploy:production")
    rules = build(*texts)
    # As the gate would ask: headers are seen, uses are counted.
    uses = {limit.key: 3 for limit in rules.limits("deploy-bot", "deploy:production")}
    question = replace(question, attributes=dict.fromkeys([f"header.{name}" for name in rules.headers], ""), uses=uses)
    explanation = rules.explain(question)
    assert list(explanation.changes) == expected
    before = explanation.decision.outcome
    site = _Site(texts, agents_text(), question)
    for words in expected:
        assert site.built(build).decide(site.question).outcome is before or before is Outcome.HOLD
        site.follow(words)
    after = site.built(build).decide(site.question).outcome
    assert after is (Outcome.DENY if before is Outcome.ALLOW else Outcome.ALLOW)


REGISTRY = {
    "suspended": ("state: suspended", "", ['give "state: active" to agent deploy-bot (agents.yaml:6:3)']),
    "revoked is final": ("state: revoked", "", []),
    "anchor": ("", "state: suspended", ['give "state: active" to human alice@acme.test']),
    "expired": ("expires: '2026-01-01'", "", ['give a later "expires" to agent deploy-bot (agents.yaml:6:3)']),
    "ended and suspended": (
        "state: suspended; expires: '2026-01-01'",
        "",
        [
            'give a later "expires" to agent deploy-bot (agents.yaml:6:3)',
            'give "state: active" to agent deploy-bot (agents.yaml:6:3)',
        ],
    ),
    "a revoked human is final": ("", "state: revoked", []),
    "another organisation": (
        "",
        "org: globex",
        [
            'add {of: acme, into: globex, agents: ["deploy-bot"], actions: ["deploy:staging"]} '
            'to "cross_grants" of the registry'
        ],
    ),
    "no skill": ("skill: ", "", ['give agent deploy-bot a skill that allows "deploy:staging" (agents.yaml:6:3)']),
}


@pytest.mark.parametrize(("agent", "human", "expected"), REGISTRY.values(), ids=REGISTRY)
def test_the_registry(agent, human, expected, build, ask, agents_text, skill_text) -> None:
    """What the registry forbids has its change too, or none where it is final."""
    rules = build(skill_text, agents=agents_text(agent=agent, human=human))
    explanation = rules.explain(ask("deploy:staging"))
    assert explanation.decision.outcome is Outcome.DENY
    assert list(explanation.changes) == expected


def test_nothing_turns_what_is_no_action(build, ask, skill_text) -> None:
    """No text can allow what is no action, and a wrong token is put right by no text."""
    rules = build(skill_text)
    assert rules.explain(ask("deploy production")).changes == ()
    assert rules.explain(ask("deploy:staging", token="wrong")).changes == ()
    assert rules.explain(ask("deploy:staging", agent="ghost")).changes == ()


def test_a_pin_is_part_of_the_change(build, ask, agents_text) -> None:
    """An agent that names a version has to name the new one."""
    rules = build("skill: deploy-v2\nallow: [x]\n", agents=agents_text(agent="skill: deploy-v2@1"))
    for action in ("x", "y"):
        assert rules.explain(ask(action)).change.endswith("and raise its version, pin agent deploy-bot to it")


def test_several_in_one_line(build, ask) -> None:
    """Several changes are counted and numbered."""
    change = build(ALLOWED, DENIED, TICKET).explain(ask("deploy:production")).change
    assert change.startswith("2 changes are needed: 1. take out policy no-prod (policies/no-prod.yaml)")
    assert change.endswith('; 2. send header x-ticket like "OPS-*"')


def test_the_next_time_is_within_a_week(build, ask) -> None:
    """A window of one minute a week is found."""
    window = "{days: [thu], from: '03:59', to: '04:00', zone: UTC}"
    rules = build(f"skill: deploy-v2\nallow: [{{action: x, when: {{time: {window}}}}}]\n")
    (words,) = rules.explain(ask("x")).changes
    at = datetime.fromisoformat(words.rpartition(" ")[2])
    assert at - ask("x").at < timedelta(days=7)
    assert rules.decide(replace(ask("x"), at=at)).outcome is Outcome.ALLOW
    assert rules.agents["deploy-bot"].skill == TextRef("skill", "deploy-v2", 1, rules.agents["deploy-bot"].skill.digest)
