"""How a person speaks to a running gate from the command line: by a token of their own, over the control API.

Where the token comes from, and how answers end a command, is said in `proxy.cli.asking`.
"""

import functools
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from proxy.cli.asking import TIMEOUT_S, ask_gate, gate_url, human_token, human_token_option
from proxy.cli.options import config_option, json_option, located_errors
from proxy.configloading import load_config


@dataclass(frozen=True, slots=True)
class Desk:
    """The control API of a gate, as one person sees it."""

    url: str
    token: str
    as_json: bool

    def get(self, path: str) -> dict[str, Any]:
        """Ask; ends the command when there is no good answer."""
        return ask_gate(self.url, "GET", path, self.token)

    def post(self, path: str, body: Mapping[str, object], *, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Say something; ends the command when it is not accepted."""
        return ask_gate(self.url, "POST", path, self.token, body, timeout_s=timeout_s)


def desk_options[R](command: Callable[..., R]) -> Callable[..., R]:
    """Give a command its `desk`: the options that say which gate, and whose word."""

    @human_token_option
    @click.option("--url", help="The gate's control API [default: where the configuration says it listens].")
    @json_option
    @config_option
    @located_errors
    @functools.wraps(command)
    def wrapper(*, token_file: Path | None, url: str | None, as_json: bool, config_path: Path | None, **more: Any) -> R:
        url = url or gate_url(load_config(config_path))
        return command(Desk(url, human_token(token_file), as_json), **more)

    return wrapper


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
