"""Which actions patterns have in common, held against trying many actions."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.inclusion import Language, UndecidedError, covered, meet, witness
from policies.patterns import Matcher

WORDS = ("a", "b", "ab", "ba", "aab", "unknown", "unbound")
ACTIONS = [":".join(words) for count in (1, 2, 3) for words in itertools.product(WORDS, repeat=count)]

SEGMENT = st.one_of(
    st.text("ab*", min_size=1, max_size=4).filter(lambda text: "**" not in text),
    st.just("**"),
    st.sampled_from(["unknown", "un*"]),
)
PATTERN = st.lists(SEGMENT, min_size=1, max_size=3).map(":".join).filter(lambda text: text.count("**") <= 2)
LANGUAGE = st.builds(Language, PATTERN, st.booleans())


def has(language: Language, action: str) -> bool:
    return bool(Matcher([(language.pattern, True)], allow=language.allow).match(action))


@settings(deadline=None, max_examples=200)  # a busy machine is no failure
@given(groups=st.lists(st.lists(LANGUAGE, min_size=1, max_size=2), min_size=1, max_size=2), none=st.lists(LANGUAGE))
def test_a_witness_is_one_and_without_one_there_is_none(groups: list[list[Language]], none: list[Language]) -> None:
    """What is found is in every group and in none of the others; where nothing is found, no action is."""

    def fits(action: str) -> bool:
        inside = all(any(has(each, action) for each in group) for group in groups)
        return inside and not any(has(each, action) for each in none)

    found = witness(groups, none)
    if found is None:
        assert [action for action in ACTIONS if fits(action)] == []
    else:
        assert fits(found), found


@settings(deadline=None, max_examples=200)
@given(one=LANGUAGE, others=st.lists(LANGUAGE, min_size=1, max_size=3))
def test_covered_and_meet_say_what_trying_says(one: Language, others: list[Language]) -> None:
    """A language that is covered has no action outside; two that do not meet have none in common."""
    inside = [action for action in ACTIONS if has(one, action)]
    if covered(one, others):
        assert all(any(has(each, action) for each in others) for action in inside)
    if not meet(one, others[0]):
        assert not any(has(others[0], action) for action in inside)
    assert covered(one, [*others, one])
    assert meet(one, others[0]) == meet(others[0], one)


@pytest.mark.parametrize(
    ("pattern", "allow", "by", "by_allow", "expected"),
    [
        ("deploy:staging", True, ["deploy:*"], False, True),
        ("deploy:*", True, ["deploy:**"], True, True),
        ("deploy:**", True, ["deploy:*"], True, False),
        ("**", True, ["*", "*:**"], True, True),
        ("**", True, ["*:**"], True, False),
        ("deploy:unknown", True, ["deploy:*"], True, False),
        ("deploy:unknown", True, ["deploy:*"], False, True),
        ("deploy:*", False, ["deploy:*"], True, False),
        ("deploy:*", True, ["deploy:*"], False, True),
        ("deploy:*-a-*", True, ["deploy:*a*"], False, True),
        ("a*", True, ["aa*", "ab*"], False, False),
        ("*:destroy", True, ["infra:destroy"], False, False),
        ("a:**:z", True, ["a:*:z", "a:*:**:z"], True, True),
        ("a:**:z", True, ["a:**"], False, True),
        ("x", True, [], False, False),
    ],
)
def test_coverage(pattern: str, allow: bool, by: list[str], by_allow: bool, expected: bool) -> None:
    """The rows of the page: wildcards, reserved segments, several patterns together."""
    assert covered(Language(pattern, allow), [Language(each, by_allow) for each in by]) is expected


def test_the_shortest_witness() -> None:
    """What is shown to a person is the shortest action there is, and the same each time."""
    assert witness([[Language("infra:**", True)], [Language("*:destroy")]], []) == "infra:destroy"
    assert witness([[Language("deploy:*", True)]], [Language("deploy:a*")]) == "deploy:b"
    assert witness([[Language("deploy:unknown*", True)]], []) == "deploy:unknowna"


def test_many_patterns_within_are_no_burden() -> None:
    """Patterns that look for texts anywhere do not multiply: a covering one is found, and so is a gap."""
    within = [Language(f"**:*{word}*") for word in ("prod", "live", "main", "root", "admin", "key", "pay", "eu", "us")]
    assert covered(Language("deploy:**", True), [*within, Language("deploy:**")])
    assert not covered(Language("deploy:**", True), within)


def test_giving_up_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that is given up is never taken for an answer."""
    monkeypatch.setattr("policies.inclusion.MAX_WORK", 3)
    with pytest.raises(UndecidedError):
        witness([[Language("deploy:*", True)]], [Language("deploy:*a*")])
