"""Path templates and action patterns: each compiled matcher against a naive one that tries every split."""

import re
from functools import cache

from mappings.actions import MAX_DOUBLE_STARS, canonical_action, canonical_pattern, pattern_regex
from mappings.canonical import CanonicalError, canonical_path
from mappings.paths import PathIndex, split_path
from mappings.pathtemplates import MAX_EXPANSIONS, PLUS, SegmentPattern, Template, read_template
from policies.patterns import RESERVED_SEGMENTS, Matcher, read_action
from support.fuzzing.harness import Harness, lines_of, refusal

MOST_TEMPLATES = 8


class Counted(tuple[str, ...]):
    """Segments that count how often one of them is looked at: the matcher's steps."""

    looks = 0

    def __getitem__(self, at):  # type: ignore[no-untyped-def]
        self.looks += isinstance(at, int)
        return super().__getitem__(at)


def paths(data: bytes) -> str:
    """The first line is a path, the others are templates."""
    path, *texts = lines_of(data, 1 + MOST_TEMPLATES)
    templates: list[Template] = []
    for text in texts:
        try:
            read = read_template(text)
        except ValueError as error:
            refusal(error)
            continue
        assert 1 <= len(read) <= MAX_EXPANSIONS
        assert len({template.captures for template in map(_sorted, read)}) == 1
        templates.extend(read)
    try:
        path = canonical_path(path) if path.startswith("/") else ""
    except CanonicalError:
        path = ""
    segments = split_path(path) if path else None
    if segments is None or not templates:
        return "nothing to match"
    index: PathIndex[int] = PathIndex()
    for number, template in enumerate(templates):
        index.add(template, number)
    counted = Counted(segments)
    found = index.find(counted)
    expected = {number for number, template in enumerate(templates) if _fits(template.steps, segments)}
    assert sorted(number for _, number, _ in found) == sorted(expected)  # each once
    # One look for each place in the tree, at each segment.
    places = 1 + sum(len(template.steps) for template in templates)
    assert counted.looks <= places * (len(segments) + 1)
    for template, _, captures in found:
        assert set(captures) == set(template.captures)
        assert all(captures[name] == word for name, word in template.chosen)
    return "matched" if found else "no match"


def _sorted(template: Template) -> Template:
    # Words that were chosen stand behind the other captures, so only as sets are the names of one text alike.
    return Template((), tuple(sorted(template.captures)), (), 0)


def _fits(steps: tuple[object, ...], segments: tuple[str, ...]) -> bool:
    """Whether some way of dealing out the segments fits."""

    @cache
    def rest(step_at: int, at: int) -> bool:
        if step_at == len(steps):
            return at == len(segments)
        step = steps[step_at]
        if step is PLUS:
            return any(rest(step_at + 1, end) for end in range(at + 1, len(segments) + 1))
        return at < len(segments) and _one(step, segments[at]) and rest(step_at + 1, at + 1)

    return rest(0, 0)


def _one(step: object, segment: str) -> bool:
    if step is None:
        return True
    if isinstance(step, SegmentPattern):
        fits = step.expression.fullmatch(segment) is not None
        # What the expression fits, the glob that finds it must fit too.
        assert not fits or step.glob.fits(segment)
        return fits
    return step == segment


def patterns(data: bytes) -> str:
    """The first line is an action, the others are patterns."""
    text, *texts = lines_of(data, 1 + MOST_TEMPLATES)
    known = []
    for each in texts:
        try:
            pattern = canonical_pattern(each)
        except ValueError as error:
            refusal(error)
            continue
        assert canonical_pattern(pattern) == pattern
        assert pattern.count("**") <= MAX_DOUBLE_STARS
        known.append(pattern)
    action, good = read_action(text)
    if good:
        assert canonical_action(action) == action
        assert canonical_pattern(action) == action
    for allow in (False, True):
        found = Matcher([(pattern, pattern) for pattern in known], allow=allow).match(action)
        expected = [one for one in known if _matches(one.split(":"), action.split(":"), allow=allow)]
        assert sorted(found) == sorted(expected)
        if good and not allow:
            assert {one for one in known if re.fullmatch(pattern_regex(one), action)} == set(found)
    return "action" if good else "no action"


def _matches(pattern: list[str], action: list[str], *, allow: bool) -> bool:
    @cache
    def rest(left: int, at: int) -> bool:
        if left == len(pattern):
            return at == len(action)
        if pattern[left] == "**":
            return any(
                rest(left + 1, end)
                for end in range(at + 1, len(action) + 1)
                if "" not in action[at:end] and not (allow and set(action[at:end]) & set(RESERVED_SEGMENTS))
            )
        return at < len(action) and _within(pattern[left], action[at], allow) and rest(left + 1, at + 1)

    return rest(0, 0)


def _within(pattern: str, segment: str, allow: bool) -> bool:
    if "*" not in pattern:
        return pattern == segment
    if allow and segment in RESERVED_SEGMENTS:
        return False
    # By a table over both texts: slower than the globs, and it never chooses.
    fits = [True, *[False] * len(segment)]
    for sign in pattern:
        if sign == "*":
            for at in range(1, len(fits)):
                fits[at] = fits[at] or fits[at - 1]
        else:
            fits = [False, *(fits[at] and segment[at] == sign for at in range(len(segment)))]
    return fits[-1]


HARNESSES = (
    Harness(
        "path-templates",
        paths,
        (b"{x}", b"{x+}", b"{y+}", b"{x:a|b}", b"{x:a-*}", b"...", b"/", b"\n/", b"{z}-{w}", b"%2F", b"%"),
        512,
    ),
    Harness(
        "action-patterns",
        patterns,
        (b"**", b":**:", b"*", b"\n", b"unknown", b"conflict", b"a*b*", b":"),
        512,
    ),
)
