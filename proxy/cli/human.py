"""`claiim human`: the persons who answer for agents, and the tokens by which they approve.

claiim human add alice@acme.test --org acme --name Alice > alice.token
claiim human suspend alice@acme.test       stops every agent that she answers for, also what they have open
"""

from datetime import datetime
from pathlib import Path

import click

from policies import State
from policies.registry import add_human
from proxy.activations import load_in_force, registry_sources
from proxy.cli import registered
from proxy.cli.announcing import announce, show_token, tell
from proxy.cli.options import EXIT_DENY, config_option, fail, json_option, located_errors, refuse_gated_caller
from proxy.cli.states import change_state, end_option, expires_option, fresh_token, rotation
from proxy.configloading import load_config

_COLUMNS = ("human", "state", "org", "name", "agents", "tokens")

human_argument = click.argument("human_id", metavar="HUMAN")


@click.group()
def human() -> None:
    """Add, list, suspend and revoke the persons who answer for agents."""
    refuse_gated_caller("claiim human")


@human.command()
@human_argument
@click.option("--org", required=True, help="The organisation.")
@click.option("--name", default="", help="What the person is called.")
@expires_option
@click.option("--no-token", is_flag=True, help="Give no token: the person answers, but approves nothing.")
@json_option
@config_option
@located_errors
def add(
    human_id: str,
    org: str,
    name: str,
    expires: datetime | None,
    no_token: bool,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Add a person and print a token to approve with, once."""
    config = load_config(config_path)
    token, kept = fresh_token("humans", None)
    add_human(
        config.agents, registry_sources(config), human=human_id, name=name, org=org, token=None if no_token else kept,
        expires=expires,
    )  # fmt: skip
    if no_token:
        tell(config, "human", human_id, as_json, state="added")
    else:
        show_token("human", human_id, token, as_json)
        announce(config)


@human.command("list")
@json_option
@config_option
@located_errors
def list_humans(as_json: bool, config_path: Path | None) -> None:
    """List all persons, with the state that counts now and how many agents they answer for."""
    config, at = load_config(config_path), registered.now()
    policies = load_in_force(config)
    described = [registered.describe_human(policies.humans[name], policies, at) for name in sorted(policies.humans)]
    registered.show_all(described, _COLUMNS, as_json)


@human.command()
@human_argument
@json_option
@config_option
@located_errors
def show(human_id: str, as_json: bool, config_path: Path | None) -> None:
    """Show one person and the agents that the person answers for."""
    config = load_config(config_path)
    policies = load_in_force(config)
    if human_id not in policies.humans:
        fail(f'human "{human_id}" does not exist; "claiim human list" shows those that do', EXIT_DENY)
    registered.show(registered.describe_human(policies.humans[human_id], policies, registered.now()), as_json)


@human.command()
@human_argument
@json_option
@config_option
@located_errors
def suspend(human_id: str, as_json: bool, config_path: Path | None) -> None:
    """Stop every agent that a person answers for, now, also what they have open."""
    _stop(human_id, State.SUSPENDED, as_json, config_path)


@human.command()
@human_argument
@end_option
@json_option
@config_option
@located_errors
def resume(human_id: str, expires: datetime | str | None, as_json: bool, config_path: Path | None) -> None:
    """Let a suspended person answer again."""
    change_state("humans", "human", human_id, State.ACTIVE, as_json, config_path, expires)


@human.command()
@human_argument
@json_option
@config_option
@located_errors
def revoke(human_id: str, as_json: bool, config_path: Path | None) -> None:
    """Let a person answer no more, for good; "claiim agent transfer" gives the agents to somebody else."""
    _stop(human_id, State.REVOKED, as_json, config_path)


def _stop(human_id: str, state: State, as_json: bool, config_path: Path | None) -> None:
    policies = change_state("humans", "human", human_id, state, as_json, config_path)
    agents = policies.agents.values() if policies else ()
    stopped = sorted(agent.id for agent in agents if agent.anchor == human_id)
    if stopped:
        click.echo(f"stopped with {human_id}: {', '.join(stopped)}", err=True)


human.add_command(rotation("humans", "human", "a person"))
