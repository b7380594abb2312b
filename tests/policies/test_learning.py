"""Learning: what was seen is enough, what was not seen is not allowed, and nothing comes back that was taken away."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.documents import read_document
from policies import Credential, Policies, PolicyError, Question, lessontext
from policies.learning import Lesson, Observed, entries_of, learn, risks_of
from policies.lessontext import Heading, skill_text, written

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SKILL = 'skill: deploy-v2\nallow: ["**"]\n'


def ask(action: str, target: str = "", environment: str = "", **more: Any) -> Question:
    return Question(Credential("deploy-bot", ""), action, target, environment, NOON, "127.0.0.1", **more)


def learned(build: Callable[..., Policies], text: str, *questions: Question, **options: Any) -> Lesson:
    document = read_document(text, "policies/deploy-v2.yaml", error=PolicyError)
    seen = [Observed(question, f"chr_{number}") for number, question in enumerate(questions)]
    return learn(build(text), "deploy-bot", seen, entries_of([document]), **options)


def lines(lesson: Lesson) -> list[tuple[str, bool, Mapping[str, Any]]]:
    return [(line.action, line.approve, line.entry) for line in lesson.lines]


def heading(policies: Policies, kept: Mapping[str, Sequence[Any]] | None = None) -> Heading:
    return Heading(policies.agents["deploy-bot"], "deploy-v2", 2, NOON, NOON, kept or {})


TARGETS: dict[str, tuple[list[str], list[str] | None]] = {
    "one": (["a/b/c"], ["a/b/c"]),
    "few": (["a/b/c", "x/y", "x/z"], ["a/b/c", "x/y", "x/z"]),
    "what they have in common": ([f"a/b/{n}" for n in range(9)], ["a/b/*"]),
    "as deep as it bears": ([f"a/b{n % 2}/{n}/x" for n in range(9)], ["a/b0/*", "a/b1/*"]),
    "nothing in common": ([f"{n}/x" for n in range(9)], None),
    "one was not told": (["a/b", "", "a/c"], None),
    "one was kept out of the record": (["a/b", "[redacted]"], None),
    "one was too long": (["a/b", "a" * 513 + "..."], None),
    "one would be a pattern": (["a/*", "a/b"], None),
    "one is the bound of the others": (["a", *(f"a/{n}" for n in range(9))], ["a", "a/*"]),
}


@pytest.mark.parametrize(("targets", "bound"), TARGETS.values(), ids=TARGETS)
def test_targets_are_bound_as_far_as_they_were_told(
    build: Callable[..., Policies], targets: list[str], bound: list[str] | None
) -> None:
    """A condition holds all that was seen, and stands only where each of them would meet it."""
    lesson = learned(build, SKILL, *(ask("data:read", target) for target in targets))
    assert lines(lesson) == [("data:read", False, {"when": {"target": bound}} if bound else {})]


RISKY: dict[str, tuple[Question, tuple[str, ...]]] = {
    "a read": (ask("data:read", environment="production", attributes={"access": "read"}), ()),
    "a read by its word": (ask("data:read", environment="production"), ()),
    "a write in staging": (ask("data:write", environment="staging", attributes={"access": "write"}), ()),
    "a write in production": (ask("data:write", environment="Production"), ("production",)),
    "production by its word": (ask("deploy:rollback-production"), ("production",)),
    "nobody could tell where": (ask("data:write", environment="unknown"), ("unknown environment",)),
    "two environments": (ask("data:write", environment="conflict"), ("unknown environment",)),
    "an action without its environment": (ask("deploy:unknown"), ("nobody could name it",)),
    "executes": (ask("ci:run", attributes={"access": "write", "executes": "true", "mints": "false"}), ("executes",)),
    "executes by its word": (ask("code:execute"), ("executes",)),
    "mints": (ask("data:read", attributes={"access": "read", "mints": "true"}), ("mints",)),
    "a secret": (ask("secret:read", attributes={"access": "read"}), ("mints",)),
    "permissions": (ask("aws:iam:PutRolePolicy".lower(), attributes={"access": "permissions"}), ("permissions",)),
    "destroys": (ask("infra:destroy", environment="staging"), ("destroys",)),
    "deletes": (ask("kubernetes:delete:pods", environment="staging"), ("destroys",)),
}


@pytest.mark.parametrize(("question", "risks"), RISKY.values(), ids=RISKY)
def test_what_is_risky_goes_under_approve(
    build: Callable[..., Policies], question: Question, risks: tuple[str, ...]
) -> None:
    """Each sort of risk by itself, and what is none."""
    assert risks_of(question) == risks
    skill = f'skill: deploy-v2\nallow: ["{question.action}"]\n'
    ((_, approve, _),) = lines(learned(build, skill, question))
    assert approve is bool(risks)


def test_environments_tell_the_risky_from_the_rest(build: Callable[..., Policies]) -> None:
    """The same action is allowed where it is harmless, and held where it is not."""
    lesson = learned(
        build,
        SKILL,
        ask("deploy:app", "a", "staging"),
        ask("deploy:app", "a", "dev"),
        ask("deploy:app", "b", "production"),
    )
    assert lines(lesson) == [
        ("deploy:app", False, {"when": {"environment": ["dev", "staging"], "target": ["a"]}}),
        ("deploy:app", True, {"when": {"environment": ["production"], "target": ["b"]}}),
    ]


def test_what_cannot_be_told_apart_is_held_together(build: Callable[..., Policies]) -> None:
    """Where one environment is unknown no condition would hold, so all of the action waits for a human."""
    lesson = learned(build, SKILL, ask("deploy:app", "a", "staging"), ask("deploy:app", "a", "unknown"))
    assert lines(lesson) == [("deploy:app", True, {"when": {"target": ["a"]}})]


def test_an_approval_that_nobody_needed_stays(build: Callable[..., Policies]) -> None:
    """What the present skill holds elsewhere is not let through because it was never seen."""
    text = 'skill: deploy-v2\nallow: ["deploy:*"]\napprove: [{action: "deploy:*", when: {target: "core/*"}}]\n'
    lesson = learned(build, text, *(ask("deploy:app", f"{n}/x") for n in range(9)))
    assert lines(lesson) == [("deploy:app", False, {}), ("deploy:app", True, {"when": {"target": "core/*"}})]


def test_what_was_done_under_an_exception_teaches_nothing(build: Callable[..., Policies]) -> None:
    """An exception is none if it becomes the rule."""
    document = read_document(SKILL, "policies/deploy-v2.yaml", error=PolicyError)
    seen = [Observed(ask("infra:destroy"), "chr_1", excepted=True)]
    lesson = learn(build(SKILL), "deploy-bot", seen, entries_of([document]))
    assert (lesson.lines, lesson.left_out) == ([], {"done under a break-glass grant": 1})


def test_texts_of_records_cannot_write_rules(build: Callable[..., Policies]) -> None:
    """Whatever stands in a target or a reason, the file has the lines that were learned and no other."""
    evil = 'a"]}}\nallow: ["infra:destroy"]\n# \u2028'
    policies = build(SKILL)
    document = read_document(SKILL, "policies/deploy-v2.yaml", error=PolicyError)
    seen = [Observed(ask("data:read", evil), "chr_1"), Observed(ask("data:write", evil), "chr_2", denied=evil)]
    lesson = learn(policies, "deploy-bot", seen, entries_of([document]))
    for text in (skill_text(lesson, heading(policies)), lessontext.tests_text(lesson, heading(policies))):
        value = read_document(text, "x.yaml").value
        assert isinstance(value, dict)
        assert "infra:destroy" not in [entry["action"] for entry in value.get("allow", [])]
    (first, _) = read_document(skill_text(lesson, heading(policies)), "x.yaml").value["allow"]  # type: ignore[index,call-overload]
    assert first["when"]["target"] == [evil]


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
"""No halves of characters: no record holds them."""
keys = texts.filter(lambda key: key != "<<")
values = st.recursive(
    st.booleans() | st.integers(-(10**14), 10**14) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts.filter(lambda key: key != "<<"), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(values)
def test_what_is_written_reads_as_it_was(value: Any) -> None:
    """Every value that a text can hold comes back from its line, and the line is ASCII."""
    text = f"skill: {written(value)}\n"
    assert text.isascii()
    assert read_document(text, "x.yaml").value == {"skill": value}


ACTIONS = ("data:read", "data:write", "deploy:staging", "infra:destroy")
PLACES = ("a/x/1", "a/x/2", "a/y/1", "b/x", "", "core/z")
questions = st.builds(
    ask,
    st.sampled_from(ACTIONS),
    st.sampled_from(PLACES),
    st.sampled_from(["", "staging", "production", "unknown"]),
)
conditions = st.fixed_dictionaries(
    {},
    optional={
        "target": st.sampled_from(["a/*", "core/*", "a/x/1"]),
        "environment": st.sampled_from(["staging", "prod*"]),
        "client": st.sampled_from(["127.0.0.0/8", "10.0.0.0/8"]),
    },
).filter(bool)
entries = st.fixed_dictionaries(
    {"action": st.sampled_from([*ACTIONS, "data:*", "**", "*:staging"])},
    optional={"when": conditions, "unless": conditions},
)
skills = st.fixed_dictionaries(
    {"allow": st.lists(entries, max_size=4)},
    optional={"approve": st.lists(entries, max_size=2), "deny": st.lists(entries, max_size=1)},
)
_STRENGTH = {"DENY": 0, "HOLD": 1, "ALLOW": 2}


@settings(max_examples=300, deadline=None)
@given(skills, st.lists(questions, max_size=8), st.lists(questions, max_size=8), st.sampled_from(["approve", "allow"]))
def test_what_was_learned_is_enough_and_never_more(
    build: Callable[..., Policies], skill: dict[str, Any], seen: list[Question], others: list[Question], risky: Any
) -> None:
    """All that was seen stays allowed, or waits where it is risky; nothing goes on that does not go on now."""
    text = "skill: deploy-v2\n" + "".join(f"{name}: {json.dumps(value)}\n" for name, value in skill.items())
    present = build(text)
    allowed = [question for question in seen if present.decide_again(question).outcome.value == "ALLOW"]
    lesson = learned(build, text, *allowed, risky=risky)
    written_ = skill_text(lesson, heading(present, {"deny": skill.get("deny", [])}))
    after = build(written_)
    for question in allowed:
        outcome = after.decide_again(question).outcome.value
        assert outcome == "ALLOW" or (risky == "approve" and outcome == "HOLD"), (question, written_)
    for question in (*seen, *others):
        now, then = (_STRENGTH[one.decide_again(question).outcome.value] for one in (after, present))
        assert now <= then, (question, written_)
