"""The `claiim` command: a table from names to the modules that hold them.

A command's module is imported only when it is called, so that look-ups answer at once although
`serve` needs a whole proxy engine.
"""

import errno
import os
import sys
from typing import Any

import click

from proxy.cli.lazy import LazyGroup
from proxy.cli.options import EXIT_USAGE, fail

COMMANDS = {
    "rehearse": (
        "proxy.cli.rehearse:rehearse",
        "Fire an ALLOW and a DENY through a real gate and verify the Chron.",
    ),
    "init": ("proxy.cli.init:init", "Write a commented configuration to start from."),
    "serve": ("proxy.cli.serve:serve", "Run the proxy and the control API."),
    "run": ("proxy.cli.run:run", "Run a command behind a private gate."),
    "env": ("proxy.cli.env:env", "Print the environment that routes a shell through the gate."),
    "agent": ("proxy.cli.agent:agent", "Add, list, transfer, suspend and revoke agents."),
    "human": ("proxy.cli.human:human", "Add, list, suspend and revoke the persons who answer for agents."),
    "org": ("proxy.cli.org:org", "Add, list and suspend organisations, and let one's agents act in another."),
    "check": ("proxy.cli.check:check", "Validate configuration, agents, policies and mappings."),
    "map": ("proxy.cli.map:map_request", "Show which action a request is, and by which rule."),
    "mappings": ("proxy.cli.mappings:mappings", "List, measure, import and refresh what requests are named by."),
    "policy": ("proxy.cli.policy:policy", "Look into skills and policies, try, compare and activate them."),
    "attack": ("proxy.cli.attack:attack", "Attack a gate with these rules, and count what it lets through."),
    "can": ("proxy.cli.can:can", "Say whether an agent may do an action: yes, no, or ask."),
    "approvals": ("proxy.cli.approvals:approvals", "See what agents wait for, and approve or deny it."),
    "exception": ("proxy.cli.exceptions:exception", "Make an exception for an agent; takes two people."),
    "explain": ("proxy.cli.explain:explain", "Show every stage of a decision."),
    "chron": ("proxy.cli.chron:chron", "Read and verify the log of decisions."),
    "healthcheck": (
        "proxy.cli.healthcheck:healthcheck",
        "Ask a running gate whether it is well (for containers).",
    ),
    "doctor": (
        "proxy.cli.doctor:doctor",
        "Prove from inside an agent's environment that all its ways out lead to the gate.",
    ),
    "help": ("proxy.cli.help:help_about", "Show the help of a command, or what the exit codes mean."),
}


class _Commands(LazyGroup):
    table = COMMANDS

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run; what no command can foresee ends in one line, and not in the code that means a denial."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            what = error.filename or "the output"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left of it is not tried again at the end
            fail(f"{what}: cannot write: {os.strerror(error.errno).lower()}; make room", EXIT_USAGE)
        except UnicodeEncodeError:
            named = [ascii(argument) for argument in sys.argv[1:] if _not_text(argument)]
            # By its name alone: it may be a token.
            named += [name for name, value in os.environ.items() if name.startswith("CLAIIM_") and _not_text(value)]
            if not named:
                raise
            fail(f"{named[0]}: not UTF-8; give it as UTF-8", EXIT_USAGE)


def _not_text(argument: str) -> bool:
    """Whether it had bytes that are no text to this locale (PEP 383)."""
    return any("\udc80" <= character <= "\udcff" for character in argument)


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    import platform
    import ssl

    from proxy.cli.versions import version_of

    versions = {name: version_of(name) for name in ("claiim-gate", "httptools", "mitmproxy")}
    click.echo("  ".join(f"{name} {version}" for name, version in versions.items()))
    click.echo(f"Python {platform.python_version()}  {ssl.OPENSSL_VERSION}")
    ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print versions and exit.",
)
def main() -> None:
    """The gate between AI agents and the APIs that run infrastructure.

    Start with "claiim rehearse"; then "claiim init" and "claiim serve".
    """
