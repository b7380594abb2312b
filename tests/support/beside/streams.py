"""Streams of bytes for a gate, and what an agent is told that sends them.

A stream is the same bytes for whichever gate gets it, but for the credentials and ports that stand in its places
(`proxy.attack.attacks`). What is told is read to the end of the connection, so nothing depends on time.
"""

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame

from proxy.attack.attacks import Attack, Way
from proxy.attack.wire import TIMEOUT_S, Answer, Gate, _connect, _tls, read_answers, send
from support.beside.told import Said
from support.garden.mutations import MOST_OWED

_ID = re.compile(r"chr_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class Stream:
    """One connection's worth of bytes, or one attack."""

    title: str
    send: Callable[[Gate], Sequence[Said]]
    http2: bool = False
    """Whether requests of it go beside each other, so that what came of them has no order."""
    payload: bytes = b""
    """For the eye."""


def of_attack(attack: Attack) -> Stream:
    """A row of the table of attacks."""
    title = f"attack {attack.title}"
    return Stream(title, lambda gate: [_said(each) for each in send(gate, attack)], attack.way.http2, attack.sends)


def of_bytes(title: str, way: Way, payload: bytes, last: bytes, owed: int = MOST_OWED) -> Stream:
    """Everything at once, and then all that comes back until the gate lets go.

    `last` is a request that ends its connection. It comes behind the others, and so often that what they promised and
    did not send, `owed` bytes at the most, swallows not all of it; and again when nothing is heard, for whoever waits
    for more. Without `last` the agent ends its side.
    """
    payload += last * (2 + owed // len(last)) if last else b""

    def exchange(gate: Gate) -> Sequence[Said]:
        with opened(gate, way) as connection:
            if isinstance(connection, Answer):
                return [_said(connection)]
            return [_said(each) for each in read_answers(_exchange(connection, gate.fill(payload), gate.fill(last)))]

    return Stream(title, exchange, payload=payload)


def in_turns(title: str, way: Way, turns: Sequence[bytes]) -> Stream:
    """One request after the other, each when the one before it was answered."""

    def exchange(gate: Gate) -> Sequence[Said]:
        with opened(gate, way) as connection:
            if isinstance(connection, Answer):
                return [_said(connection)]
            received = b""
            with suppress(OSError):
                for turn in turns:
                    connection.sendall(gate.fill(turn))
                    answer = b""
                    while not _whole(answer, turn) and (more := connection.recv(65_536)):
                        answer += more
                    received += answer
            return [_said(each) for each in read_answers(received)]

    return Stream(title, exchange, payload=b"".join(turns))


def by_http2(title: str, way: Way, payload: bytes) -> Stream:
    """The agent's side of a connection in HTTP/2, at once; read until every stream of it is answered."""

    def exchange(gate: Gate) -> Sequence[Said]:
        with opened(gate, way) as connection:
            return [_said(connection)] if isinstance(connection, Answer) else _http2(connection, payload)

    return Stream(title, exchange, http2=True, payload=payload)


def _said(answer: Answer) -> Said:
    return answer.status, len(answer.chron_ids), _ID.sub("chr_...", answer.body.decode("latin-1"))


@contextmanager
def opened(gate: Gate, way: Way) -> Iterator[socket.socket | Answer]:
    """A connection as a way says, or the answer to its CONNECT."""
    with socket.create_connection((gate.host, gate.port), timeout=TIMEOUT_S) as raw:
        if way.connect is not None and (refused := _connect(gate, way, raw)):
            yield refused
        elif not way.tls:
            yield raw
        else:
            with _tls(gate, way, raw) as secure:
                yield secure


_QUIET_S = 0.5
_NUDGES = 40


def _exchange(raw: socket.socket, payload: bytes, last: bytes) -> bytes:
    received = b""
    with suppress(OSError):  # whoever refuses early may close early
        raw.sendall(payload)
        if not last:
            raw.shutdown(socket.SHUT_WR)
    raw.settimeout(_QUIET_S if last else TIMEOUT_S)
    for _ in range(_NUDGES if last else 1):
        try:
            while chunk := raw.recv(65_536):
                received += chunk
            return received
        except TimeoutError:
            with suppress(OSError):
                raw.sendall(last)
        except (ConnectionError, ssl.SSLError):
            return received
    raise AssertionError(f"the gate neither answers nor lets go: {payload!r}")


def _whole(received: bytes, turn: bytes) -> bool:
    """Whether the final answer to a request is there to its end."""
    while received.startswith(b"HTTP/1.1 1"):
        received = received.partition(b"\r\n\r\n")[2]
    head, end, body = received.partition(b"\r\n\r\n")
    lengths = re.findall(rb"(?i)\r\ncontent-length: *([0-9]+)", head)
    return bool(end) and (turn.startswith(b"HEAD ") or len(body) >= int(lengths[0] if lengths else 0))


def _http2(connection: socket.socket, payload: bytes) -> list[Said]:
    asked = {frame.stream_id for frame, _ in _frames(payload.removeprefix(_PREFACE)) if isinstance(frame, HeadersFrame)}
    found: dict[int, list[bytes]] = {}
    heads: dict[int, dict[bytes, bytes]] = {}
    ended: set[int] = set()
    decoder = hpack.Decoder()
    received = b""
    with suppress(OSError):
        connection.sendall(payload)
        while asked - ended and (more := connection.recv(65_536)):
            received += more
            taken = 0
            for frame, end in _frames(received):
                taken = end
                match frame:
                    case HeadersFrame(stream_id=int(stream)):
                        fields = {bytes(name): bytes(value) for name, value in decoder.decode(frame.data, raw=True)}
                        # An interim answer is none, and trailers have no status.
                        if heads.get(stream, {}).get(b":status", b"1").startswith(b"1"):
                            heads[stream] = fields
                    case DataFrame(stream_id=int(stream)):
                        found.setdefault(stream, []).append(frame.data)
                    case RstStreamFrame(stream_id=int(stream)):
                        ended.add(stream)
                    case GoAwayFrame():
                        ended |= {each for each in asked if each > frame.last_stream_id}
                if "END_STREAM" in frame.flags:
                    ended.add(frame.stream_id)
            received = received[taken:]
    return [
        _said(
            Answer(
                int(heads.get(stream, {}).get(b":status", b"0")),
                ("",) * (b"x-chron-id" in heads.get(stream, {})),
                b"".join(found.get(stream, [])),
            )
        )
        for stream in sorted(asked)
    ]


_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _frames(data: bytes) -> Iterator[tuple[Frame, int]]:
    """Each whole frame, and where it ends."""
    at = 0
    while len(data) - at >= 9:
        frame, length = Frame.parse_frame_header(memoryview(data[at : at + 9]))
        if len(data) - at - 9 < length:
            return
        frame.parse_body(memoryview(data[at + 9 : at + 9 + length]))
        at += 9 + length
        yield frame, at
