"""docs/evaluation.md, the statements about lines, conditions, approvals, limits, bases, organisations and grants."""

import datetime
import re
from dataclasses import replace
from pathlib import Path

import pytest

from policies import Activations, BreakGlass, Mode, Outcome, PolicyError, credential

PAGE = (Path(__file__).parents[2] / "docs/evaluation.md").read_text(encoding="utf-8")
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
ALLOW, DENY, HOLD = Outcome.ALLOW, Outcome.DENY, Outcome.HOLD

PERMISSIVE = "skill: deploy-v2\nallow: ['**']\n"


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table whose heading line begins so."""
    lines = PAGE.split(f"\n| {heading} |", 1)[1].splitlines()[2:]
    rows = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


GUARDS, CONDITIONS, PERMITTED = table("`when`"), table("condition"), table("what lets it through")


def with_header(question, **sent):
    """Return the question with headers: the text that was sent, "" for none, None for not seen."""
    attributes = {f"header.{name.replace('_', '-')}": value for name, value in sent.items() if value is not None}
    return replace(question, attributes={**question.attributes, **attributes})


# --- answers ---


@pytest.mark.parametrize(("what", "reason", "code"), PERMITTED, ids=[row[2].strip("`") for row in PERMITTED])
def test_what_permits(what, reason, code, build, ask) -> None:
    """Each row of what lets an action through: its reason and code."""
    skill = "skill: deploy-v2\nallow: [a]\napprove: [b]\n"
    grant = BreakGlass("bgl_1", "deploy-bot", "c", "*", NOON, NOON + datetime.timedelta(hours=1), PAIR, "it burns")
    rules = build(skill)
    action = {"skill.allowed": "a", "approval.granted": "b", "exception.granted": "c"}[code.strip("`")]
    question = replace(ask(action), approvers=("bob@acme.test",), exceptions=(grant,))
    decision = rules.decide(question)
    assert (decision.outcome, decision.reason, decision.code) == (ALLOW, reason.strip("`"), code.strip("`"))


LABELS = {
    "has it": ("{tier: gold, env: eu}", True),
    "another value": ("{tier: silver, env: eu}", False),
    "one of two": ("{tier: gold}", False),
    "none": ("{}", False),
    "a glob of the other": ("{tier: gold, env: eu-1}", True),
}


@pytest.mark.parametrize(("labels", "expected"), LABELS.values(), ids=LABELS)
def test_e31_labels(labels, expected, build, ask, agents_text) -> None:
    policy = "policy: p\napplies_to: {labels: {tier: [gold, platinum], env: ['eu*']}}\ndeny: ['**']\n"
    decision = build(PERMISSIVE, policy, agents=agents_text(agent=f"labels: {labels}")).decide(ask("x"))
    assert decision.code == ("policy.denied" if expected else "skill.allowed")


SKILLS_OWN = {
    "requirement": ("require: [{action: x, header: x-a}]\n", "skill.requirement", DENY),
    "limit": ("limits: [{action: x, most: 0, per: day}]\n", "skill.limit", DENY),
    "approval": ("approve: [x]\n", "skill.needs-approval", HOLD),
}


@pytest.mark.parametrize(("line", "code", "outcome"), SKILLS_OWN.values(), ids=SKILLS_OWN)
def test_e32_codes_of_a_skill(line, code, outcome, build, ask) -> None:
    decision = build(PERMISSIVE + line).decide(ask("x"))
    assert (decision.outcome, decision.code, decision.stage) == (outcome, code, "skill")
    both = build(PERMISSIVE + line, f"policy: p\n{line}").decide(ask("x"))
    assert (both.code, both.policy.id) == (code.replace("skill", "policy"), "p")


# --- lines and conditions ---

TOLD = {"holds": "1", "does not hold": "", "cannot be told": None}


@pytest.mark.parametrize(("when", "unless", "line"), GUARDS, ids=["/".join(row[:2]) for row in GUARDS])
def test_guards(when, unless, line, build, ask) -> None:
    """Each row of the table of guards, in an allow and in a deny list, of a requirement and of an approval."""
    guard = "when: {header: {x-when: '1'}}"
    guard += "" if unless == "is not there" else ", unless: {header: {x-unless: '1'}}"
    question = with_header(ask("a"), x_when=TOLD[when], x_unless=TOLD.get(unless))
    allowing = build(f"skill: deploy-v2\nallow: [{{action: a, {guard}}}]\n").decide(question)
    denying = build(f"{PERMISSIVE}deny: [{{action: a, {guard}}}]\n").decide(question)
    assert allowing.outcome is (ALLOW if line == "counts" else DENY)
    assert denying.outcome is (ALLOW if line == "does not count" else DENY)
    assert bool(denying.untold) == bool(allowing.untold) == (line == "cannot be told")
    requiring = build(PERMISSIVE, f"policy: p\nrequire: [{{action: a, header: x-lacking, {guard}}}]\n").decide(question)
    asking = build(PERMISSIVE, f"policy: p\napprove: [{{action: a, {guard}}}]\n").decide(question)
    assert requiring.outcome is (ALLOW if line == "does not count" else DENY)
    assert asking.outcome is (ALLOW if line == "does not count" else HOLD)


def test_e33_untold(build, ask) -> None:
    """Of each list: the line counts against the agent, and the decision says what could not be told."""
    guard = "when: {environment: [production]}"
    answers = {}
    for name, more in {"deny": "", "allow": "", "approve": "", "require": ", header: x-a"}.items():
        rules = build(PERMISSIVE, f"policy: p\n{name}: [{{action: a, {guard}{more}}}]\n")
        decision = rules.decide(ask("a"))
        answers[name] = decision.code
        assert "policies/p.yaml:2:" in decision.untold
        assert decision.untold.endswith(" environment")
    assert answers == {
        "deny": "policy.denied",
        "allow": "policy.not-in-allow-list",
        "approve": "policy.needs-approval",
        "require": "policy.requirement",
    }
    permits = build(f"skill: deploy-v2\napprove: [{{action: a, {guard}}}]\n").decide(ask("a"))
    assert (permits.outcome, permits.code) == (DENY, "skill.not-in-allow-list")


def test_e34_all_parts(build, ask) -> None:
    """Two conditions under `when`, and under `unless`: each combination of what holds, does not, or is untold."""
    two = "{header: {x-a: '1', x-b: '1'}}"
    when = build(f"skill: deploy-v2\nallow: [{{action: a, when: {two}}}]\n")
    unless = build(f"{PERMISSIVE}deny: [{{action: a, unless: {two}}}]\n")
    for first in TOLD.values():
        for second in TOLD.values():
            question = with_header(ask("a"), x_a=first, x_b=second)
            both, neither = (first, second) == ("1", "1"), "" in (first, second)
            assert when.decide(question).outcome is (ALLOW if both else DENY)
            assert bool(when.decide(question).untold) == (not both and not neither)
            assert unless.decide(question).outcome is (ALLOW if both else DENY)
            assert bool(unless.decide(question).untold) == (not both and not neither)


@pytest.mark.parametrize("until", ["2026-01-02", "2026-01-02T00:00:00Z", "2026-01-02T01:00:00+01:00"])
def test_e35_until(until, build, ask) -> None:
    midnight = NOON.replace(hour=0)
    allowing = build(f"skill: deploy-v2\nallow: [{{action: a, until: '{until}'}}]\n")
    denying = build(f"{PERMISSIVE}deny: [{{action: a, until: '{until}'}}]\n")
    for at, counts in ((midnight - datetime.timedelta(microseconds=1), True), (midnight, False)):
        question = replace(ask("a"), at=at)
        assert (allowing.decide(question).outcome is ALLOW) == counts
        assert (denying.decide(question).outcome is DENY) == counts


def _values(cell: str) -> list[str | None]:
    named = {"none": None, "not sent": "", "too long": "x" * 512 + "..."}
    found = re.findall(r"`([^`]+)`|(none|not sent|too long)", cell)
    return [text or named[word] for text, word in found]


def _told(question, name: str, value: str | None):
    match name:
        case "time":
            return replace(question, at=datetime.datetime.fromisoformat(value))
        case "client" | "target" | "environment":
            return replace(question, **{name: value or ""})
        case "header":
            return with_header(question, x_ticket=value)
        case _:
            return replace(question, attributes={} if value is None else {name: value})


CASES = [
    (name.strip("`"), written.strip("`"), answer, value)
    for name, written, *cells in CONDITIONS
    for answer, cell in zip(("holds", "does not hold", "cannot be told"), cells, strict=True)
    for value in _values(cell)
]


@pytest.mark.parametrize(
    ("name", "written", "answer", "value"), CASES, ids=[f"{c[0]} {c[2]} {c[3]}"[:60] for c in CASES]
)
def test_conditions(name, written, answer, value, build, ask) -> None:
    """Each value in the table of conditions, in an allow and in a deny list."""
    question = _told(ask("a"), name, value)
    allowing = build(f"skill: deploy-v2\nallow:\n- action: a\n  when: {{{name}: {written}}}\n").decide(question)
    denying = build(f"{PERMISSIVE}deny:\n- action: a\n  when: {{{name}: {written}}}\n").decide(question)
    assert allowing.outcome is (ALLOW if answer == "holds" else DENY)
    assert denying.outcome is (ALLOW if answer == "does not hold" else DENY)
    assert bool(denying.untold) == (answer == "cannot be told")


def test_the_table_of_conditions_is_whole() -> None:
    """Every condition there is has a row."""
    from policies.conditionschema import Conditions

    assert {row[0].strip("`") for row in CONDITIONS} == set(Conditions.model_fields)
    assert len(CASES) > 40


@pytest.mark.parametrize("name", ["method", "scheme", "host", "access", "executes", "mints"])
def test_e36_not_known(name, build, ask) -> None:
    """A question without a request tells nothing about one."""
    written = {"scheme": "https", "access": "[read]", "executes": "true", "mints": "true"}.get(name, "['*']")
    decision = build(f"{PERMISSIVE}deny: [{{action: a, when: {{{name}: {written}}}}}]\n").decide(ask("a"))
    assert (decision.code, decision.untold.endswith(f" {name}")) == ("skill.denied", True)


@pytest.mark.parametrize("value", ["x" * 512 + "...", "[redacted]"], ids=["cut", "kept out"])
def test_e36_not_recorded(value, build, ask) -> None:
    """Of what stands in no record only that it is there can be told: in conditions and in what is required."""
    question = with_header(replace(ask("a"), target=value), x_a=value)
    for glob, expected in (("'*'", ALLOW), ("['x*', '[*']", DENY)):
        for condition in (f"target: {glob}", f"header: {{x-a: {glob}}}"):
            text = f"skill: deploy-v2\nallow: [{{action: a, when: {{{condition}}}}}]\n"
            assert build(text).decide(question).outcome is expected
        required = f"{PERMISSIVE}require: [{{action: a, header: x-a, like: {glob}}}]\n"
        assert build(required).decide(question).outcome is expected


TWO_WAYS = {
    "empty list": ("when: {client: []}", "an empty list is met by nothing"),
    "empty list of words": ("when: {access: []}", "an empty list is met by nothing"),
    "no headers": ("when: {header: {}}", "an empty list is met by nothing"),
    "no conditions": ("unless: {}", "no condition is written here"),
    "nothing after the key": ("when:", 'nothing is written after "when"'),
    "nothing after an end": ("until:", 'nothing is written after "until"'),
    "nothing inside": ("when: {environment: }", 'nothing is written after "environment"'),
    "a window without length": ("when: {time: {from: '09:00', to: '09:00', zone: UTC}}", "can be read two ways"),
    "a window from the end of the day": (
        "when: {time: {from: '24:00', to: '06:00', zone: UTC}}",
        "can be read two ways",
    ),
    "the machine's own zone": ("when: {time: {zone: localtime}}", 'zone "localtime" is not known'),
    "a network nobody is in": ("when: {client: ['::ffff:10.0.0.0/104']}", "is met by nobody"),
}


@pytest.mark.parametrize(("guard", "message"), TWO_WAYS.values(), ids=TWO_WAYS)
def test_e37_refused(guard, message, build) -> None:
    with pytest.raises(PolicyError) as refused:
        build(f"skill: deploy-v2\nallow:\n- action: a\n  {guard}\n")
    assert message in str(refused.value)
    assert str(refused.value).startswith("policies/deploy-v2.yaml:4:")


# --- what is asked beyond permission ---


def test_e38_approve(build, ask) -> None:
    yes = replace(ask("a"), approvers=("bob@acme.test",))
    for lists in ("approve: [a]\n", "approve: [a]\nallow: [a]\n", "approve: ['**']\nallow: [a]\n"):
        rules = build(f"skill: deploy-v2\n{lists}")
        assert (rules.decide(ask("a")).outcome, rules.decide(yes).outcome) == (HOLD, ALLOW)
    policy = "policy: p\napprove: [a]\n"
    assert build(PERMISSIVE, policy).decide(ask("a")).code == "policy.needs-approval"
    assert build("skill: deploy-v2\nallow: [x]\n", policy).decide(yes).code == "skill.not-in-allow-list"
    listed = build(PERMISSIVE, policy + "allow: [b]\n")
    assert (listed.decide(yes).outcome, listed.decide(ask("c")).code) == (ALLOW, "policy.not-in-allow-list")


APPROVERS = {
    "one": ("{}", ["eve@evil.test"], True),
    "the anchor": ("{}", ["alice@acme.test"], True),
    "not the anchor": ("{anchor: false}", ["alice@acme.test"], False),
    "another than the anchor": ("{anchor: false}", ["bob@acme.test"], True),
    "who": ("{who: ['*@acme.test']}", ["eve@evil.test"], False),
    "two": ("{count: 2}", ["alice@acme.test", "bob@acme.test"], True),
    "one of two": ("{count: 2}", ["bob@acme.test"], False),
    "one twice": ("{count: 2}", ["bob@acme.test", "bob@acme.test"], False),
    "one who may and one who may not": ("{count: 2, who: ['*@acme.test']}", ["bob@acme.test", "eve@evil.test"], False),
    "nobody": ("{}", [], False),
}


@pytest.mark.parametrize(("approvers", "said", "expected"), APPROVERS.values(), ids=APPROVERS)
def test_e39_approvers(approvers, said, expected, build, ask) -> None:
    rules = build(f"{PERMISSIVE}approve: [{{action: a, approvers: {approvers}}}]\n")
    decision = rules.decide(replace(ask("a"), approvers=tuple(said)))
    assert decision.outcome is (ALLOW if expected else HOLD)
    assert len(decision.holds) == 1


def test_e39_all_lines(build, ask) -> None:
    """Each line that counts must have its humans; the reason is the first that has not, and all are named."""
    policies_ = [f"policy: {name}\napprove: [{{action: a, approvers: {{who: [{name}@x]}}}}]\n" for name in ("p", "q")]
    rules = build(PERMISSIVE, *policies_)
    for said, code in (((), "policy:p"), (("p@x",), "policy:q"), (("q@x",), "policy:p")):
        decision = rules.decide(replace(ask("a"), approvers=said))
        assert (decision.outcome, decision.reason) == (HOLD, f"{code} -- action needs approval")
        assert [hold.who for hold in decision.holds] == [("p@x",), ("q@x",)]
    granted = rules.decide(replace(ask("a"), approvers=("q@x", "eve@x", "p@x")))
    assert (granted.outcome, len(granted.holds)) == (ALLOW, 2)
    assert granted.reason == "skill:deploy-v2 -- action approved by p@x, q@x"


def test_e40_wildcards_of_approve(build, ask) -> None:
    yes = replace(ask("deploy:unknown"), approvers=("bob@acme.test",))
    assert build("skill: deploy-v2\napprove: ['deploy:*']\n").decide(yes).code == "skill.not-in-allow-list"
    assert build("skill: deploy-v2\napprove: ['deploy:unknown']\n").decide(yes).outcome is ALLOW
    spelt = build("skill: deploy-v2\nallow: ['deploy:unknown']\napprove: ['deploy:*']\n")
    assert spelt.decide(ask("deploy:unknown")).code == "skill.needs-approval"
    listed = build("skill: deploy-v2\nallow: ['deploy:unknown']\n", "policy: p\nallow: []\napprove: ['deploy:*']\n")
    assert listed.decide(yes).code == "policy.not-in-allow-list"


REQUIRED = {
    "there": ("OPS-1", ""),
    "not like it": ("1", 'header "x-ticket" is not like "OPS-*" or "INC-*"'),
    "missing": ("", 'header "x-ticket" is missing'),
    "not seen": (None, 'header "x-ticket" is needed and cannot be seen here'),
    "too long": ("OPS-" + "1" * 512 + "...", 'header "x-ticket" is not like "OPS-*" or "INC-*"'),
}


@pytest.mark.parametrize(("sent", "failing"), REQUIRED.values(), ids=REQUIRED)
def test_e41_require(sent, failing, build, ask) -> None:
    rules = build(PERMISSIVE, "policy: p\nrequire: [{action: a, header: x-ticket, like: ['OPS-*', 'INC-*']}]\n")
    decision = rules.decide(with_header(ask("a"), x_ticket=sent))
    assert (decision.outcome is DENY) == bool(failing)
    assert decision.reason == (f"policy:p -- {failing}" if failing else "skill:deploy-v2 -- action in allow list")
    assert rules.headers == {"x-ticket"}


WINDOWS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "15m": 900, "31d": 31 * 86_400}


@pytest.mark.parametrize(("per", "window_s"), WINDOWS.items(), ids=WINDOWS)
def test_e42_limits(per, window_s, build, ask) -> None:
    """The window slides, to the second; what is not counted is used up. tests/proxy/test_uses.py has the counting."""
    rules = build(f"{PERMISSIVE}limits: [{{action: 'a*', most: 2, per: {per}}}]\n")
    (limit,) = rules.limits("deploy-bot", "ab")
    assert (limit.most, limit.window_s) == (2, window_s)
    assert rules.limits("deploy-bot", "b") == ()
    outcomes = [rules.decide(replace(ask("ab"), uses={limit.key: used})).outcome for used in (0, 1, 2, 3)]
    assert outcomes == [ALLOW, ALLOW, DENY, DENY]
    uncounted = rules.decide(ask("ab"))
    assert (uncounted.code, uncounted.untold.endswith(" uses")) == ("skill.limit", True)


def test_e43_of(build, agents_text) -> None:
    other = "- {id: x, anchor: alice@acme.test, org: acme, state: active, skill: deploy-v2}\n"

    def keys(of):
        text = f"{PERMISSIVE}limits: [{{action: a, most: 1, per: day, of: {of}}}]\n"
        rules = build(text, agents=agents_text(more=other))
        return {rules.limits(name, "a")[0].key for name in ("deploy-bot", "x")}

    assert (len(keys("agent")), len(keys("human"))) == (2, 1)


def test_e44_what_a_limit_is_known_by(build, ask) -> None:
    def key(text):
        return build(PERMISSIVE, f"policy: p\n{text}").limits("deploy-bot", "a")[0].key

    first = key("limits: [{action: a, most: 1, per: day}]\n")
    assert key("version: 2\nlimits: [{action: a, most: 9, per: 24h}]\n") == first
    assert key("limits: [{action: a, most: 1, per: week}]\n") != first
    named = key("limits: [{id: calm, action: a, most: 1, per: day}]\n")
    assert key("version: 2\nlimits: [{id: calm, action: '*', most: 2, per: day}]\n") == named
    with pytest.raises(PolicyError, match="counts the same as the one on line 3"):
        key("limits:\n- {action: a, most: 1, per: day}\n- {action: a, most: 2, per: 24h}\n")
    bases = [f"policy: {name}\nextends: [base@1]\n" for name in ("p", "q")]
    rules = build(PERMISSIVE, *bases, "policy: base\nlimits: [{action: a, most: 2, per: day}]\n")
    (limit,) = rules.limits("deploy-bot", "a")
    assert rules.decide(replace(ask("a"), uses={limit.key: 1})).limits == (limit,)


def test_e45_observed_uses(build, ask, agents_text) -> None:
    texts = ["skill: deploy-v2\nallow: [x]\n", "policy: p\nlimits: [{action: a, most: 1, per: day}]\n"]
    rules = build(*texts, agents=agents_text(agent="mode: observe"))
    decision = rules.decide(ask("a"))
    assert (decision.outcome, decision.forwards) == (DENY, True)
    assert decision.limits == rules.limits("deploy-bot", "a") != ()


def test_e46_redact(build, ask, agents_text) -> None:
    policy = "policy: p\nredact: [{action: 'a*', fields: [path]}, {action: ab, fields: [target, path]}]\n"
    rules = build("skill: deploy-v2\nallow: ['a*']\ndeny: [ac]\n", policy)
    found = {action: rules.decide(ask(action)).redact for action in ("ab", "ac", "b")}
    assert found == {"ab": ("path", "target"), "ac": ("path",), "b": ()}
    foreign = agents_text(more="organisations: [{id: acme}, {id: globex, owns: ['*']}]\n")
    denied = build(PERMISSIVE, policy, agents=foreign).decide(ask("ab"))
    assert (denied.code, denied.redact) == ("org.foreign-target", ("path", "target"))


# --- texts put together ---

ROOT = "skill: root\ndeny: [d]\nrequire: [{action: r, header: x-a}]\nlimits: [{action: l, most: 0, per: day}]\n"
BASE = "skill: base\nextends: [root@1]\nallow: [a, d, r, l]\napprove: [p]\n"


def test_e47_extends(build, ask) -> None:
    rules = build("skill: deploy-v2\nextends: [base@1]\nallow: [b]\n", BASE, ROOT)
    told = {action: (rules.decide(ask(action)).reason, rules.decide(ask(action)).rule) for action in "abdrlpx"}
    assert told == {
        "a": ("skill:base -- action in allow list", "policies/base.yaml:3:9"),
        "b": ("skill:deploy-v2 -- action in allow list", "policies/deploy-v2.yaml:3:9"),
        "d": ("skill:root -- action in deny list", "policies/root.yaml:2:8"),
        "r": ('skill:root -- header "x-a" is needed and cannot be seen here', "policies/root.yaml:3:11"),
        "l": ("skill:root -- limit of 0 per day reached for deploy-bot", "policies/root.yaml:4:10"),
        "p": ("skill:base -- action needs approval", "policies/base.yaml:4:11"),
        "x": ("skill:deploy-v2 -- action not in allow list", "policies/deploy-v2.yaml:3:1"),
    }
    assert rules.decide(ask("a")).skill.id == "deploy-v2"


def test_e48_own(build, ask) -> None:
    """A base that only watches, and only others, enforces here; its allow list becomes the policy's own."""
    base = "policy: base\nmode: observe\napplies_to: {agents: [other]}\nallow: [b]\n"
    rules = build(PERMISSIVE, "policy: p\nextends: [base@1]\n", base)
    assert [ref.id for ref in rules.agents["deploy-bot"].policies] == ["p"]
    assert rules.decide(ask("b")).outcome is ALLOW
    assert rules.decide(ask("c")).reason == "policy:p -- action not in allow list"
    watching = build(PERMISSIVE, "policy: p\nextends: [base@1]\nmode: observe\n", base.replace("observe", "enforce"))
    decision = watching.decide(ask("c"))
    assert (decision.outcome, decision.observed) == (ALLOW, "policy:p -- action not in allow list")


