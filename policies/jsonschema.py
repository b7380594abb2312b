"""The JSON Schemas of a skill, a policy and the registry of agents, made from the models that the loader obeys.

    # yaml-language-server: $schema=policy.schema.json

A schema says less than the loader: whether a pattern, a network or a zone is one, only loading tells.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

from mappings.jsonschema import schema_of
from policies.schema import AgentsFile, PolicyFile, SkillFile

MODELS: Mapping[str, type[BaseModel]] = {"skill": SkillFile, "policy": PolicyFile, "agents": AgentsFile}


def schema_text(kind: str) -> str:
    """Return the text of one of the schemas: "skill", "policy" or "agents"."""
    return schema_of(MODELS[kind])
