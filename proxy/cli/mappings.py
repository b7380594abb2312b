"""`claiim mappings`: what the gate can name, what it meets without a name, and how to teach it more.

A command's module is imported only when it is called, as those of `claiim` itself.

    claiim mappings list github --grep merge
    claiim mappings coverage --since 30d
    claiim mappings import openapi orders.json --host orders.acme.test
    claiim mappings refresh aws
"""

import click

from proxy.cli.lazy import LazyGroup

COMMANDS = {
    "list": ("proxy.cli.listing:list_command", "Families, or operations and what rules make of them."),
    "coverage": ("proxy.cli.coverage:coverage", "What was done that no rule has a word for, from the Chron."),
    "import": ("proxy.cli.importing:import_group", "Make a pack of an API's own description."),
    "refresh": ("proxy.cli.refreshing:refresh", "Compile catalogues from the packages of this machine."),
    "schema": ("proxy.cli.schema:schema", "The JSON Schema of a mapping file or a pack, for editors."),
}


class _Commands(LazyGroup):
    table = COMMANDS


@click.group(cls=_Commands)
def mappings() -> None:
    """List, measure, import and refresh what requests are named by."""
