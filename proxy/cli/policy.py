"""`claiim policy`: look into skills and policies, try them, compare them and put them in force.

claiim policy show deploy-v2 --expanded
claiim policy schema skill > skill.schema.json
claiim policy test --coverage
claiim policy versions deploy-v2
claiim policy diff deploy-v2@2 deploy-v2@3
claiim policy activate deploy-v2@3
"""

import click

from proxy.cli.lazy import LazyGroup

COMMANDS = {
    "list": ("proxy.cli.policyshow:list_texts", "Every version of every skill and policy."),
    "show": ("proxy.cli.policyshow:show", "A skill or policy, as written or with all that it extends."),
    "test": ("proxy.cli.policytest:test", "Run the tests that stand beside the texts."),
    "lint": ("proxy.cli.policylint:lint_command", "Look for what nobody can have meant."),
    "schema": (
        "proxy.cli.policyschema:schema",
        "The JSON Schema of a skill, a policy, the registry or tests, for editors.",
    ),
    "diff": ("proxy.cli.policydiff:diff", "Which actions are gained and lost between two versions, files or folders."),
    "versions": ("proxy.cli.policyversions:versions", "Every known version, and which of them are in force."),
    "activate": ("proxy.cli.policyactivate:activate", "Put versions in force."),
    "rollback": ("proxy.cli.policyactivate:rollback", "Put the version in force that was before."),
    "retire": ("proxy.cli.policyactivate:retire", "Put a skill or policy out of force."),
    "waiting": ("proxy.cli.policyactivate:waiting", "What waits for a second human."),
    "approve": ("proxy.cli.policyactivate:approve", "Say yes to what another human asked for."),
    "refuse": ("proxy.cli.policyactivate:refuse", "Say no to it."),
    "bundle": ("proxy.cli.policybundle:bundle", "Make, sign and verify bundles."),
    "simulate": ("proxy.cli.policysimulate:simulate", "What a change would have done to the past: each flip."),
    "learn": ("proxy.cli.policylearn:learn", "Write a skill that allows what an agent was seen to do, no more."),
}


class _Commands(LazyGroup):
    table = COMMANDS


@click.group(cls=_Commands)
def policy() -> None:
    """Look into skills and policies, try them, compare them and put them in force."""
