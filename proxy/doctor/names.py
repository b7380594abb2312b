"""Whether questions about names get out: to the resolver of this environment, and to public ones.

Whoever can ask about a name of their own can carry anything out in it. An answer about a public name that is not given
about a name that exists nowhere (RFC 6761, 6.4) came from outside; one that is given about both is made up here.
"""

import re
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from proxy.doctor.canary import canary_host
from proxy.doctor.egress import Place, exchange
from proxy.doctor.findings import Finding

PUBLIC_RESOLVERS = (Place("1.1.1.1", 53), Place("8.8.8.8", 53), Place("2606:4700:4700::1111", 53))
_PUBLIC_NAME = "example.com"
"""RFC 2606, 3: always there."""
_SYSTEM_MOST_S = 5.0

type _Ask = Callable[[str], bytes | None]
type _Way = Callable[[Place, bytes, float], bytes | None]
_NAMESERVER = re.compile(r"^\s*nameserver\s+([0-9A-Fa-f.:]+)", re.MULTILINE)  # resolv.conf(5)


def configured_resolvers(path: Path = Path("/etc/resolv.conf")) -> tuple[Place, ...]:
    """The resolvers that programs here ask; none where the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    return tuple(Place(address, 53) for address in dict.fromkeys(_NAMESERVER.findall(text)))


def probe_names(places: Sequence[Place], timeout_s: float, *, system: bool) -> Finding:
    """Ask each place about a public name, by UDP and TCP; with `system`, also as programs here ask."""
    asking: dict[str, _Ask] = {}
    for place in places:
        asking[f"{place} by UDP"] = partial(_ask, place, timeout_s, exchange)
        asking[f"{place} by TCP"] = partial(_ask, place, timeout_s, _by_stream)
    if system:
        asking["the system's resolver"] = _ask_system

    def told(ask: _Ask) -> bool:
        answer = ask(_PUBLIC_NAME)
        return answer is not None and answer != ask(canary_host())

    with ThreadPoolExecutor(max_workers=max(1, len(asking))) as pool:
        found = dict(zip(asking, pool.map(told, asking.values()), strict=True))
    out = [name for name, there in found.items() if there]
    if out:
        return Finding("dns", False, f"names are resolved outside, so questions get out: {', '.join(out)}")
    return Finding("dns", True, f"no name is resolved (tried: {', '.join(found) or 'nobody'})")


def _ask(place: Place, timeout_s: float, way: _Way, name: str) -> bytes | None:
    """What is told of a name, its first address; None when nothing is."""
    asked = _question(name)
    return _first_address(asked, way(place, asked, timeout_s) or b"")


def _by_stream(place: Place, asked: bytes, timeout_s: float) -> bytes | None:
    try:
        with socket.create_connection(place, timeout=timeout_s) as raw:
            raw.sendall(struct.pack("!H", len(asked)) + asked)  # RFC 7766, 8
            received = b""
            while len(received) < 2 or len(received) < 2 + struct.unpack_from("!H", received)[0]:
                chunk = raw.recv(4096)
                if not chunk:
                    return None
                received += chunk
            return received[2:]
    except OSError:
        return None


def _question(name: str) -> bytes:
    """A question for an address, with recursion desired (RFC 1035, 4.1)."""
    labels = b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split("."))
    return secrets.token_bytes(2) + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, 1, 1)


def _first_address(asked: bytes, answer: bytes) -> bytes | None:
    """The first address in an answer to this question; None when it has none, or is none."""
    try:
        (flags, _, count) = struct.unpack_from("!HHH", answer, 2)
        if answer[:2] != asked[:2] or not flags & 0x8000 or flags & 0x000F:
            return None
        at = len(asked)  # the question stands in the answer, letter by letter
        for _ in range(count):
            while answer[at] and answer[at] < 0xC0:
                at += 1 + answer[at]
            at += 2 if answer[at] else 1
            kind, _, _, length = struct.unpack_from("!HHIH", answer, at)
            if kind == 1:
                return answer[at + 10 : at + 10 + length]
            at += 10 + length
    except (struct.error, IndexError):
        pass
    return None


def _ask_system(name: str) -> bytes | None:
    """As programs here ask, by whatever that is; it may be a socket that leads out of a network namespace."""
    found: list[bytes] = []

    def look() -> None:
        try:
            answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return
        found.append(str(answers[0][4][0]).encode())

    # A daemon: the C library may take half a minute to give up, and cannot be told to.
    asking = threading.Thread(target=look, daemon=True)
    asking.start()
    asking.join(_SYSTEM_MOST_S)
    return found[0] if found else None
