"""The matcher: which pattern of many matches an action."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappings.actions import canonical_pattern, pattern_regex
from policies.patterns import RESERVED_SEGMENTS, Matcher, read_action

SEGMENT = st.text("ab*-", min_size=1, max_size=4).filter(lambda text: "**" not in text)
SEGMENTS = st.one_of(SEGMENT, SEGMENT, st.just("**"), st.sampled_from(RESERVED_SEGMENTS))
PATTERN = st.lists(SEGMENTS, min_size=1, max_size=4).map(":".join).filter(lambda text: "**:**" not in text)
ACTION = st.lists(
    st.one_of(st.text("ab-", min_size=1, max_size=4), st.sampled_from(RESERVED_SEGMENTS)), min_size=1, max_size=5
).map(":".join)


def within(pattern: str, segment: str, *, allow: bool) -> bool:
    """Match one segment by trying every split: slow, short and plainly right."""
    if "*" not in pattern:
        return pattern == segment
    if allow and segment in RESERVED_SEGMENTS:
        return False

    def rest(left: str, text: str) -> bool:
        if not left:
            return not text
        if left[0] == "*":
            return any(rest(left[1:], text[start:]) for start in range(len(text) + 1))
        return text[:1] == left[0] and rest(left[1:], text[1:])

    return rest(pattern, segment)


def matches(pattern: list[str], action: list[str], *, allow: bool) -> bool:
    """Match whole patterns by trying every split: the reference for the compiled matcher."""
    if not pattern:
        return not action
    if pattern[0] == "**":
        return any(
            matches(pattern[1:], action[taken:], allow=allow)
            for taken in range(1, len(action) + 1)
            if not (allow and set(action[:taken]) & set(RESERVED_SEGMENTS))
        )
    return bool(action) and within(pattern[0], action[0], allow=allow) and matches(pattern[1:], action[1:], allow=allow)


@settings(deadline=None)  # a busy machine is no failure
@given(patterns=st.lists(PATTERN, max_size=8), action=ACTION, allow=st.booleans())
def test_compiled_equals_naive(patterns: list[str], action: str, allow: bool) -> None:
    """The compiled matcher finds every pattern that matches, and no other."""
    matcher = Matcher(((pattern, pattern) for pattern in patterns), allow=allow)
    expected = [one for one in patterns if matches(one.split(":"), action.split(":"), allow=allow)]
    assert sorted(matcher.match(action)) == sorted(expected)


@settings(deadline=None)  # a busy machine is no failure
@given(pattern=PATTERN, action=ACTION)
def test_deny_patterns_mean_what_the_grammar_says(pattern: str, action: str) -> None:
    """A deny pattern matches exactly what the shared action grammar says it matches."""
    matcher = Matcher([(canonical_pattern(pattern), True)], allow=False)
    assert bool(matcher.match(action)) == bool(re.fullmatch(pattern_regex(pattern), action))


@settings(deadline=None)  # a busy machine is no failure
@given(patterns=st.lists(PATTERN, max_size=8), text=st.text(max_size=30), allow=st.booleans())
def test_total(patterns: list[str], text: str, allow: bool) -> None:
    """Any text has an answer."""
    matcher = Matcher(((pattern, pattern) for pattern in patterns), allow=allow)
    assert set(matcher.match(read_action(text)[0])) <= set(patterns)


HOSTILE = {
    "stars in a segment": ("x:" + "a*" * 20 + "b", "x:" + "a" * 500),
    "stars, then another segment": ("x:" + "a*" * 20 + "b:c", "x:" + "a" * 500 + ":c"),
    "double stars": ("**:a:" * 12 + "b", ":".join("a" * 250)),
    "double stars and stars": ("**:*a*:" * 12 + "b", ":".join(["aaaa"] * 100)),
    "double stars after a prefix": ("x" + ":**:a*a" * 12, "x" + ":aa" * 160 + ":b"),
}


@pytest.mark.parametrize(("pattern", "action"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("allow", [True, False])
def test_no_rule_stalls_the_gate(pattern: str, action: str, allow: bool) -> None:
    """A pattern on which a backtracking matcher would run for years is answered."""
    assert Matcher([(pattern, True)], allow=allow).match(action) == ()


REPORTED = {
    "exact before pattern": (["deploy:*", "deploy:staging"], "deploy:staging", "deploy:staging"),
    "the one that spells out more": (["deploy:*", "*:staging"], "deploy:staging", "*:staging"),
    "wildcards only, last": (["**", "*:staging"], "deploy:staging", "*:staging"),
    "as much spelt out, by its text": (["s*:x", "*t:x"], "st:x", "*t:x"),
    "the second where the first does not match": (["deploy:x*", "deploy:*"], "deploy:staging", "deploy:*"),
    "rest": (["*:x", "*pl*:st*"], "deploy:staging", "*pl*:st*"),
    "none": (["deploy:x", "deploy:*:x", "*:y", "*x*:*"], "deploy:staging", None),
}


@pytest.mark.parametrize(("patterns", "action", "expected"), REPORTED.values(), ids=REPORTED)
def test_which_pattern_is_reported(patterns: list[str], action: str, expected: str | None) -> None:
    """Of several matching patterns, the reported one follows a fixed order."""
    matcher = Matcher(((pattern, pattern) for pattern in patterns), allow=False)
    assert next(iter(matcher.match(action)), None) == expected
