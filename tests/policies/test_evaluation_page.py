"""docs/evaluation.md, statement by statement: `test_e07_...` holds the statement E07, and the tables are run."""

import datetime
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import policies.deciding
import policies.tokens
from mappings.documents import read_document
from policies import Activations, Mode, Outcome, PolicyError, TextRef, compile_policies, credential
from policies.patterns import Matcher, read_action

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "policies/examples"
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table whose heading line begins so, without backticks."""
    lines = PAGE.split(f"\n| {heading} ", 1)[1].splitlines()[2:]
    rows = lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]
    return [[cell.strip().strip("`") for cell in row.strip("|").split("|")] for row in rows]


ORDER, PATTERNS, SMALLEST = table("stage"), table("pattern"), table("action")


def test_every_statement_has_a_test() -> None:
    """A statement cannot be added to the page, or removed, without its test, here or in a file of that kind."""
    stated = re.findall(r"\*\*E(\d\d)\*\*", PAGE)
    files = sorted(ROOT.glob("tests/*/test_evaluation_*.py"))
    tested = {found for file in files for found in re.findall(r"^def test_e(\d\d)_", file.read_text("utf-8"), re.M)}
    assert len(stated) == len(set(stated))
    assert set(stated) == tested
    assert len(ORDER) == 17
    assert len(PATTERNS) > 20
    assert len(SMALLEST) == 3


CODES = [row[3] for row in ORDER]
ASKING = [
    "policy: ask\napprove: ['**']\n",
    "policy: calm\nlimits: [{action: '**', most: 3, per: week}]\n",
    "policy: tickets\nrequire: [{action: '**', header: x-ticket}]\n",
]
SHA256 = credential("deploy-bot", "secret").token_sha256


@pytest.mark.parametrize(("stage", "when", "reason", "code"), ORDER, ids=CODES)
def test_order(stage, when, reason, code, build, ask, agents_text) -> None:
    """Each row of the order: its reason and code; and every row decides although all rows below it fail too."""
    row = CODES.index(code)

    def fails(name: str) -> bool:
        return row <= CODES.index(name)

    def if_fails(name: str, text: str) -> str:
        return text if fails(name) else ""

    # The failures, from the last row up: each row is asked with its own and all later failures in place.
    tokens = f"tokens: [{{sha256: '{SHA256}'{', expires: 2026-01-01' if code == 'agent.credential-expired' else ''}}}]"
    agent = "; ".join(
        filter(None, [if_fails("agent.suspended", "state: suspended"), tokens.replace("2026-01-01", "'2026-01-01'")])
    )
    human = "; ".join(
        filter(None, [if_fails("anchor.suspended", "state: suspended"), if_fails("org.different", "org: other")])
    )
    state = "suspended" if fails("org.suspended") else "active"
    organisations = f"- {{id: acme, state: {state}}}\n- {{id: other}}\n- {{id: globex, owns: [api-v2]}}\n"
    other = "- {id: x, anchor: bob@acme.test, org: acme, state: active, identities: ['spiffe://a/x']}\n"
    agents = agents_text(agent=agent, human=human, more=f"{other}organisations:\n{organisations}")

    action = "deploy:production" if fails("skill.denied") else "deploy:elsewhere"
    skill = "skill: deploy-v2\n" + if_fails("skill.expired", "until: '2026-01-01'\n")
    skill += f"allow: [{'x' if fails('skill.not-in-allow-list') else 'deploy:*'}]\ndeny: [deploy:production]\n"
    policy = "policy: no-prod-v1\n" + if_fails("policy.denied", "deny: [deploy:production]\n")
    policy += f"allow: [{'x' if fails('policy.not-in-allow-list') else 'deploy:*'}]\n"
    rules = build(skill, policy, *ASKING, agents=agents)

    question = ask(action, agent="ghost" if fails("agent.unknown") else "deploy-bot")
    if code == "agent.wrong-token":
        question = replace(question, credential=credential("deploy-bot", "wrong"))
    if fails("agent.two-identities"):
        question = replace(question, credential=replace(question.credential, identities=("spiffe://a/x",)))
    target = "api-v2" if fails("org.foreign-target") else "ours"
    sent = {} if fails("policy.requirement") else {"header.x-ticket": "1"}
    used = 3 if fails("policy.limit") else 0
    uses = {limit.key: used for limit in rules.limits("deploy-bot", action)}
    decision = rules.decide(replace(question, target=target, attributes={"header.x-ticket": "", **sent}, uses=uses))
    expected = Outcome.HOLD if code.endswith("needs-approval") else Outcome.DENY
    assert (decision.outcome, decision.reason, decision.code) == (expected, reason, code)
    assert decision.stage == stage


@pytest.mark.parametrize(("pattern", "action", "deny", "allow"), PATTERNS, ids=[f"{r[0]} {r[1]}" for r in PATTERNS])
def test_patterns(pattern, action, deny, allow, build, ask) -> None:
    """Each row of the pattern table, decided as a whole."""
    denying = build(f"skill: deploy-v2\nallow: ['**', '*:unknown', '*:conflict']\ndeny: ['{pattern}']\n")
    found = denying.decide(ask(action))
    assert (found.code == "skill.denied") == (deny == "matches")
    found = build(f"skill: deploy-v2\nallow: ['{pattern}']\n").decide(ask(action))
    assert (found.outcome is Outcome.ALLOW) == (allow == "matches")


@pytest.mark.parametrize(("action", "outcome", "reason"), SMALLEST)
def test_smallest_skill(action, outcome, reason, build, ask) -> None:
    """The skill printed on the page, with the shipped policy, answers as the page says."""
    printed = PAGE.split("```yaml\n")[1].split("```")[0]
    assert printed == (EXAMPLES / "deploy-v2.yaml").read_text()
    policy = (EXAMPLES / "no-prod-v1.yaml").read_text()
    decision = build(printed, policy).decide(ask(action))
    assert (decision.outcome.value, decision.reason) == (outcome, reason)
    alone = build(printed).decide(ask("deploy:production"))
    assert alone.reason == "skill:deploy-v2 -- action in deny list"


def test_e01_allow_has_a_reason(build, ask, skill_text) -> None:
    decision = build(skill_text).decide(ask("deploy:staging"))
    assert decision.outcome is Outcome.ALLOW
    assert (decision.reason, decision.code) == ("skill:deploy-v2 -- action in allow list", "skill.allowed")
    assert decision.forwards


def test_e02_policy_denies_come_first(build, ask, skill_text) -> None:
    rules = [skill_text, "policy: a\nallow:\n- x\n", "policy: b\ndeny:\n- deploy:staging\n"]
    assert build(*rules).decide(ask("deploy:staging")).reason == "policy:b -- action in deny list"


def test_e03_policies_in_order_of_names(build, ask, skill_text) -> None:
    rules = [skill_text, "policy: b\ndeny:\n- deploy:*\n", "policy: a\ndeny:\n- deploy:staging\n"]
    for order in (rules, rules[::-1]):
        assert build(*order).decide(ask("deploy:staging")).reason == "policy:a -- action in deny list"


def test_e04_no_allow_list_and_an_empty_one(build, ask, skill_text) -> None:
    without = build(skill_text, "policy: a\ndeny:\n- x\n").decide(ask("deploy:staging"))
    empty = build(skill_text, "policy: a\nallow: []\n").decide(ask("deploy:staging"))
    assert without.outcome is Outcome.ALLOW
    assert (empty.outcome, empty.reason) == (Outcome.DENY, "policy:a -- action not in allow list")


APPLIES = {
    "nothing said": ("", True),
    "its name": ("{agents: [deploy-bot]}", True),
    "a glob": ("{agents: ['deploy-*']}", True),
    "another name": ("{agents: [other]}", False),
    "its org": ("{orgs: [acme]}", True),
    "another org": ("{orgs: [other]}", False),
    "both": ("{agents: ['*-bot'], orgs: [acme]}", True),
    "name only of both": ("{agents: [deploy-bot], orgs: [other]}", False),
    "org only of both": ("{agents: [other], orgs: [acme]}", False),
    "part of the name": ("{agents: [deploy]}", False),
}


@pytest.mark.parametrize(("applies_to", "expected"), APPLIES.values(), ids=APPLIES)
def test_e05_applies_to(applies_to, expected, build, ask, skill_text) -> None:
    said = f"applies_to: {applies_to}\n" if applies_to else ""
    rules = build(skill_text, f"policy: a\n{said}deny: ['**']\n")
    assert (rules.decide(ask("deploy:staging")).outcome is Outcome.DENY) == expected
    assert [ref.id for ref in rules.agents["deploy-bot"].policies] == ["a"] * expected


def test_e06_no_skill(build, ask, agents_text, skill_text) -> None:
    decision = build(skill_text, agents=agents_text(agent="skill: ")).decide(ask("deploy:staging"))
    assert (decision.outcome, decision.reason) == (Outcome.DENY, "agent:deploy-bot -- no skill")
    assert decision.code == "agent.no-skill"
    assert decision.skill is None


WORD = st.sampled_from(["a", "b", "*", "a*", "unknown"])
PATTERN = st.one_of(
    st.lists(WORD, min_size=1, max_size=3).map(":".join),
    st.tuples(WORD, st.just("**"), WORD).map(":".join),
    st.just("**"),
)
LIST = st.lists(PATTERN, max_size=4)
ACTION = st.one_of(
    st.lists(st.sampled_from(["a", "b", "ab", "unknown", "A"]), min_size=1, max_size=4).map(":".join),
    st.text(max_size=12),
)


@settings(deadline=None)  # a busy machine is no failure
@given(allow=LIST, deny=LIST, org_allow=st.none() | LIST, org_deny=LIST, more=PATTERN, action=ACTION, org=st.booleans())
def test_e07_deny_wins(allow, deny, org_allow, org_deny, more, action, org, build, ask) -> None:
    """Adding a deny anywhere never allows, and an action on some deny list is never allowed."""

    def decided(deny, org_deny):
        listed = "" if org_allow is None else f"allow: {org_allow}\n"
        rules = [f"skill: deploy-v2\nallow: {allow}\ndeny: {deny}\n"]
        rules += [f"policy: p\n{listed}deny: {org_deny}\n"] if listed or org_deny else []
        return build(*rules).decide(ask(action)).outcome

    before = decided(deny, org_deny)
    after = decided([*deny, more], org_deny) if not org else decided(deny, [*org_deny, more])
    assert not (before is Outcome.DENY and after is Outcome.ALLOW)
    denials = Matcher(((one, one) for one in [*deny, *org_deny]), allow=False)
    if denials.match(read_action(action)[0]):
        assert before is Outcome.DENY


def test_e08_case(build, ask) -> None:
    """A deny written in capitals denies, and capitals in a question do not get around it."""
    rules = build("skill: deploy-v2\nallow: ['**']\ndeny: ['DEPLOY:Production', 'Infra:*']\n")
    for action in ("deploy:production", "Deploy:PRODUCTION", "INFRA:destroy"):
        assert rules.decide(ask(action)).code == "skill.denied"


@pytest.mark.parametrize("word", ["unknown", "conflict", "unrecognised", "unbound", "unreadable", "unmapped"])
def test_e09_reserved_words(word, build, ask) -> None:
    """What the mappings could not tell is allowed only by a pattern that says so."""
    wild = build("skill: deploy-v2\nallow: ['**', 'deploy:*', '*:*', 'deploy:un*', 'deploy:con*', 'deploy:u*']\n")
    assert wild.decide(ask(f"deploy:{word}", environment=word)).code == "skill.not-in-allow-list"
    assert wild.decide(ask(f"deploy:{word}:api")).code == "skill.not-in-allow-list"
    spelled = build(f"skill: deploy-v2\nallow: ['deploy:{word}']\n")
    assert spelled.decide(ask(f"deploy:{word}")).outcome is Outcome.ALLOW
    policy = build(f"skill: deploy-v2\nallow: ['*:{word}']\n", "policy: p\nallow: ['**']\n")
    assert policy.decide(ask(f"deploy:{word}")).code == "policy.not-in-allow-list"
    denied = build(f"skill: deploy-v2\nallow: ['*:{word}']\ndeny: ['deploy:*']\n")
    assert denied.decide(ask(f"deploy:{word}")).code == "skill.denied"


NO_ACTIONS = {
    "empty": "",
    "colon": ":",
    "empty last segment": "deploy:",
    "empty first segment": ":staging",
    "empty middle segment": "deploy::staging",
    "blank": "deploy staging",
    "pattern": "deploy:*",
    "double star": "**",
    "newline": "deploy:staging\n",
    "zero width": "dep\u200bloy:staging",
    "accent": "deplo\u00fd:staging",
    "dotless i": "deploy:stag\u0131ng",
    "long s, folds to s": "deploy:\u017ftaging",
    "lone surrogate": "\ud800",
    "too long": "x" * 513,
    "too many segments": "a:" * 400 + "a",
}


@pytest.mark.parametrize("action", NO_ACTIONS.values(), ids=NO_ACTIONS)
def test_e10_no_action(action, build, ask) -> None:
    """A text that is no action is allowed by nothing, not even by "**"."""
    rules = build("skill: deploy-v2\nallow: ['**', 'deploy:*', 'deploy:staging']\n", "policy: p\ndeny: [x]\n")
    assert rules.decide(ask(action)).code == "skill.not-in-allow-list"
    limited = build("skill: deploy-v2\nallow: ['**']\n", "policy: p\nallow: ['**', 'deploy:*']\n")
    assert limited.decide(ask(action)).code == "policy.not-in-allow-list"


def test_e11_deciding_line(build, ask) -> None:
    skill = (EXAMPLES / "deploy-v2.yaml").read_text()
    rules = build(skill)
    denied, allowed = rules.decide(ask("deploy:production")), rules.decide(ask("health:check"))
    assert (denied.pattern, denied.rule) == ("deploy:production", "policies/deploy-v2.yaml:9:3")
    assert (allowed.pattern, allowed.rule) == ("health:check", "policies/deploy-v2.yaml:6:3")
    absent = rules.decide(ask("pr:merge"))
    assert (absent.pattern, absent.rule) == ("", "policies/deploy-v2.yaml:3:1")


def test_e12_file_order_does_not_matter(build, ask, skill_text) -> None:
    rules = [skill_text, "policy: a\ndeny: ['deploy:*', '**']\n", "policy: b\ndeny: ['deploy:staging']\n"]
    found = {build(*order).decide(ask("deploy:staging")).rule for order in (rules, rules[::-1])}
    assert found == {"policies/a.yaml:2:8"}


def test_e13_constant_work(build, ask, agents_text, skill_text, monkeypatch) -> None:
    """Known, unknown and suspended agents, right and wrong tokens: the same number of comparisons each."""
    compared: list[tuple[int, int]] = []

    def counting(stored: bytes, presented: bytes) -> bool:
        compared.append((len(stored), len(presented)))
        return stored == presented

    other = credential("x", "1").token_sha256, credential("x", "2").token_sha256
    second = f"- {{id: x, anchor: bob@acme.test, org: acme, state: suspended, tokens: ['{other[0]}', '{other[1]}']}}\n"
    rules = build(skill_text, agents=agents_text(more=second))
    monkeypatch.setattr(policies.tokens.hmac, "compare_digest", counting)
    work = set()
    for agent, token in [
        ("deploy-bot", "secret"),
        ("deploy-bot", "wrong"),
        ("ghost", "secret"),
        ("x", "1"),
        ("x", "3"),
    ]:
        compared.clear()
        rules.decide(ask("deploy:staging", agent=agent, token=token))
        work.add(tuple(compared))
    assert work == {((64, 64), (64, 64))}
    assert "secret" not in repr(rules.agents)
    assert credential("deploy-bot", "secret").token_sha256 not in repr(rules.agents)


@pytest.mark.parametrize("presented", ["removed", "", "\0" * 64, " " * 64, "\ud800", "\xff" * 64, "\udcff" * 64])
def test_e13_nothing_but_a_digest_of_a_token_is_right(presented, build, ask, agents_text, skill_text) -> None:
    """Neither padding nor the word that stands for a removed token proves anything."""
    rules = build(skill_text, agents=agents_text(agent="tokens: [removed]"))
    question = ask("deploy:staging")
    question = replace(question, credential=replace(question.credential, token_sha256=presented))
    assert rules.decide(question).code == "agent.wrong-token"
    assert rules.agent_of_token(presented) is None


def test_e14_token_of_another_agent(build, ask, agents_text, skill_text) -> None:
    digest = credential("x", "other").token_sha256
    more = f"- {{id: x, anchor: bob@acme.test, org: acme, state: active, tokens: ['{digest}']}}\n"
    rules = build(skill_text, agents=agents_text(more=more))
    decision = rules.decide(ask("deploy:staging", token="other"))
    assert (decision.outcome, decision.reason) == (Outcome.DENY, "agent:deploy-bot -- wrong token")
    assert rules.agent_of_token(digest) == "x"


def test_e15_several_tokens(build, ask, agents_text, skill_text) -> None:
    digests = [credential("deploy-bot", token).token_sha256 for token in ("old", "new")]
    rules = build(skill_text, agents=agents_text(agent=f"tokens: {digests}"))
    outcomes = [rules.decide(ask("deploy:staging", token=token)).outcome.value for token in ("old", "new", "no")]
    assert outcomes == ["ALLOW", "ALLOW", "DENY"]


CLAIMED = {
    "ghost": "agent:ghost -- unknown",
    "": "agent:? -- unknown",
    "a\r\nX-Header: 1": "agent:a??X-Header??1 -- unknown",
    "\x1b[31m": "agent:??31m -- unknown",
    "g" * 500: f"agent:{'g' * 64} -- unknown",
    "\ud800": "agent:? -- unknown",
}


@pytest.mark.parametrize(("claimed", "reason"), CLAIMED.items(), ids=range(len(CLAIMED)))
def test_e16_unknown_names(claimed, reason, build, ask, skill_text) -> None:
    decision = build(skill_text).decide(ask("deploy:staging", agent=claimed))
    assert (decision.reason, decision.code) == (reason, "agent.unknown")
    assert decision.agent == (reason[6:].split(" ")[0] if claimed else "")


def test_e17_observing_policy(build, ask, skill_text) -> None:
    watching = "policy: w\nmode: observe\ndeny: ['deploy:*']\nallow: [x]\n"
    decision = build(skill_text, watching).decide(ask("deploy:staging"))
    assert (decision.outcome, decision.mode) == (Outcome.ALLOW, Mode.ENFORCE)
    assert decision.observed == "policy:w -- action in deny list; policy:w -- action not in allow list"
    denied = build(skill_text, watching).decide(ask("deploy:production"))
    assert (denied.outcome, denied.forwards) == (Outcome.DENY, False)
    assert denied.reason == "skill:deploy-v2 -- action in deny list"
    assert denied.observed.startswith("policy:w -- ")


def test_e18_observed_agent(build, ask, agents_text, skill_text) -> None:
    rules = [skill_text, "policy: p\ndeny: [infra:destroy]\n"]
    observed = build(*rules, agents=agents_text(agent="mode: observe"))
    for action in ("deploy:production", "infra:destroy", "pr:merge"):
        decision = observed.decide(ask(action))
        assert (decision.outcome, decision.mode, decision.forwards) == (Outcome.DENY, Mode.OBSERVE, True)


FIRM = {
    "suspended": ("state: suspended", "", "secret"),
    "revoked": ("state: revoked", "", "secret"),
    "token": ("", "", "wrong"),
    "anchor": ("", "state: suspended", "secret"),
    "org": ("", "org: other", "secret"),
}


@pytest.mark.parametrize(("agent", "human", "token"), FIRM.values(), ids=FIRM)
def test_e19_identity_is_never_observed(agent, human, token, build, ask, agents_text, skill_text) -> None:
    rules = build(skill_text, agents=agents_text(agent=f"mode: observe; {agent}", human=human))
    question = ask("deploy:staging", token=token)
    for decision in (rules.decide(question), rules.identify(question.credential, question.at)):
        assert (decision.outcome, decision.mode, decision.forwards) == (Outcome.DENY, Mode.ENFORCE, False)
    refused = rules.refuse(question.credential, "mapping.unmapped", "mapping -- x", question.at, observable=True)
    assert (refused.forwards, refused.anchor) == (False, "")


def test_e20_mode(build, ask, agents_text, skill_text) -> None:
    for mode in Mode:
        rules = build(skill_text, agents=agents_text(agent=f"mode: {mode.value}"))
        assert rules.decide(ask("deploy:staging")).mode is mode
    assert build(skill_text).decide(ask("deploy:staging")).mode is Mode.ENFORCE


def test_e21_changed_text(build, skill_text) -> None:
    first = build(skill_text)
    seen = {(text.kind, text.id, int(text.version)): text.digest for text in first.texts if text.version}
    build(skill_text, seen=seen)
    build(skill_text.replace("\n", "  \r\n"), seen=seen)  # the same canonical text
    with pytest.raises(PolicyError) as refused:
        build(skill_text + "# more\n", seen=seen)
    assert str(refused.value) == (
        'policies/deploy-v2.yaml:1:8: skill "deploy-v2" version 1 changed since it was first loaded; bump the version'
    )
    build("version: 2\n" + skill_text, seen=seen)


def test_e22_default_version(build, skill_text) -> None:
    assert build(skill_text).agents["deploy-bot"].skill.version == 1


PINS = {"deploy-v2": 10, "deploy-v2@1": 1, "deploy-v2@10": 10, "deploy-v2@9": 9}


@pytest.mark.parametrize(("pin", "version"), PINS.items(), ids=PINS)
def test_e23_pins(pin, version, build, ask, agents_text) -> None:
    texts = [f"skill: deploy-v2\nversion: {number}\nallow: [v:{number}]\n" for number in (9, 10, 1)]
    rules = build(*texts, agents=agents_text(agent=f"skill: {pin}"))
    assert rules.agents["deploy-bot"].skill.version == version
    assert rules.decide(ask(f"v:{version}")).outcome is Outcome.ALLOW
    assert rules.agents["deploy-bot"].pin == pin


def test_e24_versions(build, ask, skill_text) -> None:
    build(skill_text, "version: 2\n" + skill_text)
    older, newer = "policy: p\ndeny: [deploy:staging]\n", "policy: p\nversion: 2\ndeny: [x]\n"
    asked = ask("deploy:staging")
    assert build(skill_text, older).decide(asked).outcome is Outcome.DENY
    both = build(skill_text, older, newer)
    assert both.decide(asked).outcome is Outcome.ALLOW
    first = Activations({("policy", "p"): (1, next(text.digest for text in both.texts if text.id == "p"))})
    assert build(skill_text, older, newer, activations=first).decide(asked).reason == "policy:p -- action in deny list"


def test_e25_texts_in_the_decision(build, ask, skill_text) -> None:
    policy = "policy: p\nversion: 3\ndeny: [infra:destroy]\n"
    rules = build(skill_text, policy, "policy: q\napplies_to: {agents: [other]}\ndeny: [x]\n")
    digests = {name: read_document(text, "x").digest for name, text in (("s", skill_text), ("p", policy))}
    skill, deciding = TextRef("skill", "deploy-v2", 1, digests["s"]), TextRef("policy", "p", 3, digests["p"])
    denied, allowed = rules.decide(ask("infra:destroy")), rules.decide(ask("deploy:staging"))
    assert (denied.policy, denied.skill, denied.policies) == (deciding, skill, (deciding,))
    assert (allowed.policy, allowed.skill, allowed.policies) == (None, skill, (deciding,))


def test_e26_texts_are_enough_to_decide_again(build, ask, skill_text, agents_text) -> None:
    agents = agents_text() + "# clm_" + "A" * 43 + " was the old one\n"
    rules = build(skill_text, "policy: p\nallow: [deploy:staging]\n", agents=agents)
    kept = {text.kind: text for text in rules.texts}
    assert set(kept) == {"skill", "policy", "agents"}
    digest = credential("deploy-bot", "secret").token_sha256
    assert digest not in kept["agents"].text
    assert "clm_" not in kept["agents"].text
    documents = [read_document(text.text, f"{text.kind}:{text.id}@{text.version}") for text in rules.texts]
    assert [document.digest for document in documents] == [text.digest for text in rules.texts]
    again = compile_policies(documents[-1], documents[:-1]).with_tokens({"deploy-bot": digest})
    assert again.digest == rules.digest
    for action in ("deploy:staging", "deploy:production"):
        first, second = rules.decide(ask(action)), again.decide(ask(action))
        assert replace(second, rule="") == replace(first, rule="")


@settings(deadline=None)  # a busy machine is no failure
@given(action=ACTION, again=st.integers(0, 2))
def test_e27_deterministic(action, again, build, ask, skill_text) -> None:
    policy = "policy: p\nmode: observe\ndeny: ['a:*']\n"
    rules = build(skill_text, policy)
    decisions = {rules.decide(ask(action)) for _ in range(again + 1)}
    assert decisions == {build(policy, skill_text).decide(ask(action))}


def test_e27_no_clock_no_files(build, ask, skill_text) -> None:
    """Neither the time nor the client of a question changes the answer, and no clock is in reach."""
    rules = build(skill_text)
    question = ask("deploy:staging")
    later = replace(question, at=question.at + datetime.timedelta(days=9999), client="203.0.113.9")
    assert rules.decide(later) == rules.decide(question)
    assert not {"time", "datetime", "os", "random", "socket"} & set(vars(policies.deciding))


@settings(deadline=None)  # a busy machine is no failure
@given(
    action=st.text(),
    agent=st.sampled_from(["deploy-bot", "ghost"]) | st.text(),
    token=st.just("secret") | st.text(),
    environment=st.text(max_size=5),
)
def test_e28_total(action, agent, token, environment, build, ask, skill_text) -> None:
    decision = build(skill_text).decide(ask(action, agent=agent, token=token, environment=environment))
    listed = action.isascii() and action.casefold() in ("deploy:staging", "health:check")
    expected = Outcome.ALLOW if (agent, token) == ("deploy-bot", "secret") and listed else Outcome.DENY
    assert decision.outcome is expected
    assert decision.error == ""


@pytest.mark.parametrize("broken", [None, 3, b"deploy:staging", ["deploy:staging"], {}], ids=repr)
def test_e28_broken_questions(broken, build, ask, agents_text, skill_text) -> None:
    rules = build(skill_text, agents=agents_text(agent="mode: observe"))
    question = ask("deploy:staging")
    questions = [
        broken,
        replace(question, action=broken),
        replace(question, credential=broken),
        replace(question, credential=replace(question.credential, token_sha256=broken)),
    ]
    for one in questions:
        decision = rules.decide(one)
        assert (decision.outcome, decision.code, decision.forwards) == (Outcome.DENY, "policy.error", False)
        assert decision.error
    for one in questions[2:]:
        assert rules.identify(one.credential, question.at).code == "policy.error"
        refused = rules.refuse(one.credential, "wire.x", "wire -- x", question.at, observable=True)
        assert (refused.outcome, refused.reason, refused.forwards) == (Outcome.DENY, "wire -- x", False)


STAGES = ["_identify", "_authorise", "_match", "_settled"]


@pytest.mark.parametrize("stage", STAGES)
def test_e28_planted_bug(stage, build, ask, agents_text, skill_text, monkeypatch) -> None:
    """Whatever breaks inside, the answer is a DENY that says so and that no mode lets through."""
    rules = build(skill_text, agents=agents_text(agent="mode: observe"))

    def bug(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(rules, stage, bug)
    decision = rules.decide(ask("deploy:staging"))
    assert (decision.outcome, decision.code, decision.forwards) == (Outcome.DENY, "policy.error", False)
    assert decision.error.startswith("RuntimeError in bug, line ")


def test_e29_refusals(build, ask, agents_text, skill_text) -> None:
    rules = build(skill_text)
    who = ask("").credential
    decision = rules.refuse(who, "mapping.unmapped", "mapping -- no rule names this request", NOON)
    assert (decision.outcome, decision.stage, decision.code) == (Outcome.DENY, "mapping", "mapping.unmapped")
    assert decision.reason == "mapping -- no rule names this request"
    assert (decision.agent, decision.anchor, decision.org) == ("deploy-bot", "alice@acme.test", "acme")
    assert (decision.skill.id, decision.forwards) == ("deploy-v2", False)
    observed = build(skill_text, agents=agents_text(agent="mode: observe"))
    assert not observed.refuse(who, "wire.x", "wire -- x", NOON).forwards
    assert observed.refuse(who, "mapping.unmapped", "mapping -- x", NOON, observable=True).forwards
    stranger = rules.refuse(credential("deploy-bot", "wrong"), "mapping.unmapped", "mapping -- x", NOON)
    assert (stranger.agent, stranger.anchor, stranger.skill) == ("deploy-bot", "", None)


def test_e30_all_faults_at_once(build, agents_text) -> None:
    agents = agents_text(agent="anchor: alise@acme.test; skill: deploy-v3")
    with pytest.raises(PolicyError) as refused:
        build("skill: deploy-v2\nalow: [x]\nallow: ['a b']\n", "policy: p\ndeny: [x]\nmode: maybe\n", agents=agents)
    assert str(refused.value).splitlines() == [
        'agents.yaml:6:28: anchor "alise@acme.test" is not among the humans; did you mean "alice@acme.test"',
        'policies/deploy-v2.yaml:2:1: unknown key "alow"; did you mean "allow"',
        'policies/deploy-v2.yaml:3:9: character " " cannot stand in an action; use letters, digits or ._/@+-',
        'policies/p.yaml:3:7: "maybe" is not one of "enforce" or "observe"',
    ]
