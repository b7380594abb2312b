"""A server in a thread: start, stop, record. The targets say only how they answer."""

import asyncio
import hashlib
import ssl
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

import trustme
from aiohttp import web

KEPT_BODY_BYTES = 2**20


@dataclass(slots=True)
class Seen:
    """One request as it arrived; the body's figures grow while it is read."""

    method: str
    path: str
    """Raw: the bytes of the request line, query included."""
    headers: tuple[tuple[str, str], ...]
    body_bytes: int = 0
    body: bytes = b""
    """The first MiB of it, still encoded as it was sent."""
    complete: bool = False
    """Whether the body was read to its end."""
    version: str = "1.1"
    _hash: Any = field(default_factory=hashlib.sha256, repr=False)

    @property
    def body_sha256(self) -> str:
        return str(self._hash.hexdigest())

    def header(self, name: str) -> str | None:
        """All values of a header, joined by a comma and a blank; None when it is absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    def take(self, chunk: bytes) -> None:
        """Count a piece of the body."""
        self.body_bytes += len(chunk)
        self._hash.update(chunk)
        self.body += chunk[: max(0, KEPT_BODY_BYTES - len(self.body))]


class Target:
    """Serves `answer` on 127.0.0.1 under the given names; the first name is the one its URL carries."""

    NAMES: tuple[str, ...] = ("origin.test",)
    ALPN: tuple[str, ...] = ("http/1.1",)

    def __init__(self, ca: trustme.CA, *names: str, secure: bool = True) -> None:
        self.names = names or self.NAMES
        self.secure = secure
        self.port = 0
        self.seen: list[Seen] = []
        self.connections = 0
        self._ssl = self._context(ca) if secure else None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._failure: BaseException | None = None
        self._ready = threading.Event()

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def address(self) -> str:
        """Where it listens, for the gate's `resolve:` table."""
        return f"127.0.0.1:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self.secure else "http"

    @property
    def url(self) -> str:
        """By name; only a proxy with a `resolve:` entry finds it."""
        default_port = 443 if self.secure else 80
        port = "" if self.port == default_port else f":{self.port}"
        return f"{self.scheme}://{self.name}{port}"

    @property
    def direct_url(self) -> str:
        """By address, for a test of the target itself."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self.submit(self._stop)
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), f"{type(self).__name__} did not stop"

    def submit(self, call: Callable[[], object]) -> None:
        """Run a plain function in the server's loop, soon."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)

    def run[T](self, work: Coroutine[Any, Any, T], timeout_s: float = 30) -> T:
        """Run a coroutine in the server's loop and wait for what it returns."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def wait_seen(self, count: int = 1, timeout_s: float = 30) -> Seen:
        """Block until `count` requests have arrived; the last of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.seen) >= count, timeout_s), (
                f"{len(self.seen)} of {count} requests arrived in {timeout_s} s"
            )
            return self.seen[count - 1]

    def clear(self) -> None:
        """Forget what was seen."""
        with self._changed:
            self.seen.clear()
            self.connections = 0

    def record(self, seen: Seen) -> Seen:
        """Add a request to the list; called when its head has arrived."""
        with self._changed:
            self.seen.append(seen)
            self._changed.notify_all()
        return seen

    # What a target may override.

    async def answer(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        raise NotImplementedError

    async def on_start(self) -> None:
        """Prepare, in the loop, before the port is open."""

    async def on_stop(self) -> None:
        """Let go of whatever holds a response open, before the server is closed."""

    async def serve(self, stopped: asyncio.Event, ready: Callable[[int], None]) -> None:
        """Serve HTTP/1.1 until told to stop."""
        # auto_decompress off: what is recorded and forwarded is what was sent.
        server = web.Server(self._receive, auto_decompress=False, access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1)
        await runner.setup()
        assert runner.server is not None
        listener = await self.listen(runner.server)
        ready(listener.sockets[0].getsockname()[1])
        try:
            await stopped.wait()
        finally:
            await self.on_stop()
            listener.close()
            await runner.cleanup()
            if sys.version_info >= (3, 13):
                listener.abort_clients()  # TLS would wait for a word from those who keep a connection for later
            await listener.wait_closed()

    async def listen(self, factory: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
        """A listener on port 0 that counts what it accepts, before any TLS."""

        def accepted() -> asyncio.BaseProtocol:
            self.connections += 1
            return factory()

        return await asyncio.get_running_loop().create_server(accepted, "127.0.0.1", 0, ssl=self._ssl)

    def _context(self, ca: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(list(self.ALPN))
        ca.issue_cert(*self.names, "localhost", "127.0.0.1").configure_cert(context)
        return context

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        await self.on_start()

        def ready(port: int) -> None:
            self.port = port
            self._ready.set()

        await self.serve(self._stopped, ready)

    def _stop(self) -> None:
        assert self._stopped is not None
        self._stopped.set()

    async def _receive(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        seen = self.record(Seen(request.method, request.raw_path, headers))
        return await self.answer(request, seen)  # type: ignore[arg-type]


async def read_body(request: web.BaseRequest, seen: Seen) -> bytes:
    """Read the body to its end, counting; returns what `Seen` keeps of it."""
    async for chunk in request.content.iter_any():
        seen.take(chunk)
    seen.complete = True
    return seen.body
