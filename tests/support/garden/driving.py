"""Drafts through a real gate: many on a connection, in the clear, in a tunnel with TLS, and there over HTTP/2."""

import random
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from support.garden.mutations import MOST_OWED, Draft, mutated, spoiled
from support.garden.over_http2 import converse
from support.gate import LiveGate
from support.raw import authorization, dial, tunnel

PLAIN, SECURE = "plain.test", "origin.test"
MAPPINGS: dict[str, Any] = {
    "version": 1,
    "rules": [
        {"id": "any", "match": {"host": [PLAIN, SECURE], "path": "/{what+}"}, "action": "data:write"},
        {"id": "root", "match": {"host": [PLAIN, SECURE], "path": "/"}, "action": "data:read"},
    ],
}
SKILLS = {"deploy-v2": {"skill": "deploy-v2", "allow": ["data:**"]}, "reader-v1": {"skill": "reader-v1", "allow": []}}
_A_CONNECTION = 6
"""Drafts on one; whatever is refused ends it, and the ones behind go on another."""

_HTTP2, _TLS = 0.15, 0.2
"""Shares of the conversations."""
_QUIET_S = 0.5
_NUDGES = 120


def drive(gate: LiveGate, drafts: int, seed: object, threads: int = 4) -> None:
    """Send so many mutated drafts, each at least once."""
    chance = random.Random(f"{seed}")
    waiting = [mutated(chance) for _ in range(drafts)]
    shares = [waiting[number::threads] for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        chances = (random.Random(f"{seed} {number}") for number in range(threads))
        list(pool.map(_share, [gate] * threads, shares, chances))


def _share(gate: LiveGate, waiting: list[Draft], chance: random.Random) -> None:
    while waiting:
        now = waiting[:_A_CONNECTION]
        way = chance.random()
        if way < _HTTP2:
            converse(gate, now, SECURE.encode())
            del waiting[: len(now)]
            continue
        # What was answered is done; at least one, for a refusal may come without an answer.
        del waiting[: min(len(now), max(1, _conversation(gate, now, way < _HTTP2 + _TLS, chance)))]


def _conversation(gate: LiveGate, drafts: list[Draft], secure: bool, chance: random.Random) -> int:
    """Send drafts on one connection; how many answers came."""
    host = SECURE if secure else PLAIN
    origin, more = (b"", b"") if secure else (f"http://{PLAIN}".encode(), authorization())
    payload = b"".join(spoiled(draft.written(origin, more, host.encode()), chance) for draft in drafts)
    # One that owes bytes takes them from these; the first that is read as it stands ends the connection.
    last = b"GET %s/end HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n" % (origin, host.encode(), more)
    payload += last * (2 + MOST_OWED // len(last))
    received = b""
    with suppress(ConnectionError, ssl.SSLError), tunnel(gate) if secure else dial(gate) as raw:
        received = _exchange(raw, payload, last)
    return received.count(b"HTTP/1.1 ") - received.count(b"HTTP/1.1 100 ")


def _exchange(raw: socket.socket, payload: bytes, last: bytes) -> bytes:
    """Send everything and read until the gate lets go of the connection.

    Behind an empty line the engine leaves what came with it until more comes; so more is sent when nothing is heard.
    """
    received = b""
    with suppress(ConnectionError, ssl.SSLError):
        raw.sendall(payload)
    raw.settimeout(_QUIET_S)
    for _ in range(_NUDGES):
        try:
            while chunk := raw.recv(65_536):
                received += chunk
            return received
        except TimeoutError:
            with suppress(ConnectionError, ssl.SSLError):
                raw.sendall(last)
        except (ConnectionError, ssl.SSLError):
            return received
    raise AssertionError(f"the gate neither answers nor lets go: {payload!r}")
