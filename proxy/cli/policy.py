"""`claiim policy`: look into skills and policies, try them, compare them and put them in force.

claiim policy schema skill > skill.schema.json
"""

import click

from proxy.cli.lazy import LazyGroup

COMMANDS = {
    "schema": ("proxy.cli.policyschema:schema", "The JSON Schema of a skill, a policy or the registry, for editors."),
}


class _Commands(LazyGroup):
    table = COMMANDS


@click.group(cls=_Commands)
def policy() -> None:
    """Look into skills and policies, try them, compare them and put them in force."""
