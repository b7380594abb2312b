"""`claiim mappings`: what the gate can name, what it meets without a name, and how to teach it more.

A command's module is imported only when it is called, as those of `claiim` itself.

    claiim mappings list github --grep merge
    claiim mappings coverage --since 30d
    claiim mappings import openapi orders.json --host orders.acme.test
    claiim mappings refresh aws
"""

import importlib

import click

COMMANDS = {
    "list": ("proxy.cli.listing:list_command", "Families, or operations and what rules make of them."),
    "coverage": ("proxy.cli.coverage:coverage", "What was done that no rule has a word for, from the Chron."),
    "import": ("proxy.cli.importing:import_group", "Make a pack of an API's own description."),
    "refresh": ("proxy.cli.refreshing:refresh", "Compile catalogues from the packages of this machine."),
    "schema": ("proxy.cli.schema:schema", "The JSON Schema of a mapping file or a pack, for editors."),
}


class _Commands(click.Group):
    """Looks commands up in the table and imports them on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_Commands)
def mappings() -> None:
    """List, measure, import and refresh what requests are named by."""
