"""Which operations a rule may name: those that some pack can recognise, as far as a pack keeps a list of them.

A rule about an operation that nothing ever recognises guards nothing, so it is a fault. Kubernetes, AWS and others
whose names have no end keep no list, and there every name may stand.

    op "githb:pulls/merge"      pack "githb" is not known; did you mean "github"
    op "github:pulls/merg"      operation "github:pulls/merg" is not known; did you mean "github:pulls/merge"
"""

from __future__ import annotations

from collections.abc import Mapping

from mappings.actions import is_pattern
from mappings.catalogues import CatalogueError
from mappings.located import unknown
from mappings.operations import OperationPattern
from mappings.recognition import Pack

MAX_SEARCHED = 2_000
"""Names that a misspelt one is compared with; the search takes the square of their length."""


class KnownNames:
    """The packs and what they can recognise, as far as that is a list: what a rule may name."""

    def __init__(self, packs: Mapping[str, Pack]) -> None:
        self.packs = packs
        self._names: dict[str, frozenset[str] | None] = {}

    def names(self, pack: str) -> frozenset[str] | None:
        """Return the operations of a pack, case-folded; None when the pack keeps no list of them.

        A catalogue is opened for it.
        """
        if pack not in self._names:
            listed = getattr(self.packs.get(pack), "operations", None)
            self._names[pack] = None if listed is None else frozenset(name.casefold() for name in listed)
        return self._names[pack]

    def fault(self, pattern: str) -> str | None:
        """Return what is wrong with a canonical pattern that no operation fits."""
        first = pattern.split(":", 1)[0]
        if "*" in first:
            return None
        if first not in self.packs:
            return unknown("pack", first, list(self.packs))
        try:
            names = self.names(first)
        except CatalogueError as error:
            return str(error)
        if names is None or pattern in names:
            return None
        if is_pattern(pattern) and any(map(OperationPattern(pattern).fits, names)):
            return None
        near = [name for name in names if name.startswith(pattern[: _stem(pattern)])] or names
        return unknown("operation", pattern, sorted(near)[:MAX_SEARCHED])


def _stem(pattern: str) -> int:
    """Return where the last part of a name begins: a misspelt one nearly always begins right."""
    return max(pattern.rfind(separator) for separator in ":./") + 1
