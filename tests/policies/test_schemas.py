"""The schemas that editors use agree with what the loader takes."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import yaml

from policies import Policies
from policies.jsonschema import FOLDER, MODELS, schema_text

EXAMPLES = Path(__file__).parents[2] / "policies/examples"

RICH = {
    "skill": """
skill: deploy-v2
extends: [base@1]
until: "2026-12-31"
allow:
- deploy:staging
- {action: deploy:production, when: {time: {days: [mon], from: "09:00", to: "17:00", zone: UTC}}, why: in the day}
approve: [{action: infra:destroy, approvers: {count: 2, who: ["*@acme.test"], anchor: false}}]
require: [{action: "deploy:*", header: x-ticket, like: "OPS-*"}]
limits: [{id: calm, action: "deploy:*", most: 3, per: week, of: human}]
""",
    "policy": """
policy: no-prod
applies_to: {agents: ["*-bot"], labels: {tier: [gold]}}
deny: [{action: "**", unless: {client: 10.0.0.0/8}, overridable: break-glass}]
redact: [{action: "**", fields: [path, query_keys]}]
mode: observe
""",
    "agents": """
version: 1
organisations: [{id: acme, owns: ["github/acme/*"]}]
cross_grants: [{of: acme, into: globex, until: "2026-12-31"}]
humans: [{id: alice@acme.test, org: acme, state: active}]
agents: [{id: deploy-bot, anchor: alice@acme.test, org: acme, state: active, labels: {tier: gold}}]
""",
}

WRONG = {
    "skill": "skill: deploy-v2\nalow: [x]\n",
    "policy": "policy: p\ndeny: [x]\nmode: maybe\n",
    "agents": "version: 2\n",
    "test": "version: 1\ncases: [{name: x}]\n",
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_published_file_is_current(kind: str) -> None:
    """Whoever changes a model publishes its schema: tools/schemas.py."""
    published = (FOLDER / f"{kind}.schema.json").read_text("utf-8")
    assert published == schema_text(kind), "run tools/schemas.py"
    jsonschema.Draft202012Validator.check_schema(json.loads(published))


@pytest.mark.parametrize("kind", RICH)
def test_what_loads_is_valid(kind: str) -> None:
    """A file that uses the whole language passes, and so does what is shipped."""
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(kind)))
    validator.validate(yaml.safe_load(RICH[kind]))
    for file in (file for file in EXAMPLES.glob("*.yaml") if not file.name.endswith(".test.yaml")):
        value = yaml.safe_load(file.read_text("utf-8"))
        if kind in value:
            validator.validate(value)


@pytest.mark.parametrize("kind", WRONG)
def test_what_does_not_load_is_not(kind: str) -> None:
    """An unknown key, a word that is none and a missing key are seen while one types."""
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(kind)))
    assert not validator.is_valid(yaml.safe_load(WRONG[kind]))


PRINTED = [
    block
    for page in sorted((Path(__file__).parents[2] / "docs").glob("*.md"))
    for block in page.read_text("utf-8").split("```yaml\n")[1:]
    if block.startswith(("skill:", "policy:"))
]


@pytest.mark.parametrize("block", PRINTED, ids=lambda block: block.split("\n", 1)[0])
def test_what_the_pages_print_loads(block: str, build: Callable[..., Policies]) -> None:
    """Every skill and policy in the documentation loads, and editors accept it."""
    text = block.split("```")[0]
    build("skill: deploy-v2\nallow: []\n", text.replace("deploy-v2", "printed"))
    jsonschema.validate(yaml.safe_load(text), json.loads(schema_text(text.partition(":")[0])))
