"""Cheap clients for load: requests of every kind on kept connections, so that the gate has most of the work."""

import socket
import ssl
import threading
from collections import Counter
from dataclasses import dataclass, field

from support.gate import OTHER_TOKEN, TOKEN
from support.raw import authorization, read_head, status

TIMEOUT_S = 120

KINDS: dict[str, tuple[bytes, frozenset[int]]] = {
    "read": (b"GET /echo HTTP/1.1\r\nHost: origin.test\r\n\r\n", frozenset({200})),
    "denied": (b"DELETE /echo HTTP/1.1\r\nHost: origin.test\r\n\r\n", frozenset({403})),
    "judged by its body": (
        b"POST /runs HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n"
        b'{"destroy": false}',
        frozenset({200}),
    ),
    "sent on": (b"POST /echo HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 5\r\n\r\nhello", frozenset({200})),
    "read again": (b"GET /echo?page=2 HTTP/1.1\r\nHost: origin.test\r\n\r\n", frozenset({200})),
    "unmapped": (b"PATCH /echo HTTP/1.1\r\nHost: origin.test\r\nContent-Length: 0\r\n\r\n", frozenset({403})),
}
"""Requests, and the statuses that are right."""


@dataclass
class Tally:
    """What all clients together were told."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    """Requests that got no answer, because the gate was gone."""


def tunnel_to(proxy: str, ca: str, agent: str, token: str) -> ssl.SSLSocket:
    """TLS to the origin through a gate."""
    host, _, port = proxy.rpartition(":")
    raw = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        raw.sendall(b"CONNECT origin.test:443 HTTP/1.1\r\n" + authorization(agent, token) + b"\r\n")
        if status(read_head(raw)) != 200:
            raise ConnectionError("no tunnel")
        context = ssl.create_default_context(cafile=ca)
        return context.wrap_socket(raw, server_hostname="origin.test")
    except BaseException:
        raw.close()
        raise


def exchange(raw: ssl.SSLSocket, request: bytes) -> int:
    """Send a request and read its answer to the end; its status. Raises ConnectionError when there is none."""
    raw.sendall(request)
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _more(raw)
    head, body = received[:end].lower(), received[end + 4 :]
    length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
    missing = length - len(body)
    while missing > 0:
        missing -= len(_more(raw))
    return int(head[9:12])


def _more(raw: ssl.SSLSocket) -> bytes:
    chunk = raw.recv(65_536)
    if not chunk:
        raise ConnectionError("cut off")
    return chunk


def run_load(proxy: str, ca: str, requests: int, *, clients: int = 8, per_connection: int = 40) -> Tally:
    """Send so many requests from so many clients beside each other, and wait for all answers."""
    tally = Tally()
    lock = threading.Lock()

    def client(share: int, number: int) -> None:
        who = ("other-bot", OTHER_TOKEN) if number % 4 == 3 else ("deploy-bot", TOKEN)
        kinds = ["read"] if number % 4 == 3 else list(KINDS)
        answers: Counter[str] = Counter()
        wrong: list[str] = []
        lost = 0
        for first in range(0, share, per_connection):
            batch = min(per_connection, share - first)
            try:
                with tunnel_to(proxy, ca, *who) as raw:
                    for at in range(batch):
                        kind = kinds[(first + at) % len(kinds)]
                        request, right = KINDS[kind]
                        if (said := exchange(raw, request)) not in right:
                            wrong.append(f"{kind}: {said}")
                        answers[kind] += 1
            except (OSError, ValueError):
                lost += share - first
                break
        with lock:
            tally.answers += answers
            tally.wrong += wrong
            tally.lost += lost

    threads = [
        threading.Thread(target=client, args=(requests // clients + (number < requests % clients), number))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally
