"""A Docker daemon as far as `attach` and `exec` go: after its 101 the connection is bytes, and ends by halves."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Callable

from support.targets.base import Seen, Target

GREETING = b"\r\n$ "
"""What a program says first on a terminal, sent in one piece with the head."""
_HEAD = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
"""docs.docker.com/reference/api/engine, "Attach to a container", "Hijacking"."""

_ANSWERS: tuple[tuple[str, object], ...] = (
    (r"/_ping", "OK"),
    (r"/containers/web/json", {"Id": "web", "Name": "/web", "Config": {"Tty": False}, "State": {"Running": True}}),
    (r"/containers/web/exec", {"Id": "e1"}),
    (r"/exec/e1/json", {"ID": "e1", "ContainerID": "web", "Running": False, "ExitCode": 0}),
)
"""What the docker command asks before and after; all else is hijacked."""


class Hijacking(Target):
    """Runs `cat` for whoever asks: says a word, waits for the end of what is said to it, says it again, and ends."""

    NAMES = ("docker.test",)

    async def serve(self, stopped: asyncio.Event, ready: Callable[[int], None]) -> None:
        """Serve in threads: asyncio's TLS knows no halves of a connection."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            ready(listening.getsockname()[1])
            accepting = loop.create_task(self._accept(listening))
            await stopped.wait()
            accepting.cancel()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            raw, _ = await loop.sock_accept(listening)
            raw.settimeout(30)
            self.connections += 1
            loop.run_in_executor(None, self._converse, raw)

    def _converse(self, raw: socket.socket) -> None:
        with raw, contextlib.suppress(OSError):
            spoken = self._ssl.wrap_socket(raw, server_side=True) if self._ssl is not None else raw
            with spoken:
                self._cat(spoken)

    def _cat(self, spoken: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (more := spoken.recv(4096)):
                return
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        fields = tuple((name, value.strip()) for name, _, value in (each.partition(":") for each in lines))
        method, path, _ = line.split(" ")
        seen = self.record(Seen(method, path, fields))
        while len(body) < int(seen.header("content-length") or 0):
            body += spoken.recv(4096)
        seen.take(body)
        path = re.sub(r"^/v[0-9.]+", "", path)
        if (answer := next((said for pattern, said in _ANSWERS if re.fullmatch(pattern, path)), None)) is not None:
            spoken.sendall(_answered(method, answer))
            return
        terminal = b'"Tty":false' not in body
        spoken.sendall(_HEAD) if not terminal else self.answer_head(spoken)
        said = b""
        while more := spoken.recv(4096):
            said += more
        # Without a terminal output comes in frames: which stream, how many bytes.
        spoken.sendall(said if terminal else b"\1\0\0\0" + len(said).to_bytes(4) + said)

    def answer_head(self, spoken: socket.socket) -> None:
        """Switch, and say the first word."""
        spoken.sendall(_HEAD + GREETING)


def _answered(method: str, answer: object) -> bytes:
    body = json.dumps(answer).encode()
    status = b"201 Created" if method == "POST" else b"200 OK"
    head = b"HTTP/1.1 %b\r\nApi-Version: 1.47\r\nContent-Type: application/json\r\nConnection: close\r\n" % status
    return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), b"" if method == "HEAD" else body)
