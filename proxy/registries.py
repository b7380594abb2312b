"""The registry of agents as it was: which one a past decision was made by, found in the Chron.

Each load of the rules is recorded with the digest of the registry's text, and each text is kept. Hashes of tokens are
not in it, so nobody is proven by it; who may act, for whom and with which skill, it says as it was.
"""

from collections.abc import Callable, Mapping

import chron
from chron.reading import FieldValue
from chron.sources import Source
from mappings.documents import Document, read_document
from policies import Policies, PolicyError


class Registries:
    """Finds the texts with the registry of a record's time, each compiled once. Blocks on the disk when made."""

    def __init__(self, path: Source, compiled: Callable[[Document], Policies]) -> None:
        self._compiled = compiled
        self._texts = chron.kept_texts(path, "agents")
        self._of_rules = {
            record.text("rules_digest"): record.text("agents_digest") for record in chron.find(path, kind="policy")
        }
        self._known: dict[str, Policies | None] = {"": None}

    def __call__(self, fields: Mapping[str, FieldValue]) -> Policies | None:
        """Return the texts; None when the log does not say which registry it was. Raises PolicyError."""
        digest = self._of_rules.get(str(fields.get("rules_digest", "")), "")
        if digest not in self._known:
            text = self._texts.get(digest)
            self._known[digest] = None if text is None else self._compile(digest, text)
        return self._known[digest]

    def _compile(self, digest: str, text: str) -> Policies:
        return self._compiled(read_document(text, f"chron:agents:{digest[:12]}", error=PolicyError))
