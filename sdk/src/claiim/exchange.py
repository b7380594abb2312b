"""One POST and its answer over a fresh connection, within one deadline, abortable from another thread.

Never follows a redirect, never uses a proxy, never retries, never reads more than 1 MiB. The deadline covers
everything from connecting to the last byte: a gate that sends one byte a second is as good as silent.
Only name resolution is outside it, because the operating system offers no way to bound it.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from claiim.errors import GateUnavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from claiim.settings import Settings

MAX_ANSWER_BYTES = 1024 * 1024


class Exchange:
    """One POST to `path` of the gate at `settings`, to be answered before `deadline` (time.monotonic())."""

    def __init__(self, settings: Settings, path: str, deadline: float) -> None:
        self._settings = settings
        self._path = path
        self._deadline = deadline
        self._socket: socket.socket | None = None
        self._aborted = False

    def ask(self, body: bytes) -> tuple[int, str, bytes]:
        """Returns status, content type and body of the answer; blocks; raises GateUnavailable."""
        try:
            return self._ask(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise GateUnavailable(f"no answer from the gate at {self._settings.url}: {_cause(error)}") from error
        finally:
            if self._socket is not None:
                self._socket.close()

    def abort(self) -> None:
        """Makes a running `ask` fail now; may be called from any thread, at any time."""
        self._aborted = True
        if self._socket is not None:
            # socket.socket, not the method of SSLSocket, which would drop to plain text for a thread in recv.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _ask(self, body: bytes) -> tuple[int, str, bytes]:
        settings = self._settings
        connection = http.client.HTTPConnection(settings.host, settings.port)
        connection.auto_open = 0  # else a connection closed early would be reopened without deadline or TLS
        connection.sock = cast("socket.socket", _DeadlineSocket(self._connect(), self._remaining_s))
        connection.request("POST", f"{settings.prefix}{self._path}", body, self._headers())
        answer = connection.getresponse()
        content = answer.read(MAX_ANSWER_BYTES + 1)
        if len(content) > MAX_ANSWER_BYTES:
            raise ValueError("the answer is larger than 1 MiB")
        if answer.length:
            raise ValueError("the answer ends early")
        return answer.status, answer.getheader("Content-Type", ""), content

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": self._settings.authorization,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "claiim-sdk",
            "Connection": "close",
        }

    def _connect(self) -> socket.socket:
        settings = self._settings
        failure: OSError = OSError("the name has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        ):
            connected = self._socket = socket.socket(family, kind, protocol)
            try:
                connected.settimeout(self._remaining_s())
                connected.connect(address)
            except OSError as error:
                connected.close()
                failure = error
            else:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connected if settings.tls is None else self._secure(settings.tls, connected)
        raise failure

    def _secure(self, tls: ssl.SSLContext, connected: socket.socket) -> socket.socket:
        connected.settimeout(self._remaining_s())
        self._socket = tls.wrap_socket(connected, server_hostname=self._settings.host)
        return self._socket

    def _remaining_s(self) -> float:
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0 or self._aborted:
            raise TimeoutError("timed out")
        return remaining_s


class _DeadlineSocket:
    """The part of a socket that http.client uses; every operation gets only the time that is left."""

    def __init__(self, connected: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._socket = connected
        self._remaining_s = remaining_s

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._remaining_s())
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_DeadlineReader(self._socket, self._remaining_s))

    def close(self) -> None:
        # http.client closes before it reads the body; `ask` closes the socket itself, at the end.
        pass


class _DeadlineReader(io.RawIOBase):
    def __init__(self, connected: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._socket = connected
        self._remaining_s = remaining_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._socket.settimeout(self._remaining_s())
        return self._socket.recv_into(buffer)


def _cause(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return 'connection refused; is "claiim serve" running?'
        case TimeoutError():
            return "timed out"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}); pass its CA as ca="
        case http.client.HTTPException():
            return f"not a well-formed HTTP answer ({type(error).__name__})"
        case _:
            return str(error) or type(error).__name__
