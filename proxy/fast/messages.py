"""WebSocket messages that are judged one by one, each as the POST that it would be.

Frames are read and written by wsproto, on both sides: what the target gets is a message that was allowed, framed anew.
A refused one is answered in the words of its protocol where its call has a name, else it ends the connection.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError

from proxy.fast.bodies import Turns
from proxy.fast.relaying import both
from proxy.fast.streams import Stream
from proxy.messages import POLICY_VIOLATION, Word

if TYPE_CHECKING:
    from proxy.fast.exchanging import Serving

MESSAGE_BYTES = "limit.message-bytes"
_TOO_BIG = 1009  # RFC 6455, 7.4.1
_GOING_AWAY = 1001
_FAILED = 1011
_MAX_FRAGMENTS = 65_536
"""Of one message: an empty one takes memory, too."""


@dataclass(slots=True)
class _Side:
    """One end: its socket, its frames, and the message that is being read."""

    stream: Stream
    frames: Connection
    most_bytes: int
    pieces: list[str | bytes]
    length: int = 0

    def take(self, part: TextMessage | BytesMessage) -> str | bytes | None:
        """The whole message when this was its last part; raises OverflowError when it has become too long."""
        data = part.data if isinstance(part.data, str) else bytes(part.data)
        self.pieces.append(data)
        self.length += len(data.encode("utf-8")) if isinstance(data, str) else len(data)
        if self.length > self.most_bytes or len(self.pieces) > _MAX_FRAGMENTS:
            raise OverflowError("the message is too long to be read")
        if not part.message_finished:
            return None
        whole = "".join(map(str, self.pieces)) if isinstance(data, str) else b"".join(self.pieces)  # type: ignore[arg-type]
        self.pieces, self.length = [], 0
        return whole

    def send(self, event: Event) -> None:
        """Send, unless this side has been closed."""
        if self.frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            try:
                self.stream.write(self.frames.send(event))
            except LocalProtocolError:
                return


class _Over(Exception):
    """The conversation has ended."""


async def relay_messages(serving: "Serving", agent: Stream, target: Stream, packs: frozenset[str]) -> None:
    """Pass on the messages that are allowed, until one side ends it."""
    await _Conversation(serving, agent, target, packs).run()


class _Conversation:
    def __init__(self, serving: "Serving", agent: Stream, target: Stream, packs: frozenset[str]) -> None:
        self._serving = serving
        self._exchange = serving.exchange
        self._packs = packs
        engine = serving.connection.engine
        most = engine.limits.message_bytes
        judged = min(most, engine.max_body_bytes)
        self._agent = _Side(agent, Connection(ConnectionType.SERVER), judged, [])
        self._target = _Side(target, Connection(ConnectionType.CLIENT), most, [])

    async def run(self) -> None:
        with contextlib.suppress(_Over):
            await both(self._listen(self._agent, self._target), self._listen(self._target, self._agent))
        for side in (self._agent, self._target):
            side.stream.close()

    async def _listen(self, side: _Side, other: _Side) -> None:
        turns = Turns()
        try:
            while data := await side.stream.read():
                side.frames.receive_data(data)
                for event in side.frames.events():
                    await turns.give_way()
                    await self._on_event(side, other, event)
                await other.stream.drain()
        except OSError:
            pass
        other.send(CloseConnection(_GOING_AWAY))

    async def _on_event(self, side: _Side, other: _Side, event: Event) -> None:
        match event:
            case TextMessage() | BytesMessage():
                try:
                    whole = side.take(event)
                except OverflowError as error:
                    self._serving.connection.requests.limited(MESSAGE_BYTES)
                    self._close(_TOO_BIG, str(error))
                if whole is not None and side is self._agent:
                    await self._from_agent(whole)
                elif whole is not None:
                    self._exchange.response_bytes += len(_bytes(whole))
                    other.send(_message(whole))
            case Ping(payload=payload):
                other.send(Ping(bytes(payload)))
            case Pong(payload=payload):
                other.send(Pong(bytes(payload)))
            case CloseConnection():
                other.send(CloseConnection(event.code, event.reason))
                side.send(event.response())
                raise _Over

    async def _from_agent(self, message: str | bytes) -> None:
        content = _bytes(message)
        self._exchange.request_bytes += len(content)
        try:
            requests, is_text = self._serving.connection.requests, isinstance(message, str)
            said = await requests.judge_message(self._exchange, self._packs, content, is_text=is_text)
            reason, answer = ("", None) if said is Word.ALLOWED else said
        except asyncio.CancelledError:
            raise
        except Exception:
            self._close(_FAILED, "the gate failed")
            raise
        if said is Word.ALLOWED:
            self._target.send(_message(message))
        elif answer is not None:
            self._agent.send(TextMessage(answer))
            await self._agent.stream.drain()  # else who reads none of them would fill the memory
        else:
            self._close(POLICY_VIOLATION, reason)

    def _close(self, code: int, reason: str) -> None:
        """End both sides; the rest of what was being passed on is forgotten."""
        self._agent.send(CloseConnection(code, reason))
        self._target.send(CloseConnection(_GOING_AWAY))
        raise _Over


def _bytes(message: str | bytes) -> bytes:
    return message.encode("utf-8") if isinstance(message, str) else message


def _message(content: str | bytes) -> Event:
    return TextMessage(content) if isinstance(content, str) else BytesMessage(content)
