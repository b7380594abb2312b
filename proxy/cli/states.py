"""The verbs that agents, humans and organisations share: suspend, resume, revoke, and a new token."""

from datetime import UTC, datetime
from pathlib import Path

import click

from policies import Agent, Human, Policies, State, token_digest
from policies.registry import HUMAN_TOKEN_PREFIX, NEVER, TOKEN_PREFIX, new_token, set_state, set_token
from policies.registryfile import Kind
from policies.values import Token, written_moment
from proxy.activations import registry_sources
from proxy.cli.announcing import announce, show_token, tell
from proxy.cli.moments import coming
from proxy.cli.options import config_option, json_option, located_errors
from proxy.configloading import load_config

_PREFIXES = {"agents": TOKEN_PREFIX, "humans": HUMAN_TOKEN_PREFIX}


def end_of(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | str | None:
    """As `coming`, or "never"."""
    return NEVER if value == NEVER else coming(ctx, param, value)


def change_state(
    kind: Kind, noun: str, name: str, state: State, as_json: bool, config_path: Path | None,
    expires: datetime | str | None = None,
) -> Policies | None:  # fmt: skip
    """Write a state, say it, and announce it.

    None when the rules do not load as they are, which keeps nobody from being stopped.
    """
    config = load_config(config_path)
    policies = set_state(config.agents, registry_sources(config), name, state, kind=kind, expires=expires)
    tell(config, noun, name, as_json, state=state.value)
    one = None if policies is None else _holder(policies, kind, name)
    if state is State.ACTIVE and one is not None and one.state_at(datetime.now(UTC)) is State.EXPIRED:
        remedy = f'"claiim {noun} resume {name} --expires never", or another end'
        click.echo(f"{noun} {name} has expired all the same; {remedy}", err=True)
    return policies


def _holder(policies: Policies, kind: Kind, name: str) -> Agent | Human | None:
    return policies.agents.get(name) if kind == "agents" else policies.humans.get(name) if kind == "humans" else None


def fresh_token(kind: Kind, expires: datetime | None) -> tuple[str, Token]:
    """Return a new token, and how it is registered."""
    token = new_token(_PREFIXES[kind])
    return token, Token(token_digest(token), expires, written_moment(datetime.now(UTC)))


expires_option = click.option("--expires", callback=coming, help='When it ends: "30d" or an ISO 8601 time.')
end_option = click.option("--expires", callback=end_of, help='Another end: "30d", an ISO 8601 time, or "never".')
token_expires_option = click.option(
    "--expires", callback=coming, help='When the new token ends: "30d" or an ISO 8601 time [default: never].'
)
keep_old_option = click.option("--keep-old", is_flag=True, help="Leave the newest old token valid too, without an end.")
overlap_option = click.option(
    "--overlap", callback=coming, metavar="SPAN", help='How long the newest old token stays valid, e.g. "24h".'
)
old_until_option = click.option(
    "--old-until", callback=coming, metavar="TIME", help="Until when the newest old token stays valid."
)


def rotation(kind: Kind, noun: str, whom: str) -> click.Command:
    """Return the command that gives somebody a new token; an old one may go on for a while."""

    @click.command("rotate", help=f"Give {whom} a new token, print it once, and end the old ones, now or later.")
    @click.argument("name", metavar=noun.upper())
    @keep_old_option
    @overlap_option
    @old_until_option
    @token_expires_option
    @json_option
    @config_option
    @located_errors
    def rotate(
        name: str,
        keep_old: bool,
        overlap: datetime | None,
        old_until: datetime | None,
        expires: datetime | None,
        as_json: bool,
        config_path: Path | None,
    ) -> None:
        config = load_config(config_path)
        token, registered = fresh_token(kind, expires)
        ends = min((end for end in (overlap, old_until) if end is not None), default=None)
        set_token(
            config.agents,
            registry_sources(config),
            name,
            registered,
            kind=kind,
            keep_newest_old=keep_old,
            old_until=ends,
        )
        show_token(noun, name, token, as_json)
        announce(config)

    return rotate