EXTENDS = {
    "no version": ("[base]", "", '"base" does not name a version'),
    "nobody": ("[other@1]", "", 'skill "other" does not exist'),
    "no such version": ("[base@2]", "", 'skill "base" has no version 2; versions here: 1'),
    "itself": ("[deploy-v2@1]", "", 'skill "deploy-v2" extends itself; take one of the two out'),
    "in a circle": ("[base@1]", "extends: [deploy-v2@1]\n", 'skill "deploy-v2" extends itself by way of "base"'),
    "with an end": ("[base@1]", "until: '2027-01-01'\n", "ends by itself and cannot be extended"),
}


@pytest.mark.parametrize(("extends", "base", "message"), EXTENDS.values(), ids=EXTENDS)
def test_e49_what_is_extended(extends, base, message, build) -> None:
    with pytest.raises(PolicyError) as refused:
        build(f"skill: deploy-v2\nextends: {extends}\n", f"skill: base\n{base}allow: [a]\n")
    assert message in str(refused.value)


def test_e49_depth(build) -> None:
    """A tower of texts is refused before it breaks the loader."""
    tower = [f"skill: s{n}\nextends: [s{n + 1}@1]\n" for n in range(2000)]
    with pytest.raises(PolicyError, match="more than 16 texts stand one upon the other"):
        build(PERMISSIVE, *tower, "skill: s2000\nallow: [a]\n")


