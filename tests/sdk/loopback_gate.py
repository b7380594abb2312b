"""A loopback gate that answers what a test tells it to, well or badly."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHRON_ID = "chr_01jd0000000000000000000000"
ALLOWED: dict[str, object] = {
    "outcome": "ALLOW",
    "reason": "skill:deploy-v2 -- action in allow list",
    "code": "skill.allowed",
    "chron_id": CHRON_ID,
    "action": "deploy:staging",
    "target": "api-v2",
    "agent": "deploy-bot",
    "anchor": "alice@acme.test",
    "mode": "enforce",
}


def answered(said: dict[str, object]) -> dict[str, object]:
    """What a gate sends to say this: an AuthZEN evaluation response."""
    context = {name: value for name, value in said.items() if name != "reason"}
    if "reason" in said:
        context["reason_user"] = {"en": said["reason"]}
    return {"decision": said.get("outcome") == "ALLOW", "context": context}


@dataclass
class LoopbackGate:
    """A real HTTP server; `reply` is called with the handler for every POST."""

    reply: Callable[[BaseHTTPRequestHandler], None]
    server: ThreadingHTTPServer
    url: str
    asked: list[tuple[str, dict[str, str], dict[str, object]]] = field(default_factory=list)
    """Path, headers and JSON body of every question."""
    released: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over; replies that hang wait for it."""
    arrived: threading.Event = field(default_factory=threading.Event)


def json_reply(
    status: int, value: object, content_type: str = "application/json"
) -> Callable[[BaseHTTPRequestHandler], None]:
    """A well-framed answer with `value` as JSON."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return reply


def raw_reply(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """These bytes and nothing else, then the end of the connection."""

    def reply(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(data)

    return reply


@contextmanager
def loopback(tls: ssl.SSLContext | None = None) -> Iterator[LoopbackGate]:
    """Serves on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            gate.asked.append((self.path, dict(self.headers), json.loads(body)))
            gate.arrived.set()
            with suppress(OSError):  # the client leaves early, as it should with a bad answer
                gate.reply(self)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: object) -> None:
            pass  # a refused TLS handshake

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if tls is None else "https"
    gate = LoopbackGate(json_reply(200, answered(ALLOWED)), server, f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield gate
    finally:
        gate.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
