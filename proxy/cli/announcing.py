"""What every change of the registry ends with: the new token shown once, and a running gate told to load.

A change is written first. When no gate answers it stands and takes effect when the gate next loads. When other files
keep the gate from loading it, what it takes away counts all the same; when nothing of it counts, the older rules
stay in force and the command ends with 78.
"""

import click

from proxy.cli.asking import answer_of, gate_url, said
from proxy.cli.options import EXIT_CONFIGURATION, fail, operator_headers, print_json
from proxy.config import Config


def announce(config: Config) -> None:
    """Ask a running gate to load what was written."""
    answered = answer_of(gate_url(config), "POST", "/v1/reload", operator_headers(config))
    if answered is None:
        where = config.api.listen
        click.echo(f"no gate answers on {where}; the change takes effect when the gate next loads", err=True)
        return
    status, found = answered
    refused = said(found) or f"status {status}"
    if status == 422 and isinstance(found, dict) and found.get("narrowed"):
        # Nobody may do more than before, and whoever was to be stopped is.
        click.echo(
            f"the gate has taken away what the change takes away, and cannot load the rest:\n{refused}", err=True
        )
        return
    if status != 200:
        fail(f"the change is written, but the gate keeps its older rules:\n{refused}", EXIT_CONFIGURATION)
    click.echo("the gate has loaded the change", err=True)


def tell(config: Config, noun: str, name: str, as_json: bool, **done: str) -> None:
    """Say what was done to somebody, and announce it."""
    if as_json:
        print_json({noun: name, **done})
    else:
        shown = [value if key == "state" else f"{key} {value}" for key, value in done.items()]
        click.echo(f"{noun} {name}: {', '.join(shown)}", err=True)
    announce(config)


def show_token(noun: str, name: str, token: str, as_json: bool) -> None:
    """Print a new token: alone on stdout, so that it can be caught."""
    if as_json:
        print_json({noun: name, "token": token})
        return
    click.echo(f"the token of {name}, shown this once:", err=True)
    click.echo(token)
