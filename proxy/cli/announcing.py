"""What every change of the registry ends with: the new token shown once, and a running gate told to load.

A change is written first. When no gate answers it stands and takes effect when the gate next loads; when the gate
refuses it, its older rules stay in force and the command ends with 78.
"""

import http.client
import json

import click

from proxy.cli.options import EXIT_CONFIGURATION, fail, operator_headers, print_json
from proxy.config import Config

_TIMEOUT_S = 5


def announce(config: Config) -> None:
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


def tell(config: Config, noun: str, name: str, as_json: bool, **said: str) -> None:
    """Say what was done to somebody, and announce it."""
    if as_json:
        print_json({noun: name, **said})
    else:
        shown = [value if key == "state" else f"{key} {value}" for key, value in said.items()]
        click.echo(f"{noun} {name}: {', '.join(shown)}", err=True)
    announce(config)


def show_token(noun: str, name: str, token: str, as_json: bool) -> None:
    """Print a new token: alone on stdout, so that it can be caught."""
    if as_json:
        print_json({noun: name, "token": token})
        return
    click.echo(f"the token of {name}, shown this once:", err=True)
    click.echo(token)