def test_e50_until_of_a_text(build, ask) -> None:
    end = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
    before, after = (replace(ask("a"), at=at) for at in (end - datetime.timedelta(seconds=1), end))
    everything = "allow: [x]\ndeny: [a]\napprove: [a]\nrequire: [{action: a, header: x}]\n"
    everything += "limits: [{action: a, most: 0, per: day}]\n"
    policy = build(PERMISSIVE, f"policy: p\nuntil: '2026-06-01'\n{everything}")
    assert (policy.decide(before).outcome, policy.decide(after).outcome) == (DENY, ALLOW)
    skill = build("skill: deploy-v2\nuntil: '2026-06-01'\nallow: [a]\ndeny: [d]\n")
    assert (skill.decide(before).outcome, skill.decide(after).code) == (ALLOW, "skill.expired")
    excepted = replace(after, action="d", exceptions=(_grant("d", at=end),))
    assert skill.decide(excepted).code == "skill.denied"


# --- identity ---

MINE, THEIRS = "spiffe://acme.test/deploy", "spiffe://acme.test/other"

PRESENTED = {
    "its certificate": ("", (MINE,), NOON.replace(hour=13), "skill.allowed"),
    "its certificate and its token": ("secret", (MINE,), None, "skill.allowed"),
    "its certificate, over": ("", (MINE,), NOON, "agent.credential-expired"),
    "its certificate, over, and its token": ("secret", (MINE,), NOON, "agent.credential-expired"),
    "its certificate and a wrong token": ("wrong", (MINE,), None, "agent.wrong-token"),
    "its certificate and the other's token": ("theirs", (MINE,), None, "agent.two-identities"),
    "the other's certificate": ("", (THEIRS,), None, "agent.two-identities"),
    "the other's certificate and its token": ("secret", (THEIRS,), None, "agent.two-identities"),
    "both certificates": ("", (MINE, THEIRS), None, "agent.two-identities"),
    "nobody's certificate": ("", ("spiffe://acme.test/x",), None, "agent.wrong-token"),
    "nobody's certificate and its token": ("secret", ("spiffe://acme.test/x",), None, "skill.allowed"),
    "the other's token": ("theirs", (), None, "agent.wrong-token"),
    "nothing": ("", (), None, "agent.wrong-token"),
}


