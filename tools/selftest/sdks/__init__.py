"""Runs the providers' own clients and keeps the requests they would have sent; nothing is sent.

Each client is imported from its pinned wheel, in an interpreter of its own that sees nothing but that wheel and the
packages of requirements.txt (installed by hash into .catalogues/clients-..., never into the environment of the
gate). A program beside this file calls every method with made-up arguments and writes one line for each request.

Where those packages cannot be had, `captured` says so and gives nothing; the self-tests then fall back on templates
read from the same sources, which shows that templates do not collide, and no more.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fetch import STORE, package

_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of a client."""

    name: str
    """The way to the method: ``chat.completions.create``."""
    method: str
    url: str
    deprecated: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A method that could not be called with made-up arguments."""

    name: str
    why: str


def captured(program: str, reference: str, *arguments: str) -> Iterator[Sent | Refused]:
    """Yield what a client sends, method by method; nothing when it cannot run here."""
    needed = _needed()
    if needed is None:
        return
    paths = json.dumps([str(package(reference).folder), str(needed)])
    # -S and -E: no site-packages and no PYTHONPATH, so that what runs is what is pinned.
    command = [sys.executable, "-S", "-E", str(_HERE / f"{program}.py"), paths, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            row = json.loads(line)
            yield Refused(row["name"], row["why"]) if "why" in row else Sent(**row)
    if process.returncode:
        raise SystemExit(f"{program}.py ended with {process.returncode}")


@cache
def _needed() -> Path | None:
    """Return the folder of the clients' dependencies, installed when it is not here; None when that fails."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = STORE / f"clients-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(partial)]
    command = [sys.executable, "-m", "pip", "install", "-q", *options, "-r", str(_REQUIREMENTS)]
    if subprocess.run(command, check=False, stdout=2).returncode:
        print("the clients' dependencies could not be installed; self-tests use templates", file=sys.stderr)
        return None
    partial.rename(folder)
    return folder
