"""How much memory a gate that is a process of its own takes for something."""

import re
import sys
from pathlib import Path

import pytest

GROWTH_BYTES = 64 * 2**20
"""What a stream of any length may cost."""


class Memory:
    """The most a process has in memory from now on (proc(5), /proc/PID/status and clear_refs)."""

    def __init__(self, pid: int) -> None:
        if sys.platform != "linux":
            pytest.skip("the peak of another process's memory is read from /proc")
        self._process = Path("/proc") / str(pid)
        (self._process / "clear_refs").write_text("5")  # the peak is now what it has now
        self._before = self._read("VmRSS")

    def _read(self, name: str) -> int:
        match = re.search(rf"^{name}:\s+(\d+) kB$", (self._process / "status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    @property
    def growth_bytes(self) -> int:
        return self._read("VmHWM") - self._before
