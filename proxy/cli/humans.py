"""How a person speaks to a running gate from the command line: by a token of their own, over the control API.

The token comes from a file, never from an argument that every user of the machine can see:
`--token-file`, else `CLAIIM_HUMAN_TOKEN_FILE`.
"""

import functools
import http.client
import json
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from proxy.cli.options import (
    EXIT_AUTHENTICATION,
    EXIT_DENY,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    config_option,
    fail,
    json_option,
    located_errors,
)
from proxy.config import load_config

_TIMEOUT_S = 10
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Desk:
    """The control API of a gate, as one person sees it."""

    url: str
    token: str
    as_json: bool

    def get(self, path: str) -> dict[str, Any]:
        """Ask; ends the command when there is no good answer."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """Say something; ends the command when it is not accepted."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None) -> dict[str, Any]:
        place = urllib.parse.urlsplit(self.url)
        make = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        # http.client knows no HTTP_PROXY: the control API cannot be reached through the gate.
        connection = make(place.hostname or "", place.port, timeout=_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, place.path.rstrip("/") + path, json.dumps(body) if body else "{}", headers)
            response = connection.getresponse()
            status, said = response.status, response.read(_MOST_BYTES)
        except (OSError, http.client.HTTPException):
            fail(f'no gate answers at {self.url}; start "claiim serve", or give --url', EXIT_UNREACHABLE)
        finally:
            connection.close()
        return self._read(status, said)

    def _read(self, status: int, said: bytes) -> dict[str, Any]:
        try:
            read = json.loads(said)
        except ValueError:
            read = None
        answer: dict[str, Any] = read if isinstance(read, dict) else {}
        if status >= 300 or not answer:
            reason = str(answer.get("reason") or answer.get("title") or f"{self.url} answers with status {status}")
            fail(reason, EXIT_AUTHENTICATION if status == 401 else EXIT_USAGE if status == 400 else EXIT_DENY)
        return answer


def desk_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """Give a command its `desk`: the options that say which gate, and whose word."""

    @click.option(
        "--token-file",
        envvar="CLAIIM_HUMAN_TOKEN_FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The file that holds your token [default: CLAIIM_HUMAN_TOKEN_FILE].",
    )
    @click.option("--url", help="The gate's control API [default: where the configuration says it listens].")
    @json_option
    @config_option
    @located_errors
    @functools.wraps(command)
    def wrapper(*, token_file: Path | None, url: str | None, as_json: bool, config_path: Path | None, **more: Any) -> R:
        url = url or f"http://{load_config(config_path).api.listen.reachable}"
        return command(Desk(url, _token(token_file), as_json), **more)

    return wrapper


def _token(path: Path | None) -> str:
    if path is None:
        fail("whose word is it? give --token-file, or set CLAIIM_HUMAN_TOKEN_FILE", EXIT_AUTHENTICATION)
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        fail(f"{path}: cannot read: {(error.strerror or '').lower()}; give --token-file", EXIT_AUTHENTICATION)
    except UnicodeDecodeError:
        token = ""
    if not token or not token.isprintable():
        fail(f"{path}: holds no token; write yours there, alone", EXIT_AUTHENTICATION)
    return token


def path_of(*parts: str) -> str:
    """Return a path of the control API; a part that somebody typed stays one part."""
    return "/v1/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


def print_table(columns: tuple[str, ...], entries: list[dict[str, Any]]) -> None:
    """Print some fields of each entry, one line each."""
    rows = [columns, *(tuple(_shown(one.get(column)) for column in columns) for one in entries)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(columns))]
    for row in rows:
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(entry: Mapping[str, Any], *, err: bool = False) -> None:
    """Print all fields of an entry, one line each."""
    for name, value in entry.items():
        if value not in ("", [], None):
            click.echo(f"{name:<13} {_shown(value)}", err=err)


def _shown(value: object) -> str:
    from chron.printable import printable

    match value:
        case dict():
            return " ".join(_shown(each) for each in value.values() if each)
        case list():
            return ", ".join(_shown(each) for each in value) or "-"
        case _:
            # Agents wrote some of it: no escape sequence of theirs reaches the terminal of who approves.
            return printable(str(value))
