"""Asking a running gate for something, on behalf of a human: where the token is read, and how answers end a command.

The token comes from a file, never from the command line, where other users of the machine could read it.
Exit 69 when no gate answers, 4 when it does not accept the token, 1 when it refuses what was asked for.
"""

import http.client
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from proxy.cli.options import EXIT_AUTHENTICATION, EXIT_DENY, EXIT_UNREACHABLE, EXIT_USAGE, fail
from proxy.config import Config, why

TOKEN_VARIABLE = "CLAIIM_HUMAN_TOKEN_FILE"  # noqa: S105 -- the name of a variable that names a file

_TIMEOUT_S = 60
"""A gate loads its rules before it answers an activation or a reload."""
_MOST_BYTES = 1 << 20

human_token_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The file that holds your token, clh_... [default: what {TOKEN_VARIABLE} names].",
)


def human_token(token_file: Path | None) -> str:
    """Return the token of the human who calls; end with 2 when none is given, or it cannot be read."""
    path = token_file or (Path(named) if (named := os.environ.get(TOKEN_VARIABLE)) else None)
    if path is None:
        fail(f"this needs your own token; give --token-file or set {TOKEN_VARIABLE}", EXIT_USAGE)
    try:
        token = path.read_bytes().decode("ascii", "replace").strip()
    except OSError as error:
        fail(f"{path}: cannot read: {why(error)}; give the file that holds your token", EXIT_USAGE)
    if not token.isascii() or not token.isprintable() or not token:
        fail(f"{path}: holds no token; give the file that holds yours", EXIT_USAGE)
    return token


def ask_gate(
    config: Config, method: str, path: str, token: str, body: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """Return what the running gate answers; end the command when it does not, or refuses."""
    answered = answer_of(config, method, path, {"Authorization": f"Bearer {token}"}, body)
    if answered is None:
        fail(f'no gate answers on {config.api.listen}; start it with "claiim serve"', EXIT_UNREACHABLE)
    status, found = answered
    if status not in (200, 202):
        code = EXIT_AUTHENTICATION if status == 401 else EXIT_DENY
        fail(said(found) or f"the gate answered with status {status}", code)
    return found


def answer_of(
    config: Config, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, object] | None = None
) -> tuple[int, dict[str, Any]] | None:
    """Return the status and the answer of the running gate; None when none answers."""
    listen = config.api.listen
    # http.client knows no HTTP_PROXY: the control API cannot be reached through the gate.
    connection = http.client.HTTPConnection(listen.reachable.host, listen.port, timeout=_TIMEOUT_S)
    sent = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, sent, {**headers, "Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, _read(response.read(_MOST_BYTES))
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _read(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def said(answer: Mapping[str, Any]) -> str:
    """Return the lines of a refusal: the faults of what does not load, or a problem's reason."""
    found = answer.get("faults")
    if isinstance(found, list):
        return "\n".join(str(line) for line in found)
    return str(found or answer.get("reason") or answer.get("title") or "")
