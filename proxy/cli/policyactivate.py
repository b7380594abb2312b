"""`claiim policy activate`, `rollback`, `retire`, `approve`, `refuse`, `waiting`: which versions are in force.

Each is asked of the running gate with a human's own token; it records the act before it counts.

    claiim policy activate deploy-v2@3
    skill:deploy-v2@3 is in force (before: 2)          or: act_01k... waits for another human
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from policies.choosing import Verb
from proxy.cli.asking import ask_gate, gate_url, human_token, human_token_option
from proxy.cli.options import (
    EXIT_DENY,
    EXIT_HOLD,
    config_option,
    fail,
    json_option,
    located_errors,
    print_json,
    refuse_gated_caller,
)
from proxy.configloading import load_config

_names = click.argument("names", nargs=-1, required=True, metavar="NAME[@VERSION]...")
_id = click.argument("id_", metavar="ACT_ID")


@click.command()
@_names
@click.option("--simulation", default="", metavar="DIGEST", help="The report of a recorded simulation of these texts.")
@human_token_option
@json_option
@config_option
@located_errors
def activate(
    names: tuple[str, ...], simulation: str, token_file: Path | None, as_json: bool, config_path: Path | None
) -> None:
    """Put versions of skills and policies in force; without a version, the highest.

    Several are put in force together. Where a second human has to say yes, exit 8 and nothing changes yet.
    """
    _act("activate", names, simulation, token_file, as_json, config_path)


@click.command()
@_names
@human_token_option
@json_option
@config_option
@located_errors
def rollback(names: tuple[str, ...], token_file: Path | None, as_json: bool, config_path: Path | None) -> None:
    """Put the version in force that was before the last change."""
    _act("rollback", names, "", token_file, as_json, config_path)


@click.command()
@_names
@human_token_option
@json_option
@config_option
@located_errors
def retire(names: tuple[str, ...], token_file: Path | None, as_json: bool, config_path: Path | None) -> None:
    """Put a text out of force until it is activated again."""
    _act("retire", names, "", token_file, as_json, config_path)


@click.command()
@_id
@click.option("--digest", "digests", multiple=True, help="Approve only if the text has this digest (or begins so).")
@human_token_option
@json_option
@config_option
@located_errors
def approve(
    id_: str, digests: tuple[str, ...], token_file: Path | None, as_json: bool, config_path: Path | None
) -> None:
    """Say yes to what another human asked for; then it is in force."""
    refuse_gated_caller("claiim policy")
    config, token = load_config(config_path), human_token(token_file)
    waiting = ask_gate(gate_url(config), "GET", "/v1/activations", token)["waiting"]
    changes = next((each["changes"] for each in waiting if each["id"] == id_), None)
    if changes is None:
        fail(f'nothing waits as "{id_}"; "claiim policy waiting" lists what does', EXIT_DENY)
    for digest in digests:
        if not any(change["digest"].startswith(digest) for change in changes):
            fail(f"{id_} is about another text than {digest}; nothing was approved", EXIT_DENY)
    body = {"digests": [change["digest"] for change in changes]}
    _tell(ask_gate(gate_url(config), "POST", f"/v1/activations/{id_}/approve", token, body), as_json)


@click.command()
@_id
@click.option("--reason", default="", help="Why not; it is recorded.")
@human_token_option
@json_option
@config_option
@located_errors
def refuse(id_: str, reason: str, token_file: Path | None, as_json: bool, config_path: Path | None) -> None:
    """Say no to what another human asked for, or take back what you did."""
    refuse_gated_caller("claiim policy")
    config, token = load_config(config_path), human_token(token_file)
    done = ask_gate(gate_url(config), "POST", f"/v1/activations/{id_}/refuse", token, {"reason": reason})
    if as_json:
        print_json(done)
    else:
        click.echo(f"{id_} is refused", err=True)


@click.command()
@human_token_option
@json_option
@config_option
@located_errors
def waiting(token_file: Path | None, as_json: bool, config_path: Path | None) -> None:
    """List what waits for a second human."""
    config = load_config(config_path)
    found = ask_gate(gate_url(config), "GET", "/v1/activations", human_token(token_file))["waiting"]
    if as_json:
        print_json(found)
        return
    for request in found:
        click.echo(f"{request['id']}  {request['at']}  {request['by']}")
        for change in request["changes"]:
            click.echo(f"  {_wanted(change)}  sha256 {change['digest'] or '-'}")
            if change["version"] and change["previous"]:
                name = f"{change['kind']}:{change['id']}"
                click.echo(f"  claiim policy diff {name}@{change['previous']} {name}@{change['version']}")


def _act(
    verb: Verb,
    names: Sequence[str],
    simulation: str,
    token_file: Path | None,
    as_json: bool,
    config_path: Path | None,
) -> None:
    refuse_gated_caller("claiim policy")
    config, token = load_config(config_path), human_token(token_file)
    body = {"verb": verb, "texts": list(names), "simulation": simulation}
    _tell(ask_gate(gate_url(config), "POST", "/v1/activations", token, body), as_json)


def _tell(done: dict[str, Any], as_json: bool) -> None:
    """Say what came of it; end with 8 when it waits."""
    waits = done["status"] == "waiting"
    if as_json:
        print_json(done)
    elif waits:
        click.echo(done["id"])
        click.echo(f'waits for another human; they run "claiim policy approve {done["id"]}"', err=True)
    for change in [] if as_json else done["changes"]:
        click.echo(_wanted(change) if waits else _now(change), err=True)
    if waits:
        raise SystemExit(EXIT_HOLD)


def _wanted(change: dict[str, Any]) -> str:
    before = change["previous"] or "none"
    return f"{change['kind']}:{change['id']} {before} -> {change['version'] or 'none'}"


def _now(change: dict[str, Any]) -> str:
    if not change["version"]:
        return f"no version of {change['kind']}:{change['id']} is in force (before: {change['previous'] or 'none'})"
    return f"{change['kind']}:{change['id']}@{change['version']} is in force (before: {change['previous'] or 'none'})"