@pytest.mark.parametrize(("token", "identities", "expires", "code"), PRESENTED.values(), ids=PRESENTED)
def test_e51_proofs(token, identities, expires, code, build, ask, agents_text) -> None:
    theirs = credential("other", "theirs").token_sha256
    proofs = f"identities: ['{THEIRS}'], tokens: ['{theirs}']"
    other = f"- {{id: other, anchor: bob@acme.test, org: acme, state: active, {proofs}}}\n"
    rules = build(PERMISSIVE, agents=agents_text(agent=f"identities: ['{MINE}']", more=other))
    shown = credential("deploy-bot", token) if token else replace(credential("deploy-bot", ""), token_sha256="")
    question = replace(ask("a"), credential=replace(shown, identities=identities, expires=expires))
    assert rules.decide(question).code == code
    refused = rules.identify(question.credential, question.at)
    assert (refused is None) == (code == "skill.allowed")


STATES = {
    "pending agent": ("state: pending", "", "", "agent.pending"),
    "revoked agent": ("state: revoked", "", "", "agent.revoked"),
    "revoked stays revoked": ("state: revoked; expires: '2026-01-01'", "", "", "agent.revoked"),
    "expired agent": ("expires: '2026-01-02T12:00:00Z'", "", "", "agent.expired"),
    "not yet expired": ("expires: '2026-01-02T12:00:01Z'", "", "", "skill.allowed"),
    "pending human": ("", "state: pending", "", "anchor.pending"),
    "expired human": ("", "expires: '2026-01-02'", "", "anchor.expired"),
    "revoked organisation": ("", "", "organisations: [{id: acme, state: revoked}]\n", "org.revoked"),
    "active organisation": ("", "", "organisations: [{id: acme}]\n", "skill.allowed"),
}


