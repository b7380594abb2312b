"""Writes mappings/schemas and policies/schemas from the models that the loaders obey. Tests compare them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mappings import schema as mappings
from policies import jsonschema as policies


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    print(path)


if __name__ == "__main__":
    for name in mappings.MODELS:
        _write(mappings.FOLDER / name, mappings.schema_text(name))
    for kind in policies.MODELS:
        _write(policies.FOLDER / f"{kind}.schema.json", policies.schema_text(kind))
