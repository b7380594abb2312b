"""Compiles skills and policies, one document at a time, and gathers what is wrong with them; pure.

A rulebook holds every version of every skill and policy that was read, and knows which version of each is in
force. A text that extends others is put together from them once all are read; nothing is ever taken away.

    b.yaml:1:8: skill "deploy-v2" version 1 is already defined at a.yaml:1:8; give it another version
    a.yaml:1:8: skill "deploy-v2" version 1 changed since it was first loaded; bump the version
    a.yaml:3:10: skill "base-v1" has no version 4; versions here: 1, 2
    a.yaml:3:10: skill "a" extends itself by way of "b"; take one of the two out
    a.yaml:9:3: this limit counts the same as the one on line 8; give it an "id" of its own, or keep one
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mappings.documents import Document, DocumentError, Fault, Place, read_document
from policies.reading import read_file
from policies.rules import TextRules
from policies.schema import MAX_EXTENDS, AgentEntry, AppliesTo, PolicyFile, SkillFile
from policies.textrules import Part, compile_text
from policies.values import PolicyError, Text, TextRef

type TextKey = tuple[str, str, int]
"""(kind, id, version)"""
type Seen = Mapping[TextKey, str]
"""The digest of the text that was first loaded under each version."""


@dataclass(frozen=True, slots=True)
class Activations:
    """Which versions were put in force by a recorded act; see `policies.versions`."""

    active: Mapping[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """(kind, id) -> version and digest, or (0, "") for what was put out of force; what is not in it has its
    highest version in force."""
    approved: frozenset[tuple[str, str, int, str]] = frozenset()
    """(kind, id, version, digest) of all that was ever activated."""
    required: bool = False
    """Whether what was never activated is out of force."""
    texts: Mapping[TextKey, str] = field(default_factory=dict)
    """Texts kept as evidence: one that is in force is obeyed from here when its file is gone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One version of one text, as it was read."""

    ref: TextRef
    document: Document
    file: SkillFile | PolicyFile


class Rulebook:
    """What the skill and policy documents define, and everything that is wrong with them."""

    def __init__(self, seen: Seen, complete: bool, activations: Activations | None = None) -> None:
        self.seen = seen
        self.complete = complete
        """False when some document could not be used: then a missing skill is no news."""
        self.activations = activations or Activations()
        self.faults: list[Fault] = []
        self.texts: list[Text] = []
        self.candidates: dict[tuple[str, str], dict[int, Candidate]] = {}
        """(kind, id) -> version -> text."""
        self._compiled: dict[TextRef, TextRules] = {}
        self._parts: dict[TextRef, list[Part]] = {}
        self._defined: dict[tuple[str, str, int], Place] = {}

    def fault(self, place: Place, message: str) -> None:
        """Note one thing that is wrong."""
        self.faults.append(Fault(place, message))

    def add(self, document: Document) -> None:
        """Take in one skill or policy."""
        keys = list(document.value) if isinstance(document.value, dict) else []
        try:
            if "skill" in keys:
                skill = read_file(document, SkillFile)
                self._register(document, skill, TextRef("skill", skill.skill, skill.version, document.digest))
            elif "policy" in keys:
                policy = read_file(document, PolicyFile)
                self._register(document, policy, TextRef("policy", policy.policy, policy.version, document.digest))
            else:
                self.complete = False
                near = next((key for key in keys if difflib.get_close_matches(key, ["skill", "policy"])), None)
                hint = f'found "{near}", ' if near else ""
                self.fault(document.place(), f'{hint}expected "skill: NAME" or "policy: NAME" to begin the file')
        except DocumentError as wrong:
            self.complete = False
            self.faults.extend(wrong.faults)

    def finish(self) -> None:
        """Look at what the texts say together; call once, after the last `add`."""
        for (kind, name), (version, _) in self.activations.active.items():
            self.recall(kind, name, version)
        for versions in self.candidates.values():
            for candidate in versions.values():
                self._compile(candidate)
        for (kind, name), (version, digest) in self.activations.active.items():
            found = self.candidates.get((kind, name), {}).get(version)
            if self.complete and version and (found is None or found.ref.digest != digest):
                self.faults.append(
                    Fault(
                        Place(f"{kind}:{name}", 1, 1),
                        f"version {version} is in force and its text is not here; put its file back or "
                        f'run "claiim policy activate" for another version',
                    )
                )

    def recall(self, kind: str, name: str, version: int) -> None:
        """Take in a version from the kept texts, and all that it extends, as far as no file has them."""
        # Otherwise whoever can remove a file removes a deny that was activated.
        wanted, looked_at = [(kind, name, version)], set[TextKey]()
        while wanted:
            key = kind, name, version = wanted.pop()
            if key in looked_at:
                continue
            looked_at.add(key)
            if version not in self.candidates.get((kind, name), {}) and key in self.activations.texts:
                source = f"chron:{kind}:{name}@{version}"
                self.add(read_document(self.activations.texts[key], source, error=PolicyError))
            found = self.candidates.get((kind, name), {}).get(version)
            for pin in found.file.extends if found else ():
                base, _, number = pin.partition("@")
                wanted.append((kind, base, int(number)))

    def _register(self, document: Document, file: SkillFile | PolicyFile, ref: TextRef) -> None:
        key = (ref.kind, ref.id, ref.version)
        place = document.place([ref.kind])
        named = f'{ref.kind} "{ref.id}" version {ref.version}'
        if key in self._defined:
            self.fault(place, f"{named} is already defined at {self._defined[key]}; give it another version")
        self._defined[key] = place
        if self.seen.get(key, ref.digest) != ref.digest:
            self.fault(place, f"{named} changed since it was first loaded; bump the version")
        if isinstance(file, PolicyFile) and not _says_something(file):
            self.fault(document.place(), f'policy "{ref.id}" forbids nothing; give it "deny" or "allow"')
        self._limits(document, file)
        candidate = Candidate(ref, document, file)
        usable = self.usable(candidate)
        self.texts.append(Text(ref.kind, ref.id, str(ref.version), ref.digest, document.text, document.source, usable))
        self.candidates.setdefault((ref.kind, ref.id), {})[ref.version] = candidate

    def _limits(self, document: Document, file: SkillFile | PolicyFile) -> None:
        first: dict[str, int] = {}
        for index, entry in enumerate(file.limits):
            if first.setdefault(entry.name, index) != index:
                line = document.place(["limits", first[entry.name]]).line
                message = (
                    f'this limit counts the same as the one on line {line}; give it an "id" of its own, or keep one'
                )
                self.fault(document.place(["limits", index]), message)

    # --- versions ---

    @property
    def refs(self) -> list[TextRef]:
        """Every version that was read, sorted."""
        found = [candidate.ref for versions in self.candidates.values() for candidate in versions.values()]
        return sorted(found, key=lambda ref: (ref.kind, ref.id, ref.version))

    def in_force(self, kind: str, name: str) -> Candidate | None:
        """Return the version of a text that counts where none is named; None when none does."""
        versions = self.candidates.get((kind, name), {})
        if not versions:
            return None
        active = self.activations.active.get((kind, name))
        if active is not None:
            return versions.get(active[0])
        return None if self.activations.required else versions[max(versions)]

    def usable(self, candidate: Candidate) -> bool:
        """Say whether a version that is named may count: with activation required, only what was activated."""
        ref = candidate.ref
        return not self.activations.required or (ref.kind, ref.id, ref.version, ref.digest) in self.activations.approved

    def unusable(self) -> list[TextRef]:
        """Return the versions that may not count even where they are named."""
        every = (candidate for versions in self.candidates.values() for candidate in versions.values())
        return [candidate.ref for candidate in every if not self.usable(candidate)]

    @property
    def policies(self) -> list[Candidate]:
        """The policies in force, in the order of their names."""
        names = sorted(name for kind, name in self.candidates if kind == "policy")
        return [found for name in names if (found := self.in_force("policy", name)) is not None]

    def rules(self, candidate: Candidate) -> TextRules:
        """Return a text's compiled rules."""
        return self._compiled[candidate.ref]

    # --- composition ---

    def _compile(self, candidate: Candidate) -> None:
        parts: list[Part] = []
        self._parts[candidate.ref] = parts
        self._gather(candidate, parts, (candidate.ref,))
        self._compiled[candidate.ref] = compile_text(parts)

    def parts(self, candidate: Candidate) -> Sequence[Part]:
        """Return the texts that a text is put together from, itself first."""
        return self._parts[candidate.ref]

    def _gather(self, candidate: Candidate, parts: list[Part], through: tuple[TextRef, ...]) -> None:
        """Put a text and all that it extends behind `parts`, each once."""
        if any(part.ref == candidate.ref for part in parts):
            return
        parts.append(Part(candidate.ref, candidate.document, candidate.file))
        for index, pin in enumerate(candidate.file.extends):
            place = candidate.document.place(["extends", index])
            base = self._extended(candidate, pin, place)
            if base is None:
                continue
            if base.ref in through:
                way = f' by way of "{through[-1].id}"' if len(through) > 1 else ""
                self.fault(place, f'{base.ref.kind} "{base.ref.id}" extends itself{way}; take one of the two out')
                continue
            if len(through) > MAX_EXTENDS:
                self.fault(place, f"more than {MAX_EXTENDS} texts stand one upon the other here; extend fewer")
                return
            self._gather(base, parts, (*through, base.ref))

    def _extended(self, candidate: Candidate, pin: str, place: Place) -> Candidate | None:
        kind, (name, _, version) = candidate.ref.kind, pin.partition("@")
        versions = self.candidates.get((kind, name))
        if versions is not None and int(version) in versions:
            base = versions[int(version)]
            if base.file.until is not None:
                # Its end would change, on that day, what a text says that nobody touched.
                remedy = "put that date on its lines, or on the texts that extend it"
                self.fault(place, f'{kind} "{name}" version {version} ends by itself and cannot be extended; {remedy}')
            return base
        if self.complete:  # else it may stand in the file that could not be read
            self.fault(place, self.missing(kind, name, int(version)))
        return None

    def missing(self, kind: str, name: str, version: int) -> str:
        """Say that a text, or a version of it (0: any), does not exist."""
        versions = self.candidates.get((kind, name))
        if versions is None:
            known = [other for each, other in self.candidates if each == kind]
            near = difflib.get_close_matches(name, known, n=1)
            return f'{kind} "{name}" does not exist; ' + (
                f'did you mean "{near[0]}"' if near else "write one that does"
            )
        listed = ", ".join(str(number) for number in sorted(versions))
        return f'{kind} "{name}" has no version {version}; versions here: {listed}'


def applies(to: AppliesTo, entry: AgentEntry) -> bool:
    """Say whether a policy is about this agent."""
    # The globs hold letters, digits, "._-" and "*" only, so fnmatch's "?" and "[" never come up.
    return (
        _among(entry.id, to.agents)
        and _among(entry.org, to.orgs)
        and all(_among(entry.labels.get(label, ""), globs) for label, globs in to.labels.items())
    )


def _among(name: str, globs: Iterable[str]) -> bool:
    return bool(name) and any(fnmatchcase(name, glob) for glob in globs)


def _says_something(file: PolicyFile) -> bool:
    lists = (file.deny, file.approve, file.require, file.limits, file.redact, file.extends)
    return file.has_allow_list or any(lists)
