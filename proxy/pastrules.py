"""The rules that past decisions were made by, made again from the Chron alone: its manifests and the texts it kept.

No file, no configuration and no activation of today has a say, so a copy of the log will do, anywhere and later.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import chron
from chron.reading import FieldValue
from chron.sources import Source
from mappings import DocumentError
from mappings.attesting import KeptRules
from policies import Policies
from proxy import manifests
from proxy.manifests import Manifest, ManifestError

type Fields = Mapping[str, FieldValue]


@dataclass(frozen=True, slots=True)
class PastRules:
    """One set of rules as it was in force, as far as the log still has it."""

    policies: Policies | str
    """Or what is wrong with what the log keeps of them."""
    mappings: Mapping[str, str] | None
    """The digest of each of its mapping texts by id; None where the manifest itself is not the one."""


class RulesOfThen:
    """Finds the rules of a record's time, each set made once. Blocks on the disk."""

    def __init__(self, path: Source) -> None:
        self._path = path
        self._loads: dict[tuple[str, str], list[tuple[int, str]]] = {}
        """Session and digest of rules -> the loads of these rules in it, oldest first: seq and manifest."""
        for record in chron.find(path, kind="policy"):
            if record.fields.get("event") in ("loaded", "narrowed"):
                key = record.text("session"), record.text("rules_digest")
                self._loads.setdefault(key, []).append((record.seq, record.text("manifest")))
        self._made: dict[tuple[str, str], PastRules] = {}
        self._mappings: dict[str, KeptRules | str] = {}

    def of(self, fields: Fields) -> Iterator[PastRules | None]:
        """Yield the rules that a decision was made by, or None when no record says; likelier ones first, where it
        cannot be told which of several that are the same but in the names of their files.
        """
        seq, digest = int(fields["seq"]), str(fields.get("rules_digest", ""))
        loads = self._loads.get((str(fields.get("session", "")), digest), [])
        if manifest := next((manifest for at, manifest in reversed(loads) if at < seq), ""):
            yield self._made_of(manifest, digest)
            return
        kept = self._kept.get(digest, [])
        yield from (self._made_of(manifest, digest) for manifest in kept)
        if not kept:
            yield None

    @cached_property
    def _kept(self) -> Mapping[str, Sequence[str]]:
        """Digest of rules -> the manifests that make them, newest first."""
        # A worker decides by what its coordinator has loaded, and a segment has the texts that were kept before it, but
        # not the records of the loads. Which rules a manifest makes is told by their digest: no record is believed.
        found: dict[str, list[str]] = {}
        for digest, manifest in reversed(chron.kept_texts(self._path, manifests.KIND).items()):
            found.setdefault(chron.rules_made_of(manifest), []).append(digest)
        return found

    def _made_of(self, manifest: str, rules_digest: str) -> PastRules:
        key = manifest, rules_digest
        if key not in self._made:
            try:
                self._made[key] = self._make(self._manifest(manifest, rules_digest), rules_digest)
            except ManifestError as wrong:
                self._made[key] = PastRules(str(wrong), None)
        return self._made[key]

    def _manifest(self, digest: str, rules_digest: str) -> Manifest:
        text = chron.kept_text(self._path, manifests.KIND, digest)
        if text is None:
            raise ManifestError("the manifest of these rules was not kept")
        manifest = manifests.read(text, digest)
        if chron.rules_made_of(text) != rules_digest:
            raise ManifestError(manifests.OTHER_RULES)
        return manifest

    def _make(self, manifest: Manifest, rules_digest: str) -> PastRules:
        entries = (*manifest.texts, *manifest.narrowed_by)
        kept = ((entry.digest, chron.kept_text(self._path, entry.kind, entry.digest)) for entry in entries)
        texts = {name: text for name, text in kept if text is not None}
        try:
            policies: Policies | str = manifest.recompiled(texts, rules_digest)
        except (DocumentError, ManifestError) as wrong:
            policies = str(wrong).replace("\n", "; ")
        return PastRules(policies, dict(manifest.mappings))

    def mapping(self, digest: str) -> KeptRules | str:
        """Return the rules of a mapping text, or what is wrong with it."""
        if digest not in self._mappings:
            text = chron.kept_text(self._path, "mapping", digest)
            try:
                self._mappings[digest] = "its text was not kept" if text is None else KeptRules(text, digest)
            except DocumentError as wrong:
                self._mappings[digest] = str(wrong).replace("\n", "; ")
        return self._mappings[digest]
