"""What always holds of decisions, whatever the texts say: with conditions, approvals, limits, bases and the rest."""

import datetime
import json
import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.actions import pattern_regex
from mappings.documents import read_document
from policies import BreakGlass, Outcome, PolicyError, credential
from policies.conditions import Condition, Guard, Truth, all_hold
from policies.patterns import RESERVED_SEGMENTS, Matcher
from policies.printing import expanded, printed
from policies.reading import read_file
from policies.rulebook import Rulebook
from policies.schema import PolicyFile, SkillFile

slow = settings(deadline=None)  # a busy machine is no failure
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
RANK = {Outcome.DENY: 0, Outcome.HOLD: 1, Outcome.ALLOW: 2}

# --- texts, as the values of their files ---

SEGMENT = st.sampled_from(["a", "b", "*", "a*", "unknown"])
PATTERN = st.one_of(
    st.lists(SEGMENT, min_size=1, max_size=2).map(":".join),
    st.sampled_from(["**", "a:**", "**:b"]),
)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "environment": st.sampled_from([["production"], ["staging", "prod*"], ["unknown"]]),
        "client": st.sampled_from([["10.0.0.0/8"], ["127.0.0.1/32", "::1/128"]]),
        "target": st.sampled_from([["x/*"], ["*"]]),
        "access": st.sampled_from([["read"], ["read", "write"]]),
        "executes": st.booleans(),
        "header": st.sampled_from([{"x-a": ["1*"]}, {"x-a": ["*"], "x-b": ["*"]}]),
        "time": st.sampled_from(
            [
                {"from": "09:00", "to": "17:00", "zone": "UTC"},
                {"days": ["fri"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"},
            ]
        ),
    },
).filter(bool)
UNTIL = st.sampled_from(["2026-01-02", "2026-06-01"])
GUARD = {"when": CONDITIONS, "unless": CONDITIONS, "until": UNTIL, "why": st.just("because")}
RULE = PATTERN | st.fixed_dictionaries({"action": PATTERN}, optional=GUARD)
DENY = RULE | st.fixed_dictionaries({"action": PATTERN, "overridable": st.just("break-glass")}, optional=GUARD)
APPROVERS = st.fixed_dictionaries(
    {}, optional={"count": st.integers(1, 2), "who": st.just(["*@acme.test"]), "anchor": st.booleans()}
)
APPROVE = RULE | st.fixed_dictionaries({"action": PATTERN, "approvers": APPROVERS}, optional=GUARD)
REQUIRE = st.fixed_dictionaries(
    {"action": PATTERN, "header": st.sampled_from(["x-a", "x-b"])},
    optional={"like": st.sampled_from([["1*"], ["*"]]), "when": CONDITIONS},
)
LIMIT = st.fixed_dictionaries(
    {
        "action": PATTERN,
        "most": st.integers(0, 3),
        "per": st.sampled_from(["day", "week", "15m"]),
        "of": st.sampled_from(["agent", "human"]),
    }
)
LIMITS = st.lists(LIMIT, max_size=2, unique_by=lambda one: (one["action"], one["per"], one["of"]))
LISTS = {
    "deny": st.lists(DENY, max_size=2),
    "approve": st.lists(APPROVE, max_size=2),
    "require": st.lists(REQUIRE, max_size=1),
    "limits": LIMITS,
}
SKILL = st.fixed_dictionaries(
    {"skill": st.just("deploy-v2"), "allow": st.lists(RULE, max_size=3)}, optional={**LISTS, "until": UNTIL}
)
POLICY = st.fixed_dictionaries(
    {"policy": st.just("p")},
    optional={
        **LISTS,
        "allow": st.lists(RULE, max_size=2),
        "mode": st.sampled_from(["enforce", "observe"]),
        "until": UNTIL,
        "redact": st.just([{"action": "**", "fields": ["path"]}]),
    },
).filter(lambda file: bool({"allow"} & set(file)) or any(file.get(name) for name in (*LISTS, "redact")))
BASE = st.fixed_dictionaries({"allow": st.lists(RULE, max_size=2)}, optional=LISTS)

