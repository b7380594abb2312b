"""Tools that tests run for real. One that is missing skips the test, and says which it is.

    @pytest.mark.needs("node")                       the whole test
    command = [needed("aws"), "s3", "ls"]            where it is

`.ci/run` installs what an image may lack, so that in CI nothing is skipped.
"""

import os
import shutil

import pytest

from support.targets import find_aws

_PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
"""Debian keeps servers where the PATH of a person does not look."""


def needed(tool: str) -> str:
    """Where a tool is; without it the test ends here."""
    found = find_aws() if tool == "aws" else shutil.which(tool, path=_PLACES)
    if found is None:
        pytest.skip(f"{tool} is not installed; this test runs it for real")
    return found
