"""What time the gate goes by, on record: at its start and twice an hour, what the kernel says of the machine's clock.

    clock  synchronised=true offset_us=-41 max_error_us=1250 uptime_us=86400000000 boot=3f0c... moved_us=12

`synchronised`, `offset_us` and `max_error_us` are those of the kernel: whether somebody keeps its clock right, and how
well. Which server that somebody asks, the kernel does not know. `moved_us` is how far the clock was moved since the
last such record, forwards too: it is held against the time since the machine was started, which nobody can set. A
kernel that is not asked (no Linux) or does not answer leaves its fields out; nothing is refused because of it.
"""

import ctypes
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chron import Chron, ChronError
from proxy.questions import FieldValues
from proxy.timers import Handle, Later

EVERY_S = 1800.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # random(4): another one after each start of the machine
# https://github.com/torvalds/linux/blob/master/include/uapi/linux/timex.h
_STA_UNSYNC = 0x0040
_STA_NANO = 0x2000
"""The offset is in nanoseconds."""
_TIME_ERROR = 5


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel says of its clock."""

    synchronised: bool
    offset_us: int
    """Between the clock and what it is being moved to."""
    max_error_us: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the clock."""

    wall_us: int
    uptime_us: int
    """Since the machine was started, sleep included."""
    boot: str
    """Which start of the machine that was; "" when nobody knows."""
    kernel: Kernel | None


def clock_fields(reading: Reading, last: Reading | None) -> FieldValues:
    """What is recorded of a look at the clock, after the last one of this run."""
    fields: FieldValues = {"uptime_us": reading.uptime_us}
    if reading.boot:
        fields["boot"] = reading.boot
    if reading.kernel is not None:
        fields["synchronised"] = reading.kernel.synchronised
        fields["offset_us"] = reading.kernel.offset_us
        fields["max_error_us"] = reading.kernel.max_error_us
    if last is not None:
        fields["moved_us"] = (reading.wall_us - last.wall_us) - (reading.uptime_us - last.uptime_us)
    return fields


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), as far as it is read; the rest is room for what the kernel writes."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 40),
    )


def ask_kernel() -> Kernel | None:
    """What the kernel says of its clock now, None when it says nothing; changes nothing."""
    told = _Timex(modes=0)
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.byref(told))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    offset = told.offset // 1000 if told.status & _STA_NANO else told.offset
    return Kernel(state != _TIME_ERROR and not told.status & _STA_UNSYNC, offset, told.maxerror)


def look() -> Reading:
    """Look at the clock of this machine."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    since_start = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Reading(time.time_ns() // 1000, time.clock_gettime_ns(since_start) // 1000, boot, ask_kernel())


class Timekeeping:
    """Records what time one run of the gate goes by."""

    def __init__(self, log: Chron, session: str, *, later: Later, look: Callable[[], Reading] = look) -> None:
        self._chron, self._session, self._later, self._look = log, session, later, look
        self._last: Reading | None = None
        self._timer: Handle | None = None

    def start(self) -> None:
        """Record what the clock says now, and then twice an hour."""
        reading = self._look()
        with suppress(ChronError):
            # A log that takes no record is told of elsewhere, and takes the next one of these.
            self._chron.note("clock", {**clock_fields(reading, self._last), "session": self._session})
            self._last = reading
        self._timer = self._later(EVERY_S, self.start)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
