"""The process that has imported everything and forks a child for each command that it is asked for.

A request comes over a socket of its own, with the child's standard streams: the text of the Python list
``[arguments, folder, environment]`` and a NUL. Answered are two lines: the child's process id, and when it has ended
its exit code, negative for a signal. A socket that is closed before is a child nobody waits for: it is killed.
"""

import ast
import gc
import importlib
import os
import pkgutil
import selectors
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

STREAMS = 3


def serve(place: str) -> None:
    """Fork until stdin ends; in a child, return when it has to be a command with `sys.argv`."""
    _import_everything()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen()
        print("ready", flush=True)  # noqa: T201 -- the parent waits for it
        os.dup2(2, 1)
        if _Nest(listener).serve():
            _be_claiim()


def _import_everything() -> None:
    import proxy.cli

    for found in pkgutil.iter_modules(proxy.cli.__path__, "proxy.cli."):
        importlib.import_module(found.name)
    for name in ("proxy.serve", "proxy.checking", "chron.serving", "chron.postgres"):
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would leave its threads behind"
    gc.freeze()


def _be_claiim() -> None:
    from claiim_gate.__main__ import main

    main()


@dataclass(eq=False)
class _Way:
    """One request and its child."""

    socket: socket.socket
    text: bytes = b""
    streams: list[int] = field(default_factory=list)
    pid: int = 0


class _Nest:
    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._ways: set[_Way] = set()
        self._selector = selectors.DefaultSelector()
        self._woken, self._wakes = socket.socketpair()
        for end in (self._woken, self._wakes):
            end.setblocking(False)

    def serve(self) -> bool:
        """Return True in a child and False at the end."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakes.fileno())
        self._selector.register(0, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == 0:
                    self._end()
                    return False
                if key.fileobj is self._woken:
                    self._reap()
                elif key.fileobj is self._listener:
                    way = _Way(self._listener.accept()[0])
                    self._ways.add(way)
                    self._selector.register(way.socket, selectors.EVENT_READ, way)
                elif key.data in self._ways and self._heard(key.data):
                    return True

    def _heard(self, way: _Way) -> bool:
        try:
            text, streams, _, _ = socket.recv_fds(way.socket, 1 << 20, STREAMS)
        except ConnectionError:
            text, streams = b"", []
        way.text += text
        way.streams += streams
        if not text:
            if way.pid:
                os.kill(way.pid, signal.SIGKILL)
            self._forget(way)
        elif way.text.endswith(b"\0") and not way.pid:
            way.pid = os.fork()
            if way.pid == 0:
                self._begin(way)
                return True
            self._close(way.streams)
            self._answer(way, way.pid)
        return False

    def _begin(self, way: _Way) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        arguments, folder, environ = ast.literal_eval(way.text[:-1].decode())
        for number, stream in enumerate(way.streams):
            os.dup2(stream, number)
        for one in self._ways:
            self._close(one.streams)
        for each in (self._listener, self._woken, self._wakes, self._selector, *(one.socket for one in self._ways)):
            each.close()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        time.tzset()
        sys.argv = ["claiim", *arguments]

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
        for way in [way for way in self._ways if way.pid]:
            pid, status = os.waitpid(way.pid, os.WNOHANG)
            if pid:
                self._answer(way, os.waitstatus_to_exitcode(status))
                way.pid = 0
                self._forget(way)

    def _answer(self, way: _Way, number: int) -> None:
        with suppress(OSError):  # nobody waits any more
            way.socket.sendall(f"{number}\n".encode())

    def _forget(self, way: _Way) -> None:
        if way.pid:
            os.waitpid(way.pid, 0)
        self._close(way.streams)
        self._selector.unregister(way.socket)
        way.socket.close()
        self._ways.discard(way)

    def _end(self) -> None:
        for way in list(self._ways):
            if way.pid:
                os.kill(way.pid, signal.SIGKILL)
            self._forget(way)

    @staticmethod
    def _close(streams: list[int]) -> None:
        for stream in streams:
            os.close(stream)
        streams.clear()
