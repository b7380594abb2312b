"""`claiim agent`: who may act, who answers for it, and by which proofs.

A change is written to the registry first and then announced to a running gate (`proxy.cli.announcing`). The token alone
goes to stdout, so that it can be caught:

    TOKEN=$(claiim agent add deploy-bot --anchor alice@acme.test --skill deploy-v2)
    TOKEN=$(claiim agent rotate deploy-bot --overlap 24h)
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click

from policies import Mode, State, credential
from policies.registry import add_agent, new_token, transfer_agent
from policies.values import written_moment
from proxy.activations import load_in_force, registry_sources
from proxy.cli import registered
from proxy.cli.agentidentity import identity
from proxy.cli.announcing import announce, show_token, tell
from proxy.cli.options import (
    EXIT_DENY,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
    refuse_gated_caller,
)
from proxy.cli.states import change_state, end_option, expires_option, rotation
from proxy.configloading import load_config

_COLUMNS = ("agent", "state", "anchor", "org", "skill", "mode", "tokens")

name_argument = click.argument("name")


@click.group()
def agent() -> None:
    """Add, list, transfer, suspend and revoke agents."""
    refuse_gated_caller("claiim agent")


def _labels(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    pairs = [value.partition("=") for value in values]
    for label, equals, value in pairs:
        if not (label and equals and value):
            raise click.BadParameter(f'"{label}{equals}{value}" is not a label; write team=web', ctx, param)
    return {label: value for label, _, value in pairs}


@agent.command()
@name_argument
@click.option("--anchor", required=True, help="The person who answers for the agent, e.g. alice@acme.test.")
@click.option("--new-anchor", metavar="PERSON_NAME", help="Add that person too, under this name.")
@click.option("--org", default="", help="The organisation [default: the anchor's].")
@click.option("--skill", help='The skill, "deploy-v2" or "deploy-v2@1"; without one everything is denied.')
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.ENFORCE.value,
    show_default=True,
    help='With "observe", what its skill or a policy denies is recorded and goes through.',
)
@expires_option
@click.option("--label", "labels", multiple=True, callback=_labels, metavar="K=V", help="What policies choose it by.")
@click.option("--identity", "identities", multiple=True, help='A proof beside its token; see "agent identity".')
@click.option("--no-token", is_flag=True, help="Give it no token: it has only its identities.")
@json_option
@config_option
@located_errors
def add(
    name: str,
    anchor: str,
    new_anchor: str | None,
    org: str,
    skill: str | None,
    mode: str,
    expires: datetime | None,
    labels: Mapping[str, str],
    identities: tuple[str, ...],
    no_token: bool,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Add an agent and print its token, once."""
    config = load_config(config_path)
    token = new_token()
    if new_anchor is not None and not org:
        fail("--new-anchor needs --org: which organisation is the person in?", EXIT_USAGE)
    if no_token and not identities:
        fail("--no-token needs --identity: how would the agent prove who it is?", EXIT_USAGE)
    add_agent(
        config.agents,
        registry_sources(config),
        agent=name,
        anchor=anchor,
        org=org,
        skill=skill,
        mode=Mode(mode),
        token_sha256="" if no_token else credential(name, token).token_sha256,
        created=written_moment(registered.now()),
        new_anchor=new_anchor,
        expires=expires,
        labels=labels,
        identities=identities,
    )
    if no_token:
        tell(config, "agent", name, as_json, state="added")
    else:
        show_token("agent", name, token, as_json)
        announce(config)


@agent.command("list")
@json_option
@config_option
@located_errors
def list_agents(as_json: bool, config_path: Path | None) -> None:
    """List all agents, with the state that counts now."""
    config, at = load_config(config_path), registered.now()
    policies = load_in_force(config)
    described = [registered.describe_agent(policies.agents[name], policies, at) for name in sorted(policies.agents)]
    registered.show_all(described, _COLUMNS, as_json)


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def show(name: str, as_json: bool, config_path: Path | None) -> None:
    """Show one agent, its human, its proofs and the policies that apply to it."""
    config = load_config(config_path)
    policies = load_in_force(config)
    if name not in policies.agents:
        fail(f'agent "{name}" does not exist; "claiim agent list" shows those that do', EXIT_DENY)
    registered.show(registered.describe_agent(policies.agents[name], policies, registered.now()), as_json)


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def suspend(name: str, as_json: bool, config_path: Path | None) -> None:
    """Stop an agent now, also what it has open; "resume" lets it act again."""
    change_state("agents", "agent", name, State.SUSPENDED, as_json, config_path)


@agent.command()
@name_argument
@end_option
@json_option
@config_option
@located_errors
def resume(name: str, expires: datetime | str | None, as_json: bool, config_path: Path | None) -> None:
    """Let a suspended agent act again."""
    change_state("agents", "agent", name, State.ACTIVE, as_json, config_path, expires)


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def revoke(name: str, as_json: bool, config_path: Path | None) -> None:
    """Stop an agent for good and forget its tokens."""
    change_state("agents", "agent", name, State.REVOKED, as_json, config_path)


@agent.command()
@name_argument
@click.option("--to", "human", required=True, help="Who answers for it from now on.")
@json_option
@config_option
@located_errors
def transfer(name: str, human: str, as_json: bool, config_path: Path | None) -> None:
    """Let another human answer for an agent; the Chron names both."""
    config = load_config(config_path)
    transfer_agent(config.agents, registry_sources(config), name, human)
    tell(config, "agent", name, as_json, anchor=human)


agent.add_command(rotation("agents", "agent", "an agent"))
agent.add_command(identity)
