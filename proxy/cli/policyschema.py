"""`claiim policy schema`: the JSON Schema of a file, for an editor that completes and checks while one types.

What a schema passes may still be refused: whether a pattern, a zone or a network is one, only `claiim check` tells.
"""

import click


@click.command()
@click.argument("kind", type=click.Choice(["skill", "policy", "agents", "test"]), default="policy")
def schema(kind: str) -> None:
    """Print the JSON Schema of a skill, a policy, the registry of agents or a file of tests."""
    from policies.jsonschema import schema_text

    click.echo(schema_text(kind), nl=False)
