"""`claiim policy`: look into skills and policies, try them, compare them and put them in force.

claiim policy schema skill > skill.schema.json
claiim policy test --coverage
claiim policy versions deploy-v2
claiim policy activate deploy-v2@3
"""

import click

from proxy.cli.lazy import LazyGroup

COMMANDS = {
    "test": ("proxy.cli.policytest:test", "Run the tests that stand beside the texts."),
    "schema": (
        "proxy.cli.policyschema:schema",
        "The JSON Schema of a skill, a policy, the registry or tests, for editors.",
    ),
    "versions": ("proxy.cli.policyversions:versions", "Every known version, and which of them are in force."),
    "activate": ("proxy.cli.policyactivate:activate", "Put versions in force."),
    "rollback": ("proxy.cli.policyactivate:rollback", "Put the version in force that was before."),
    "retire": ("proxy.cli.policyactivate:retire", "Put a skill or policy out of force."),
    "waiting": ("proxy.cli.policyactivate:waiting", "What waits for a second human."),
    "approve": ("proxy.cli.policyactivate:approve", "Say yes to what another human asked for."),
    "refuse": ("proxy.cli.policyactivate:refuse", "Say no to it."),
    "simulate": ("proxy.cli.policysimulate:simulate", "What a change would have done to the past: each flip."),
    "learn": ("proxy.cli.policylearn:learn", "Write a skill that allows what an agent was seen to do, no more."),
}


class _Commands(LazyGroup):
    table = COMMANDS


@click.group(cls=_Commands)
def policy() -> None:
    """Look into skills and policies, try them, compare them and put them in force."""
