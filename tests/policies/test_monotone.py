"""One deny more never lets anything more through: random policies and requests, against a plain reference.

`tests/policies/test_properties.py` draws whole texts, with conditions, approvals and limits; here is the plain
language, and many more questions.
"""

import random
from dataclasses import dataclass, replace

from policies import Outcome
from policies.patterns import RESERVED_SEGMENTS
from support.torture.numbers import SEED, how_many, tell

PAIRS = how_many(4_000, 1_000_000)
_QUESTIONS = how_many(50, 250)
"""To each pair of policies: compiling costs as much as a hundred answers."""
_SEGMENTS = ("a", "b", "ab", "ba", "unknown", "unbound")
_GLOBS = ("*", "a*", "*b", "a*b", "**")
_ENVIRONMENTS = ("production", "staging")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list."""

    pattern: str
    environments: tuple[str, ...] = ()
    """Where it holds; everywhere when empty."""
    unless: bool = False
    """Whether it holds everywhere but there."""

    def __str__(self) -> str:
        if not self.environments:
            return f'- "{self.pattern}"'
        key = "unless" if self.unless else "when"
        return f'- {{action: "{self.pattern}", {key}: {{environment: [{", ".join(self.environments)}]}}}}'

    def holds(self, action: str, environment: str, *, allow: bool) -> bool:
        """Whether it says anything of a question."""
        there = not self.environments or (environment in self.environments) is not self.unless
        return there and fits(self.pattern.split(":"), action.split(":"), allow=allow)


@dataclass(frozen=True, slots=True)
class Text:
    """A skill or policy."""

    head: str
    deny: tuple[Line, ...] = ()
    allow: tuple[Line, ...] | None = None
    """None: it has no such list, and says nothing of what may be done."""
    observe: bool = False

    def __str__(self) -> str:
        lines = [self.head, "mode: observe"] if self.observe else [self.head]
        for name, listed in (("allow", self.allow), ("deny", self.deny or None)):
            if listed is not None:
                lines += [f"{name}:", *map(str, listed)] if listed else [f"{name}: []"]
        return "\n".join(lines) + "\n"


def fits(pattern: list[str], action: list[str], *, allow: bool) -> bool:
    """Match by trying every split."""
    if not pattern or not action:
        return pattern == action
    wild = not (allow and action[0] in RESERVED_SEGMENTS)
    if pattern[0] == "**":
        return wild and (fits(pattern[1:], action[1:], allow=allow) or fits(pattern, action[1:], allow=allow))
    return within(pattern[0], action[0], wild) and fits(pattern[1:], action[1:], allow=allow)


def within(glob: str, segment: str, wild: bool) -> bool:
    """The same for a segment."""
    if "*" not in glob:
        return glob == segment
    if not wild:
        return False
    start, _, end = glob.partition("*")
    return len(segment) >= len(start + end) and segment.startswith(start) and segment.endswith(end)


def allowed(texts: list[Text], action: str, environment: str) -> bool:
    """What the contract of docs/evaluation.md says of the plain language."""
    skill, *policies = texts
    for policy in policies:
        if policy.observe:
            continue
        if any(line.holds(action, environment, allow=False) for line in policy.deny):
            return False
        if policy.allow is not None and not any(line.holds(action, environment, allow=True) for line in policy.allow):
            return False
    if any(line.holds(action, environment, allow=False) for line in skill.deny):
        return False
    return any(line.holds(action, environment, allow=True) for line in skill.allow or ())


def a_line(chance: random.Random) -> Line:
    pattern = [chance.choice((*_SEGMENTS, *_GLOBS)) for _ in range(chance.randrange(1, 4))]
    if pattern.count("**") > 1:
        pattern = ["**"]
    if chance.random() < 0.7:
        return Line(":".join(pattern))
    some = tuple(chance.sample(_ENVIRONMENTS, chance.randrange(1, 3)))
    return Line(":".join(pattern), some, chance.random() < 0.5)


def lines(chance: random.Random, most: int) -> tuple[Line, ...]:
    return tuple(dict.fromkeys(a_line(chance) for _ in range(chance.randrange(most + 1))))


def a_set(chance: random.Random) -> list[Text]:
    """A skill that allows something, and up to two policies that say something."""
    wide = (Line("**"),) if chance.random() < 0.5 else ()
    texts = [Text("skill: deploy-v2", lines(chance, 3), tuple(dict.fromkeys((*wide, *lines(chance, 4)))))]
    for name in ("p", "q")[: chance.randrange(3)]:
        allow = tuple(dict.fromkeys((*wide, *lines(chance, 3)))) if chance.random() < 0.4 else None
        deny = lines(chance, 2)
        if deny or allow is not None:
            texts.append(Text(f"policy: {name}", deny, allow, chance.random() < 0.2))
    return texts


def test_one_deny_more_never_allows(build, ask) -> None:
    """Adding a deny, anywhere, turns no answer but ALLOW into DENY; and both answers are those of the reference."""
    chance = random.Random(f"{SEED} monotone")
    denied = turned = 0
    for _ in range(PAIRS // _QUESTIONS):
        before = a_set(chance)
        at = chance.randrange(len(before))
        more = a_line(chance)
        changed = replace(before[at], deny=tuple(dict.fromkeys((*before[at].deny, more))))
        after = [*before[:at], changed, *before[at + 1 :]]
        rules, narrower = build(*map(str, before)), build(*map(str, after))
        for _ in range(_QUESTIONS):
            action = ":".join(chance.choice(_SEGMENTS) for _ in range(chance.randrange(1, 4)))
            environment = chance.choice(_ENVIRONMENTS)
            question = ask(action, environment=environment)
            answers = [each.decide(question).outcome is Outcome.ALLOW for each in (rules, narrower)]
            expected = [allowed(each, action, environment) for each in (before, after)]
            assert answers == expected, (list(map(str, before)), str(more), at, action, environment)
            assert answers != [False, True]
            denied += not answers[0]
            turned += answers == [True, False]
    assert denied > PAIRS // 10
    assert turned > PAIRS // 200, "a deny is meant to be felt now and then"
    tell(f"one deny more: {PAIRS} pairs, {denied} denied before, {turned} by the new line, 0 allowed by it")
