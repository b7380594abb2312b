"""Leads a client that knows no proxy through one: plain TCP in, CONNECT and TLS out, under the target's own name."""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit


@contextlib.asynccontextmanager
async def bridge(proxy: str, authority: str, ca: Path) -> AsyncIterator[str]:
    """The address to connect to in place of `authority`; each connection has a tunnel and a request of its own."""
    context = ssl.create_default_context(cafile=str(ca))
    through = urlsplit(proxy)
    assert through.hostname is not None
    credentials = base64.b64encode(f"{through.username}:{through.password}".encode()).decode()
    connect = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Basic {credentials}\r\n\r\n"

    carried: set[asyncio.Task[None]] = set()
    """Nothing else holds a task whose client is gone."""

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(carry(reader, writer))
        carried.add(task)
        task.add_done_callback(carried.discard)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(through.hostname, through.port)
        try:
            back.write(connect.encode())
            answered = await there.readuntil(b"\r\n\r\n")
            assert answered.startswith(b"HTTP/1.1 200"), answered
            await back.start_tls(context, server_hostname=authority.partition(":")[0])
            head = await reader.readuntil(b"\r\n\r\n")
            back.write(head.replace(address.encode(), authority.encode()))
            await asyncio.gather(_pass(reader, back), _pass(there, writer))
        finally:
            writer.close()  # the server waits until each of its connections is closed
            back.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield address


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything that comes; an end, however it comes, ends the other side."""
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