@pytest.mark.parametrize(("agent", "human", "more", "code"), STATES.values(), ids=STATES)
def test_e52_states(agent, human, more, code, build, ask, agents_text) -> None:
    rules = build(PERMISSIVE, agents=agents_text(agent=agent, human=human, more=more))
    assert rules.decide(ask("a")).code == code
    with pytest.raises(PolicyError, match='"expired" is what comes of "expires"'):
        build(PERMISSIVE, agents=agents_text(agent="state: expired"))


# --- organisations ---


def test_e53_names_alone(build, ask, agents_text) -> None:
    assert build(PERMISSIVE).decide(ask("a")).outcome is ALLOW
    assert build(PERMISSIVE, agents=agents_text(human="org: globex")).decide(ask("a")).code == "org.different"
    with pytest.raises(PolicyError, match='organisation "acme" is not among the organisations'):
        build(PERMISSIVE, agents=agents_text(more="organisations: [{id: globex}]\n"))


OWNED = (
    "organisations:\n- {id: acme, owns: ['github/acme/*', 'shared/*']}\n"
    "- {id: globex, owns: ['github/globex/*', 'shared/*']}\n"
    "- {id: third}\n"
)
UNOWNED = "organisations: [{id: acme}, {id: globex}, {id: third}]\n"

