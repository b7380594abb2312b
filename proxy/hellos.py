"""Looks at the one thing that TLS shows of where it goes: the hello, which names the host that the agent wants.

What a tunnel carries that passes unread is not looked at, but its hello is: it has to name the host that the tunnel was
asked for, or an approved host and somebody else behind the same address would be one thing.

    CONNECT a.test:443, hello for a.test            passes, and all that follows
    CONNECT a.test:443, hello for b.test            refused
    CONNECT a.test:443, hello without a name        refused
    CONNECT a.test:443, encrypted hello (ECH)       refused: the name that counts is inside it
    CONNECT a.test:443, GET / HTTP/1.1              refused: no TLS
    hello for a.test, retry, hello for b.test       refused: a server may ask for a second hello, and read its name

Pure: bytes in, bytes out. After the handshake's plain part nothing is looked at, and nothing could be.
"""

from dataclasses import dataclass
from enum import Enum, auto

from mappings import CanonicalError, canonical_host

_ALERT, _HANDSHAKE = 21, 22  # RFC 8446, 5.1: content types
_WARNING = 1  # RFC 8446, 6
_CLIENT_HELLO, _SERVER_HELLO = 1, 2  # RFC 8446, 4
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""RFC 8446, 4.1.3: the `random` of a ServerHello that asks for a second hello."""
_SERVER_NAME = 0  # RFC 6066, 3
_ENCRYPTED = frozenset({0xFE0D, 0xFFCE, *range(0xFE08, 0xFE0D)})
"""RFC 9849, 5, and the drafts before it. What is only there for show (GREASE) cannot be told from what is meant."""
_RECORD_BYTES = 16_384  # RFC 8446, 5.1
_MOST_HELLO_BYTES = 65_536
"""The longest hello that is read; with keys of post-quantum groups they have some 2,000 bytes."""
_MOST_HELD_BYTES = 2**20
"""How much of an agent's early data waits until the target has said whether it asks for a second hello."""


class HelloRefused(Exception):
    """What came may not pass; the text says why, in words for the record and the agent."""

    def __init__(self, why: str, *, tls: bool = True) -> None:
        super().__init__(why)
        self.tls = tls
        """Whether it was TLS, so that a TLS alert is understood."""


class _Stage(Enum):
    HELLO = auto()
    """The agent's hello is being read; nothing has passed."""
    ANSWER = auto()
    """It has passed; what the agent sends waits until the target's answer has begun."""
    SECOND = auto()
    """The target wants another hello."""
    OPEN = auto()
    """Whatever comes passes."""


