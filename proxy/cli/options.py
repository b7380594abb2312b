"""What every command shares: the configuration option, output rules, and how errors end a command.

What each exit code means is said in `proxy.cli.help`. Data goes to stdout, talk to stderr.
"""

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from chron.errors import ChronError
from chron.sources import Source, source_of

if TYPE_CHECKING:
    from proxy.config import Config

EXIT_DENY = 1
EXIT_USAGE = 2
EXIT_AUTHENTICATION = 4
EXIT_HOLD = 8
EXIT_UNREACHABLE = 69  # sysexits.h EX_UNAVAILABLE
EXIT_CONFIGURATION = 78  # sysexits.h EX_CONFIG

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file [default: ./claiim.yaml, then XDG, then /etc/claiim].",
)


class LogParameter(click.ParamType[Source]):
    """Where a Chron is: a file, `sqlite:///FILE`, or `postgresql://...?chain=NAME`."""

    name = "chron"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Source:
        """The place that a text names."""
        return source_of(value) if isinstance(value, str) else Path(value)


LOG = LogParameter()
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def fail(message: str, code: int = EXIT_CONFIGURATION) -> NoReturn:
    """End the command with a message on stderr and an exit code."""
    click.echo(message, err=True)
    raise SystemExit(code)


def read_input(path: Path) -> bytes:
    """Return the content of a file that the command line names, `-` for stdin; end with 2 when there is none."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        fail(f"{path}: cannot read: {(error.strerror or '').lower()}; give another file", EXIT_USAGE)


def print_json(value: object) -> None:
    """Print one JSON document on stdout."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def operator_headers(config: "Config") -> dict[str, str]:
    """What makes a request to the control API the operator's; nothing when this user cannot read the token."""
    try:
        token = config.operator_token.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return {}
    return {"Authorization": f"Bearer {token}"}


def refuse_gated_caller(verb: str) -> None:
    """End the command when a gated agent calls it: an agent must not govern itself.

    The variable only stops honest mistakes; what holds is that the agent cannot write these files.
    """
    if os.environ.get("CLAIIM_RUN_ID"):
        fail(
            f'"{verb}" is refused inside "claiim run", and in a shell that has evaluated "claiim env": '
            "a gated agent cannot change what governs it",
            EXIT_USAGE,
        )


def located_errors[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    """Turn every located fault, and a Chron that cannot be used, into its one-line message and exit code 78."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except ChronError as error:
            fail(str(error))
        except Exception as error:
            # Looked up only when something failed: the strict reader and pydantic cost a look-up 0.2 s.
            from mappings import DocumentError

            if not isinstance(error, DocumentError):
                raise
            fail(str(error))

    return wrapper


__all__ = [
    "EXIT_AUTHENTICATION",
    "EXIT_CONFIGURATION",
    "EXIT_DENY",
    "EXIT_HOLD",
    "EXIT_UNREACHABLE",
    "EXIT_USAGE",
    "Any",
    "config_option",
    "fail",
    "json_option",
    "located_errors",
    "operator_headers",
    "print_json",
    "read_input",
    "refuse_gated_caller",
]
