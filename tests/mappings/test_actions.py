"""The action grammar is one grammar, and patterns in it match in bounded time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappings import canonical_action, canonical_pattern, pattern_regex

ACTIONS = {
    "plain": ("deploy:staging", "deploy:staging"),
    "case folds": ("Deploy:STAGING", "deploy:staging"),
    "every sign": ("a.b_c/d@e+f-g:1", "a.b_c/d@e+f-g:1"),
    "one segment": ("deploy", "deploy"),
}

REFUSED_ACTIONS = {
    "empty": ("", 'an action cannot be empty; write for example "deploy:staging"'),
    "blank": ("a b", 'character " " cannot stand in an action; use letters, digits or ._/@+-'),
    "newline": ("a\n", 'character "U+000A" cannot stand in an action; use letters, digits or ._/@+-'),
    "empty segment": ("a::b", 'action "a::b" has an empty segment; write it out or remove a ":"'),
    "leading colon": (":a", 'action ":a" has an empty segment; write it out or remove a ":"'),
    "star": ("a:*", '"a:*" is a pattern, not an action; name one action without "*"'),
    "Kelvin sign": ("\u212a", 'character "\u212a" cannot stand in an action; use letters, digits or ._/@+-'),
    "sharp s": ("stra\u00dfe", 'character "\u00df" cannot stand in an action; use letters, digits or ._/@+-'),
    "long": ("a" * 513, "an action has at most 512 characters; shorten it"),
}


@pytest.mark.parametrize(("text", "canonical"), ACTIONS.values(), ids=ACTIONS)
def test_action(text: str, canonical: str) -> None:
    """An action in the grammar has one form."""
    assert canonical_action(text) == canonical


@pytest.mark.parametrize(("text", "message"), REFUSED_ACTIONS.values(), ids=REFUSED_ACTIONS)
def test_refused_action(text: str, message: str) -> None:
    """What is not in the grammar is refused, never repaired."""
    with pytest.raises(ValueError) as caught:
        canonical_action(text)
    assert str(caught.value) == message


MATCHES = {
    "exact": ("deploy:staging", "deploy:staging", True),
    "exact, longer action": ("deploy:staging", "deploy:staging:x", False),
    "star": ("deploy:*", "deploy:production", True),
    "star does not cross segments": ("deploy:*", "deploy:eu:production", False),
    "star needs its segment": ("deploy:*", "deploy", False),
    "star within a segment": ("deploy:prod*", "deploy:prod", True),
    "two stars within a segment": ("a:*b*c", "a:xbxbxc", True),
    "two stars, wrong end": ("a:*b*c", "a:xbxb", False),
    "across": ("deploy:**", "deploy:eu:production", True),
    "across needs one segment": ("deploy:**", "deploy", False),
    "across in the middle": ("a:**:z", "a:b:c:z", True),
    "everything": ("**", "a:b:c", True),
    "dot is a dot": ("a.b", "axb", False),
    "no prefix match": ("deploy:prod", "deploy:production", False),
}


@pytest.mark.parametrize(("pattern", "action", "expected"), MATCHES.values(), ids=MATCHES)
def test_pattern(pattern: str, action: str, expected: bool) -> None:
    """A pattern matches whole actions, segment by segment."""
    expression = pattern_regex(canonical_pattern(pattern))
    assert bool(re.fullmatch(expression, action)) is expected


@pytest.mark.parametrize("text", ["a**", "**b:c", "**:a:**:b:**", "a:{b}", "a:[b]", "", "a:"])
def test_refused_pattern(text: str) -> None:
    """What is no pattern is refused."""
    with pytest.raises(ValueError):
        canonical_pattern(text)


SEGMENT = st.text("ab*", min_size=1, max_size=6).filter(lambda text: "**" not in text)


@given(st.lists(SEGMENT | st.just("**"), min_size=1, max_size=4), st.lists(st.text("ab", min_size=1, max_size=6)))
def test_pattern_agrees_with_the_plain_definition(segments: list[str], action: list[str]) -> None:
    """The fast expression and the sentence in the docstring say the same."""
    if segments.count("**") > 2 or not action:
        return
    expected = _matches(segments, action)
    assert bool(re.fullmatch(pattern_regex(":".join(segments)), ":".join(action))) is expected


def _matches(pattern: list[str], action: list[str]) -> bool:
    if not pattern or not action:
        return not pattern and not action
    if pattern[0] == "**":
        return any(_matches(pattern[1:], action[taken:]) for taken in range(1, len(action) + 1))
    simple = "".join("[ab]*" if character == "*" else character for character in pattern[0])
    return bool(re.fullmatch(simple, action[0])) and _matches(pattern[1:], action[1:])


def test_hostile_action_costs_little() -> None:
    """A pattern full of stars does not let an action choose how long matching takes."""
    expression = re.compile(pattern_regex(canonical_pattern("*a*a*a*a*a*a*a*a*b")))
    assert expression.fullmatch("a" * 512) is None
