"""Which actions can come: the words of rules and the operations of packs, for telling a typo from a word of one's own.

    deploy:stagign     fits "deploy:*", a word of a rule          known
    infra:destory      fits nothing; near "infra:destroy"         a typo, most likely
    billing:refund     fits nothing and is near nothing           a word that agents may ask about themselves
    kubernetes:**      fits a pack that lists no operations       known

Who has the mappings fills it; nothing here knows any pack.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from policies.inclusion import Language, UndecidedError, meet
from policies.patterns import RESERVED_SEGMENTS, Matcher

NEAR_ENOUGH = 0.85
"""difflib's ratio from which another action is taken for what was meant: one letter of seven."""
MAX_SEARCHED = 2_000
"""Names that a misspelt one is compared with; the search takes the square of their length."""


@dataclass(frozen=True)
class KnownActions:
    """What can come."""

    words: tuple[str, ...]
    """Patterns of what rules make of operations: "pr:merge", "deploy:*"."""
    families: frozenset[str]
    """First segments of operations."""
    operations: Callable[[str], frozenset[str] | None]
    """The operations of a family, case-folded; None when it lists none, so that any name may come."""

    def fits(self, pattern: str) -> bool:
        """Say whether a canonical pattern matches something that can come."""
        segments = pattern.split(":")
        if not set(segments).isdisjoint(RESERVED_SEGMENTS):
            return True  # what the mappings say when they cannot tell
        if self._among_words(pattern):
            return True
        first = segments[0]
        families = self.families if "*" in first or first == "**" else self.families & {first}
        return any(self._in_family(pattern, family) for family in sorted(families))

    @cached_property
    def _matcher(self) -> Matcher[bool]:
        return Matcher([(word, True) for word in self.words], allow=False)

    def _among_words(self, pattern: str) -> bool:
        if "*" not in pattern:
            return bool(self._matcher.match(pattern))
        return any(_meets(pattern, word) for word in self.words)

    def _in_family(self, pattern: str, family: str) -> bool:
        listed = self.operations(family)
        if listed is None:
            return _meets(pattern, f"{family}:**")
        if "*" not in pattern:
            return pattern in listed
        matcher = Matcher([(pattern, True)], allow=False)
        return any(matcher.match(name) for name in listed)

    def near(self, pattern: str) -> str:
        """Return what was probably meant; "" when nothing is like it."""
        first, colon, _ = pattern.partition(":")
        names = list(self.words)
        if first in self.families:
            stem = pattern[: max(pattern.rfind(sign) for sign in ":./") + 1]
            listed = sorted(self.operations(first) or ())
            names += [name for name in listed if name.startswith(stem)][:MAX_SEARCHED]
        found = difflib.get_close_matches(pattern, names, n=1, cutoff=NEAR_ENOUGH)
        if found or not colon:
            return found[0] if found else ""
        # "deploi:staging": the rest is free, so the first segment alone tells.
        starts = {word.partition(":")[0] for word in self.words} | self.families
        known = first in starts or "*" in first
        begins = [] if known else difflib.get_close_matches(first, _sorted(starts), n=1, cutoff=_NEAR_START)
        return f"{begins[0]}:{pattern.partition(':')[2]}" if begins else ""


_NEAR_START = 0.8
"""The same for a first segment, which is short: one letter of five."""


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if "*" not in name)


def _meets(one: str, other: str) -> bool:
    try:
        return meet(Language(one), Language(other))
    except UndecidedError:
        return True  # nothing is said of what could not be told
