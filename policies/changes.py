"""What changed in the registry from one load to the next, as events to be recorded; pure.

A file edited by hand and a command leave the same trace, since both are seen here, by what is loaded:

    agent deploy-bot        suspended         from_state active, to_state suspended
    agent deploy-bot        transferred       from_anchor alice@acme.test, to_anchor bob@acme.test
    agent deploy-bot        tokens-changed    tokens_before 1, tokens_after 2, tokens_new 1
    human alice@acme.test   removed
    organisation acme       grant-added       into globex, actions deploy:*

Of tokens only numbers are told. A registry that was kept as evidence has lost its tokens' hashes; compared with such a
one, a token that took another's place does not show here, but in `tokens_digest`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mappings.documents import DocumentError, read_document
from policies.compiling import compile_what_is_there
from policies.deciding import Policies
from policies.loading import REGISTRY_TIMES_LARGER
from policies.narrowing import narrowed
from policies.values import Agent, CrossGrant, Human, Organisation, PolicyError, State, Text, Token, written_moment

type Kind = Literal["organisation", "human", "agent"]
type Facts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that happened to one agent, human or organisation."""

    kind: Kind
    event: str
    fields: Mapping[str, str | int]
    """Flat, as they are recorded: whom it happened to, and what was before and after."""


_OF_STATE = {
    State.ACTIVE: "resumed",
    State.PENDING: "set-pending",
    State.SUSPENDED: "suspended",
    State.REVOKED: "revoked",
    State.EXPIRED: "expired",
}
_OF_FACT = {
    "anchor": "transferred",
    "org": "moved",
    "skill": "re-skilled",
    "mode": "mode-changed",
    "expires": "expiry-changed",
    "labels": "labels-changed",
    "name": "renamed",
    "owns": "targets-changed",
}


def changes(before: Policies | None, after: Policies) -> list[Change]:
    """Return what happened between two loads, in a fixed order; without a `before` everything was added."""
    found: list[Change] = []
    old_organisations = {} if before is None else before.organisations
    old_humans = {} if before is None else before.humans
    old_agents = {} if before is None else before.agents
    for name in _names(old_organisations, after.organisations):
        found += _organisation(old_organisations.get(name), after.organisations.get(name))
    found += _grants(() if before is None else before.boundaries.grants, after.boundaries.grants)
    for name in _names(old_humans, after.humans):
        found += _human(old_humans.get(name), after.humans.get(name))
    for name in _names(old_agents, after.agents):
        found += _agent(old_agents.get(name), after.agents.get(name))
    return found


def registered(*texts: str) -> Policies | None:
    """Return what was in force of a registry, without any rules; None when that cannot be read any more.

    `texts` are, as they were kept, the registry that was loaded and those that took something away since.
    """
    try:
        read = [read_document(text, "agents", error=PolicyError, times_larger=REGISTRY_TIMES_LARGER) for text in texts]
        if not read:
            return None
        policies = compile_what_is_there(read[0], (), complete=False)[0]
        for document in read[1:]:
            policies = policies and narrowed(policies, document, kept=True)
    except DocumentError:
        return None
    return policies


def agents_text(policies: Policies) -> Text:
    """Return the text of the registry as it is kept, without its tokens."""
    return next(text for text in policies.texts if text.kind == "agents")


def tokens_digest(policies: Policies) -> str:
    """Return what changes with every token of the registry and tells none of them."""
    owned = [f"agent {one.id} {token.sha256}" for one in policies.agents.values() for token in one.tokens]
    owned += [f"human {one.id} {token.sha256}" for one in policies.humans.values() for token in one.tokens]
    return hashlib.sha256("\n".join(sorted(owned)).encode()).hexdigest()


def _names(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return sorted({*before, *after})


def _organisation(before: Organisation | None, after: Organisation | None) -> Iterator[Change]:
    def facts(one: Organisation) -> Facts:
        return {"name": one.name, "owns": " ".join(one.owns)}

    one = after or before
    if one is not None:
        who = {"organisation": one.id}
        yield from _told("organisation", who, before, after, facts)


def _human(before: Human | None, after: Human | None) -> Iterator[Change]:
    # Not their name: a record stays for good, and a person has a right to be forgotten.
    def facts(one: Human) -> Facts:
        return {"org": one.org, "expires": written_moment(one.expires)}

    one = after or before
    if one is not None:
        who = {"human": one.id, "org": one.org}
        yield from _told("human", who, before, after, facts)
        if before is not None and after is not None:
            yield from _tokens("human", who, before.tokens, after.tokens)


def _agent(before: Agent | None, after: Agent | None) -> Iterator[Change]:
    def facts(one: Agent) -> Facts:
        return {
            "anchor": one.anchor,
            "org": one.org,
            "skill": one.pin,
            "mode": one.mode.value,
            "expires": written_moment(one.expires),
            "labels": " ".join(f"{label}={value}" for label, value in sorted(one.labels.items())),
        }

    one = after or before
    if one is not None:
        who = {"agent": one.id, "anchor": one.anchor, "org": one.org}
        yield from _told("agent", who, before, after, facts)
        if before is not None and after is not None:
            yield from _tokens("agent", who, before.tokens, after.tokens)
            yield from _identities(who, before.identities, after.identities)


def _told[T: (Organisation, Human, Agent)](
    kind: Kind, who: Facts, before: T | None, after: T | None, facts: Callable[[T], Facts]
) -> Iterator[Change]:
    """Yield what happened to the facts that are texts: one event for each that is another now."""
    if after is None:
        yield Change(kind, "removed", who)
        return
    now = facts(after)
    if before is None:
        yield Change(
            kind, "added", {**{name: text for name, text in now.items() if text}, **who, "state": after.state.value}
        )
        return
    if before.state is not after.state:
        event = "activated" if before.state is State.PENDING and after.state is State.ACTIVE else _OF_STATE[after.state]
        yield Change(kind, event, {**who, "from_state": before.state.value, "to_state": after.state.value})
    was = facts(before)
    for name, text in now.items():
        if was[name] != text:
            yield Change(kind, _OF_FACT[name], {**who, f"from_{name}": was[name], f"to_{name}": text})


def _tokens(kind: Kind, who: Facts, before: Sequence[Token], after: Sequence[Token]) -> Iterator[Change]:
    def known(tokens: Sequence[Token]) -> Counter[tuple[str, datetime | None]]:
        return Counter((token.sha256, token.expires) for token in tokens)

    if known(before) == known(after):
        return
    new = Counter(token.sha256 for token in after) - Counter(token.sha256 for token in before)
    numbers = {"tokens_before": len(before), "tokens_after": len(after), "tokens_new": new.total()}
    yield Change(kind, "tokens-changed", {**who, **numbers})


def _identities(who: Facts, before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    new, gone = sorted({*after} - {*before}), sorted({*before} - {*after})
    if new or gone:
        yield Change("agent", "identities-changed", {**who, "added": " ".join(new), "removed": " ".join(gone)})


def _grants(before: Sequence[CrossGrant], after: Sequence[CrossGrant]) -> Iterator[Change]:
    for event, grants in (("grant-removed", {*before} - {*after}), ("grant-added", {*after} - {*before})):
        for grant in sorted(grants, key=str):
            fields = {
                "organisation": grant.of,
                "into": grant.into,
                "agents": " ".join(grant.agents),
                "actions": " ".join(grant.actions),
                "until": written_moment(grant.until),
            }
            yield Change("organisation", event, {name: text for name, text in fields.items() if text})
