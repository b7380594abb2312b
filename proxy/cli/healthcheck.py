"""`claiim healthcheck`: exit 0 when the gate of this configuration says that it is ready."""

import http.client
import json
from pathlib import Path

import click

from proxy.cli.options import EXIT_DENY, EXIT_UNREACHABLE, config_option, fail, located_errors, operator_headers
from proxy.configloading import load_config

_TIMEOUT_S = 5
_MOST_BYTES = 65536


@click.command()
@config_option
@located_errors
def healthcheck(config_path: Path | None) -> None:
    """Ask a running gate whether it is well; exit 1 when a check fails, 69 when nobody answers."""
    config = load_config(config_path)
    address = config.api.listen
    reachable = address.reachable
    connection = http.client.HTTPConnection(reachable.host, reachable.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz", headers=operator_headers(config))
        faults = dict(json.loads(connection.getresponse().read(_MOST_BYTES))["faults"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        fail(f'no gate answers on {address}; start it with "claiim serve"', EXIT_UNREACHABLE)
    finally:
        connection.close()
    if faults:
        fail("\n".join(f"{name}: {why}" for name, why in faults.items()), EXIT_DENY)
    click.echo("ok")
