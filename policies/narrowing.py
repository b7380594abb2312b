"""Takes away what a registry takes away, when the rest of the rules cannot be loaded.

Stopping somebody must not wait for a typing error in some policy to be found. `narrowed` applies to the set in force
what a new registry forbids and nothing that it permits: states that are no longer active, ends that are nearer,
tokens and identities that are gone, agents and grants that are gone. Whatever it is given, nobody may do more
than before.

    bob suspended, and a new agent added        bob's agents stop; the new agent waits for the next whole load

A narrowed set has a digest of its own, over that of the set it came from and that of the registry's text as it is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from mappings.documents import Document, DocumentError, parse
from policies.conditionschema import moment
from policies.deciding import Policies
from policies.nameless import registry_text
from policies.schema import AgentEntry, AgentsFile, HumanEntry, OrganisationEntry, TokenEntry
from policies.standing import Boundaries, Standing
from policies.values import Agent, CrossGrant, Human, Organisation, PolicyError, State, Token


class NarrowedError(DocumentError):
    """The rules cannot be loaded, and what the registry takes away counts all the same; its text says every fault."""

    def __init__(self, faults: str) -> None:
        super().__init__(())
        self.args = (faults,)


def narrowed(policies: Policies, document: Document, *, kept: bool = False) -> Policies:
    """Return the policies with what the registry in `document` takes away; raise PolicyError when it is none.

    A `kept` registry is evidence: its digest is that of its text as it is.
    """
    file = parse(document, AgentsFile, error=PolicyError)
    humans = {entry.id: entry for entry in file.humans}
    agents = {entry.id: entry for entry in file.agents}
    boundaries = _boundaries(policies.boundaries, file)
    people = {name: _human(human, humans.get(name)) for name, human in policies.humans.items()}
    standings = {
        name: _standing(standing, agents[name], people, boundaries)
        for name, standing in policies.standings.items()
        if name in agents
    }
    by = registry_text(document, file, kept=kept)
    # Recorded decisions name this digest: were it made otherwise one day, no replay of an older log would find its set.
    digest = hashlib.sha256(f"narrowed\n{policies.digest}\n{by.digest}".encode()).hexdigest()
    narrowed_by = (*policies.narrowed_by, by)
    return Policies(standings, people, boundaries, policies.texts, digest, policies.in_force, narrowed_by)


def _standing(standing: Standing, entry: AgentEntry, people: Mapping[str, Human], boundaries: Boundaries) -> Standing:
    agent = standing.agent
    less = replace(
        agent,
        state=_state(agent, entry),
        expires=_sooner(agent.expires, entry.expires),
        tokens=_tokens(agent.tokens, entry.tokens),
        identities=tuple(each for each in agent.identities if each in entry.identities),
    )
    return replace(standing, agent=less, human=people[standing.human.id], boundaries=boundaries)


def _human(human: Human, entry: HumanEntry | None) -> Human:
    if entry is None:  # nobody answers any more
        return replace(human, state=State.REVOKED, tokens=())
    return replace(
        human,
        state=_state(human, entry),
        expires=_sooner(human.expires, entry.expires),
        tokens=_tokens(human.tokens, entry.tokens),
    )


def _boundaries(boundaries: Boundaries, file: AgentsFile) -> Boundaries:
    written = {entry.id: entry for entry in file.organisations}
    organisations = {
        name: replace(one, state=_state(one, written[name])) if name in written else replace(one, state=State.REVOKED)
        for name, one in boundaries.organisations.items()
    }
    left = {
        CrossGrant(entry.of, entry.into, entry.agents, entry.actions, _moment(entry.until))
        for entry in file.cross_grants
    }
    return Boundaries(organisations, [grant for grant in boundaries.grants if grant in left])


def _state(held: Agent | Human | Organisation, entry: AgentEntry | HumanEntry | OrganisationEntry) -> State:
    return held.state if entry.state is State.ACTIVE else entry.state if held.state is State.ACTIVE else held.state


def _sooner(held: datetime | None, written: str | None) -> datetime | None:
    return min(filter(None, (held, _moment(written))), default=None)


def _tokens(held: Iterable[Token], entries: Iterable[str | TokenEntry]) -> tuple[Token, ...]:
    written = {entry if isinstance(entry, str) else entry.sha256: entry for entry in entries}
    kept = []
    for token in held:
        entry = written.get(token.sha256)
        if entry is not None:
            end = entry.expires if isinstance(entry, TokenEntry) else None
            kept.append(replace(token, expires=_sooner(token.expires, end)))
    return tuple(kept)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else moment(text)
