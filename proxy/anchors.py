"""Places outside the log that keep its heads: an append-only file, a syslog, an HTTP or S3-compatible store.

What a log cannot show of itself, that its end was cut off or that all of it was replaced, shows against a checkpoint
that stands elsewhere. Each place takes whole signed notes and judges nothing. A file and a store can be read back:
at the start the log is held against what they have seen.

    file      the notes one after the other, each with an empty line behind it, fsynced; `chattr +a` suits it
    syslog    RFC 5424, one message for each: size and root in clear, the note in base64; cannot be read back
    http      PUT <url>/<size>.note, with S3's object lock when `lock_days` is given, then PUT <url>/newest.note

    anchor http https://objects.acme.test/claiim: status 403
"""

import asyncio
import base64
import hashlib
import os
import socket
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from chron import ChronError, NewestNotes, parse_note
from proxy.awssignature import Credentials, read_credentials, signed
from proxy.checkpointconfig import AnchorConfig
from proxy.config import ConfigError, why

_BLOCK_BYTES = 1024 * 1024
"""Of an anchor file that is read back: some thousand notes."""
_TIMEOUT = aiohttp.ClientTimeout(total=10)
_NEWEST = "newest.note"
_MAX_NOTE_BYTES = 64 * 1024
_PRIORITY = 13 * 8 + 5  # RFC 5424, 6.2.1: facility 13 is "log audit", severity 5 "notice"


class AnchorError(Exception):
    """A place did not take a checkpoint, or cannot be read; the text says why."""


class Anchor(Protocol):
    """A place outside the log."""

    name: str
    """For people: kind and place."""
    readable: bool
    """Whether it can tell what it has."""

    async def write(self, note: str) -> None:
        """Keep a checkpoint durably, as far as the place can; raises AnchorError."""

    async def read(self) -> str | None:
        """The newest checkpoint it has, None when it has none; raises AnchorError."""


def make_anchor(config: AnchorConfig, *, now: Callable[[], datetime]) -> Anchor:
    """The place that a configuration names; raises ConfigError."""
    if config.kind == "file":
        return FileAnchor(Path(config.place))
    if config.kind == "syslog":
        return SyslogAnchor(config.place, now=now)
    headers = read_headers(config.headers) if config.headers else {}
    credentials = _read_credentials(config.credentials) if config.credentials else None
    return HttpAnchor(config.place, headers, config.lock_days, now=now, credentials=credentials)


class FileAnchor:
    """An append-only file, best on another disk or under another owner."""

    readable = True

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = f"file {path}"

    async def write(self, note: str) -> None:
        """Append it and sync."""
        try:
            await asyncio.to_thread(self._append, note)
        except OSError as error:
            raise AnchorError(why(error)) from error

    def _append(self, note: str) -> None:
        with self._path.open("ab", buffering=0) as file:
            # A note that a crash tore must not swallow the beginning of the next one.
            data = (note + "\n" if self._is_whole() else "\n\n" + note + "\n").encode()
            if file.write(data) != len(data):
                raise OSError(None, "the disk took only a part of it")
            os.fsync(file.fileno())

    def _is_whole(self) -> bool:
        return self._tail(2) in (b"", b"\n\n")

    def _tail(self, length: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - length))
            return file.read()

    async def read(self) -> str | None:
        """The note over most records, of the log that the last whole one is of."""
        try:
            note, size = await asyncio.to_thread(self._newest)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AnchorError(why(error)) from error
        if note is None and size:
            raise AnchorError("holds something, but no checkpoint")
        return note

    def _newest(self) -> tuple[str | None, int]:
        """That note, and how large the file is; all of it, because old notes may be appended to hide a newer one."""
        notes, before, size = NewestNotes(), b"", 0
        with self._path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                size += len(block)
                notes.add((before + block).decode("utf-8", "replace"))
                before = block[-_MAX_NOTE_BYTES:]
        return notes.note, size


