"""Readers that are servers: tornado, Node and nginx. Bytes go to them over a socket, and they tell what they read."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

from tornado.http1connection import HTTP1ConnectionParameters, HTTP1ServerConnection
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from support.garden.reading import Read, Reading, Route

DEADLINE_S = 60
"""For what takes milliseconds; a server that waits for more of a stream has lost its step."""


class Server(Protocol):
    """One that listens on `port` of loopback."""

    port: int

    async def told(self, port: int) -> Reading:
        """What was read on the connection from this port, which has ended."""


async def read(server: Server, stream: bytes) -> Reading:
    """Send a stream and return what the server read of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    own = writer.get_extra_info("sockname")[1]

    async def send() -> None:
        with contextlib.suppress(ConnectionError):  # who refuses early closes early
            writer.write(stream)
            await writer.drain()

    sending = asyncio.ensure_future(send())
    try:
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                while await reader.read(65_536):
                    pass
            await sending
    except TimeoutError:
        sending.cancel()
        return Reading((), "waits for more")
    finally:
        writer.close()
    return await server.told(own)


# --- tornado, in this process ---


class _Message(HTTPMessageDelegate):
    def __init__(self, connection: HTTPConnection, found: list[Read]) -> None:
        self._connection, self._found, self._body = connection, found, b""

    def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
        assert isinstance(start_line, RequestStartLine)
        self._line, self._host = start_line, ",".join(headers.get_list("Host"))

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def finish(self) -> None:
        self._found.append(Read(self._line.method, self._line.path, self._host, self._body))
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders({"Content-Length": "0"}))
        self._connection.finish()


class Tornado(HTTPServerConnectionDelegate):
    """Its connections, without its web framework."""

    def __init__(self) -> None:
        (self._socket,) = bind_sockets(0, "127.0.0.1")
        self.port: int = self._socket.getsockname()[1]
        self._read: dict[int, asyncio.Future[Reading]] = {}
        self._ports: dict[object, int] = {}
        self._found: dict[object, list[Read]] = {}
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        raw, address = self._socket.accept()
        raw.setblocking(False)
        parameters = HTTP1ConnectionParameters(max_header_size=1 << 20, max_body_size=1 << 30)
        connection = HTTP1ServerConnection(IOStream(raw, max_buffer_size=1 << 30), parameters)
        self._found[connection] = []
        self._read[address[1]] = asyncio.get_running_loop().create_future()
        self._ports[connection] = address[1]
        connection.start_serving(self)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _Message(request_conn, self._found[server_conn])

    def on_close(self, server_conn: object) -> None:
        self._read[self._ports.pop(server_conn)].set_result(Reading(tuple(self._found.pop(server_conn))))

    async def told(self, port: int) -> Reading:
        async with asyncio.timeout(DEADLINE_S):
            return await self._read.pop(port)


# --- Node ---


class Node:
    """`node_server.cjs`, told line by line."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process, self.port = process, port
        self._told: dict[int, Reading] = {}

    async def told(self, port: int) -> Reading:
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            while port not in self._told:
                said = json.loads(await self._process.stdout.readline())
                self._told[said["port"]] = _of_node(said)
        return self._told.pop(port)


def _of_node(said: dict[str, Any]) -> Reading:
    found = [
        Read(each["method"], each["target"], each["host"], each["body"].encode("latin-1")) for each in said["requests"]
    ]
    routes = [
        Route(each["route"][0], tuple(map(tuple, each["route"][1]))) for each in said["requests"] if each["route"]
    ]
    return Reading(tuple(found), said["fault"], tuple(routes) if len(routes) == len(found) else ())


@contextlib.asynccontextmanager
async def node(command: str) -> AsyncIterator[Node]:
    """Run Node between enter and exit."""
    script = Path(__file__).with_name("node_server.cjs")
    process = await asyncio.create_subprocess_exec(
        command, str(script), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, limit=1 << 26
    )
    assert process.stdout is not None
    try:
        yield Node(process, json.loads(await process.stdout.readline())["listening"])
    finally:
        process.kill()
        await process.wait()


# --- nginx ---

_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 256; }}
http {{
    log_format read escape=json '{{"port":$remote_port,"method":"$request_method","target":"$request_uri",'
        '"host":"$http_host","body":"$request_body","status":$status,"path":"$uri","query":"$args"}}';
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    client_body_buffer_size 4m; client_max_body_size 0; client_header_buffer_size 1m;
    large_client_header_buffers 4 1m; keepalive_requests 1000000; keepalive_timeout 3600s;
    client_header_timeout 3600s; client_body_timeout 3600s; proxy_ignore_client_abort on; lingering_close off;
    upstream next {{ server unix:{folder}/next; keepalive 4; }}
    server {{ listen unix:{folder}/next; location / {{ return 200; }} }}
    server {{
        listen 127.0.0.1:{port}; access_log {folder}/read.log read;
        location / {{ proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


class Nginx:
    """It hands every body on before it logs a request, and logs before it lets go of a connection."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._path, self._at = folder / "read.log", 0
        self._told: dict[int, list[dict[str, Any]]] = {}

    async def told(self, port: int) -> Reading:
        with self._path.open("rb") as log:
            log.seek(self._at)
            lines = log.readlines()
            self._at = log.tell()
        for line in lines:
            said = json.loads(line.decode("latin-1"))
            self._told.setdefault(said["port"], []).append(said)
        read = self._told.pop(port, [])
        refused = [each for each in read if each["status"] != 200]
        good = read[: read.index(refused[0])] if refused else read
        found = [Read(each["method"], each["target"], each["host"], each["body"].encode("latin-1")) for each in good]
        routes = tuple(Route(each["path"].encode("latin-1").decode(), each["query"]) for each in good)
        return Reading(tuple(found), f"status {refused[0]['status']}" if refused else "", routes)


@contextlib.asynccontextmanager
async def nginx(command: str, folder: Path) -> AsyncIterator[Nginx]:
    """Run nginx between enter and exit."""
    (probe,) = bind_sockets(0, "127.0.0.1")
    port = probe.getsockname()[1]
    probe.close()
    conf = folder / "nginx.conf"
    conf.write_text(_CONF.format(folder=folder, port=port))
    process = await asyncio.create_subprocess_exec(
        command, "-p", str(folder), "-c", str(conf), stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                assert process.returncode is None, (folder / "error.log").read_text()
                with contextlib.suppress(ConnectionError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
        yield Nginx(folder, port)
    finally:
        process.terminate()
        await process.wait()
