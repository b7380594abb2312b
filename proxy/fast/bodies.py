"""Bodies of HTTP/1 messages: where they end, and the bytes in them. No sockets.

    reader = Chunked()
    buffer = bytearray(b"5\\r\\nhello\\r\\n0\\r\\n\\r\\nGET /next")
    reader.take(buffer) -> b"hello"
    reader.take(buffer) -> None, and reader.done; buffer is b"GET /next"

`take` removes what it has understood from the buffer; b"" means that more bytes are needed. What comes then goes past
the buffer where it is data and nothing else (`straight`): through it every byte would be copied twice more.
"""

import asyncio
import re
from typing import Protocol

from proxy.fast.heads import END, AnswerHead, Fields, NotHttp, RequestHead, check_names, find_end, read_fields

MAX_LINE_BYTES = 64 * 1024
"""The longest line between two chunks, and the longest trailers; RFC 9112, 7.1.1, wants a limit for extensions."""
PIECE_BYTES = 256 * 1024
"""How much of a body is taken out of a buffer at once."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?")  # RFC 9112, 7.1


_IN_A_TURN = 32
"""So many pieces of one body, or messages, are read before others have their turn."""


class Turns:
    """Lets others have their turn: in what a socket gives at once there may be forty thousand chunks."""

    def __init__(self) -> None:
        self._read = 0

    async def give_way(self) -> None:
        """Called before each piece, so that none is lost where this is broken off."""
        self._read += 1
        if self._read % _IN_A_TURN == 0:
            await asyncio.sleep(0)


class Body(Protocol):
    """Reads one body."""

    done: bool
    """Whether its end was read."""
    trailers: Fields

    def take(self, buffer: bytearray) -> bytes | None:
        """The next piece, None when the body has ended, b"" when more is needed; raises NotHttp."""

    def skip(self, most: int) -> int:
        """How many of so many bytes that come next are its data just as they stand; they count as taken."""

    def eof(self) -> bool:
        """Whether the body may end where the connection does."""


class Nothing:
    """A message without a body."""

    done = True
    trailers: Fields = ()

    def take(self, _: bytearray) -> bytes | None:
        """Nothing is read."""
        return None

    def skip(self, _: int) -> int:
        """None are."""
        return 0

    def eof(self) -> bool:
        """It has ended already."""
        return True


class Length:
    """A body of so many bytes."""

    trailers: Fields = ()

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = not length

    def take(self, buffer: bytearray) -> bytes | None:
        """The next bytes of it."""
        if self.done:
            return None
        return cut(buffer, int(self.skip(min(len(buffer), PIECE_BYTES))))

    def skip(self, most: int) -> int:
        """All but what is behind its end."""
        count = min(self._left, most)
        self._left -= count
        self.done = not self._left
        return count

    def eof(self) -> bool:
        """Bytes are missing, unless it has ended."""
        return self.done


class UntilClose:
    """The body of an answer that ends with its connection (RFC 9112, 6.3)."""

    done = False
    trailers: Fields = ()

    def take(self, buffer: bytearray) -> bytes | None:
        """All that has come."""
        return cut(buffer, len(buffer))

    def skip(self, most: int) -> int:
        """All are."""
        return most

    def eof(self) -> bool:
        """That is its end."""
        return True


class Chunked:
    """A body in chunks, each behind its length (RFC 9112, 7.1)."""

    def __init__(self) -> None:
        self.done = False
        self.trailers: Fields = ()
        self._left = -1
        """Bytes of the chunk that are still to come; 0 before the line that ends it, -1 before the next length."""

    def take(self, buffer: bytearray) -> bytes | None:
        """The next piece of data, not necessarily a whole chunk."""
        if self.done:
            return None
        while True:
            if self._left > 0:
                return cut(buffer, int(self.skip(min(len(buffer), PIECE_BYTES))))
            if self._left == 0:
                if len(buffer) < 2:
                    return b""
                if buffer[:2] != b"\r\n":
                    raise NotHttp("a chunk is longer than it says")
                del buffer[:2]
                self._left = -1
            line = _line(buffer)
            if line is None:
                return b""
            matched = _CHUNK_LINE.fullmatch(line)
            if matched is None:
                raise NotHttp("a chunk does not begin with its length")
            size = int(matched[1], 16)
            if size == 0:
                if not self._ends(buffer, len(line) + 2):
                    return b""
                self.done = True
                return None
            del buffer[: len(line) + 2]
            self._left = size

    def skip(self, most: int) -> int:
        """What is left of the chunk that has begun."""
        count = min(max(self._left, 0), most)
        self._left -= count
        return count

    def _ends(self, buffer: bytearray, start: int) -> bool:
        """Read the trailers that begin at `start`; False when their end has not come."""
        if buffer[start : start + 2] == b"\r\n":
            del buffer[: start + 2]
            return True
        end = find_end(buffer, start)
        # Of an end that has not come, all but the last byte may be there.
        if (end if end >= 0 else len(buffer) - len(END) + 1) - start > MAX_LINE_BYTES:
            raise NotHttp("the trailers are too long")
        if end < 0:
            return False
        trailers = read_fields(bytes(buffer[start:end]).split(b"\r\n"))
        check_names(trailers)
        self.trailers = trailers
        del buffer[: end + len(END)]
        return True

    def eof(self) -> bool:
        """Its last chunk is missing, unless it has ended."""
        return self.done


def _line(buffer: bytearray) -> bytes | None:
    """The first line, without its end; None when that has not come. Raises NotHttp."""
    end = buffer.find(b"\r\n", 0, MAX_LINE_BYTES + 2)
    if end >= 0:
        return bytes(buffer[:end])
    if len(buffer) > MAX_LINE_BYTES + 1:  # of the end, one byte may be there
        raise NotHttp("the line before a chunk is too long")
    if b"\n" in buffer:
        raise NotHttp("a line does not end as lines do")
    return None


def of_request(head: RequestHead) -> Body:
    """What reads the body of a request whose framing was found undisputed."""
    if head.all(b"transfer-encoding"):
        return Chunked()
    lengths = head.all(b"content-length")
    return Length(int(lengths[0])) if lengths else Nothing()


def of_answer(head: AnswerHead, method: str) -> Body:
    """What reads the body of an answer to a request of that method (RFC 9112, 6.3)."""
    if method == "HEAD" or head.status < 200 or head.status in (204, 304):
        return Nothing()
    if head.all(b"transfer-encoding"):
        return Chunked()
    lengths = head.all(b"content-length")
    return Length(int(lengths[0])) if lengths else UntilClose()


def cut(buffer: bytearray, count: int) -> bytes:
    """Take so many bytes out of a buffer, from its beginning."""
    with memoryview(buffer) as view:
        data = bytes(view[:count])
    del buffer[:count]
    return data


def straight(body: Body, buffer: bytearray, data: bytes) -> bytes:
    """What of `data`, which has just come, is the body's next piece as it stands; the rest goes into the buffer."""
    count = 0 if buffer else int(body.skip(len(data)))
    if count == len(data):
        return data
    buffer += memoryview(data)[count:]
    return data[:count]


def chunk(data: bytes) -> bytes:
    """Data as one chunk; b"" for none, which would be the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Fields) -> bytes:
    """The end of a body in chunks."""
    return b"0\r\n" + b"".join([b"%b: %b\r\n" % field for field in trailers]) + b"\r\n"
