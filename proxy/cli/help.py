"""`claiim help`: the help of any command, and what the exit codes mean.

claiim help                                      what `claiim --help` prints
claiim help agent add                            what `claiim agent add --help` prints
claiim help exit-codes                           one table for all commands
claiim help wiring                               which tools go through the gate by themselves
"""

from collections.abc import Mapping, Sequence

import click

from proxy.cli.options import (
    EXIT_AUTHENTICATION,
    EXIT_CONFIGURATION,
    EXIT_DENY,
    EXIT_HOLD,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    json_option,
    print_json,
)
from proxy.cli.tables import print_table

EXIT_MEANINGS: Mapping[int, str] = {
    0: "done; allowed",
    EXIT_DENY: "denied; faults or holes found; the Chron was tampered with",
    EXIT_USAGE: "wrong usage; a file that cannot be read or written",
    EXIT_AUTHENTICATION: "not authenticated",
    EXIT_HOLD: "a human has to say yes first",
    10: "the Chron is good as far as it can be read, but a sealed segment of it is missing",
    11: "the Chron is good, but records at its end are covered by nothing that counts",
    EXIT_UNREACHABLE: "the gate cannot be reached",
    EXIT_CONFIGURATION: "the configuration cannot be used",
    126: "claiim run: the command cannot be run",
    127: "claiim run: there is no such command",
}
"""Every code that a command of ours ends with; docs/configuration.md has the same table."""
RUN_CODES = "claiim run ends with the exit code of its command, or with 128+n when signal n ended it."
TOPICS = ("exit-codes", "wiring")


@click.command("help")
@click.argument("topic", nargs=-1, metavar="[COMMAND... | exit-codes | wiring]")
@json_option
@click.pass_context
def help_about(ctx: click.Context, topic: Sequence[str], as_json: bool) -> None:
    """Show the help of a command, what the exit codes mean, or which tools are wired."""
    match tuple(topic):
        case ("exit-codes",):
            _print_exit_codes(as_json)
        case ("wiring",):
            _print_wiring(as_json)
        case _ if as_json:
            raise click.UsageError(f"--json is for {' and '.join(TOPICS)}")
        case _:
            click.echo(_help_of(ctx.find_root(), topic))


def _print_exit_codes(as_json: bool) -> None:
    if as_json:
        print_json([{"code": code, "meaning": meaning} for code, meaning in EXIT_MEANINGS.items()])
        return
    print_table(("code", "meaning"), EXIT_MEANINGS.items())
    click.echo(f"\n{RUN_CODES}")


def _print_wiring(as_json: bool) -> None:
    """Print the table of tools; as JSON with what stands in it and nowhere else."""
    from proxy.wiring.tools import TOOLS

    if as_json:
        print_json(
            [
                {"tool": tool.name, "works": tool.works.value, "tried": tool.tried, "variables": list(tool.reads)}
                | {"hand": tool.hand, "note": tool.note}
                for tool in TOOLS
            ]
        )
        return
    print_table(
        ("tool", "through", "tried", "what to know"),
        [(tool.name, tool.works.value, tool.tried, " ".join(filter(None, (tool.hand, tool.note)))) for tool in TOOLS],
    )
    click.echo(
        "\ndocs/wiring.md says more. Variables ask, they do not confine: claiim doctor tells what else is reached."
    )


def _help_of(ctx: click.Context, names: Sequence[str]) -> str:
    """Return the help of the command that the names lead to."""
    for at, name in enumerate(names):
        command = ctx.command.get_command(ctx, name) if isinstance(ctx.command, click.Group) else None
        if command is None:
            raise click.UsageError(f'no command "{" ".join(names[: at + 1])}"; "{ctx.command_path} --help" lists them')
        ctx = click.Context(command, info_name=name, parent=ctx)
    return ctx.get_help()
