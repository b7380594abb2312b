"""HTTP/1.1 on both sides: a request at a time, read from a stream and written to one."""

import asyncio
from collections.abc import Callable

from proxy.fast import bodies, heads
from proxy.fast.calls import Broken, Gone, check_whole
from proxy.fast.heads import END, AnswerHead, Fields, NotHttp, RequestHead
from proxy.fast.streams import Stream, nothing

MAX_ANSWER_HEAD_BYTES = 256 * 1024
"""The longest head of an answer; curl takes 300 KB, Go's net/http 10 MB by default."""
MAX_DISCARDED_BYTES = 4 * 2**20
"""How much of a refused body is read and thrown away so that the client gets to read the answer."""


class HeadTooLong(NotHttp):
    """A request's head goes on beyond what it may have."""


class Http1Call:
    """A request on an agent's connection."""

    http2 = False

    def __init__(self, agent: "Http1Agent", head: RequestHead, malformed: str | None) -> None:
        self._agent = agent
        self.head = head
        self.malformed = malformed
        self._body = bodies.Nothing() if malformed else bodies.of_request(head)
        self.bodiless = isinstance(self._body, bodies.Nothing) and not malformed
        self.leave: Callable[[], None] = nothing
        self._began = False
        self._chunked = False
        self._silent = False
        self._ended = False
        self._turns = bodies.Turns()
        self.persists = malformed is None and _persists(head)
        """Whether another request may follow."""

    @property
    def complete(self) -> bool:
        """Whether the body was read to its end."""
        return self._body.done

    @property
    def answered(self) -> bool:
        """Whether its answer has come to its end."""
        return self._ended

    async def read(self) -> bytes | None:
        """The next piece of the body, None at its end."""
        agent = self._agent
        await self._turns.give_way()
        while True:
            piece = self._body.take(agent.buffer)
            if piece or (piece is None and self._body.done is True):
                return piece
            data = await agent.come() if piece is not None else b""
            if not data:
                raise Gone("the agent ended its request before its body was whole")
            if piece := bodies.straight(self._body, agent.buffer, data):
                return piece

    def interim(self, status: int, fields: Fields = ()) -> None:
        """Send an interim response; HTTP/1.0 knows none."""
        if not self._began and self.head.version != b"HTTP/1.0":
            kept = tuple(field for field in fields if field[0].lower() not in _NOT_WITHOUT_BODY)
            self._agent.stream.write(heads.write_answer(status, _PHRASES.get(status, b""), kept))

    def sign_of_life(self) -> None:
        """Show that the request still waits."""
        self.interim(100)

    def last(self) -> None:
        """No request follows this one."""
        self.persists = False

    def begin(self, status: int, phrase: bytes, fields: Fields, method: str) -> None:
        """Send the head of the answer, framed for this connection."""
        dropped = _NOT_WITHOUT_BODY if status < 200 or status == 204 else _HOP_BY_HOP
        kept = [field for field in fields if field[0].lower() not in dropped]
        self._began = True
        self._silent = method == "HEAD" or status in (204, 304) or status < 200
        lengths = any(name.lower() == b"content-length" for name, _ in kept)
        if status == 101:
            kept += [field for field in fields if field[0].lower() in (b"connection", b"upgrade")]
        elif not self._silent and not lengths and self.head.version != b"HTTP/1.0":
            self._chunked = True
            kept.append((b"Transfer-Encoding", b"chunked"))
        if status != 101 and not self.persists:
            kept.append((b"Connection", b"close"))
        self._agent.hold(heads.write_answer(status, phrase, tuple(kept)))

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer's body."""
        if self._silent or not data:
            return
        self._agent.hold(bodies.chunk(data) if self._chunked else data)
        await self._agent.flush()

    async def end(self, trailers: Fields = ()) -> None:
        """End the answer."""
        if self._chunked:
            self._agent.hold(bodies.last_chunk(trailers))
        self._ended = True
        await self._agent.flush()

    def abort(self) -> None:
        """Break the answer off."""
        self.persists = False
        self._agent.flush_now()  # what has begun is seen to have, and to have no end
        self._agent.stream.abort()

    def switch(self) -> Stream:
        """The connection itself."""
        self.persists = False
        self._agent.release()
        return self._agent.stream

    async def discard(self) -> None:
        """Read what is left of the body, so that the agent gets to the answer; not without end."""
        agent = self._agent
        most = agent.received_bytes + MAX_DISCARDED_BYTES  # of everything: chunks can say much beside what they carry
        while await self.read() is not None:
            if agent.received_bytes > most:
                self.persists = False
                return