class Hellos:
    """Watches one connection; what the methods return is to be passed on, in that order."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._stage = _Stage.HELLO
        self._held = bytearray()
        """Of the agent."""
        self._answer = bytearray()
        """Of the target, as far as its kind is not known."""

    def from_agent(self, data: bytes) -> bytes:
        """What may pass to the target now; raises HelloRefused."""
        if self._stage is _Stage.OPEN:
            return data
        self._held += data
        match self._stage:
            case _Stage.HELLO:
                return self._hello()
            case _Stage.SECOND:
                return self._second()
            case _:
                if len(self._held) > _MOST_HELD_BYTES:
                    raise HelloRefused("the agent sends on and on before the target has answered its hello")
                return b""

    def from_target(self, data: bytes) -> bytes:
        """What may pass to the target after these bytes of its own, which pass in any case; raises HelloRefused."""
        if self._stage is not _Stage.ANSWER:
            return b""
        self._answer += data
        retry = _asks_again(bytes(self._answer))
        if retry is None:
            return b""
        self._answer.clear()
        if retry:
            self._stage = _Stage.SECOND
            return self._second()
        self._stage = _Stage.OPEN
        return self._release(len(self._held))

    def _hello(self) -> bytes:
        end = self._read_hello(0)
        if end is None:
            return b""
        self._stage = _Stage.ANSWER
        return self._release(end)

    def _second(self) -> bytes:
        """Pass what stands before the second hello: a message for middleboxes, and early data that came too soon."""
        at = 0
        while len(self._held) > at:
            if self._held[at] == _HANDSHAKE:
                end = self._read_hello(at)
                if end is None:
                    break
                self._stage = _Stage.OPEN
                return self._release(len(self._held))
            record = _record(bytes(self._held[at : at + 5 + 2 * _RECORD_BYTES]))
            if record is None:
                break
            at += 5 + len(record)
        return self._release(at)

    def _release(self, count: int) -> bytes:
        passed = bytes(self._held[:count])
        del self._held[:count]
        return passed

    def _read_hello(self, at: int) -> int | None:
        """Where the hello ends that begins there; None when more is needed."""
        message, end = bytearray(), at
        while True:
            head = self._held[end : end + 5]
            if not b"\x16\x03".startswith(head[:2]):
                raise HelloRefused("it does not begin with a TLS hello", tls=False)
            record = _record(bytes(self._held[end : end + 5 + 2 * _RECORD_BYTES]))
            if record is None:
                return None
            message += record
            end += 5 + len(record)
            if message[:1] and message[0] != _CLIENT_HELLO:
                raise HelloRefused("it does not begin with a TLS hello", tls=False)
            if len(message) < 4:
                continue
            length = 4 + int.from_bytes(message[1:4])
            if length > _MOST_HELLO_BYTES:
                raise HelloRefused("its TLS hello is too long to be read")
            if len(message) > length:
                # RFC 8446, 5.1: what follows could be a second hello that nobody looks at.
                raise HelloRefused("something stands behind its TLS hello, in the same record")
            if len(message) == length:
                _check_name(bytes(message[4:]), self._host)
                return end


def _record(data: bytes) -> bytes | None:
    """The content of the record that begins here; None when not all of it is there."""
    if len(data) < 5:
        return None
    length = int.from_bytes(data[3:5])
    if not 0 < length <= _RECORD_BYTES + 256:  # RFC 8446, 5.2: the most with encryption
        raise HelloRefused("its TLS has a record of no allowed length")
    return data[5 : 5 + length] if len(data) >= 5 + length else None


def _asks_again(data: bytes) -> bool | None:
    """Whether a target's answer asks for a second hello; None when that cannot be told yet."""
    message = b""
    while len(message) < 38:
        if not message and data[:1] == bytes((_ALERT,)):
            # A warning stands before the answer where a server does not know the name (RFC 6066, 3), and goes on.
            if len(data) < 7:
                return None
            if data[3:6] != bytes((0, 2, _WARNING)):
                return False
            data = data[7:]
            continue
        if data[:1] and data[0] != _HANDSHAKE:
            return False
        if message and message[0] != _SERVER_HELLO:
            return False
        if len(data) < 5:
            return None
        length = int.from_bytes(data[3:5])
        if length == 0:
            return False  # RFC 8446, 5.1: no such record; no client goes on
        if len(data) < 5 + length and len(message) + len(data) - 5 < 38:
            return None
        message += data[5 : 5 + length]
        data = data[5 + length :]
    return message[0] == _SERVER_HELLO and message[6:38] == _RETRY


@dataclass
class _Reader:
    """Takes fields off the front; what is too short raises HelloRefused."""

    data: bytes

    def take(self, count: int) -> bytes:
        if len(self.data) < count:
            raise HelloRefused("its TLS hello is not in order")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, octets: int) -> int:
        return int.from_bytes(self.take(octets))

    def counted(self, octets: int) -> bytes:
        return self.take(self.number(octets))


def _check_name(hello: bytes, host: str) -> None:
    """Raise HelloRefused unless a ClientHello (RFC 8446, 4.1.2) names this host, once, and hides no other."""
    reader = _Reader(hello)
    reader.take(2 + 32)  # version and random
    reader.counted(1)  # session
    reader.counted(2)  # cipher suites
    reader.counted(1)  # compression
    extensions = _Reader(reader.counted(2) if reader.data else b"")
    found: dict[int, bytes] = {}
    while extensions.data:
        kind = extensions.number(2)
        if kind in found:
            # RFC 8446, 4.2; a reader that takes the first and one that takes the last would see two names.
            raise HelloRefused("its TLS hello has an extension twice")
        found[kind] = extensions.counted(2)
    if reader.data:
        raise HelloRefused("its TLS hello is not in order")
    if not _ENCRYPTED.isdisjoint(found):
        raise HelloRefused("its TLS hello is encrypted (ECH), so the name that counts cannot be seen")
    if _SERVER_NAME not in found:
        raise HelloRefused("its TLS hello names no host")
    named = _server_name(found[_SERVER_NAME])
    if named != host:
        raise HelloRefused(f'its TLS hello names "{named}"')


def _server_name(content: bytes) -> str:
    """The one name of a server_name extension (RFC 6066, 3), canonical."""
    outer = _Reader(content)
    names = _Reader(outer.counted(2))
    kind, name = names.number(1), names.counted(2)
    if kind != 0 or names.data or outer.data:
        raise HelloRefused("its TLS hello does not name one host")
    try:
        return canonical_host(name.decode("ascii"))
    except (CanonicalError, UnicodeDecodeError):
        raise HelloRefused("its TLS hello names what is no host") from None
