"""`claiim agent identity`: proofs of who an agent is that are no tokens.

claiim agent identity add deploy-bot spiffe://acme.test/ci/deploy
claiim agent identity remove deploy-bot cert-sha256:4bf5...
"""

from pathlib import Path

import click

from policies.registry import set_identity
from proxy.activations import registry_sources
from proxy.cli.announcing import tell
from proxy.cli.options import config_option, json_option, located_errors
from proxy.configloading import load_config


@click.group()
def identity() -> None:
    """Add and remove proofs that are no tokens: certificates, workload identities, listeners and addresses."""


@identity.command("add")
@click.argument("name")
@click.argument("proof")
@json_option
@config_option
@located_errors
def add_identity(name: str, proof: str, as_json: bool, config_path: Path | None) -> None:
    """Let something that is no token prove an agent.

    A certificate (cert-sha256:HEX), a SPIFFE ID, a JWT subject (jwt:ISSUER#SUBJECT), or where it comes from: a
    listener that it alone reaches (listener:NAME), its address (address:IP).
    """
    _set_identity(name, proof, True, as_json, config_path)


@identity.command("remove")
@click.argument("name")
@click.argument("proof")
@json_option
@config_option
@located_errors
def remove_identity(name: str, proof: str, as_json: bool, config_path: Path | None) -> None:
    """Let it prove the agent no more."""
    _set_identity(name, proof, False, as_json, config_path)


def _set_identity(name: str, proof: str, present: bool, as_json: bool, config_path: Path | None) -> None:
    config = load_config(config_path)
    set_identity(config.agents, registry_sources(config), name, proof, present=present)
    tell(config, "agent", name, as_json, **{"added" if present else "removed": proof})
