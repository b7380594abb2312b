"""Writes mappings/schemas/*.schema.json from the models that the loader obeys. A test compares them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mappings.schema import FOLDER, MODELS, schema_text

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in MODELS:
        (FOLDER / name).write_text(schema_text(name), "utf-8")
        print(FOLDER / name)