class SyslogAnchor:
    """A syslog, by datagram: what was sent is all that is known."""

    readable = False

    def __init__(self, place: str, *, now: Callable[[], datetime]) -> None:
        self._place, self._now = place, now
        self.name = f"syslog {place}"

    async def write(self, note: str) -> None:
        """Send it; nobody says whether it arrived."""
        try:
            await asyncio.to_thread(self._send, self._message(note))
        except OSError as error:
            raise AnchorError(why(error)) from error

    async def read(self) -> str | None:
        """Nothing: a syslog does not answer."""
        return None

    def _message(self, note: str) -> bytes:
        said = parse_note(note).checkpoint()
        # RFC 5424, 6: version, time, host, application, process, message id, no structured data, message.
        head = f"<{_PRIORITY}>1 {self._now().isoformat(timespec='milliseconds')} {socket.gethostname() or '-'} claiim"
        root = base64.b64encode(said.root).decode()
        told = f"log={said.name} size={said.size} root={root} note={base64.b64encode(note.encode()).decode()}"
        return f"{head} {os.getpid()} checkpoint - {told}".encode()

    def _send(self, message: bytes) -> None:
        family, address = self._address()
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.settimeout(_TIMEOUT.total)
            sender.sendto(message, address)

    def _address(self) -> tuple[int, Any]:
        if self._place.startswith("unix:"):
            return socket.AF_UNIX, self._place.removeprefix("unix:")
        host, _, port = self._place.removeprefix("udp://").rpartition(":")
        family, *_, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)[0]
        return family, address


class HttpAnchor:
    """A store that takes objects by PUT and gives them by GET, such as S3's."""

    readable = True

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        lock_days: int,
        *,
        now: Callable[[], datetime],
        credentials: Credentials | None = None,
    ) -> None:
        self._url, self._headers, self._lock_days, self._now = url, headers, lock_days, now
        self._credentials = credentials
        self.name = f"http {url}"

    async def write(self, note: str) -> None:
        """Put it under its size, for good, and then under the name of the newest."""
        size = parse_note(note).checkpoint().size
        await self._put(f"{size:016}.note", note.encode(), self._lock())
        await self._put(_NEWEST, note.encode(), {})

    async def read(self) -> str | None:
        """What stands under the name of the newest."""
        status, data = await self._ask("GET", _NEWEST, b"", {})
        if status == 404:
            return None
        if status != 200:
            raise AnchorError(f"status {status}")
        try:
            note = data.decode()
            parse_note(note).checkpoint()
        except (UnicodeDecodeError, ChronError) as error:
            raise AnchorError("holds something, but no checkpoint") from error
        return note

    def _lock(self) -> dict[str, str]:
        # https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
        if not self._lock_days:
            return {}
        until = self._now() + timedelta(days=self._lock_days)
        return {
            "x-amz-object-lock-mode": "COMPLIANCE",
            "x-amz-object-lock-retain-until-date": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _put(self, name: str, data: bytes, headers: Mapping[str, str]) -> None:
        # A store with object lock wants a digest: same page, "Content-MD5". It is no protection here.
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        sent = {"Content-Type": "text/plain; charset=utf-8", "Content-MD5": digest, **headers}
        status, _ = await self._ask("PUT", name, data, sent)
        if not 200 <= status < 300:
            raise AnchorError(f"status {status}")

    async def _ask(self, method: str, name: str, data: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        url, sent = f"{self._url}/{name}", {**self._headers, **headers}
        if self._credentials is not None:
            sent = signed(method, url, sent, data, self._credentials, self._now())
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.request(method, url, data=data or None, headers=sent, allow_redirects=False) as response,
            ):
                return response.status, await response.content.read(_MAX_NOTE_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AnchorError(type(error).__name__) from error


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = why(error) if isinstance(error, OSError) else "not ASCII"
        raise ConfigError.plain(f"{path}: cannot read: {reason}; write the {what} for the anchor there") from None


def _read_credentials(path: Path) -> Credentials:
    try:
        return read_credentials(_read(path, "credentials"))
    except ValueError as error:
        raise ConfigError.plain(f"{path}: {error}") from None


def read_headers(path: Path) -> dict[str, str]:
    """The HTTP headers in a file, `Name: value` on each line; raises ConfigError."""
    headers: dict[str, str] = {}
    for number, line in enumerate(_read(path, "headers").splitlines(), start=1):
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name or name != name.strip() or not value.strip():
            raise ConfigError.plain(f'{path}:{number}: not a header; write "Authorization: Bearer ..."')
        headers[name] = value.strip()
    return headers
