"""What the tests promise each other: no process is left behind, and nothing is skipped where it counts."""

import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from support.children import child
from support.needed import needed
from support.torture.nursery import nursery

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


class _Failure(Exception):
    """What a test that fails raises."""


def test_a_child_does_not_outlive_the_test_that_fails() -> None:
    """Killed at once, whatever it thinks of signals."""
    command = (sys.executable, "-c", STUBBORN)
    with suppress(_Failure), child(*command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        raise _Failure
    assert process.returncode == -signal.SIGKILL


def test_a_nursery_ends_although_its_child_would_not() -> None:
    """A test that fails between the start of a gate and its end hangs nobody who comes after it."""
    with suppress(_Failure), nursery("for_ever") as children:
        children.start()
        raise _Failure
    with nursery("for_ever") as children:
        first = children.start()
        assert children.start() != first


def test_a_missing_tool_skips_and_says_which() -> None:
    """One that is there is found."""
    with pytest.raises(pytest.skip.Exception, match="no-such-tool is not installed; this test runs it for real"):
        needed("no-such-tool")
    assert needed("sh").endswith("/sh")