TARGETS = {
    "its own": ("github/acme/web", "skill.allowed", ""),
    "another's": ("github/globex/web", "org.foreign-target", "org:globex -- target belongs to another organisation"),
    "nobody's": ("github/other/web", "skill.allowed", ""),
    "of both": ("shared/x", "org.foreign-target", "org:globex -- target belongs to another organisation"),
    "not known": ("", "org.foreign-target", "org:acme -- whose target this is cannot be told"),
    "too long": (
        "github/acme/".ljust(512, "x") + "...",
        "org.foreign-target",
        "org:acme -- whose target this is cannot be told",
    ),
}


@pytest.mark.parametrize(("target", "code", "reason"), TARGETS.values(), ids=TARGETS)
def test_e54_targets(target, code, reason, build, ask, agents_text) -> None:
    rules = build(PERMISSIVE, agents=agents_text(more=OWNED))
    decision = rules.decide(replace(ask("a"), target=target))
    assert decision.code == code
    assert decision.reason == (reason or decision.reason)
    assert build(PERMISSIVE).decide(replace(ask("a"), target=target)).code == "skill.allowed"


GRANTS = {
    "the action": ("{of: acme, into: globex, actions: [a]}", True),
    "a wildcard": ("{of: acme, into: globex}", True),
    "another action": ("{of: acme, into: globex, actions: [b]}", False),
    "another agent": ("{of: acme, into: globex, agents: ['x*']}", False),
    "one of several": ("{of: acme, into: globex, agents: ['x*', 'deploy-*']}", True),
    "the other way": ("{of: globex, into: acme}", False),
    "to another organisation": ("{of: third, into: globex}", False),
    "into another organisation": ("{of: acme, into: third}", False),
    "over": ("{of: acme, into: globex, until: '2026-01-02'}", False),
    "not over": ("{of: acme, into: globex, until: '2026-01-03'}", True),
}


