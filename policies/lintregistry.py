"""What is wrong with agents, humans and organisations that load; pure.

agents.yaml:9:3: agent "ops-bot" is active and its human "alice@acme.test" is suspended; give it another human, ...
agents.yaml:4:3: human "bob@acme.test" ends on 2026-06-10; extend it in time
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from policies.lintchecks import Lint
from policies.lintsite import SiteView
from policies.values import Agent, Human, State, Token

SOON = timedelta(days=14)
"""How long before an end it is told."""


def lint_registry(site: SiteView) -> Iterator[Lint]:
    """Yield what is wrong with agents, humans and organisations."""
    for standing in site.standings:
        agent = standing.agent
        if agent.state is not State.ACTIVE:
            continue
        place, named = site.place("agents", agent.id), f'agent "{agent.id}"'
        human = standing.human.state_at(site.at)
        if human is not State.ACTIVE:
            told = (
                f'{named} is active and its human "{agent.anchor}" is {human.value}; give it another human, or stop it'
            )
            yield Lint("anchor-inactive", place, told)
        if not agent.pin:
            yield Lint("no-skill", place, f"{named} has no skill and is denied everything; give it one")
        yield from _pinned(site, agent, place)
    for kind, entries in (("agents", site.policies.agents), ("humans", site.policies.humans)):
        for name, entry in entries.items():
            if entry.state is State.ACTIVE:
                yield from _ending(site, kind, name, entry)
    for index, grant in enumerate(site.policies.boundaries.grants):
        if grant.until is not None and grant.until <= site.at:
            place = str(site.agents.place(["cross_grants", index]))
            day = grant.until.date().isoformat()
            told = f'the cross-grant of "{grant.of}" into "{grant.into}" ended on {day}; remove it, or extend it'
            yield Lint("cross-grant-ended", place, told)


def _pinned(site: SiteView, agent: Agent, place: str) -> Iterator[Lint]:
    name, _, version = agent.pin.partition("@")
    in_force = site.policies.in_force.get(("skill", name))
    if version and in_force is not None and str(in_force.version) != version:
        told = f'agent "{agent.id}" is pinned to "{agent.pin}" and version {in_force.version} is in force; move the pin'
        yield Lint("pinned-elsewhere", place, told)


def _ending(site: SiteView, kind: str, name: str, entry: Agent | Human) -> Iterator[Lint]:
    place, named = site.place(kind, name), f'{kind[:-1]} "{name}"'
    if entry.expires is not None and entry.expires <= site.at:
        day = entry.expires.date().isoformat()
        yield Lint("ended", place, f"{named} ended on {day}; revoke it, or give it another end")
    elif entry.expires is not None and entry.expires <= site.at + SOON:
        yield Lint("expires-soon", place, f"{named} ends on {entry.expires.date().isoformat()}; extend it in time")
    last = _last_token(entry.tokens, site.at)
    if last is not None and last <= site.at + SOON:
        day = last.date().isoformat()
        yield Lint("expires-soon", place, f'the last token of {named} ends on {day}; run "claiim {kind[:-1]} rotate"')


def _last_token(tokens: Sequence[Token], at: datetime) -> datetime | None:
    """Return when the last valid token ends; None when there is none, or one without an end."""
    ends = [token.expires for token in tokens if token.valid(at)]
    return max((end for end in ends if end is not None), default=None) if None not in ends else None