_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"proxy-connection", b"te"})
_NOT_WITHOUT_BODY = _HOP_BY_HOP | {b"content-length"}
"""RFC 9110, 8.6: in an interim response or a 204 some agent would wait for so much, or take the next answer for it."""
_PHRASES = {100: b"Continue", 102: b"Processing", 103: b"Early Hints"}


def _persists(head: RequestHead) -> bool:
    options = b",".join(head.all(b"connection") + head.all(b"proxy-connection")).lower()
    names = {option.strip() for option in options.split(b",")}
    # RFC 9112, 9.3: a proxy keeps no connection of HTTP/1.0, whatever is said of that: who stands before it may have
    # passed "keep-alive" on without knowing it.
    return b"close" not in names and head.version != b"HTTP/1.0"


class Http1Agent:
    """An agent's side of a connection."""

    def __init__(self, stream: Stream, head_bytes: int) -> None:
        self.stream = stream
        self.buffer = bytearray()
        self.received_bytes = 0
        self._head_bytes = head_bytes
        self._held: list[bytes] = []
        self._passed_over = False
        self.reading_head = True

    @property
    def beginning(self) -> bool:
        """Whether a head has begun and is not complete."""
        return self.reading_head and bool(self.buffer)

    @property
    def glimpse(self) -> bytes:
        """What has come of a head that is none, or is not there yet."""
        return bytes(self.buffer[: self._head_bytes])

    async def come(self) -> bytes:
        """Wait for bytes, which go into the buffer or anywhere else; b"" when no more will come."""
        try:
            data = await self.stream.read()
        except OSError as error:
            raise Gone(str(error)) from None
        self.received_bytes += len(data)
        return data

    async def next(self) -> Http1Call | None:
        """The next request; None when the agent has ended. Raises NotHttp where there is a head that is none."""
        self.reading_head = True
        buffer = self.buffer
        searched = 0
        if buffer:
            await asyncio.sleep(0)  # others first: of those that are refused unrecorded, thousands wait for nothing
        while True:
            if buffer and buffer[0] in b"\r\n":
                # RFC 9112, 2.2: one empty line before a request line is passed over.
                if buffer == b"\r":
                    pass
                elif self._passed_over or buffer[:2] != b"\r\n":
                    raise NotHttp("the request head is not valid HTTP/1")
                else:
                    self._passed_over = True
                    del buffer[:2]
                    continue
            try:
                end = heads.find_end(buffer, searched, self._head_bytes)
            except NotHttp as error:
                raise NotHttp(f"the request head is not valid HTTP/1: {error}") from None
            if end >= 0:
                break
            if len(buffer) > self._head_bytes:
                raise HeadTooLong("the request head is too long")
            searched = max(0, len(buffer) - 3)
            data = await self.come()
            if not data:
                return None
            buffer += data
        self._passed_over = False
        self.reading_head = False
        head = bytes(buffer[: end + len(END)])
        try:
            read = heads.read_request(head)
        except NotHttp as error:
            raise NotHttp(f"the request head is not valid HTTP/1: {error}") from None
        del buffer[: len(head)]
        return Http1Call(self, read, heads.disputed(head, read))

    def hold(self, data: bytes) -> None:
        """Keep bytes until the next ones, to be sent in one piece."""
        self._held.append(data)

    async def flush(self) -> None:
        """Send what is held, and wait while too much is unsent."""
        self.flush_now()
        try:
            await self.stream.drain()
        except OSError as error:
            raise Gone(str(error)) from None

    def flush_now(self) -> None:
        """Send what is held."""
        if self._held:
            self.stream.write(b"".join(self._held))
            self._held.clear()

    def release(self) -> None:
        """Give the connection to whoever reads what follows."""
        self.flush_now()
        if self.buffer:
            self.stream.put_back(bytes(self.buffer))
            self.buffer.clear()