def rules_of(organisations, grant, agents_text, **changed) -> str:
    """A registry with organisations and one grant between them."""
    return agents_text(more=f"{organisations}cross_grants: [{grant}]\n", **changed)


@pytest.mark.parametrize(("grant", "expected"), GRANTS.values(), ids=GRANTS)
def test_e55_cross_grants(grant, expected, build, ask, agents_text) -> None:
    on_target = replace(ask("a"), target="github/globex/web")
    rules = build(PERMISSIVE, agents=rules_of(OWNED, grant, agents_text))
    assert rules.decide(on_target).code == ("skill.allowed" if expected else "org.foreign-target")
    reserved = build(PERMISSIVE.replace("**", "a:unknown"), agents=rules_of(OWNED, grant, agents_text))
    assert reserved.decide(replace(on_target, action="a:unknown")).code == "org.foreign-target"
    answered, unowned = (rules_of(each, grant, agents_text, human="org: globex") for each in (OWNED, UNOWNED))
    own = replace(ask("a"), target="github/acme/web")
    endless = answered.replace("cross_grants: [", "cross_grants: [{of: globex, into: acme, agents: [nobody]}, ")
    for text in (answered, endless, unowned):
        crossing = build(PERMISSIVE, agents=text)
        assert crossing.decide(own).code == ("skill.allowed" if expected else "org.different")
        may_act = crossing.identify(own.credential, own.at) is None
        assert may_act is (expected or grant == GRANTS["another action"][0]), "of the action nothing is known then"
    suspended = OWNED.replace("id: globex,", "id: globex, state: suspended,")
    closed = build(PERMISSIVE, agents=rules_of(suspended, grant, agents_text))
    assert closed.decide(on_target).code == "org.foreign-target"


# --- break-glass ---

PAIR = ("alice@acme.test", "bob@acme.test")


def _grant(action="**", *, target="*", agent="deploy-bot", by=PAIR, at=NOON, minutes=60):
    return BreakGlass("bgl_1", agent, action, target, at, at + datetime.timedelta(minutes=minutes), by, "it burns")


OVERRIDABLE = "[{action: a, overridable: break-glass}]"
GLASS = {
    "skill allow list": ("skill: deploy-v2\nallow: [x]\n", "", "exception.granted"),
    "policy allow list": (PERMISSIVE, "policy: p\nallow: [x]\n", "skill.allowed"),
    "overridable deny of a policy": (PERMISSIVE, f"policy: p\ndeny: {OVERRIDABLE}\n", "skill.allowed"),
    "overridable deny of the skill": (f"skill: deploy-v2\ndeny: {OVERRIDABLE}\n", "", "exception.granted"),
    "deny of a policy": (PERMISSIVE, "policy: p\ndeny: [a]\n", "policy.denied"),
    "deny of the skill": (PERMISSIVE + "deny: [a]\n", "", "skill.denied"),
    "one overridable, one not": (PERMISSIVE, f"policy: p\ndeny: {OVERRIDABLE[:-1]}, '**']\n", "policy.denied"),
    "the skill's end": ("skill: deploy-v2\nuntil: '2026-01-01'\nallow: [a]\n", "", "exception.granted"),
    "requirement": ("skill: deploy-v2\nrequire: [{action: a, header: x}]\n", "", "skill.requirement"),
    "limit": ("skill: deploy-v2\nlimits: [{action: a, most: 0, per: day}]\n", "", "skill.limit"),
    "approval": ("skill: deploy-v2\n", "policy: p\napprove: [a]\n", "policy.needs-approval"),
}


@pytest.mark.parametrize(("skill", "policy", "code"), GLASS.values(), ids=GLASS)
def test_e56_what_yields(skill, policy, code, build, ask) -> None:
    rules = build(skill, *filter(None, [policy]))
    decision = rules.decide(replace(ask("a"), exceptions=(_grant(),)))
    assert decision.code == code
    if decision.outcome is not DENY:
        assert decision.exception == "bgl_1"
        assert rules.decide(ask("a")).outcome is DENY


NOT_COVERED = {
    "another agent": _grant(agent="other"),
    "another action": _grant("b"),
    "another target": _grant(target="web-*"),
    "one human twice": _grant(by=("alice@acme.test", "alice@acme.test")),
    "not begun": _grant(at=NOON + datetime.timedelta(seconds=1)),
    "over": _grant(at=NOON - datetime.timedelta(minutes=60)),
}


@pytest.mark.parametrize("grant", NOT_COVERED.values(), ids=NOT_COVERED)
def test_e56_whom_it_is_for(grant, build, ask) -> None:
    rules = build("skill: deploy-v2\nallow: [x]\n")
    assert rules.decide(replace(ask("a"), exceptions=(grant,))).code == "skill.not-in-allow-list"
    assert rules.decide(replace(ask("a"), exceptions=(grant, _grant("a", target="api-*")))).outcome is ALLOW


def test_e56_no_earlier_stage(build, ask, agents_text) -> None:
    for agent, human in (("state: suspended", ""), ("", "state: suspended"), ("", "org: other")):
        rules = build(PERMISSIVE, agents=agents_text(agent=agent, human=human))
        assert rules.decide(replace(ask("a"), exceptions=(_grant(),))).stage in ("agent", "anchor", "org")


