"""The documentation does not lag behind: links lead somewhere, code blocks parse, commands exist."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

import proxy.configfile

ROOT = Path(__file__).resolve().parents[2]


def test_the_documents_have_no_faults() -> None:
    """`make docs` finds nothing."""
    checker = ROOT / "tools" / "check_docs.py"
    done = subprocess.run([sys.executable, str(checker)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_ends_with_whose_work_this_is() -> None:
    """The last lines say that this is independent work, not that of a vendor."""
    end = (ROOT / "README.md").read_text().strip().rpartition("\n\n")[2]
    assert "independent open-source implementation" in end
    assert "not affiliated with any vendor" in end


def test_the_agent_container_sees_no_key_and_no_way_out() -> None:
    """In compose.yaml the agent is on an internal network only and mounts nothing but the certificate."""
    composed = yaml.safe_load((ROOT / "compose.yaml").read_text())
    agent = composed["services"]["agent"]
    assert agent["networks"] == ["agents"]
    assert composed["networks"]["agents"] == {"internal": True}
    assert agent["volumes"] == ["ca:/ca:ro"]
    assert [name for name, service in composed["services"].items() if "outside" in service.get("networks", [])] == [
        "gate"
    ]
    compile(agent["command"][-1], "compose.yaml", "exec")


def test_the_image_is_built_from_what_it_needs_and_nothing_secret() -> None:
    """Whatever the Dockerfile's wheels are made of gets past .dockerignore, and nothing secret does."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert let_in >= {"pyproject.toml", "requirements.txt", "README.md", "LICENSE", "claiim_gate", "sdk"}
    assert let_in >= {"proxy", "mappings", "policies", "chron"}
    assert {"*", "**/*.pem", "**/*.db", "**/*.token"} <= set(ignored)


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key that claiim.yaml may hold, dotted."""
    for name, field in model.model_fields.items():
        # A section of its own, also where it may be left out; a table of entries is one key, and so is a list of
        # entries that are checked together.
        kinds = (field.annotation, *get_args(field.annotation))
        if get_origin(field.annotation) in (Union, UnionType):
            kinds = tuple(map(bare, kinds))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner and get_origin(field.annotation) is not dict:
            yield from settings(inner[0], f"{prefix}{name}.")
        else:
            yield prefix + name


def bare(kind: object) -> object:
    """A type without what is annotated to it."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def test_every_setting_is_documented() -> None:
    """docs/configuration.md names every key of claiim.yaml, and no key that does not exist."""
    text = (ROOT / "docs/configuration.md").read_text()
    table = text.partition("## claiim.yaml")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    assert documented == set(settings(proxy.configfile.File))


def test_every_variable_is_documented() -> None:
    """docs/configuration.md names every CLAIIM_ variable that the gate or the SDK reads or sets."""
    text = (ROOT / "docs/configuration.md").read_text()
    sources = [*ROOT.glob("proxy/**/*.py"), *ROOT.glob("sdk/src/**/*.py")]
    read = {name for path in sources for name in re.findall(r"CLAIIM_[A-Z][A-Z_]*[A-Z]", path.read_text())}
    assert read - set(re.findall(r"CLAIIM_[A-Z_]+", text)) == set()
