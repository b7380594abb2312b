"""Which actions do patterns have in common, and is every action of one matched by others? Exact, and pure.

A question is a search for a witness: the shortest action that is in all of some languages and in none of others.
It walks over the characters of an action and keeps, for every pattern, where in the pattern one may be; where two
walks stand at the same place, only the one that escaped more patterns goes on.

    deploy:*          is covered by     deploy:**                        in any list
    deploy:unknown    is not covered by deploy:* of an allow list        a wildcard does not stand for "unknown"
    **                is covered by     * and *:**                       together, not by either alone
    *:destroy         meets             infra:**                         witness: infra:destroy

Only what the action grammar allows counts: a text that is no action is allowed by nothing anyhow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policies.patterns import RESERVED_SEGMENTS, Matcher

MAX_WORK = 4_000_000
"""Places looked at before a search gives up, some seconds; patterns that people write need some thousands."""
_ANYTHING = ("x0q", "x0q-x0q", "")
"""What may stand for a star; nothing that a pattern is likely to spell out."""

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_./@+"  # of an action's segment, the plainest first
_RESERVED_STARTS = frozenset(word[:end] for word in RESERVED_SEGMENTS for end in range(1, len(word) + 1))

type _At = tuple[int, int, int]
"""Where one may be: which pattern, which segment of it, how many characters into that."""
type _Places = frozenset[_At]


class UndecidedError(Exception):
    """The patterns are so entangled that the search was given up."""


@dataclass(frozen=True, slots=True)
class Language:
    """The actions that a canonical pattern matches."""

    pattern: str
    allow: bool = False
    """Whether it stands where it permits: then no wildcard stands for what the mappings could not tell."""

    def has(self, action: str) -> bool:
        """Say whether an action is one of them."""
        if "*" not in self.pattern:
            return action == self.pattern
        return bool(Matcher([(self.pattern, True)], allow=self.allow).match(action))


def covered(language: Language, by: Sequence[Language]) -> bool:
    """Say whether every action of one language is in at least one of others; raise UndecidedError."""
    return bool(Cover(by).over(language))


class Cover:
    """Languages, to be asked which of them cover another; of thousands, those that cannot are not looked into."""

    def __init__(self, languages: Iterable[Language]) -> None:
        self.languages = tuple(languages)
        numbered = list(enumerate(self.languages))
        self._matchers = [
            Matcher([(each.pattern, number) for number, each in numbered if each.allow is allow], allow=allow)
            for allow in (False, True)
        ]

    def over(self, language: Language, without: int = -1) -> tuple[int, ...]:
        """Return the number of one that covers a language, or of several that do together; () when none do.

        `without` is the number of one that is not asked. Raises UndecidedError.
        """
        having = [self._having(action, without) for action in samples(language)]
        if not all(having):
            return ()
        if "*" not in language.pattern:
            return (min(having[0]),)
        for number in sorted(set.intersection(*having)):
            if witness([[language]], [self.languages[number]]) is None:
                return (number,)
        together = [
            number
            for number, each in enumerate(self.languages)
            if number != without and may_meet(each.pattern, language.pattern)
        ]
        if len(together) > 1 and witness([[language]], [self.languages[number] for number in together]) is None:
            return tuple(together)
        return ()

    def _having(self, action: str, without: int) -> set[int]:
        return {number for matcher in self._matchers for number in matcher.match(action) if number != without}


def samples(language: Language) -> Iterator[str]:
    """Yield a few actions of a language: what covers it has each of them, and most others have not."""
    for filler in _ANYTHING:
        segments = [
            segment.replace("**", filler or _ANYTHING[0]).replace("*", filler)
            for segment in language.pattern.split(":")
        ]
        action = ":".join(segments)
        if all(segments) and language.has(action):
            yield action


def meet(one: Language, other: Language) -> bool:
    """Say whether some action is in both; raise UndecidedError."""
    for literal, pattern in ((one, other), (other, one)):
        if "*" not in literal.pattern:
            return pattern.has(literal.pattern)
    return may_meet(one.pattern, other.pattern) and witness([[one], [other]], []) is not None


def witness(all_of: Sequence[Sequence[Language]], none_of: Sequence[Language]) -> str | None:
    """Return the shortest action that one language of each group has and none of the others; None when none has.

    Raises UndecidedError.
    """
    return _Search([*(tuple(group) for group in all_of), tuple(none_of)]).run()


def may_meet(one: str, other: str) -> bool:
    """Say cheaply whether two patterns can have an action in common: their first segments decide most pairs."""
    first, second = one.partition(":")[0], other.partition(":")[0]
    return "*" in first or "*" in second or first == second


@dataclass(frozen=True, slots=True)
class _Walk:
    """How far one search has come."""

    required: tuple[_Places, ...]
    escaped: _Places
    """Where one may be in the patterns that must not match."""
    segment: str | None
    """The segment so far, as long as it may become a reserved one; else None."""
    action: str


class _Search:
    def __init__(self, groups: Sequence[Sequence[Language]]) -> None:
        self._languages = [language for group in groups for language in group]
        self._segments = [language.pattern.split(":") for language in self._languages]
        numbers = iter(range(len(self._languages)))
        self._starts = [frozenset(self._from((next(numbers), 0, 0) for _ in group)) for group in groups]
        self._letters = self._distinct()
        self._best: dict[tuple[tuple[_Places, ...], str | None], list[_Places]] = {}

    def run(self) -> str | None:
        *required, escaped = self._starts
        waiting = deque([_Walk(tuple(required), escaped, "", "")])
        work = 0
        while waiting:
            walk = waiting.popleft()
            if self._found(walk):
                return walk.action
            work += len(self._letters) * (len(walk.escaped) + sum(map(len, walk.required)))
            if work > MAX_WORK:
                raise UndecidedError
            waiting.extend(self._onward(walk))
        return None

    def _distinct(self) -> str:
        """Return the characters that some pattern tells apart, and one that stands for all others."""
        spelt = {letter for language in self._languages for letter in language.pattern} - {"*", ":"}
        if any(language.allow and "*" in language.pattern for language in self._languages):
            spelt |= {letter for word in RESERVED_SEGMENTS for letter in word}
        other = next((letter for letter in _LETTERS if letter not in spelt), "")
        return "".join(sorted(spelt)) + other

    def _found(self, walk: _Walk) -> bool:
        if walk.segment == "":
            return False
        reserved = walk.segment in RESERVED_SEGMENTS
        return all(self._ends(places, reserved) for places in walk.required) and not self._ends(walk.escaped, reserved)

    def _onward(self, walk: _Walk) -> Iterator[_Walk]:
        if walk.segment != "":
            reserved = walk.segment in RESERVED_SEGMENTS
            required = tuple(self._next_segment(places, reserved) for places in walk.required)
            yield from self._worthwhile(required, self._next_segment(walk.escaped, reserved), "", f"{walk.action}:")
        for letter in self._letters:
            required = tuple(self._next_letter(places, letter) for places in walk.required)
            grown = None if walk.segment is None else walk.segment + letter
            segment = grown if grown in _RESERVED_STARTS else None
            yield from self._worthwhile(
                required, self._next_letter(walk.escaped, letter), segment, f"{walk.action}{letter}"
            )

    def _worthwhile(
        self, required: tuple[_Places, ...], escaped: _Places, segment: str | None, action: str
    ) -> Iterator[_Walk]:
        if not all(required):
            return
        known = self._best.setdefault((required, segment), [])
        # Whoever is in fewer places of the patterns to escape can still go wherever this walk can.
        if any(fewer <= escaped for fewer in known):
            return
        known[:] = [more for more in known if not escaped <= more]
        known.append(escaped)
        yield _Walk(required, escaped, segment, action)

    # --- where one may be ---

    def _from(self, places: Iterable[_At]) -> Iterator[_At]:
        """Yield places and those that a star, standing for nothing, leads on to."""
        for language, segment, offset in places:
            yield language, segment, offset
            text = self._segments[language][segment]
            while text != "**" and text[offset : offset + 1] == "*":
                offset += 1
                yield language, segment, offset

    def _next_letter(self, places: _Places, letter: str) -> _Places:
        return frozenset(self._from(self._by_letter(places, letter)))

    def _by_letter(self, places: _Places, letter: str) -> Iterator[_At]:
        for language, segment, offset in places:
            text = self._segments[language][segment]
            if text == "**" or text[offset : offset + 1] == "*":
                yield language, segment, offset
            elif text[offset : offset + 1] == letter:
                yield language, segment, offset + 1

    def _next_segment(self, places: _Places, reserved: bool) -> _Places:
        return frozenset(self._from(self._by_colon(places, reserved)))

    def _by_colon(self, places: _Places, reserved: bool) -> Iterator[_At]:
        for language, segment, offset in places:
            if not self._complete(language, segment, offset, reserved):
                continue
            if segment + 1 < len(self._segments[language]):
                yield language, segment + 1, 0
            if self._segments[language][segment] == "**":
                yield language, segment, 0

    def _ends(self, places: _Places, reserved: bool) -> bool:
        return any(
            segment + 1 == len(self._segments[language]) and self._complete(language, segment, offset, reserved)
            for language, segment, offset in places
        )

    def _complete(self, language: int, segment: int, offset: int, reserved: bool) -> bool:
        text = self._segments[language][segment]
        if reserved and self._languages[language].allow and "*" in text:
            return False
        return text == "**" or offset == len(text)