def test_e57_only_when_needed(build, ask) -> None:
    question = replace(ask("a"), exceptions=(_grant(),))
    assert build(PERMISSIVE).decide(question).exception == ""
    held = build("skill: deploy-v2\n", "policy: p\napprove: [a]\n").decide(question)
    assert (held.outcome, held.exception) == (HOLD, "bgl_1")
    watched = build(PERMISSIVE, f"policy: p\nmode: observe\nallow: [x]\ndeny: {OVERRIDABLE}\n").decide(question)
    assert (watched.outcome, watched.exception) == (ALLOW, "")
    assert watched.observed == "policy:p -- action in deny list; policy:p -- action not in allow list"
    denied = build(PERMISSIVE, "policy: p\nallow: [x]\ndeny: [a]\n").decide(question)
    assert (denied.outcome, denied.exception) == (DENY, "")


UNNAMED = {
    "unknown": ("deploy:unknown", "api-v2", _grant("deploy:*")),
    "no action": ("deploy production", "api-v2", _grant()),
    "no target": ("a", "", _grant(target="api-*")),
    "no target, for a glob of all": ("a", "", _grant(target="**")),
    "target too long": ("a", "x" * 512 + "...", _grant(target="x*")),
}


@pytest.mark.parametrize(("action", "target", "grant"), UNNAMED.values(), ids=UNNAMED)
def test_e58_unnamed(action, target, grant, build, ask, agents_text) -> None:
    question = replace(ask(action), target=target, exceptions=(grant,))
    assert build("skill: deploy-v2\nallow: [x]\n").decide(question).code == "skill.not-in-allow-list"
    anywhere = replace(question, action="a", exceptions=(_grant("a"),))
    assert build("skill: deploy-v2\n").decide(anywhere).outcome is ALLOW
    without = build(PERMISSIVE, agents=agents_text(agent="skill: "))
    assert without.decide(replace(ask("a"), exceptions=(_grant(),))).code == "agent.no-skill"


@pytest.mark.parametrize(("line", "outcome"), [("allow", ALLOW), ("approve", HOLD)])
def test_what_is_no_action_is_permitted_by_nothing(line, outcome, build, ask) -> None:
    """Neither at once nor by humans, however wide the list is."""
    rules = build(f"skill: deploy-v2\n{line}: ['**']\n")
    assert rules.decide(ask("deploy:it")).outcome is outcome
    refused = rules.decide(ask("deploy it"))
    assert (refused.outcome, refused.code) == (DENY, "skill.not-in-allow-list")


# --- versions and certainty ---


def test_e59_activation_required(build, ask, agents_text) -> None:
    texts = [PERMISSIVE, "policy: p\ndeny: [a]\n"]
    found = {(text.kind, text.id): text.digest for text in build(*texts).texts if text.version}
    skill, policy = (("skill", "deploy-v2"), ("policy", "p"))

    def activated(*names):
        active = {name: (1, found[name]) for name in names}
        return Activations(active, frozenset((*name, 1, found[name]) for name in names), required=True)

    nothing = build(*texts, activations=activated())
    decision = nothing.decide(ask("a"))
    assert (decision.reason, decision.code) == ("skill:deploy-v2 -- not activated", "skill.not-active")
    assert nothing.agents["deploy-bot"].policies == ()
    assert build(*texts, activations=activated(skill)).decide(ask("a")).outcome is ALLOW
    both = build(*texts, activations=activated(skill, policy))
    assert both.decide(ask("a")).code == "policy.denied"
    pinned = build(*texts, agents=agents_text(agent="skill: deploy-v2@1"), activations=activated(policy))
    assert pinned.decide(ask("b")).code == "skill.not-active"
    assert both.digest == build(*texts).digest != nothing.digest


def test_e60_explanations(build, ask) -> None:
    """tests/policies/test_change.py makes the changes, tests/policies/test_properties.py compares the decisions."""
    rules = build("skill: deploy-v2\nallow: [x]\n")
    explanation = rules.explain(ask("a"))
    assert explanation.decision == rules.decide(ask("a"))
    (change,) = explanation.changes
    assert change == 'add "a" to allow of skill deploy-v2 (policies/deploy-v2.yaml:2:1) and raise its version'
    assert build("skill: deploy-v2\nallow: [x, a]\n").decide(ask("a")).outcome is ALLOW


def test_observing_is_of_all_kinds_of_rule(build, ask) -> None:
    """Under E17: each kind of rule of a policy in observe mode is noted, and denies nothing."""
    policy = (
        "policy: p\nmode: observe\ndeny: [a]\nallow: []\nrequire: [{action: a, header: x}]\n"
        "limits: [{action: a, most: 0, per: day}]\napprove: [{action: a, approvers: {count: 2}}]\n"
    )
    decision = build(PERMISSIVE, policy).decide(ask("a"))
    assert (decision.outcome, decision.mode, decision.holds) == (ALLOW, Mode.ENFORCE, ())
    assert decision.observed.split("; ") == [
        "policy:p -- action in deny list",
        'policy:p -- header "x" is needed and cannot be seen here',
        "policy:p -- limit of 0 per day reached for deploy-bot",
        "policy:p -- action needs approval",
    ]
    met = build(PERMISSIVE, "policy: p\nmode: observe\nrequire: [{action: a, header: x}]\n")
    assert met.decide(with_header(ask("a"), x="1")).observed == ""
