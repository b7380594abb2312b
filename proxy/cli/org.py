"""`claiim org`: whose agents, humans and targets these are, and who may act in another's.

claiim org add acme globex
claiim org grant acme globex --agent "deploy-*" --action "deploy:*" --until 30d
"""

from datetime import datetime
from pathlib import Path

import click

from policies import State
from policies.organisations import add_grant, add_organisations, remove_grants
from proxy.activations import load_in_force, registry_sources
from proxy.cli import registered
from proxy.cli.announcing import tell
from proxy.cli.moments import coming
from proxy.cli.options import EXIT_USAGE, config_option, fail, json_option, located_errors, refuse_gated_caller
from proxy.cli.states import change_state
from proxy.configloading import load_config

_COLUMNS = ("organisation", "state", "name", "owns", "humans", "agents", "grants")

of_argument = click.argument("of")
into_argument = click.argument("into")


@click.group()
def org() -> None:
    """Add, list and suspend organisations, and let one's agents act in another."""
    refuse_gated_caller("claiim org")


@org.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--name", "title", default="", help="What it is called.")
@click.option("--owns", multiple=True, metavar="GLOB", help="Its own targets: agents of others need a grant.")
@json_option
@config_option
@located_errors
def add(names: tuple[str, ...], title: str, owns: tuple[str, ...], as_json: bool, config_path: Path | None) -> None:
    """Add organisations; with the first one, all that agents and humans name must be added."""
    if len(names) > 1 and (title or owns):
        fail("--name and --owns are about one organisation; add the others without them", EXIT_USAGE)
    config = load_config(config_path)
    add_organisations(config.agents, registry_sources(config), names, title=title, owns=owns)
    tell(config, "organisation", ", ".join(names), as_json, state="added")


@org.command("list")
@json_option
@config_option
@located_errors
def list_organisations(as_json: bool, config_path: Path | None) -> None:
    """List all organisations with their humans, agents, targets and grants."""
    config = load_config(config_path)
    policies = load_in_force(config)
    described = [registered.describe_organisation(one, policies) for one in policies.organisations.values()]
    registered.show_all(described, _COLUMNS, as_json)
    if not described:
        click.echo('none is written down: names alone say who belongs together; see "claiim org add"', err=True)


@org.command()
@click.argument("name")
@json_option
@config_option
@located_errors
def suspend(name: str, as_json: bool, config_path: Path | None) -> None:
    """Stop every agent of an organisation, and every one that its humans answer for, also what they have open."""
    change_state("organisations", "organisation", name, State.SUSPENDED, as_json, config_path)


@org.command()
@click.argument("name")
@json_option
@config_option
@located_errors
def resume(name: str, as_json: bool, config_path: Path | None) -> None:
    """Let a suspended organisation act again."""
    change_state("organisations", "organisation", name, State.ACTIVE, as_json, config_path)


@org.command()
@of_argument
@into_argument
@click.option("--agent", "agents", multiple=True, metavar="GLOB", help="Which agents [default: all].")
@click.option("--action", "actions", multiple=True, metavar="PATTERN", help="Which actions [default: all].")
@click.option("--until", callback=coming, help='When it ends: "30d" or an ISO 8601 time.')
@json_option
@config_option
@located_errors
def grant(
    of: str,
    into: str,
    agents: tuple[str, ...],
    actions: tuple[str, ...],
    until: datetime | None,
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Let agents of one organisation act in another: on its targets, answered for by its humans."""
    config = load_config(config_path)
    add_grant(config.agents, registry_sources(config), of, into, agents=agents, actions=actions, until=until)
    tell(config, "organisation", of, as_json, granted=into)


@org.command()
@of_argument
@into_argument
@json_option
@config_option
@located_errors
def ungrant(of: str, into: str, as_json: bool, config_path: Path | None) -> None:
    """Take back every grant of one organisation into another."""
    config = load_config(config_path)
    remove_grants(config.agents, registry_sources(config), of, into)
    tell(config, "organisation", of, as_json, withdrawn=into)
