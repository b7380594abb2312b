"""Which actions can come to the gate, told from its mappings for the lint of policies.

A catalogue is opened only when a pattern names its family.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache

from mappings import Document
from mappings.catalogues import Archive, CatalogueError
from mappings.compiled import Compiled
from mappings.inventory import known_operations, written_rules
from mappings.loading import catalogues_in_use, load_compiled
from mappings.vocabulary import WORDS
from policies.knownactions import KnownActions
from proxy.config import Config

_VARIABLE = re.compile(r"\$\{[^{}]*\}")


def load_known(config: Config) -> KnownActions:
    """Return what the mappings of a configuration can make of requests; raises DocumentError. Blocks on the disk."""
    compiled, documents = load_compiled(config.mappings, config.catalogues)
    return known_actions(compiled, documents, catalogues_in_use(config.catalogues))


def known_actions(compiled: Compiled, documents: Sequence[Document], archives: Mapping[str, Archive]) -> KnownActions:
    """Return what these mappings can make of requests."""

    @cache
    def operations(family: str) -> frozenset[str] | None:
        try:
            listed = known_operations(compiled.packs[family], archives.get(family))
        except CatalogueError:
            return None  # told elsewhere; here it means that any name may come
        return None if listed is None else frozenset(each.name.casefold() for each in listed)

    said = [*WORDS, *(rule.action for document in documents for rule in written_rules(document))]
    words = sorted({_VARIABLE.sub("*", action).lower() for action in said})
    return KnownActions(tuple(words), frozenset(compiled.packs), operations)
