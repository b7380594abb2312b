"""`claiim policy list`, `show` and `schema`: what there is, what it says, and how it is written."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mappings.documents import read_document
from policies.jsonschema import MODELS, schema_text
from proxy.cli.main import main

BASE = "skill: base\nallow: [health:check]\ndeny:\n- infra:destroy\n"
SKILL = "skill: deploy-v2\nversion: 2\ndescription: Deploys.\nextends: [base@1]\nallow: [deploy:staging]\n"
OLDER = "skill: deploy-v2\nallow: [deploy:preview]\n"
POLICY = "policy: base\nmode: observe\ndeny: [x]\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured folder with four texts, as the working directory."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "mappings").mkdir()
    (tmp_path / "claiim.yaml").write_text("version: 1\n")
    (tmp_path / "agents.yaml").write_text("version: 1\n")
    for name, text in (("base", BASE), ("skill", SKILL), ("older", OLDER), ("policy", POLICY)):
        (tmp_path / "policies" / f"{name}.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def claiim(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["policy", *arguments])


def test_list(site: Path) -> None:
    """Every version is listed, and which is in force."""
    rows = json.loads(claiim("list", "--json").stdout)
    assert [(row["kind"], row["name"], row["version"], row["in_force"], row["says"]) for row in rows] == [
        ("policy", "base", 1, True, {"deny": 1}),
        ("skill", "base", 1, True, {"allow": 1, "deny": 1}),
        ("skill", "deploy-v2", 1, False, {"allow": 1}),
        ("skill", "deploy-v2", 2, True, {"allow": 1}),
    ]
    table = claiim("list").stdout.splitlines()
    assert table[0].split() == ["kind", "name", "version", "in", "force", "mode", "says", "description"]
    assert table[4].split() == ["skill", "deploy-v2", "2", "yes", "1", "allow", "Deploys."]


@pytest.mark.parametrize(("name", "text"), {"deploy-v2": SKILL, "deploy-v2@1": OLDER, "skill:base": BASE}.items())
def test_show(site: Path, name: str, text: str) -> None:
    """A text is shown as it is written: the version in force, or the one that is named."""
    done = claiim("show", name)
    assert (done.exit_code, done.stdout) == (0, text)


def test_show_expanded(site: Path) -> None:
    """Expanded, each line stands with its home; what is printed loads, and names no base."""
    done = claiim("show", "deploy-v2", "--expanded")
    lines = [[part.strip() for part in line.split("  # ")] for line in done.stdout.splitlines()]
    folder = site / "policies"
    assert lines == [
        ["skill: deploy-v2"],
        ["version: 2"],
        ["description: Deploys."],
        ["allow:"],
        ["- deploy:staging", f"{folder / 'skill.yaml'}:5:9"],
        ["- health:check", f"base@1 {folder / 'base.yaml'}:2:9"],
        ["deny:"],
        ["- infra:destroy", f"base@1 {folder / 'base.yaml'}:4:3"],
    ]
    assert read_document(done.stdout, "x").value["deny"] == ["infra:destroy"]  # type: ignore[index]
    said = json.loads(claiim("show", "deploy-v2", "--expanded", "--json").stdout)
    assert (said["text"], said["extends"]) == (done.stdout, ["base@1"])


NAMES = {
    "nobody's": ("deploy-v3", 'text "deploy-v3" does not exist; did you mean "deploy-v2"'),
    "two kinds": ("base", '"base" is the name of a skill and of a policy; write "skill:base" or "policy:base"'),
    "no such version": ("deploy-v2@7", 'skill "deploy-v2" has no version 7; known: 1, 2'),
}


@pytest.mark.parametrize(("name", "message"), NAMES.values(), ids=NAMES)
def test_names(site: Path, name: str, message: str) -> None:
    """A name that means nothing, or two things, is answered with what would."""
    done = claiim("show", name)
    assert (done.exit_code, done.stdout, done.stderr.strip()) == (2, "", message)


def test_a_fault_is_located(site: Path) -> None:
    """What does not load is not shown; its fault is."""
    (site / "policies/policy.yaml").write_text("policy: base\ndeny: [a b]\n")
    done = claiim("list")
    assert done.exit_code == 78
    assert f"{site / 'policies/policy.yaml'}:2:8: " in done.stderr


@pytest.mark.parametrize("kind", MODELS)
def test_schema(kind: str) -> None:
    """The schema that is printed is the one that is published."""
    done = claiim("schema", kind)
    assert (done.exit_code, done.stdout) == (0, schema_text(kind))
