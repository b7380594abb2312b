"""What a process takes: memory, processor time, open files; read from /proc (proc(5)), so on Linux alone."""

import os
import re
import sys
from pathlib import Path

import pytest

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Process:
    """A process that is looked at from outside."""

    def __init__(self, pid: int) -> None:
        if sys.platform != "linux":
            pytest.skip("what another process takes is read from /proc")
        self._folder = Path("/proc") / str(pid)

    def _status(self, name: str) -> int:
        match = re.search(rf"^{name}:\s+(\d+) kB$", (self._folder / "status").read_text(), re.MULTILINE)
        assert match is not None
        return int(match[1]) * 1024

    @property
    def rss_bytes(self) -> int:
        """What it has in memory now."""
        return self._status("VmRSS")

    @property
    def peak_bytes(self) -> int:
        """The most that it had since `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        """The peak is from now on what it has now."""
        (self._folder / "clear_refs").write_text("5")

    @property
    def cpu_s(self) -> float:
        """The processor time that it has used."""
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    @property
    def files(self) -> int:
        """How many files and sockets it has open."""
        return len(list((self._folder / "fd").iterdir()))
