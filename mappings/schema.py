"""The JSON Schemas of the mapping file and of the YAML pack, for editors that complete and check while one types.

    # yaml-language-server: $schema=https://.../mappings/schemas/mapping.schema.json

They are made from the models that the loader obeys, and published as `mappings/schemas/*.schema.json`. A schema
says less than the loader: whether a host, a path or an operation is one, only loading tells. Nothing here is
asked when requests are named.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mappings.packformat import PackFile
from mappings.rules import MappingFile

FOLDER = Path(__file__).parent / "schemas"

MODELS: dict[str, type[BaseModel]] = {"mapping.schema.json": MappingFile, "pack.schema.json": PackFile}
"""By file name."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_text(name: str) -> str:
    """Return the text of one of the published files."""
    schema = {"$schema": _DIALECT, **_plain(MODELS[name].model_json_schema(by_alias=True))}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _plain(schema: Any) -> Any:
    """Return a schema without titles, which are the names of our classes, and defaults, which editors would insert."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: _plain(each) for name, each in value.items()}
        elif key not in ("title", "default"):
            kept[key] = _plain(value)
    return kept
