"""`claiim agent`: who may act, who answers for it, and with which token.

A change is written to the registry first and then announced to a running gate. When no gate answers, the change
stands and takes effect when the gate next loads; when the gate refuses it, its older rules stay in force and
the command ends with 78. The token alone goes to stdout, so that it can be caught:

    TOKEN=$(claiim agent add deploy-bot --anchor alice@acme.test --skill deploy-v2)
"""

import datetime
import http.client
import json
from pathlib import Path

import click

from policies import Agent, Mode, Policies, State, credential
from policies.registry import add_agent, new_token, set_state, set_token
from proxy.activations import load_in_force, sources_of
from proxy.cli.options import (
    EXIT_CONFIGURATION,
    EXIT_DENY,
    config_option,
    fail,
    json_option,
    located_errors,
    operator_headers,
    print_json,
    refuse_gated_caller,
)
from proxy.config import Config, load_config

_TIMEOUT_S = 5

name_argument = click.argument("name")


@click.group()
def agent() -> None:
    """Add, list, suspend and revoke agents."""
    refuse_gated_caller("claiim agent")


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
    as_json: bool,
    config_path: Path | None,
) -> None:
    """Add an agent and print its token, once."""
    config = load_config(config_path)
    token = new_token()
    if new_anchor is not None and not org:
        fail("--new-anchor needs --org: which organisation is the person in?", 2)
    add_agent(
        config.agents,
        sources_of(config),
        agent=name,
        anchor=anchor,
        org=org,
        skill=skill,
        mode=Mode(mode),
        token_sha256=credential(name, token).token_sha256,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        new_anchor=new_anchor,
    )
    _print_token(name, token, as_json)
    _announce(config)


@agent.command("list")
@json_option
@config_option
@located_errors
def list_agents(as_json: bool, config_path: Path | None) -> None:
    """List all agents."""
    agents = [_described(one, policies) for policies in [_load(config_path)] for one in _sorted(policies)]
    if as_json:
        print_json(agents)
        return
    columns = ("agent", "state", "anchor", "org", "skill", "mode", "tokens")
    rows = [columns, *(tuple(str(one[column]) for column in columns) for one in agents)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        line = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def show(name: str, as_json: bool, config_path: Path | None) -> None:
    """Show one agent, its human and the policies that apply to it."""
    policies = _load(config_path)
    if name not in policies.agents:
        fail(f'agent "{name}" does not exist; "claiim agent list" shows those that do', EXIT_DENY)
    described = _described(policies.agents[name], policies)
    if as_json:
        print_json(described)
        return
    for key, value in described.items():
        shown = ", ".join(value) if isinstance(value, list) else str(value)
        click.echo(f"{key:<12} {shown}".rstrip())


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def suspend(name: str, as_json: bool, config_path: Path | None) -> None:
    """Stop an agent at its next request; "resume" lets it act again."""
    _set_state(name, State.SUSPENDED, as_json, config_path)


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def resume(name: str, as_json: bool, config_path: Path | None) -> None:
    """Let a suspended agent act again."""
    _set_state(name, State.ACTIVE, as_json, config_path)


@agent.command()
@name_argument
@json_option
@config_option
@located_errors
def revoke(name: str, as_json: bool, config_path: Path | None) -> None:
    """Stop an agent for good and forget its tokens."""
    _set_state(name, State.REVOKED, as_json, config_path)


@agent.command()
@name_argument
@click.option("--keep-old", is_flag=True, help="Leave the newest old token valid too, for a change without a gap.")
@json_option
@config_option
@located_errors
def rotate(name: str, keep_old: bool, as_json: bool, config_path: Path | None) -> None:
    """Give an agent a new token, print it once, and end the old ones."""
    config = load_config(config_path)
    token = new_token()
    digest = credential(name, token).token_sha256
    set_token(config.agents, sources_of(config), name, digest, keep_newest_old=keep_old)
    _print_token(name, token, as_json)
    _announce(config)


def _set_state(name: str, state: State, as_json: bool, config_path: Path | None) -> None:
    config = load_config(config_path)
    set_state(config.agents, sources_of(config), name, state)
    if as_json:
        print_json({"agent": name, "state": state.value})
    else:
        click.echo(f"agent {name}: {state.value}", err=True)
    _announce(config)


def _print_token(name: str, token: str, as_json: bool) -> None:
    if as_json:
        print_json({"agent": name, "token": token})
        return
    click.echo(f"the token of {name}, shown this once:", err=True)
    click.echo(token)


def _load(config_path: Path | None) -> Policies:
    config = load_config(config_path)
    return load_in_force(config)


def _sorted(policies: Policies) -> list[Agent]:
    return [policies.agents[name] for name in sorted(policies.agents)]


def _described(one: Agent, policies: Policies) -> dict[str, str | int | list[str]]:
    return {
        "agent": one.id,
        "state": one.state.value,
        "anchor": one.anchor,
        "anchor_state": policies.humans[one.anchor].state.value,
        "org": one.org,
        "skill": str(one.skill or "-"),
        "policies": [str(ref) for ref in one.policies],
        "mode": one.mode.value,
        "tokens": len(one.tokens),
        "created": one.created,
    }


def _announce(config: Config) -> None:
    """Ask a running gate to load what was written."""
    listen = config.api.listen
    # http.client knows no HTTP_PROXY: the control API cannot be reached through the gate.
    connection = http.client.HTTPConnection(listen.reachable.host, listen.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/v1/reload", headers=operator_headers(config))
        response = connection.getresponse()
        status, body = response.status, response.read(65536)
    except (OSError, http.client.HTTPException):
        click.echo(f"no gate answers on {listen}; the change takes effect when the gate next loads", err=True)
        return
    finally:
        connection.close()
    if status != 200:
        said = "\n".join(_said(body)) or f"status {status}"
        fail(f"the change is written, but the gate keeps its older rules:\n{said}", EXIT_CONFIGURATION)
    click.echo("the gate has loaded the change", err=True)


def _said(body: bytes) -> list[str]:
    """Return the lines of a refusal: the faults of a reload, or a problem's reason."""
    try:
        answer = json.loads(body)
    except ValueError:
        return []
    if not isinstance(answer, dict):
        return []
    found = answer.get("faults") or [answer.get("reason") or answer.get("title") or ""]
    return [str(line) for line in found if line] if isinstance(found, list) else [str(found)]
