"""Counts the frames of an agent's HTTP/2 connection that bring no request further, before the engine looks at them.

Such frames are cheap to send and not to read: pings and settings that want an answer, priorities, updates of windows
that nothing was sent through, empty data, requests that are taken back at once (CVE-2023-44487, CVE-2019-9512 to 9518,
CVE-2024-27316). Each takes something of an allowance that comes back with time, with what the agent is sent, and with
each answered request. A head may have no more bytes, over all its frames, than a head of HTTP/1.

Only the nine bytes before each frame are read (RFC 9113, 4.1); whether a frame is right is the engine's question.
"""

from proxy.quotas import Bucket

_PREFACE_BYTES = 24  # RFC 9113, 3.4
_HEAD_BYTES = 9
_DATA, _HEADERS, _RESET, _CONTINUATION = 0, 1, 3, 9  # RFC 9113, 6
_END_STREAM, _END_HEADERS = 0x1, 0x4
RESET_COST = 10.0
"""A request that is taken back has cost more than a ping."""
SENT_BYTES = 1024
"""For so many bytes that it was sent an agent may send one more frame: it updates its windows."""
_BURST_S = 10


class FrameMeter:
    """What one agent's frames have cost."""

    __slots__ = ("_allowance", "_block_bytes", "_head", "_head_bytes", "_in_block", "_in_body", "_skip")

    def __init__(self, per_s: float, head_bytes: int, at: float) -> None:
        self._allowance = Bucket(per_s * _BURST_S, per_s, at)
        self._head_bytes = head_bytes
        self._skip = _PREFACE_BYTES
        self._head = b""
        self._in_block = False
        self._in_body = False
        self._block_bytes = 0

    @property
    def unfinished(self) -> bool:
        """Whether a frame or a head has begun and has not ended; a piece of a body has its own time to come."""
        return self._in_block or (self._skip > 0 and not self._in_body) or bool(self._head)

    def sent(self, count: int) -> None:
        """The agent was sent so many bytes."""
        self._allowance.give(count / SENT_BYTES)

    def answered(self) -> None:
        """A request of the agent was answered to its end."""
        self._allowance.give(RESET_COST)

    def read(self, data: bytes, at: float) -> str:
        """Look at what the agent sent; the code of the limit that it goes over, or ""."""
        cost, position, end = 0.0, 0, len(data)
        while position < end:
            if self._skip:
                taken = min(self._skip, end - position)
                self._skip -= taken
                position += taken
                continue
            wanted = _HEAD_BYTES - len(self._head)
            head = self._head + data[position : position + wanted]
            position += wanted
            if len(head) < _HEAD_BYTES:
                self._head = head
                break
            self._head = b""
            self._skip = int.from_bytes(head[:3])
            self._in_body = head[3] == _DATA
            cost += self._cost(head[3], head[4], self._skip)
            if self._block_bytes > self._head_bytes:
                return "wire.head-too-long"
        return "" if not cost or self._allowance.take(at, cost) else "limit.http2-frames"

    def _cost(self, kind: int, flags: int, length: int) -> float:
        if kind == _DATA:
            return 0.0 if length or flags & _END_STREAM else 1.0
        if kind in (_HEADERS, _CONTINUATION):
            self._block_bytes = length if kind == _HEADERS else self._block_bytes + length
            self._in_block = not flags & _END_HEADERS
            return 0.0 if length else 1.0
        return RESET_COST if kind == _RESET else 1.0
