"""An agent's WebSockets, for tests that say one thing after the other."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Data

DEADLINE_S = 60


class Talk:
    """A WebSocket that is read and written while somebody waits for it, by one thread.

    The `websockets.sync` client reads in one thread and writes in another. With TLS 1.3, whose session tickets are read
    behind the handshake, that lost one of some three hundred openings, or ended in an "internal error" of OpenSSL, with
    no proxy between (CPython 3.13.0, OpenSSL 3.0.19; several processes on two cores).
    """

    def __init__(self, runner: asyncio.Runner, socket: ClientConnection) -> None:
        self._runner = runner
        self._socket = socket

    def send(self, message: Data) -> None:
        self._runner.run(self._socket.send(message))

    def hear(self) -> Data:
        """The next message.

        Raises:
            websockets.exceptions.ConnectionClosed: the connection ended instead.
        """
        return self._runner.run(asyncio.wait_for(self._socket.recv(), DEADLINE_S))

    def ping(self) -> None:
        """Wait until the other side has read everything that was sent."""

        async def answered() -> None:
            await asyncio.wait_for(await self._socket.ping(), DEADLINE_S)

        self._runner.run(answered())

    def close(self) -> None:
        self._runner.run(self._socket.close())


@contextlib.contextmanager
def talk_at(url: str, **options: Any) -> Iterator[Talk]:
    """A WebSocket to `url` until the block ends; `options` are those of websockets' `connect`.

    Raises:
        websockets.exceptions.InvalidStatus: the upgrade was answered otherwise.
    """

    async def opened() -> ClientConnection:
        return await connect(url, open_timeout=DEADLINE_S, close_timeout=DEADLINE_S, max_size=None, **options)

    with asyncio.Runner() as runner:
        talk = Talk(runner, runner.run(opened()))
        try:
            yield talk
        finally:
            talk.close()
