"""Makes a set of policies again from what was written down of it: which texts it had, and which of them counted; pure.

Years later there are no files, no activations and no configuration any more: a roll and the kept texts are enough. The
set has the digest of the first one, or something is not as it was.

A set that was narrowed since (`policies.narrowing`) is made whole first, and then narrowed by the same registries.

    policy:no-prod@1:1:1: its kept text has another digest; run "claiim chron verify"
    skill:deploy-v2@3:1:1: its text was not kept
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mappings.documents import Document, Fault, Place, read_document
from policies.compiling import compile_policies
from policies.deciding import Policies
from policies.loading import REGISTRY_TIMES_LARGER
from policies.narrowing import narrowed
from policies.rulebook import Activations
from policies.values import PolicyError, Text


@dataclass(frozen=True, slots=True)
class Entry:
    """One text of a set."""

    kind: str
    """"skill", "policy" or "agents"."""
    id: str
    version: int
    """0 for the registry."""
    digest: str
    source: str
    """Where it was read, as the places of its lines begin."""
    usable: bool
    in_force: bool
    """Whether it counts where no version is named."""

    def __str__(self) -> str:
        return self.kind if self.kind == "agents" else f"{self.kind}:{self.id}@{self.version}"


def roll(policies: Policies) -> tuple[Entry, ...]:
    """Return what a set is made of."""
    counting = {(ref.kind, ref.id, ref.version) for ref in policies.in_force.values()}
    return tuple(_entry(text, counting) for text in policies.texts)


def roll_of_narrowing(policies: Policies) -> tuple[Entry, ...]:
    """Return the registries that a set was narrowed by, one after the other."""
    return tuple(_entry(text, ()) for text in policies.narrowed_by)


def _entry(text: Text, counting: Collection[tuple[str, str, int]]) -> Entry:
    version = int(text.version or 0)
    in_force = (text.kind, text.id, version) in counting
    return Entry(text.kind, text.id, version, text.digest, text.source, text.usable, in_force)


def recompile(entries: Sequence[Entry], texts: Mapping[str, str], narrowed_by: Sequence[Entry] = ()) -> Policies:
    """Return the set that these are the roll and the texts of, by digest; raise PolicyError when it cannot be made."""
    faults: list[Fault] = []
    read, narrowing = _documents(entries, texts, faults), _documents(narrowed_by, texts, faults)
    if faults:
        raise PolicyError(faults)
    agents = [document for entry, document in read if entry.kind == "agents"]
    if len(agents) != 1:
        raise PolicyError([Fault(Place("agents", 1, 1), "a set has one registry")])
    rules = [document for entry, document in read if entry.kind != "agents"]
    policies = compile_policies(agents[0], rules, activations=_activations(entries), kept=True)
    for _, registry in narrowing:
        policies = narrowed(policies, registry, kept=True)
    return policies


def _documents(entries: Sequence[Entry], texts: Mapping[str, str], faults: list[Fault]) -> list[tuple[Entry, Document]]:
    read = ((entry, _document(entry, texts, faults)) for entry in entries)
    return [(entry, document) for entry, document in read if document is not None]


def _document(entry: Entry, texts: Mapping[str, str], faults: list[Fault]) -> Document | None:
    place = Place(str(entry), 1, 1)
    if entry.digest not in texts:
        faults.append(Fault(place, "its text was not kept"))
        return None
    larger = REGISTRY_TIMES_LARGER if entry.kind == "agents" else 1
    document = read_document(texts[entry.digest], entry.source, error=PolicyError, times_larger=larger)
    # If this line is removed, whoever can write the file replays his own text.
    if document.digest != entry.digest:
        faults.append(Fault(place, 'its kept text has another digest; run "claiim chron verify"'))
    return document


def _activations(entries: Sequence[Entry]) -> Activations:
    """Return what puts exactly those in force that were, however that came about."""
    rules = [entry for entry in entries if entry.kind != "agents"]
    active = {(entry.kind, entry.id): (0, "") for entry in rules}
    active |= {(entry.kind, entry.id): (entry.version, entry.digest) for entry in rules if entry.in_force}
    approved = {(entry.kind, entry.id, entry.version, entry.digest) for entry in rules if entry.usable}
    return Activations(active, frozenset(approved), required=True)
