"""The rules that past decisions were made by, made again from the Chron alone: its manifests and the texts it kept.

No file, no configuration and no activation of today has a say, so a copy of the log will do, anywhere and later.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import chron
from chron.reading import FieldValue
from chron.sources import Source
from mappings import DocumentError
from mappings.attesting import KeptRules
from policies import Policies
from proxy import manifests
from proxy.manifests import ManifestError

type Fields = Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True)
class PastRules:
    """One set of rules as it was in force."""

    policies: Policies
    mappings: frozenset[str]
    """The digests of its mapping texts."""


class RulesOfThen:
    """Finds the rules of a record's time, each set made once. Blocks on the disk."""

    def __init__(self, path: Source) -> None:
        self._path = path
        self._loads: dict[tuple[str, str], list[tuple[int, str]]] = {}
        """Session and digest of rules -> the loads of these rules in it, oldest first: seq and manifest."""
        self._begins = next((record.seq for record in chron.find(path)), 1)
        for record in chron.find(path, kind="policy"):
            if record.fields.get("event") in ("loaded", "narrowed"):
                key = record.text("session"), record.text("rules_digest")
                self._loads.setdefault(key, []).append((record.seq, record.text("manifest")))
        self._made: dict[tuple[str, str], PastRules | str] = {}
        self._mappings: dict[str, KeptRules | str] = {}

    def of(self, fields: Fields) -> Iterator[PastRules | str | None]:
        """Yield the rules that a decision was made by, what is wrong with what the log keeps of them, or None when no
        record says; likelier ones first, where it cannot be told which of several that are the same but in the names
        of their files.
        """
        seq, digest = int(fields["seq"]), str(fields.get("rules_digest", ""))
        loads = self._loads.get((str(fields.get("session", "")), digest), [])
        if manifest := next((manifest for at, manifest in reversed(loads) if at < seq), ""):
            yield self._made_of(manifest, digest)
            return
        found = False
        for rules in self._kept_before(digest):
            if isinstance(rules, PastRules):
                found = True
                yield rules
        if not found:
            yield None

    def _kept_before(self, rules_digest: str) -> Iterator[PastRules | str]:
        # A segment has the texts that were kept before it, but not the records of the loads before it. Which rules a
        # manifest makes is told by their digest, so no such record has to be believed.
        if self._begins > 1:
            for manifest in reversed(chron.kept_texts(self._path, manifests.KIND)):
                yield self._made_of(manifest, rules_digest)

    def _made_of(self, manifest: str, rules_digest: str) -> PastRules | str:
        key = manifest, rules_digest
        if key not in self._made:
            try:
                self._made[key] = self._make(manifest, rules_digest)
            except (DocumentError, ManifestError) as wrong:
                self._made[key] = str(wrong).replace("\n", "; ")
        return self._made[key]

    def _make(self, digest: str, rules_digest: str) -> PastRules:
        text = chron.kept_text(self._path, manifests.KIND, digest)
        if text is None:
            raise ManifestError("the manifest of these rules was not kept")
        manifest = manifests.read(text, digest)
        entries = (*manifest.texts, *manifest.narrowed_by)
        kept = ((entry.digest, chron.kept_text(self._path, entry.kind, entry.digest)) for entry in entries)
        texts = {name: text for name, text in kept if text is not None}
        policies = manifest.recompiled(texts, rules_digest)
        return PastRules(policies, frozenset(text_digest for _, text_digest in manifest.mappings))

    def mapping(self, digest: str) -> KeptRules | str:
        """Return the rules of a mapping text, or what is wrong with it."""
        if digest not in self._mappings:
            text = chron.kept_text(self._path, "mapping", digest)
            try:
                self._mappings[digest] = "was not kept" if text is None else KeptRules(text, digest)
            except DocumentError as wrong:
                self._mappings[digest] = str(wrong).replace("\n", "; ")
        return self._mappings[digest]
