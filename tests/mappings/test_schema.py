"""The schemas that editors use agree with what the loader takes."""

import json
from collections.abc import Mapping
from typing import Any

import jsonschema
import pytest
import yaml

from mappings import packformat, rules
from mappings.schema import FOLDER, MODELS, schema_text
from mappings.shipped import shipped_files

MAPPING = jsonschema.Draft202012Validator(yaml.safe_load(schema_text("mapping.schema.json")))
PACK = jsonschema.Draft202012Validator(yaml.safe_load(schema_text("pack.schema.json")))


@pytest.mark.parametrize("name", MODELS)
def test_the_published_file_is_current(name: str) -> None:
    """Whoever changes a model publishes its schema: tools/schemas.py."""
    assert (FOLDER / name).read_text("utf-8") == schema_text(name), "run tools/schemas.py"


@pytest.mark.parametrize("name", MODELS)
def test_it_is_a_schema(name: str) -> None:
    """The published file is itself valid."""
    jsonschema.Draft202012Validator.check_schema(yaml.safe_load((FOLDER / name).read_text("utf-8")))


def _example(docstring: str | None, first: str) -> Any:
    lines = (docstring or "").splitlines()
    start = next(at for at, line in enumerate(lines) if line.strip().startswith(first))
    end = next(at for at in range(start, len(lines)) if lines[at] and not lines[at].startswith("    "))
    return yaml.safe_load("\n".join(line[4:] for line in lines[start:end]))


def test_the_examples_are_valid() -> None:
    """The files shown where the formats are defined pass."""
    MAPPING.validate(_example(rules.__doc__, "version: 1"))
    PACK.validate(_example(packformat.__doc__, "pack: github"))


@pytest.mark.parametrize("file", shipped_files(), ids=lambda file: file.name)
def test_shipped_packs_are_valid(file: Any) -> None:
    """Every pack that came with the gate passes."""
    PACK.validate(file.document.value)


def _rule(match: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"version": 1, "rules": [{"id": "a", "match": match, "action": "x"}]}


GOOD = {
    "nothing but a version": {"version": 1},
    "words alone and in lists": _rule({"host": "a.test", "method": ["GET"], "path": ["/a", "/b"]}),
    "conditions": _rule({"query": {"a": "x*", "b": ["x"], "c": {"exists": True}, "d": {"in": ["x"]}}}),
    "conditions on json": _rule({"json": {"a": True, "b": 5, "c": [1, 2], "d": {"gt": 1, "le": 3}, "e": {"eq": 1}}}),
    "not within not": _rule({"not": {"not": {"content_type": "text/*"}}}),
    "a lookup": {"version": 1, "lookups": {"w": {"key": "id", "table": {"a": {"env": "staging"}}}}},
}
BAD = {
    "no version": {"rules": []},
    "an unknown key": {"version": 1, "rule": []},
    "an unknown condition": _rule({"json": {"a": {"regex": "x"}}}),
    "a bound on a text": _rule({"query": {"a": {"gt": 1}}}),
    "three bounds": _rule({"json": {"a": {"gt": 1, "lt": 3, "le": 2}}}),
    "two conditions": _rule({"json": {"a": {"eq": 1, "exists": True}}}),
    "a number for a text": _rule({"query": {"a": 5}}),
    "an empty list": _rule({"host": []}),
    "no action": {"version": 1, "rules": [{"id": "a", "match": {"host": "a.test"}}]},
    "a row that is no mapping": {"version": 1, "lookups": {"w": {"key": "id", "table": {"a": "b"}}}},
}


@pytest.mark.parametrize("value", GOOD.values(), ids=GOOD)
def test_what_the_loader_takes_is_valid(value: Any) -> None:
    """An editor underlines nothing that would load."""
    MAPPING.validate(value)
    rules.MappingFile.model_validate_json(json.dumps(value))


@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_what_the_loader_refuses_is_not(value: Any) -> None:
    """An editor underlines what would not load, as far as its shape says so."""
    assert not MAPPING.is_valid(value)
    with pytest.raises(ValueError):
        rules.MappingFile.model_validate_json(json.dumps(value))