class Http1Asked:
    """A request on a target's connection."""

    def __init__(
        self,
        stream: Stream,
        method: str,
        head: bytes,
        *,
        chunked: bool,
        whole: bool,
        reuse: Callable[[Stream], None],
    ) -> None:
        """`whole` says that there is no body to follow; `reuse` takes the connection when it can be used again."""
        self._stream = stream
        self._method = method
        self._chunked = chunked
        self._reuse = reuse
        self._buffer = bytearray()
        self._body: bodies.Body | None = None
        self._turns = bodies.Turns()
        self._head: AnswerHead | None = None
        self._sent = whole
        self._over = False
        self.heard = False
        """Whether anything was heard of the target."""
        self._unsent = [head]
        self._sent_bytes = 0
        if whole:
            self._flush()

    def _flush(self) -> None:
        if self._unsent:
            self._stream.write(b"".join(self._unsent))
            self._unsent.clear()

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self._unsent.append(bodies.chunk(data) if self._chunked else data)
        self._sent_bytes += len(data)
        await self._drain()

    async def end(self, body_bytes: int) -> None:
        """End the request, whose body has so many bytes; one of which some are missing stays without an end."""
        check_whole(self._sent_bytes, body_bytes)
        if self._chunked:
            self._unsent.append(bodies.last_chunk(()))
        self._sent = True
        await self._drain()

    async def _drain(self) -> None:
        self._flush()
        try:
            await self._stream.drain()
        except OSError as error:
            raise Broken(f"the connection to the target broke off: {error}") from None

    async def _come(self) -> bytes:
        self._flush()
        try:
            data = await self._stream.read()
        except OSError as error:
            raise Broken(f"the connection to the target broke off: {error}") from None
        self.heard = self.heard or bool(data)
        return data

    async def answer(self) -> AnswerHead:
        """The head of the answer, or of an interim response."""
        searched = 0
        while (end := self._end(searched)) < 0:
            if len(self._buffer) - len(END) + 1 > MAX_ANSWER_HEAD_BYTES:
                raise Broken("the head of the answer is too long")
            searched = max(0, len(self._buffer) - 3)
            data = await self._come()
            if not data:
                raise Broken("server closed connection")
            self._buffer += data
        if end > MAX_ANSWER_HEAD_BYTES:
            raise Broken("the head of the answer is too long")
        head = bodies.cut(self._buffer, end + len(END))
        try:
            read = heads.read_answer(head)
        except NotHttp as error:
            raise Broken(f"invalid response: {error}") from None
        if read.status >= 200 or read.status == 101:
            self._head = read
            self._body = bodies.of_answer(read, self._method)
        return read

    def _end(self, searched: int) -> int:
        try:
            return heads.find_end(self._buffer, searched)
        except NotHttp as error:
            raise Broken(f"invalid response: {error}") from None

    async def read(self) -> bytes | None:
        """The next piece of the answer's body."""
        body = self._body
        if body is None:
            raise Broken("there is no answer yet")
        try:
            await self._turns.give_way()
            while True:
                piece = body.take(self._buffer)
                if piece or (piece is None and body.done is True):
                    return piece
                data = await self._come() if piece is not None else b""
                if not data:
                    if body.eof() and not self._stream.cut_off:
                        return None
                    # RFC 9112, 9.8: who cuts TLS off would else say where an answer ends.
                    raise Broken("the answer ended before its body was whole")
                if piece := bodies.straight(body, self._buffer, data):
                    return piece
        except NotHttp as error:
            raise Broken(f"invalid response: {error}") from None

    @property
    def trailers(self) -> Fields:
        """What came behind the body."""
        return self._body.trailers if self._body is not None else ()

    def switch(self) -> Stream:
        """The connection itself."""
        self._over = True
        if self._buffer:
            self._stream.put_back(bytes(self._buffer))
            self._buffer.clear()
        return self._stream

    def release(self) -> None:
        """Let the connection be used again, or close it."""
        if self._over:
            return
        self._over = True
        body, head = self._body, self._head
        if body is not None and head is not None and body.done and self._sent and not self._buffer and _stays(head):
            self._reuse(self._stream)
        else:
            self._stream.close()

    def abort(self) -> None:
        """End it."""
        self._over = True
        self._stream.abort()


def _stays(head: AnswerHead) -> bool:
    options = {option.strip() for option in b",".join(head.all(b"connection")).lower().split(b",")}
    if b"close" in options or (head.version == b"HTTP/1.0" and b"keep-alive" not in options):
        return False
    # Whoever announces a body where there is none may send it, and it would be read as the next answer.
    return head.status != 204 or head.all(b"content-length") in ((), (b"0",))
