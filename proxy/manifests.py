"""The manifest of the rules in force: which texts they were made of, by digest, and which of those counted.

It is kept in the Chron like the texts, and each load of rules names it, so that a copy of the log is enough to make the
rules of any past decision again:

    {"version": 1, "mappings": [["pack:github", "5e0f..."], ...], "texts": [{"kind": "skill", "id": "deploy-v2",
     "version": 3, "digest": "77aa...", "source": "policies/deploy-v2.yaml", "usable": true, "in_force": true}, ...]}

That of a narrowed set (`policies.narrowing`) has version 2, says what the set it came from was made of, and then which
registries took something away, one after the other: "narrowed_by": [{"kind": "agents", ...}, ...].

The digest of the rules that stands in each decision says whether they are the same rules. How it follows from a
manifest stands in `chron.ruletexts`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from chron.reading import Record
from mappings import Mappings
from mappings.mapping import digest_of as digest_of_mappings
from policies import Policies
from policies.recompiling import Entry, recompile, roll, roll_of_narrowing

KIND = "rules"
"""Of the kept text."""
OTHER_RULES = "the manifest and its texts do not make the rules that the record names"
_WHOLE, _NARROWED = 1, 2
"""Versions."""


class ManifestError(Exception):
    """The rules cannot be made again; the message says what is wrong with the log."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a set of rules is made of."""

    mappings: tuple[tuple[str, str], ...]
    """Id and digest of each mapping text."""
    texts: tuple[Entry, ...]
    narrowed_by: tuple[Entry, ...] = ()
    """The registries that took something away since."""

    @property
    def registries(self) -> tuple[str, ...]:
        """The digests of its registry and of those that took something away since."""
        return tuple(entry.digest for entry in (*self.texts, *self.narrowed_by) if entry.kind == "agents")

    def recompiled(self, texts: Mapping[str, str], rules_digest: str) -> Policies:
        """Return the policies, made of these texts by digest; raise DocumentError or ManifestError."""
        policies = recompile(self.texts, texts, self.narrowed_by)
        # If this line is removed, texts that were never in force together may be replayed as if they had been.
        if digest_of_rules(digest_of_mappings(self.mappings), policies.digest) != rules_digest:
            raise ManifestError(OTHER_RULES)
        return policies


def digest_of_rules(mappings: str, policies: str) -> str:
    """Return the digest of the rules that mappings and policies with these digests are."""
    return hashlib.sha256(f"{mappings}\n{policies}".encode()).hexdigest()


def written(mappings: Mappings, policies: Policies) -> str:
    """Return the manifest as it is kept."""
    content: dict[str, object] = {
        "version": _WHOLE,
        "mappings": sorted((text.id, text.digest) for text in mappings.texts),
        "texts": [asdict(entry) for entry in roll(policies)],
    }
    if policies.narrowed_by:
        narrowed_by = [asdict(entry) for entry in roll_of_narrowing(policies)]
        content |= {"version": _NARROWED, "narrowed_by": narrowed_by}
    # ASCII: the name of a file need not be Unicode.
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


def digest_of(text: str) -> str:
    """Return the digest that a manifest is kept and named by."""
    return hashlib.sha256(text.encode()).hexdigest()


def read(text: str, digest: str) -> Manifest:
    """Return a kept manifest; raise ManifestError when it is not the one of this digest."""
    if digest_of(text) != digest:
        raise ManifestError('the kept manifest has another digest; run "claiim chron verify"')
    content = json.loads(text)
    if content.get("version") not in (_WHOLE, _NARROWED):
        raise ManifestError("the manifest was written by a later version; use the claiim that wrote it")
    mappings = tuple((str(id_), str(text_digest)) for id_, text_digest in content["mappings"])
    texts, narrowed_by = (tuple(Entry(**each) for each in content.get(key, ())) for key in ("texts", "narrowed_by"))
    return Manifest(mappings, texts, narrowed_by)


def registries_of(record: Record, kept: Callable[[str], str | None]) -> tuple[str, ...]:
    """Return the digests of the registry of the rules that a record puts in force, and of those that took something
    away since; none when the manifest that says so is not kept any more."""
    if record.text("event") != "narrowed":
        return (record.text("agents_digest"),)
    digest = record.text("manifest")
    try:
        return read(kept(digest) or "", digest).registries
    except ManifestError:
        return ()
