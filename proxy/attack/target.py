"""The target: a server that writes down every byte that reaches it, and reads them as strictly as can be.

It listens on loopback, with TLS and without, and believes nothing: what is no canonical HTTP is kept as a fault.
"""

import re
import select
import socket
import ssl
import threading
import time
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from hashlib import sha1
from typing import Self

from proxy.attack.http2target import Http2Conversation
from proxy.attack.reached import FORGE, FORGED, Reached

_TIMEOUT_S = 20
_LOOK_S = 0.02
_HEAD_END = b"\r\n\r\n"
_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t\x20-\x7e\x80-\xff]*)")


class RecordingTarget:
    """Listens between enter and exit; `reached` grows before anything is answered."""

    def __init__(self, tls: ssl.SSLContext, ports: tuple[int, int] = (0, 0)) -> None:
        self._tls = tls
        self._ports = ports
        self.reached: list[Reached] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._busy: set[socket.socket] = set()
        """Those in the middle of a request, or of their handshake."""
        self._threads: list[threading.Thread] = []
        self._lock = threading.Condition()

    def __enter__(self) -> Self:
        self._listeners = [socket.create_server(("127.0.0.1", port)) for port in self._ports]
        self.port, self.plain_port = (each.getsockname()[1] for each in self._listeners)
        for listener, tls in zip(self._listeners, (self._tls, None), strict=True):
            self._spawn(self._accept, listener, tls)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            everything = [*self._listeners, *self._open]
        for each in everything:
            # A close alone does not wake the thread that waits in accept() or recv().
            _shut(each)
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
        for listener in self._listeners:
            listener.close()

    def settle(self) -> None:
        """Return once all that was sent is written down: every connection has ended, or rests between two requests."""
        end_s = time.monotonic() + _TIMEOUT_S
        with self._lock:
            while self._unsettled() and time.monotonic() < end_s:
                self._lock.wait(_LOOK_S)

    def _unsettled(self) -> bool:
        if self._busy:
            return True
        resting = [each for each in self._open if each.fileno() >= 0]
        return bool(select.select(resting, [], [], 0)[0])

    def rest(self, connection: socket.socket) -> None:
        """A connection waits for its next request, and has nothing of it."""
        with self._lock:
            self._busy.discard(connection)
            self._lock.notify_all()

    def work(self, connection: socket.socket) -> None:
        """Something has come on it."""
        with self._lock:
            self._busy.add(connection)

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="attack target", daemon=True)  # type: ignore[arg-type]
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(raw)
                self._busy.add(raw)
            self._spawn(self._serve, raw, tls)

    def _serve(self, raw: socket.socket, tls: ssl.SSLContext | None) -> None:
        connection = raw
        try:
            raw.settimeout(_TIMEOUT_S)
            if tls is not None:
                connection = tls.wrap_socket(raw, server_side=True)
                with self._lock:
                    self._open.add(connection)
                    self._busy = (self._busy - {raw}) | {connection}
            if isinstance(connection, ssl.SSLSocket) and connection.selected_alpn_protocol() == "h2":
                Http2Conversation(self.reached, connection, self.rest, self.work).run()
            else:
                _Conversation(self, connection).run()
        except OSError:
            pass  # whoever is there may go at any time
        finally:
            with self._lock:
                self._open -= {raw, connection}
                self._busy -= {raw, connection}
                self._lock.notify_all()
            connection.close()
            raw.close()


class _Conversation:
    """Requests of one connection, one after the other."""

    def __init__(self, target: RecordingTarget, connection: socket.socket) -> None:
        self._target = target
        self._connection = connection
        self._buffer = b""
        self._ended = False

    def run(self) -> None:
        """Read, write down and answer until nothing comes any more."""
        while request := self._read():
            self._target.reached.append(request)
            if request.cut:
                return
            if request.fault:
                self._connection.sendall(b"HTTP/1.1 400 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            self._connection.sendall(_answer(request))
            if request.values("upgrade"):
                if rest := self._buffer or self._connection.recv(65536):
                    self._target.reached.append(Reached("(frames)", (), rest))
                return

    def _read(self) -> Reached | None:
        if not self._buffer:
            self._target.rest(self._connection)
            self._buffer = self._connection.recv(65536)
            self._target.work(self._connection)
        head = self._until(_HEAD_END) if self._buffer else b""
        if not head:
            return None
        first, *lines = head.removesuffix(_HEAD_END).split(b"\r\n")
        found = [_LINE.fullmatch(line) for line in lines]
        fields = tuple((match[1].decode().lower(), match[2].decode("latin-1")) for match in found if match)
        fault = "" if all(found) else "a line that is no header field"
        if not re.fullmatch(rb"[A-Z-]+ /[\x21-\x7e]* HTTP/1\.1", first):
            fault = "no request line"
        request = Reached(first.decode("latin-1"), fields, b"", fault)
        return request if fault else self._with_body(request)

    def _with_body(self, request: Reached) -> Reached:
        whole = self._framed(request)
        return replace(whole, fault="", cut=True) if self._ended else whole

    def _framed(self, request: Reached) -> Reached:
        lengths, codings = request.values("content-length"), request.values("transfer-encoding")
        fault, body = "", b""
        if len(lengths) + len(codings) > 1 or any(coding != "chunked" for coding in codings):
            fault = "framed in two ways"
        elif codings:
            body, fault = self._chunks()
        elif lengths:
            fault = "" if lengths[0].isdigit() else "no length"
            body = b"" if fault else self._exactly(int(lengths[0]))
        return Reached(request.line, request.fields, body, fault)

    def _chunks(self) -> tuple[bytes, str]:
        body = b""
        while True:
            size = self._until(b"\r\n").removesuffix(b"\r\n")
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", size):
                return body, "no chunk size"
            if not int(size, 16):
                return body, "" if self._until(b"\r\n") == b"\r\n" else "trailers"
            body += self._exactly(int(size, 16))
            if self._exactly(2) != b"\r\n":
                return body, "a chunk longer than it says"

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            if not (more := self._connection.recv(65536)):
                self._ended = True
                left, self._buffer = self._buffer, b""
                return left
            self._buffer += more
        head, _, self._buffer = self._buffer.partition(end)
        return head + end

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            if not (more := self._connection.recv(65536)):
                self._ended = True
                break
            self._buffer += more
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken


def _answer(request: Reached) -> bytes:
    if keys := request.values("sec-websocket-key"):
        # RFC 6455, 1.3
        accept = b64encode(sha1(f"{keys[0]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())  # noqa: S324
        return (
            b"HTTP/1.1 101 \r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n" % accept
        )
    body = b"reached"
    more = b""
    if request.line.startswith(f"GET {FORGE}"):
        more = f"X-Chron-Id: {FORGED}\r\nx-chron-id: {FORGED}\r\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (len(body), more)
    return head if request.line.startswith("HEAD ") else head + body


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
