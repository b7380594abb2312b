"""`claiim mappings schema`: the JSON Schema of a file, for an editor that completes and checks while one types.

    claiim mappings schema > mapping.schema.json
    claiim mappings schema pack > pack.schema.json

What a schema passes may still be refused: whether a host, a path or an operation is one, only `claiim check` tells.
"""

import click


@click.command()
@click.argument("kind", type=click.Choice(["mapping", "pack"]), default="mapping")
def schema(kind: str) -> None:
    """Print the JSON Schema of a mapping file, or of a pack."""
    from mappings.schema import schema_text

    click.echo(schema_text(f"{kind}.schema.json"), nl=False)
