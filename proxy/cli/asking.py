"""Asking a running gate for something, on behalf of a human: where the token is read, and how answers end a command.

The token comes from a file, never from the command line, where other users of the machine could read it.
Exit 69 when no gate answers, 4 without a token that it accepts, 2 when it cannot read what was asked for, 1 when it
refuses it.
"""

import http.client
import json
import os
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from proxy.cli.options import EXIT_AUTHENTICATION, EXIT_DENY, EXIT_UNREACHABLE, EXIT_USAGE, fail
from proxy.config import Config, why

TOKEN_VARIABLE = "CLAIIM_HUMAN_TOKEN_FILE"  # noqa: S105 -- the name of a variable that names a file

TIMEOUT_S = 60
"""A gate loads its rules before it answers an activation or a reload."""
PATIENT_S = 3600
"""For what reads and writes a whole segment: a gigabyte, more than once, on a slow disk."""
_MOST_BYTES = 16 << 20

human_token_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The file that holds your token, clh_... [default: what {TOKEN_VARIABLE} names].",
)


def human_token(token_file: Path | None) -> str:
    """Return the token of the human who calls; end with 4 when none is given, or it cannot be read."""
    path = token_file or (Path(named) if (named := os.environ.get(TOKEN_VARIABLE)) else None)
    if path is None:
        fail(f"whose word is it? give --token-file, or set {TOKEN_VARIABLE}", EXIT_AUTHENTICATION)
    try:
        token = path.read_bytes().decode("ascii", "replace").strip()
    except OSError as error:
        fail(f"{path}: cannot read: {why(error)}; give --token-file", EXIT_AUTHENTICATION)
    if not token.isascii() or not token.isprintable() or not token:
        fail(f"{path}: holds no token; write yours there, alone", EXIT_AUTHENTICATION)
    return token


def gate_url(config: Config) -> str:
    """Return where the control API of the gate of this configuration is."""
    return f"http://{config.api.listen.reachable}"


def ask_gate(
    url: str,
    method: str,
    path: str,
    token: str,
    body: Mapping[str, object] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Return what the running gate answers to a human; end the command when it does not, or refuses."""
    answered = answer_of(url, method, path, {"Authorization": f"Bearer {token}"}, body, timeout_s=timeout_s)
    if answered is None:
        fail(f'no gate answers at {url}; start it with "claiim serve"', EXIT_UNREACHABLE)
    status, found = answered
    if status >= 300 or not found:
        code = {400: EXIT_USAGE, 401: EXIT_AUTHENTICATION}.get(status, EXIT_DENY)
        fail(said(found) or f"{url} answers with status {status}", code)
    return found


def answer_of(
    url: str,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: Mapping[str, object] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, dict[str, Any]] | None:
    """Return the status and the answer of the running gate; None when none answers."""
    place = urllib.parse.urlsplit(url)
    make = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    # http.client knows no HTTP_PROXY: the control API cannot be reached through the gate.
    connection = make(place.hostname or "", place.port, timeout=timeout_s)
    sent = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, place.path.rstrip("/") + path, sent, {**headers, "Content-Type": "application/json"})
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
