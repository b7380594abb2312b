"""A forward proxy that decides nothing: it wants one agent's credentials, resolves names by a table, relays.

For tests of what stands in front of a proxy (variables, trust stores, preload). It speaks CONNECT and
absolute-form, answers 407 without the credentials, and 403 with a problem body for a name not in its table.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import trustme

from support.targets.base import Target


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to the proxy itself."""

    method: str
    target: str
    authorized: bool


class StubProxy(Target):
    """`StubProxy(ca, {"origin.test": origin.address})`; `asked` is what it was asked, in order."""

    def __init__(
        self, ca: trustme.CA, table: Mapping[str, str], *, agent: str = "deploy-bot", token: str = "s3cr:t/%"
    ) -> None:
        super().__init__(ca, secure=False)
        self.table = dict(table)
        self.agent, self.token = agent, token
        self.asked: list[Asked] = []

    @property
    def authorization(self) -> str:
        return "Basic " + base64.b64encode(f"{self.agent}:{self.token}".encode()).decode()

    async def serve(self, stopped: asyncio.Event, ready: Callable[[int], None]) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._connection(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass  # a client that left, or the end of the test
            finally:
                tasks.discard(task)
                writer.close()

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        ready(listener.sockets[0].getsockname()[1])
        await stopped.wait()
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks)
        await listener.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, version = lines[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        authorized = headers.get("proxy-authorization") == self.authorization
        self.asked.append(Asked(method, target, authorized))
        if not authorized:
            await _refuse(writer, "407 Proxy Authentication Required", "agent unknown", 'Basic realm="gate"')
            if method == "CONNECT":
                await self._connection(reader, writer)  # most clients try again on the same connection
            return
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        address = self.table.get(url.hostname or "")
        if address is None:
            await _refuse(writer, "403 Forbidden", "policy:no-prod-v1 -- action not in allow list")
            return
        host, _, port = address.rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
                path = (url.path or "/") + (f"?{url.query}" if url.query else "")
                request = [f"{method} {path} {version}", *kept, "Connection: close", "", ""]
                upstream_writer.write("\r\n".join(request).encode("latin-1"))
            async with asyncio.TaskGroup() as group:
                group.create_task(_relay(reader, upstream_writer))
                group.create_task(_relay(upstream_reader, writer))
        except* OSError:
            pass  # either side may cut the connection
        finally:
            upstream_writer.close()


async def _refuse(writer: asyncio.StreamWriter, status: str, reason: str, challenge: str = "") -> None:
    body = json.dumps({"reason": reason}).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Content-Type: application/problem+json"]
    if challenge:
        lines.append(f"Proxy-Authenticate: {challenge}")
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    await writer.drain()


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
