"""Processes that a test starts: none outlives it, whatever fails."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEADLINE_S = 60


@contextmanager
def child(*command: str | Path, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A process between enter and exit; it has to end by itself, and is killed when it or the test does not."""
    with subprocess.Popen(command, text=True, **more) as process:
        try:
            yield process
            process.wait(DEADLINE_S)
        finally:
            process.kill()