ACTION = st.lists(st.sampled_from(["a", "b", "ab", "unknown"]), min_size=1, max_size=3).map(":".join)
AGENT = st.sampled_from(["", "state: suspended", "mode: observe", "skill: "])
GRANT = BreakGlass(
    "bgl_1",
    "deploy-bot",
    "**",
    "*",
    NOON,
    NOON + datetime.timedelta(hours=1),
    ("alice@acme.test", "bob@acme.test"),
    "x",
)
CIRCUMSTANCES = st.fixed_dictionaries(
    {
        "action": ACTION | st.sampled_from(["A:b", "a b", ""]),
        "target": st.sampled_from(["", "x/1", "y", "y" * 512 + "..."]),
        "environment": st.sampled_from(["", "production", "staging", "conflict"]),
        "client": st.sampled_from(["", "10.0.0.1", "127.0.0.1", "::ffff:10.0.0.1", "no address"]),
        "at": st.sampled_from([NOON, NOON + datetime.timedelta(hours=10), NOON + datetime.timedelta(days=200)]),
        "attributes": st.dictionaries(
            st.sampled_from(["access", "executes", "header.x-a", "header.x-b", "method"]),
            st.sampled_from(["", "read", "true", "false", "12", "GET"]),
        ),
        "approvers": st.sampled_from([(), ("alice@acme.test",), ("alice@acme.test", "bob@acme.test", "eve@evil.test")]),
        "exceptions": st.sampled_from([(), (GRANT,)]),
        "used": st.none() | st.integers(0, 4),
    }
)


def written(file) -> str:
    """Return a file as text: its name first, as the tests' places want it."""
    first = next(key for key in ("skill", "policy") if key in file)
    rest = "".join(f"{key}: {json.dumps(value)}\n" for key, value in file.items() if key != first)
    return f"{first}: {file[first]}\n{rest}"


def put(rules, said, ask):
    """Return the question that circumstances are to these rules."""
    given = dict(said)
    used = given.pop("used")
    question = replace(ask("x"), **given)
    limits = rules.limits("deploy-bot", question.action)
    return replace(question, uses={} if used is None else {limit.key: used for limit in limits})


def outcome(files, said, build, ask) -> Outcome:
    rules = build(*map(written, files))
    return rules.decide(put(rules, said, ask)).outcome


# --- more rules, fewer permissions ---

NARROWING = st.one_of(
    st.tuples(st.just("deny"), DENY),
    st.tuples(st.just("require"), REQUIRE),
    st.tuples(st.just("limits"), LIMIT),
)


def with_line(file, name, line):
    lines = list(file.get(name, ()))
    if name == "limits":
        line = {"id": f"more-{len(lines)}", **line}
    return {**file, name: [*lines, line]}


@slow
@given(skill=SKILL, policy=POLICY, line=NARROWING, in_skill=st.booleans(), said=CIRCUMSTANCES)
def test_adding_a_restriction_never_widens(skill, policy, line, in_skill, said, build, ask) -> None:
    """Adding a deny, a requirement or a limit, to a skill or a policy, never brings an outcome nearer to ALLOW."""
    before = outcome([skill, policy], said, build, ask)
    changed = [with_line(skill, *line), policy] if in_skill else [skill, with_line(policy, *line)]
    assert RANK[outcome(changed, said, build, ask)] <= RANK[before]


@slow
@given(skill=SKILL, policy=POLICY, line=APPROVE, in_skill=st.booleans(), said=CIRCUMSTANCES)
def test_adding_an_approve_never_allows_by_itself(skill, policy, line, in_skill, said, build, ask) -> None:
    """Adding an approve line never makes an ALLOW of anything else, while no human has said yes."""
    said = {**said, "approvers": ()}
    before = outcome([skill, policy], said, build, ask)
    changed = [with_line(skill, "approve", line), policy] if in_skill else [skill, with_line(policy, "approve", line)]
    after = outcome(changed, said, build, ask)
    assert after is not Outcome.ALLOW or before is Outcome.ALLOW


@slow
@given(skill=SKILL, policy=POLICY, data=st.data(), said=CIRCUMSTANCES)
def test_removing_an_allow_never_allows_more(skill, policy, data, said, build, ask) -> None:
    """Taking a line out of an allow list never brings an outcome nearer to ALLOW."""
    file, name = data.draw(st.sampled_from([(skill, "skill"), (policy, "policy")]))
    if not file.get("allow"):
        return
    gone = data.draw(st.integers(0, len(file["allow"]) - 1))
    fewer = {**file, "allow": [line for index, line in enumerate(file["allow"]) if index != gone]}
    before = outcome([skill, policy], said, build, ask)
    changed = [fewer, policy] if name == "skill" else [skill, fewer]
    assert RANK[outcome(changed, said, build, ask)] <= RANK[before]


@slow
@given(skill=SKILL, base=BASE, said=CIRCUMSTANCES)
def test_extending_denies_no_less(skill, base, said, build, ask) -> None:
    """What a base denies, whatever extends it denies too."""
    base = {**base, "allow": []}
    before = outcome([skill], said, build, ask)
    extending = {**skill, "extends": ["base@1"]}
    after = outcome([extending, {"skill": "base", **base}], {**said, "approvers": ()}, build, ask)
    assert after is not Outcome.ALLOW or before is Outcome.ALLOW


