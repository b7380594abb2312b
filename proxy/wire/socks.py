"""SOCKS 5 as far as a gate speaks it (RFC 1928, RFC 1929): one CONNECT, whose user and password are the agent's.

    05 01 02, 01 user password, 05 01 00 03 name port     as "CONNECT name:port" with these credentials
    05 01 00, 05 01 00 01 address port                    as "CONNECT address:port" with none

    04 ...                                                refused: SOCKS 4
    05 .. 02 .. (BIND), 05 .. 03 .. (UDP ASSOCIATE)       refused: only CONNECT is forwarded

What is asked for is read here and decided by the gate, as a CONNECT is. Credentials are looked at with it, not when
they are given, so that the record of a refusal has where the agent wanted to go.
"""

import base64
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

VERSION = 5
_USER_VERSION = 1  # RFC 1929, 2
_ANYBODY, _USER, _NONE_OF_THESE = 0x00, 0x02, 0xFF  # RFC 1928, 3
_CONNECT = 1  # RFC 1928, 4
_COMMANDS = {2: "BIND", 3: "UDP ASSOCIATE"}
_IPV4 = 1  # RFC 1928, 5; 3 is a name, 4 an IPv6 address

SUCCEEDED, FAILED, NOT_ALLOWED, NO_SUCH_COMMAND, NO_SUCH_ADDRESS = 0, 1, 2, 7, 8  # RFC 1928, 6


class Reader(Protocol):
    """What bytes come from."""

    async def read(self, most: int, /) -> bytes: ...


class NoSocks(Exception):
    """What came is not SOCKS 5, or asks for what is not forwarded; its text says what."""

    def __init__(self, why: str, answer: bytes = b"", asked: "Asked | None" = None) -> None:
        super().__init__(why)
        self.answer = answer
        """What the agent is told."""
        self.asked = asked
        """As far as it was read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Where an agent wants to go, and what it says to prove itself, as it would stand in a CONNECT."""

    authority: str
    presented: tuple[str, ...] = field(repr=False)


def answer(reply: int) -> bytes:
    """An answer to a request; we tell no address of ours."""
    return bytes((VERSION, reply, 0, _IPV4, 0, 0, 0, 0, 0, 0))


async def read_request(reader: Reader, send: Callable[[bytes], None]) -> Asked:
    """Speak with an agent up to its request, and read not one byte more. Raises NoSocks, or OSError when it is gone."""
    version, count = await _exactly(reader, 2)
    if version != VERSION:
        raise NoSocks("SOCKS 4 is not spoken; use SOCKS 5" if version == 4 else "it does not begin with SOCKS 5")
    method = _method(await _exactly(reader, count))
    send(bytes((VERSION, method)))
    presented: tuple[str, ...] = ()
    if method == _NONE_OF_THESE:
        raise NoSocks("it offers neither a user and password nor to come without")
    if method == _USER:
        presented = await _read_user(reader)
        send(bytes((_USER_VERSION, 0)))
    version, command, _, kind = await _exactly(reader, 4)
    if version != VERSION:
        raise NoSocks("what follows is no request", answer(FAILED))
    asked = Asked(await _read_place(reader, kind), presented)
    if command != _CONNECT:
        named = _COMMANDS.get(command, f"command {command}")
        raise NoSocks(f"{named} is not forwarded; only CONNECT is", answer(NO_SUCH_COMMAND), asked)
    return asked


def _method(offered: bytes) -> int:
    """With a user and password where the agent can; who offers both has something to say."""
    return next((method for method in (_USER, _ANYBODY) if method in offered), _NONE_OF_THESE)


async def _read_user(reader: Reader) -> tuple[str, ...]:
    (version,) = await _exactly(reader, 1)
    if version != _USER_VERSION:
        raise NoSocks("its user and password are not as RFC 1929 has them", bytes((_USER_VERSION, 1)))
    user, password = await _read_counted(reader), await _read_counted(reader)
    return ("Basic " + base64.b64encode(user + b":" + password).decode("ascii"),)


async def _read_place(reader: Reader, kind: int) -> str:
    """The authority that is asked for; what it is worth the gate finds out."""
    match kind:
        case _ if kind == _IPV4:
            host = str(ipaddress.IPv4Address(await _exactly(reader, 4)))
        case 4:
            host = str(ipaddress.IPv6Address(await _exactly(reader, 16)))
        case 3:
            name = await _read_counted(reader)
            if not name.isascii():
                # RFC 1928 names no encoding, so each would be a guess.
                raise NoSocks('a name that is not ASCII; write it as "xn--..."', answer(NO_SUCH_ADDRESS))
            host = name.decode("ascii")
        case _:
            raise NoSocks(f"address type {kind} is unknown", answer(NO_SUCH_ADDRESS))
    port = int.from_bytes(await _exactly(reader, 2))
    # In brackets whatever has a colon: a name that brings a port of its own must not be read as one.
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _read_counted(reader: Reader) -> bytes:
    (count,) = await _exactly(reader, 1)
    return await _exactly(reader, count)


async def _exactly(reader: Reader, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = await reader.read(count - len(received))
        if not chunk:
            raise ConnectionResetError("the agent went away")
        received += chunk
    return received
