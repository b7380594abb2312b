"""Processes of a gate, forked before there is a thread or a loop, and what they tell the one that forked them.

A child is ended by the kernel when its parent has ended, however that was (PR_SET_PDEATHSIG, prctl(2)). It tells by a
pipe that it is ready, or in one line why it cannot be.
"""

import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from chron import ChronError
from mappings import DocumentError

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # https://github.com/torvalds/linux/blob/master/include/uapi/linux/prctl.h
_FAILED = 70  # sysexits.h EX_SOFTWARE
_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_MOST_BYTES = 65_536


@dataclass(slots=True)
class Child:
    """A process that was forked."""

    name: str
    pid: int
    pipe: int
    """What it tells comes here; -1 when it tells nothing any more."""
    since: float = field(default_factory=time.monotonic)
    ready: bool = False
    why: str = ""
    """Why it could not be."""
    _begun: bytes = b""
    """Of a line whose end has not come."""

    def hear(self) -> None:
        """Take in what it says, if anything."""
        with suppress(BlockingIOError):
            while self.pipe >= 0:
                self._take(os.read(self.pipe, _MOST_BYTES))

    def _take(self, said: bytes) -> None:
        if not said:
            os.close(self.pipe)
            self.pipe = -1
        *lines, self._begun = (self._begun + said).split(b"\n")
        for line in lines:
            told = json.loads(line)
            self.ready, self.why = self.ready or bool(told.get("ready")), str(told.get("why", ""))

    def ended(self, code: int) -> None:
        """It has ended, with that exit code, negative for a signal."""
        self.hear()
        if self.pipe >= 0:
            os.close(self.pipe)
            self.pipe = -1
        if not self.why:
            self.why = f"signal {-code}" if code < 0 else f"exit code {code}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def fork(name: str, work: Callable[[Callable[[], None]], None], leave: Callable[[], None]) -> Child:
    """Fork a process that does `work` and ends; `leave` closes there what is the parent's alone.

    `work` is given what to call when it is ready.
    """
    hearing, telling = os.pipe()
    os.set_blocking(hearing, False)
    parent = os.getpid()
    # Until the child has handlers of its own, what is sent to it would run the parent's.
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be_child(parent, telling, work, leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
    os.close(telling)
    return Child(name, pid, hearing)


def _be_child(
    parent: int, telling: int, work: Callable[[Callable[[], None]], None], leave: Callable[[], None]
) -> NoReturn:
    code = _FAILED
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(_FAILED)  # it ended before the kernel was told
        signal.set_wakeup_fd(-1)
        for number in _OURS:
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the parent says what they mean
        leave()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _OURS)
        work(lambda: _tell(telling, {"ready": True}))
        code = 0
    except (DocumentError, ChronError) as error:
        _tell(telling, {"why": str(error)})
    except BaseException as error:  # noqa: BLE001 -- a child never returns into what its parent was doing
        _log.exception("a process of the gate failed")
        _tell(telling, {"why": f"a process of the gate failed: {type(error).__name__}"})
    finally:
        with suppress(BaseException):
            sys.stderr.flush()
        os._exit(code)


def _tell(telling: int, told: dict[str, object]) -> None:
    with suppress(OSError), open(telling, "wb", closefd=False) as pipe:
        pipe.write(json.dumps(told).encode() + b"\n")