@slow
@given(skill=SKILL, policy=POLICY, said=CIRCUMSTANCES)
def test_a_grant_only_lets_through(skill, policy, said, build, ask) -> None:
    """A break-glass grant never brings an outcome nearer to DENY, and is named exactly when it was needed."""
    rules = build(written(skill), written(policy))
    question = put(rules, said, ask)
    without = rules.decide(replace(question, exceptions=()))
    granted = rules.decide(replace(question, exceptions=(GRANT,)))
    assert RANK[granted.outcome] >= RANK[without.outcome]
    needed = without.outcome is Outcome.DENY and granted.outcome is not Outcome.DENY
    assert granted.exception == ("bgl_1" if needed else "")


# --- what is remembered ---


@slow
@given(skill=SKILL, policy=POLICY, said=CIRCUMSTANCES)
def test_the_short_way_and_the_long_way(skill, policy, said, build, ask) -> None:
    """Where no question can change the answer, weighing it says the same: a grant of somebody else makes it weigh."""
    rules = build(written(skill), written(policy))
    question = replace(put(rules, said, ask), exceptions=())
    foreign = replace(GRANT, agent="somebody")
    assert rules.decide(question) == rules.decide(replace(question, exceptions=(foreign,)))


@slow
@given(skill=SKILL, policy=POLICY, first=CIRCUMSTANCES, second=CIRCUMSTANCES)
def test_nothing_is_remembered_of_a_question(skill, policy, first, second, build, ask) -> None:
    """The answer to a question does not depend on what was asked before it."""
    texts = [written(skill), written(policy)]
    used, fresh = build(*texts), build(*texts)
    used.decide(put(used, first, ask))
    assert used.decide(put(used, second, ask)) == fresh.decide(put(fresh, second, ask))


# --- order ---


@slow
@given(skill=SKILL, policy=POLICY, other=POLICY, random=st.randoms(use_true_random=False), said=CIRCUMSTANCES)
def test_order_never_matters(skill, policy, other, random, said, build, ask) -> None:
    """Neither the order of files nor that of lines changes outcome, code, mode or what is asked of the action."""
    files = [skill, policy, {**other, "policy": "q"}]

    def shuffled(file):
        keys = list(file)
        random.shuffle(keys)
        lines = {
            key: random.sample(file[key], len(file[key])) if key in (*LISTS, "allow") else file[key] for key in keys
        }
        return {key: lines[key] for key in keys}

    def told(texts):
        rules = build(*map(written, texts))
        decision = rules.decide(put(rules, said, ask))
        asked_for = {(hold.approvers, hold.who, hold.anchor) for hold in decision.holds}
        return decision.outcome, decision.code, decision.mode, asked_for, set(decision.limits), decision.redact

    mixed = [shuffled(file) for file in files]
    random.shuffle(mixed)
    first, second = told(files), told(mixed)
    # Limits are named by what they count unless they have an id, so their order is no part of their name.
    assert first[0] is second[0]
    assert first[1:] == second[1:]


# --- explanations ---


@slow
@given(
    skill=SKILL,
    policy=POLICY,
    agent=st.sampled_from(["", "state: suspended", "mode: observe", "skill: "]),
    said=CIRCUMSTANCES,
)
def test_explain_and_decide_never_disagree(skill, policy, agent, said, build, ask, agents_text) -> None:
    """An explanation carries the very decision, one stage of it decides, and it says what the decision says."""
    rules = build(written(skill), written(policy), agents=agents_text(agent=agent))
    question = put(rules, said, ask)
    explanation = rules.explain(question)
    decision = rules.decide(question)
    assert explanation.decision == decision
    deciding = [stage for stage in explanation.stages if stage.verdict in ("deny", "hold", "allow")]
    assert [stage.verdict.upper() for stage in deciding] == [decision.outcome.value]
    assert (deciding[0].detail, deciding[0].place) == (decision.reason, decision.rule)
    observed = [stage.detail for stage in explanation.stages if stage.verdict == "would deny"]
    assert set(decision.observed.split("; ")) - {""} <= set(observed)


