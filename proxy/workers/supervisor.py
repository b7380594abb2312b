"""The process that an operator starts: it binds the ports, starts the others, and replaces what dies.

    start          bind -> coordinator ready -> first worker ready -> the other workers ready -> told that it serves
    death          the process is replaced at once, or after a while when it has died soon after its start
    TERM, INT      workers drain, then the coordinator writes the last records; a second one ends all at once
    HUP            the coordinator reloads

It has one thread and no loop, so that it can fork at any time, and does little that could end it. Where it ends all the
same, the kernel ends the others (`proxy.workers.processes`).
"""

import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from mappings.catalogues import shipped
from mappings.shipped import shipped_files
from proxy.config import Config, ConfigError
from proxy.engines import made
from proxy.loops import fast_runner
from proxy.statefolder import make_state
from proxy.workers import running
from proxy.workers.listening import Listening
from proxy.workers.processes import Child, fork

_log = logging.getLogger(__name__)

_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Before a process is replaced that has died so many times in a row."""
_STABLE_S = 10.0
"""Who has lived as long as this has not died in a row."""
_STARTED_WITHIN_S = 60.0
_AFTER_DRAINING_S = 25.0
"""How long after the time to drain processes may take to end before they are ended."""
_COORDINATOR = "the coordinator"
_AT_ONCE = 130  # 128 + SIGINT, as shells have it


class Supervisor:
    """Runs one gate; used from the main thread."""

    def __init__(self, config: Config) -> None:
        if sys.platform != "linux":
            raise ConfigError.plain('"proxy.workers" need Linux; leave it out, and one process serves')
        self._config = config
        make_state(config.state)
        self.listening = Listening.reserved(config)
        # By a descriptor, because the path of a socket may have no more than 107 bytes (unix(7)).
        self._folder = Path(f"/proc/self/fd/{os.open(config.state, os.O_RDONLY | os.O_DIRECTORY)}")
        self._shares = {f"worker {number}": share for number, share in enumerate(self.listening.shares, 1)}
        self._children: dict[int, Child] = {}
        self._deaths: dict[str, int] = {}
        """How many times in a row."""
        self._due: dict[str, float] = {}
        """Who is to be replaced, and when."""
        self._end = -1
        """Of a pipe: once it is closed, the coordinator knows that no worker is left."""
        self._woken, self._waking = os.pipe()
        for end in (self._woken, self._waking):
            os.set_blocking(end, False)
        self._stopping = self._at_once = False

    def run(self, serving: Callable[[], None], stopping: Callable[[], None]) -> int:
        """Serve until TERM or INT; its exit code. Raises ConfigError when it cannot start."""
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # what came is read from the pipe
        self._import()
        gc.collect()
        gc.freeze()  # what the processes have in common stays so: the collector would write into it
        try:
            names = list(self._shares)
            # What keeps a worker from starting mostly keeps all: it is told of the first alone.
            if all(self._started(some) for some in ([_COORDINATOR], names[:1], names[1:])):
                serving()
                self._watch()
            stopping()
            return self._stop()
        finally:
            self._kill()

    def _import(self) -> None:
        """Have what the processes need before they are forked: then they share it, and start at once."""
        for engine in {share.engine for share in self.listening.shares}:
            made(engine)
        fast_runner()
        shipped_files()
        shipped()

    def _started(self, names: list[str]) -> bool:
        """Start processes and wait until they are ready; False when they are to stop. Raises ConfigError."""
        started = [self._fork(name) for name in names]
        ends = time.monotonic() + _STARTED_WITHIN_S
        while not all(each.ready for each in started):
            self._look(ends - time.monotonic())
            if self._stopping:
                return False
            if ended := self._reaped():
                raise ConfigError.plain(ended[0].why or f"{ended[0].name} ended at its start")
            if time.monotonic() >= ends:
                raise ConfigError.plain("the gate's processes were not ready in time; look at the machine's load")
        return True

    def _watch(self) -> None:
        """Replace what dies, until it is time to stop."""
        while not self._stopping:
            now = time.monotonic()
            for name in [name for name, at in self._due.items() if at <= now]:
                del self._due[name]
                self._fork(name)
            self._look(min(self._due.values()) - now if self._due else None)
            for child in self._reaped():
                lived = time.monotonic() - child.since
                row = 0 if lived >= _STABLE_S else self._deaths.get(child.name, 0)
                self._deaths[child.name] = row + 1
                self._due[child.name] = time.monotonic() + _PAUSES_S[min(row, len(_PAUSES_S) - 1)]
                _log.error("%s (pid %d) has ended: %s; it is replaced", child.name, child.pid, child.why)

    def _stop(self) -> int:
        """Let all end, workers first; the exit code."""
        self.listening.close_but([])  # who connects now is refused, and does not wait for nobody
        for child in self._children.values():
            child.signal(signal.SIGTERM)
        ends = time.monotonic() + self._config.proxy.drain_timeout_s + _AFTER_DRAINING_S
        while self._children and not self._at_once and time.monotonic() < ends:
            if all(child.name == _COORDINATOR for child in self._children.values()):
                self._close_end()
            self._look(ends - time.monotonic())
            self._reaped()
        left = bool(self._children)
        return _AT_ONCE if self._at_once else int(left)

    def _kill(self) -> None:
        """End whatever is left."""
        for child in self._children.values():
            child.signal(signal.SIGKILL)
        for pid in list(self._children):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    # --- the children ---

    def _fork(self, name: str) -> Child:
        config, folder, listening = self._config, self._folder, self.listening
        if (share := self._shares.get(name)) is None:
            self._close_end()
            end, self._end = os.pipe()
            work = partial(running.coordinate, config, folder, listening, end)
            child = fork(name, work, partial(self._leave, listening.api))
            os.close(end)
        else:
            work = partial(running.work, config, folder, listening, share)
            child = fork(name, work, partial(self._leave, list(share.sockets())))
        self._children[child.pid] = child
        return child

    def _leave(self, kept: list[socket.socket]) -> None:
        """Close in a child what is not its own."""
        self.listening.close_but(kept)
        for end in (self._woken, self._waking, *(each.pipe for each in self._children.values())):
            if end >= 0:
                os.close(end)
        self._close_end()

    def _close_end(self) -> None:
        if self._end >= 0:
            os.close(self._end)
            self._end = -1

    def _reaped(self) -> list[Child]:
        """Those that have ended since it was asked last."""
        ended: list[Child] = []
        for pid, child in list(self._children.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                child.ended(os.waitstatus_to_exitcode(status))
                ended.append(self._children.pop(pid))
                if (share := self._shares.get(child.name)) is not None:
                    self.listening.tally.clear(self.listening.shares.index(share))
        return ended

    def _look(self, timeout_s: float | None) -> None:
        """Wait until something happens, and take in what it is."""
        pipes = {child.pipe: child for child in self._children.values() if child.pipe >= 0}
        readable, _, _ = select.select([self._woken, *pipes], [], [], None if timeout_s is None else max(0, timeout_s))
        for each in readable:
            if each in pipes:
                pipes[each].hear()
        if self._woken in readable:
            for number in os.read(self._woken, 4096):
                self._obey(number)

    def _obey(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._at_once, self._stopping = self._stopping, True
        elif number == signal.SIGHUP:
            for child in self._children.values():
                if child.name == _COORDINATOR:
                    child.signal(signal.SIGHUP)
