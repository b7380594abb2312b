"""Compiles skills and policies, one document at a time, and gathers what is wrong with them; pure.

A rulebook holds every version of every skill and the one version of each policy that is in force.

    b.yaml:1:8: skill "deploy-v2" version 1 is already defined at a.yaml:1:8; give it another version
    a.yaml:1:8: skill "deploy-v2" version 1 changed since it was first loaded; bump the version
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from mappings.documents import Document, DocumentError, Fault, Place, parse
from policies.patterns import Matcher
from policies.schema import PolicyFile, SkillFile
from policies.standing import Finding, PolicyRules, SkillRules
from policies.values import Outcome, PolicyError, Text, TextRef

type Seen = Mapping[tuple[str, str, int], str]
"""(kind, id, version) -> digest of the text that was first loaded under that version."""


class Rulebook:
    """What the skill and policy documents define, and everything that is wrong with them."""

    def __init__(self, seen: Seen, complete: bool) -> None:
        self.seen = seen
        self.complete = complete
        """False when some document could not be used: then a missing skill is no news."""
        self.faults: list[Fault] = []
        self.skills: dict[str, dict[int, SkillRules]] = {}
        self.policies: dict[str, PolicyRules] = {}
        self.texts: list[Text] = []
        self._defined: dict[tuple[str, str, int], Place] = {}

    def fault(self, place: Place, message: str) -> None:
        """Note one thing that is wrong."""
        self.faults.append(Fault(place, message))

    def add(self, document: Document) -> None:
        """Take in one skill or policy."""
        keys = list(document.value) if isinstance(document.value, dict) else []
        try:
            if "skill" in keys:
                self._add_skill(document, parse(document, SkillFile, error=PolicyError))
            elif "policy" in keys:
                self._add_policy(document, parse(document, PolicyFile, error=PolicyError))
            else:
                self.complete = False
                near = next((key for key in keys if difflib.get_close_matches(key, ["skill", "policy"])), None)
                hint = f'found "{near}", ' if near else ""
                self.fault(document.place(), f'{hint}expected "skill: NAME" or "policy: NAME" to begin the file')
        except DocumentError as wrong:
            self.complete = False
            self.faults.extend(wrong.faults)

    def _add_skill(self, document: Document, file: SkillFile) -> None:
        ref = TextRef("skill", file.skill, file.version, document.digest)
        self._register(document, ref)
        lists = _Lists(document, f"skill:{file.skill}", "skill", None)
        self.skills.setdefault(file.skill, {})[file.version] = SkillRules(
            ref=ref,
            deny=lists.denials(file.deny),
            allow=lists.allowances(file.allow),
            not_allowed=lists.not_allowed(),
        )

    def _add_policy(self, document: Document, file: PolicyFile) -> None:
        ref = TextRef("policy", file.policy, file.version, document.digest)
        self._register(document, ref)
        if not file.deny and not file.has_allow_list:
            self.fault(document.place(), f'policy "{file.policy}" forbids nothing; give it "deny" or "allow"')
        lists = _Lists(document, f"policy:{file.policy}", "policy", ref)
        other = self.policies.get(file.policy)
        if other is not None and other.ref.version != file.version:
            self.fault(
                document.place(["policy"]),
                f'policy "{file.policy}" stands here as version {file.version} and elsewhere as version '
                f"{other.ref.version}; only one version can be in force, remove the other file",
            )
        self.policies[file.policy] = PolicyRules(
            ref=ref,
            mode=file.mode,
            deny=lists.denials(file.deny),
            allow=lists.allowances(file.allow) if file.has_allow_list else None,
            not_allowed=lists.not_allowed(),
            agents=file.applies_to.agents,
            orgs=file.applies_to.orgs,
        )

    def _register(self, document: Document, ref: TextRef) -> None:
        key = (ref.kind, ref.id, ref.version)
        place = document.place([ref.kind])
        named = f'{ref.kind} "{ref.id}" version {ref.version}'
        if key in self._defined:
            remedy = "give it another version" if ref.kind == "skill" else "remove one of the two"
            self.fault(place, f"{named} is already defined at {self._defined[key]}; {remedy}")
        self._defined[key] = place
        if self.seen.get(key, ref.digest) != ref.digest:
            self.fault(place, f"{named} changed since it was first loaded; bump the version")
        self.texts.append(Text(ref.kind, ref.id, str(ref.version), ref.digest, document.text))


class _Lists:
    """Makes the findings of one text's allow and deny lists."""

    def __init__(self, document: Document, subject: str, stage: str, policy: TextRef | None) -> None:
        self._document = document
        self._subject = subject
        self._stage = stage
        self._policy = policy

    def denials(self, patterns: Sequence[str]) -> Matcher[Finding]:
        return Matcher(self._rules("deny", patterns, Outcome.DENY), allow=False)

    def allowances(self, patterns: Sequence[str]) -> Matcher[Finding]:
        return Matcher(self._rules("allow", patterns, Outcome.ALLOW), allow=True)

    def not_allowed(self) -> Finding:
        """Return what it means that no allow pattern matched."""
        return Finding(
            Outcome.DENY,
            self._stage,
            f"{self._subject} -- action not in allow list",
            f"{self._stage}.not-in-allow-list",
            rule=str(self._document.key_place(["allow"])),
            policy=self._policy,
        )

    def _rules(self, kind: str, patterns: Sequence[str], outcome: Outcome) -> Iterator[tuple[str, Finding]]:
        code = "denied" if outcome is Outcome.DENY else "allowed"
        for index, pattern in enumerate(patterns):
            yield (
                pattern,
                Finding(
                    outcome,
                    self._stage,
                    f"{self._subject} -- action in {kind} list",
                    f"{self._stage}.{code}",
                    rule=str(self._document.place([kind, index])),
                    pattern=pattern,
                    policy=self._policy,
                ),
            )