@slow
@given(skill=SKILL, policy=POLICY, said=CIRCUMSTANCES)
def test_every_question_has_a_sound_answer(skill, policy, said, build, ask) -> None:
    """No text of the language makes a decision break, and a HOLD names who has to say yes."""
    rules = build(written(skill), written(policy))
    decision = rules.decide(put(rules, said, ask))
    assert decision.error == ""
    assert (decision.outcome is not Outcome.HOLD) or decision.holds
    wrong = replace(put(rules, said, ask), credential=credential("deploy-bot", "wrong"))
    assert rules.decide(wrong).code == "agent.wrong-token"


# --- print ---


def book(*files) -> Rulebook:
    made = Rulebook({}, True)
    for file in files:
        made.add(read_document(written(file), "x.yaml", error=PolicyError))
    made.finish()
    assert not made.faults
    return made


@slow
@given(file=SKILL | POLICY, description=st.text(st.characters(codec="utf-8"), max_size=20))
def test_print_and_parse(file, description) -> None:
    """What is printed says the same when it is read, and is printed the same again."""
    model = SkillFile if "skill" in file else PolicyFile
    read = read_file(read_document(written(file), "x"), model).model_copy(update={"description": description})
    again = read_file(read_document(printed(read), "y"), model)
    assert again == read
    assert {"allow", *LISTS} & again.model_fields_set == {"allow", *LISTS} & set(file)
    assert printed(again) == printed(read)


@slow
@given(skill=SKILL, base=BASE, root=BASE, said=CIRCUMSTANCES)
def test_expanded_decides_the_same(skill, base, root, said, build, ask) -> None:
    """A text with all that it extends, printed as one, decides as it does with its bases."""
    files = [
        {**skill, "extends": ["base@1"]},
        {"skill": "base", "extends": ["root@1"], **base},
        {"skill": "root", **root},
    ]
    made = book(*files)
    (candidate,) = made.candidates["skill", "deploy-v2"].values()
    alone = expanded(made.parts(candidate))
    together, single = build(*map(written, files)), build(alone)
    one, other = (rules.decide(put(rules, said, ask)) for rules in (together, single))
    assert (one.outcome, one.code) == (other.outcome, other.code)
    assert "extends" not in alone


# --- three truths ---

TRUTH = st.sampled_from(Truth)


def condition(truth: Truth) -> Condition:
    return Condition("x", "y", lambda _: truth)


@given(when=st.lists(TRUTH, max_size=3), unless=st.lists(TRUTH, max_size=3))
def test_guards_are_three_valued(when, unless, ask) -> None:
    """A guard is "all of when, and not all of unless" of three-valued logic: what is untold counts as either."""
    guard = Guard(tuple(map(condition, when)), tuple(map(condition, unless)), None)

    def possible(truths):
        """Every way in which what cannot be told may turn out."""
        ways = [[]]
        for truth in truths:
            ways = [
                [*way, each]
                for way in ways
                for each in ((True, False) if truth is Truth.UNTOLD else (truth is Truth.YES,))
            ]
        return ways

    answers = {
        all(first) and (not second or not all(second)) for first in possible(when) for second in possible(unless)
    }
    expected = Truth.UNTOLD if len(answers) == 2 else Truth.YES if answers == {True} else Truth.NO
    assert guard.holds(ask("x")) is expected


@given(truths=st.lists(TRUTH, max_size=4), random=st.randoms(use_true_random=False))
def test_conditions_have_no_order(truths, random, ask) -> None:
    """The order of conditions changes nothing."""
    mixed = random.sample(truths, len(truths))
    assert all_hold(map(condition, truths), ask("x")) is all_hold(map(condition, mixed), ask("x"))


# --- patterns, against an expression ---


@given(patterns=st.lists(PATTERN, min_size=1, max_size=4), action=ACTION)
def test_matching_against_expressions(patterns, action) -> None:
    """A deny list matches what its patterns' expressions match; an allow list that, but for what nobody could name."""

    def fits(pattern, *, allow):
        if not re.fullmatch(pattern_regex(pattern), action):
            return False
        spelt = set(pattern.split(":"))
        reserved = [segment for segment in action.split(":") if segment in RESERVED_SEGMENTS]
        if not allow or not reserved:
            return True
        # Each such segment must be spelt out where it stands.
        marked = action.replace("unknown", "unknown!")
        spelling = ":".join("unknown!" if one == "unknown" else one for one in pattern.split(":"))
        strict = spelling.replace("**", "\0").replace("*", "[^:!]*").replace("\0", "[^:!]+(?::[^:!]+)*")
        return bool(spelt & set(reserved)) and re.fullmatch(strict, marked) is not None

    for allow in (False, True):
        found = Matcher([(pattern, pattern) for pattern in patterns], allow=allow).match(action)
        assert sorted(found) == sorted(pattern for pattern in patterns if fits(pattern, allow=allow))
