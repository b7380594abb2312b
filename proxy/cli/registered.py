"""Agents, humans and organisations as they are shown: by what counts now, not only by what is written."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from policies import Agent, Human, Organisation, Policies
from policies.values import Token, written_moment
from proxy.cli.options import print_json
from proxy.cli.tables import print_table

type Described = Mapping[str, Any]


def describe_agent(one: Agent, policies: Policies, at: datetime) -> Described:
    """Everything about an agent but its tokens' hashes."""
    return {
        "agent": one.id,
        "state": one.state_at(at).value,
        "anchor": one.anchor,
        "anchor_state": policies.humans[one.anchor].state_at(at).value,
        "org": one.org,
        "skill": str(one.skill or "-"),
        "policies": [str(ref) for ref in one.policies],
        "mode": one.mode.value,
        "expires": written_moment(one.expires),
        "labels": [f"{label}={value}" for label, value in sorted(one.labels.items())],
        "identities": list(one.identities),
        "tokens": _valid(one.tokens, at),
        "token_ends": [_end(token, at) for token in one.tokens],
        "created": one.created,
    }


def describe_human(one: Human, policies: Policies, at: datetime) -> Described:
    """Everything about a human but the tokens' hashes."""
    return {
        "human": one.id,
        "state": one.state_at(at).value,
        "name": one.name,
        "org": one.org,
        "expires": written_moment(one.expires),
        "agents": sorted(agent.id for agent in policies.agents.values() if agent.anchor == one.id),
        "tokens": _valid(one.tokens, at),
        "token_ends": [_end(token, at) for token in one.tokens],
    }


def describe_organisation(one: Organisation, policies: Policies) -> Described:
    """An organisation, who belongs to it, and where its agents may act besides."""
    return {
        "organisation": one.id,
        "state": one.state.value,
        "name": one.name,
        "owns": list(one.owns),
        "humans": sorted(human.id for human in policies.humans.values() if human.org == one.id),
        "agents": sorted(agent.id for agent in policies.agents.values() if agent.org == one.id),
        "grants": [
            f"{','.join(grant.agents)} in {grant.into}: {', '.join(grant.actions)}"
            + (f" until {written_moment(grant.until)}" if grant.until else "")
            for grant in policies.boundaries.grants
            if grant.of == one.id
        ],
    }


def _valid(tokens: Sequence[Token], at: datetime) -> int:
    return sum(token.valid(at) for token in tokens)


def _end(token: Token, at: datetime) -> str:
    if token.expires is None:
        return "no end"
    return f"{'until' if token.valid(at) else 'ended'} {written_moment(token.expires)}"


def show(described: Described, as_json: bool) -> None:
    """Print one of them, a line for each thing that there is to say."""
    if as_json:
        print_json(described)
        return
    for key, value in described.items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{key:<12} {shown}".rstrip())


def show_all(described: Sequence[Described], columns: Sequence[str], as_json: bool) -> None:
    """Print several of them as a table; a list in it is shown by how long it is."""
    if as_json:
        print_json(described)
        return
    rows = ([len(one[name]) if isinstance(one[name], list) else one[name] for name in columns] for one in described)
    print_table(columns, rows)


def now() -> datetime:
    """The time by which states are shown."""
    return datetime.now(UTC)
