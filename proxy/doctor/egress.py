"""Whether bytes get out beside the gate: by TCP, and by UDP as QUIC sends them.

A connection that is accepted is a hole, unless what answers on it is the gate: a redirect may lead there. Of a datagram
only an answer shows that it got out; QUIC servers answer a version that nobody speaks (RFC 9000, 6.1), so one is sent.
"""

import secrets
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from proxy.doctor.findings import Finding

type Recognise = Callable[[socket.socket, bool], str]
"""The record of a call over a connection, by its id; "" when nobody recorded it. The second says whether by TLS."""


class Place(NamedTuple):
    """An address and a port outside."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"


# Public resolvers: always there, at addresses that do not change, with something at each of these ports.
PUBLIC_STREAMS = (
    Place("1.1.1.1", 443),
    Place("1.1.1.1", 80),
    Place("8.8.8.8", 53),
    Place("9.9.9.9", 853),
    Place("2606:4700:4700::1111", 443),
)
PUBLIC_QUIC = (Place("1.1.1.1", 443), Place("8.8.8.8", 443), Place("2606:4700:4700::1111", 443))

_INITIAL_BYTES = 1200
"""RFC 9000, 14.1: a server answers no smaller one."""
_NOBODYS_VERSION = 0x1A2A3A4A
"""RFC 9000, 15: of the form 0x?a?a?a?a, reserved to force version negotiation."""


def probe_streams(places: Sequence[Place], recognise: Recognise, timeout_s: float) -> Finding:
    """Try to connect to each place."""

    def outcome(place: Place) -> tuple[str, str]:
        try:
            with socket.create_connection(place, timeout=timeout_s) as raw:
                return "gate" if (chron_id := recognise(raw, place.port == 443)) else "out", chron_id
        except OSError:
            return "shut", ""

    found = _each(places, outcome)
    out = [str(place) for place, (what, _) in found if what == "out"]
    if out:
        return Finding("tcp", False, f"connections get out, around the gate: {', '.join(out)}")
    led = next((chron_id for _, (what, chron_id) in found if what == "gate"), "")
    said = "no connection gets out; some are led to the gate" if led else "no connection gets out"
    return Finding("tcp", True, f"{said} ({_tried(places)})", led)


def probe_datagrams(places: Sequence[Place], timeout_s: float) -> Finding:
    """Send each place what a QUIC server answers."""

    def answered(place: Place) -> bool:
        return exchange(place, _quic_initial(), timeout_s) is not None

    out = [str(place) for place, there in _each(places, answered) if there]
    if out:
        return Finding("quic", False, f"datagrams get out and are answered: {', '.join(out)}")
    return Finding("quic", True, f"no datagram is answered ({_tried(places)})")


def exchange(place: Place, datagram: bytes, timeout_s: float) -> bytes | None:
    """The answer to a datagram; None when there is none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            *place, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind, protocol) as raw:
            raw.settimeout(timeout_s)
            raw.connect(address)
            raw.send(datagram)
            return raw.recv(65_536)
    except OSError:
        return None


def _quic_initial() -> bytes:
    """A long header with two connection ids (RFC 9000, 17.2), and zeros."""
    ids = b"".join(bytes((8,)) + secrets.token_bytes(8) for _ in range(2))
    return (b"\xc0" + _NOBODYS_VERSION.to_bytes(4) + ids).ljust(_INITIAL_BYTES, b"\0")


def _each[T](places: Sequence[Place], work: Callable[[Place], T]) -> list[tuple[Place, T]]:
    with ThreadPoolExecutor(max_workers=max(1, len(places))) as pool:
        return list(zip(places, pool.map(work, places), strict=True))


def _tried(places: Sequence[Place]) -> str:
    return f"tried: {', '.join(str(place) for place in places)}"
