"""From a model that a loader obeys to the JSON Schema that an editor reads."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(model: type[BaseModel]) -> str:
    """Return a model's JSON Schema as text, without what only our code needs."""
    schema = {"$schema": _DIALECT, **_plain(model.model_json_schema(by_alias=True))}
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
