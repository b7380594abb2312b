"""The JSON Schemas of the mapping file and of the YAML pack, for editors that complete and check while one types.

    # yaml-language-server: $schema=https://.../mappings/schemas/mapping.schema.json

They are made from the models that the loader obeys, and published as `mappings/schemas/*.schema.json`. A schema
says less than the loader: whether a host, a path or an operation is one, only loading tells. Nothing here is
asked when requests are named.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from mappings.jsonschema import schema_of
from mappings.packformat import PackFile
from mappings.rules import MappingFile

FOLDER = Path(__file__).parent / "schemas"

MODELS: dict[str, type[BaseModel]] = {"mapping.schema.json": MappingFile, "pack.schema.json": PackFile}
"""By file name."""


def schema_text(name: str) -> str:
    """Return the text of one of the published files."""
    return schema_of(MODELS[name])
