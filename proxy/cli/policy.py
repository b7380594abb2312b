"""`claiim policy`: look into skills and policies, try them, compare them and put them in force.

claiim policy schema skill > skill.schema.json
claiim policy test --coverage
"""

import click

from proxy.cli.lazy import LazyGroup

COMMANDS = {
    "test": ("proxy.cli.policytest:test", "Run the tests that stand beside the texts."),
    "lint": ("proxy.cli.policylint:lint_command", "Look for what nobody can have meant."),
    "schema": (
        "proxy.cli.policyschema:schema",
        "The JSON Schema of a skill, a policy, the registry or tests, for editors.",
    ),
}


class _Commands(LazyGroup):
    table = COMMANDS


@click.group(cls=_Commands)
def policy() -> None:
    """Look into skills and policies, try them, compare them and put them in force."""
