"""`claiim healthcheck`: exit 0 when the gate of this configuration says that it is ready."""

import http.client
import json
from pathlib import Path

import click

from proxy.cli.options import EXIT_DENY, EXIT_UNREACHABLE, config_option, fail, located_errors
from proxy.config import load_config

_TIMEOUT_S = 5


@click.command()
@config_option
@located_errors
def healthcheck(config_path: Path | None) -> None:
    """Ask a running gate whether it is well; exit 1 when a check fails, 69 when nobody answers."""
    address = load_config(config_path).api.listen
    host = "127.0.0.1" if address.host in ("0.0.0.0", "::") else address.host  # noqa: S104
    connection = http.client.HTTPConnection(host, address.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        faults = json.loads(connection.getresponse().read())["faults"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        fail(f'no gate answers on {address}; start it with "claiim serve"', EXIT_UNREACHABLE)
    finally:
        connection.close()
    if faults:
        fail("\n".join(f"{name}: {why}" for name, why in faults.items()), EXIT_DENY)
    click.echo("ok")
