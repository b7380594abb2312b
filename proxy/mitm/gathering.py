"""A stream writer that sends once what the engine writes in several pieces while it handles one event.

The engine writes a response's head and its body apart; as two packets they cost two system calls here and
wake the agent twice.
"""

import asyncio
from typing import Any


class GatheringWriter:
    """Stands in for an `asyncio.StreamWriter`; nothing leaves before `flush`, `drain` or an end."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._pieces: list[bytes] = []
        self.sent = 0
        """How often something was sent."""

    def write(self, data: bytes) -> None:
        """Take a piece."""
        self._pieces.append(data)

    def flush(self) -> None:
        """Send what has gathered."""
        if self._pieces:
            self.sent += 1
            self._writer.write(b"".join(self._pieces))
            self._pieces.clear()

    async def drain(self) -> None:
        """Send, and wait until the socket takes more."""
        self.flush()
        await self._writer.drain()

    def write_eof(self) -> None:
        """Send, then close the writing half."""
        self.flush()
        self._writer.write_eof()

    def close(self) -> None:
        """Send, then close."""
        try:
            self.flush()
        finally:
            self._writer.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)
