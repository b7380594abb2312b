"""What pip installs, what uv installs and what pyproject.toml asks for are the same."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
OURS = {"claiim", "claiim-gate"}
STALE = "run `make lock`"


def toml(name: str) -> dict[str, object]:
    return tomllib.loads((ROOT / name).read_text())


def requirements(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def needed_at_run_time(group: str = "") -> set[str]:
    """Names of everything the gate depends on, directly or not, according to the lock; with a group's if named."""
    packages = {p["name"]: p for p in toml("uv.lock")["package"]}  # type: ignore[attr-defined]
    own = packages["claiim-gate"].get("dev-dependencies", {}).get(group, [])
    found = {entry["name"] for entry in own}
    waiting = ["claiim-gate", *found]
    while waiting:
        package = packages[waiting.pop()]
        groups = [package.get("dependencies", []), *package.get("optional-dependencies", {}).values()]
        names = {entry["name"] for group in groups for entry in group} - found
        found |= names
        waiting += names
    return found


def shape(requirement: Requirement) -> tuple[str, tuple[str, ...], str]:
    extras = tuple(sorted(requirement.extras))
    return canonicalize_name(requirement.name), extras, str(requirement.specifier)


def locked_shape(entry: dict[str, object]) -> tuple[str, tuple[str, ...], str]:
    extras = tuple(sorted(entry.get("extras", [])))  # type: ignore[call-overload]
    text = f"{entry['name']}{entry.get('specifier', '')}"
    return str(entry["name"]), extras, str(Requirement(text).specifier)


def test_the_lock_answers_pyproject() -> None:
    """uv.lock was resolved from the dependencies that pyproject.toml names today, those of its extras too."""
    project = toml("pyproject.toml")
    [locked] = [p for p in toml("uv.lock")["package"] if p["name"] == "claiim-gate"]  # type: ignore[attr-defined]
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]  # type: ignore[index]
    asked = {shape(Requirement(text)) for group in groups for text in group}
    assert {locked_shape(entry) for entry in locked["metadata"]["requires-dist"]} == asked, STALE
    asked = {shape(Requirement(text)) for text in project["dependency-groups"]["dev"]}  # type: ignore[index]
    assert {locked_shape(entry) for entry in locked["metadata"]["requires-dev"]["dev"]} == asked, STALE


def test_pip_installs_what_the_lock_says() -> None:
    """requirements-dev.txt pins what the lock says for the gate and its tests: all of it, and nothing else.

    What the catalogues are compiled from is locked too, and never installed.
    """
    locked = {(p["name"], p["version"]) for p in toml("uv.lock")["package"] if p["name"] not in OURS}  # type: ignore[attr-defined]
    pinned = {
        (canonicalize_name(r.name), str(r.specifier).removeprefix("==")) for r in requirements("requirements-dev.txt")
    }
    assert pinned <= locked, STALE
    # Versions that only exist for markers no Python satisfies are locked and never exported.
    assert needed_at_run_time("dev") - OURS == {name for name, _ in pinned}, STALE


def test_the_image_installs_what_the_gate_needs_to_run() -> None:
    """requirements.txt is the part of requirements-dev.txt that the gate itself depends on."""
    pinned = {str(r) for r in requirements("requirements.txt")}
    assert pinned <= {str(r) for r in requirements("requirements-dev.txt")}, STALE
    names = {canonicalize_name(r.name) for r in requirements("requirements.txt")}
    direct = {shape(Requirement(text))[0] for text in toml("pyproject.toml")["project"]["dependencies"]}  # type: ignore[index]
    assert direct <= names <= needed_at_run_time(), STALE
    assert not names & {"pytest", "moto", "hypothesis"}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_pip_is_told_no_address(name: str) -> None:
    """Where packages come from is the machine's business: no index, link or path stands in the file."""
    text = (ROOT / name).read_text()
    assert not re.search(r"://|^-|^\.|^/", text, re.MULTILINE)
    assert all(requirement.url is None for requirement in requirements(name))
