"""The JSON Schemas of a skill, a policy, the registry of agents and a file of tests, made from the loader's models.

    # yaml-language-server: $schema=https://.../policies/schemas/policy.schema.json

They are published as `policies/schemas/*.schema.json`. A schema says less than the loader: whether a pattern, a
network or a zone is one, only loading tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from mappings.jsonschema import schema_of
from policies.schema import AgentsFile, PolicyFile, SkillFile
from policies.testschema import CasesFile

FOLDER = Path(__file__).parent / "schemas"

MODELS: Mapping[str, type[BaseModel]] = {
    "skill": SkillFile,
    "policy": PolicyFile,
    "agents": AgentsFile,
    "test": CasesFile,
}


def schema_text(kind: str) -> str:
    """Return the text of one of the schemas: "skill", "policy", "agents" or "test"."""
    return schema_of(MODELS[kind])
