"""The registry of agents as it was: which one a past decision was made by, found in the Chron.

Each load of the rules is recorded with the digest of the registry's text, and each text is kept, also of one that only
took something away. Hashes of tokens are not in it, so nobody is proven by it; who may act, for whom and with which
skill, it says as it was.
"""

from collections.abc import Callable, Mapping

import chron
from chron.reading import FieldValue
from chron.sources import Source
from mappings.documents import Document, read_document
from policies import Policies, PolicyError
from policies.loading import REGISTRY_TIMES_LARGER
from policies.narrowing import narrowed
from proxy import manifests


class Registries:
    """Finds the texts with the registry of a record's time, each compiled once. Blocks on the disk when made."""

    def __init__(self, path: Source, compiled: Callable[[Document], Policies]) -> None:
        self._compiled = compiled
        self._texts = chron.kept_texts(path, "agents")
        kept = chron.kept_texts(path, manifests.KIND)
        self._of_rules = {
            record.text("rules_digest"): manifests.registries_of(record, kept.get)
            for record in chron.find(path, kind="policy")
        }
        self._known: dict[tuple[str, ...], Policies | None] = {(): None}

    def __call__(self, fields: Mapping[str, FieldValue]) -> Policies | None:
        """Return the texts; None when the log does not say which registry it was. Raises PolicyError."""
        digests = self._of_rules.get(str(fields.get("rules_digest", "")), ())
        if digests not in self._known:
            there = all(digest in self._texts for digest in digests)
            self._known[digests] = self._compile(digests) if there else None
        return self._known[digests]

    def _compile(self, digests: tuple[str, ...]) -> Policies:
        first, *narrowing = map(self._document, digests)
        policies = self._compiled(first)
        for registry in narrowing:
            policies = narrowed(policies, registry, kept=True)
        return policies

    def _document(self, digest: str) -> Document:
        source = f"chron:agents:{digest[:12]}"
        return read_document(self._texts[digest], source, error=PolicyError, times_larger=REGISTRY_TIMES_LARGER)
