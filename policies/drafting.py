"""Puts drafts in the place of the texts that are in force, to see what they would do before they are; pure.

A draft replaces the text of its kind and name: its version counts from then on where none is pinned, whatever the
other versions are. A version that was loaded before with another text is refused here as everywhere:

    drafts/deploy-v2.yaml:1:8: skill "deploy-v2" version 1 changed since it was first loaded; bump the version
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mappings.documents import Document, DocumentError, Fault
from policies.compiling import compile_policies
from policies.deciding import Policies
from policies.reading import read_file
from policies.rulebook import Activations, Seen
from policies.schema import PolicyFile, SkillFile
from policies.values import PolicyError, TextRef


@dataclass(frozen=True, slots=True)
class Drafted:
    """Texts with the drafts among them."""

    policies: Policies
    drafts: tuple[TextRef, ...]
    """The versions that are tried, by name; all texts in force when there is no draft."""

    @property
    def pinned(self) -> list[tuple[str, str, TextRef]]:
        """Agents that a drafted skill is not for, since they pin another version: agent, pin and draft."""
        skills = {ref.id: ref for ref in self.drafts if ref.kind == "skill"}
        agents = sorted(self.policies.agents.values(), key=lambda agent: agent.id)
        return [
            (agent.id, agent.pin, skills[agent.skill.id])
            for agent in agents
            if agent.skill is not None and agent.skill.id in skills and agent.skill != skills[agent.skill.id]
        ]


def compile_drafts(
    agents: Document,
    texts: Iterable[Document],
    drafts: Sequence[Document],
    *,
    seen: Seen | None = None,
    activations: Activations | None = None,
) -> Drafted:
    """Return what holds once the drafts are in force; raise PolicyError with every fault."""
    tried = _references(drafts)
    replaced = {(ref.kind, ref.id, ref.version) for ref in tried}
    kept = [text for text in texts if _version(reference(text)) not in replaced]
    in_force = _in_force(activations or Activations(), tried)
    policies = compile_policies(agents, [*kept, *drafts], seen=seen, activations=in_force)
    named = tried or sorted(policies.in_force.values(), key=str)
    return Drafted(policies, tuple(sorted(named, key=lambda ref: (ref.kind, ref.id, ref.version))))


def _version(ref: TextRef | None) -> tuple[str, str, int] | None:
    return None if ref is None else (ref.kind, ref.id, ref.version)


def _in_force(now: Activations, drafts: Iterable[TextRef]) -> Activations:
    """Return the activations as if the highest version of each draft had been activated."""
    newest: dict[tuple[str, str], TextRef] = {}
    for ref in sorted(drafts, key=lambda ref: ref.version):
        newest[ref.kind, ref.id] = ref
    active = {key: (ref.version, ref.digest) for key, ref in newest.items()}
    approved = {(ref.kind, ref.id, ref.version, ref.digest) for ref in newest.values()}
    return replace(now, active={**now.active, **active}, approved=now.approved | approved)


def _references(drafts: Iterable[Document]) -> list[TextRef]:
    faults: list[Fault] = []
    found = []
    for draft in drafts:
        try:
            ref = reference(draft)
        except DocumentError as wrong:
            faults.extend(wrong.faults)
            continue
        if ref is None:
            faults.append(Fault(draft.place(), 'expected "skill: NAME" or "policy: NAME" to begin the file'))
        else:
            found.append(ref)
    if faults:
        raise PolicyError(faults)
    return found


def reference(document: Document) -> TextRef | None:
    """Return which version of which text a document is, None when it is none; raise PolicyError for its faults."""
    keys = document.value if isinstance(document.value, dict) else {}
    if "skill" in keys:
        skill = read_file(document, SkillFile)
        return TextRef("skill", skill.skill, skill.version, document.digest)
    if "policy" in keys:
        policy = read_file(document, PolicyFile)
        return TextRef("policy", policy.policy, policy.version, document.digest)
    return None
