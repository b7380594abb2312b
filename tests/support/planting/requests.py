"""The requests by which the way of a decision is walked: every way in, every kind of body, every kind of answer."""

import base64
import contextlib
import json
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import httpx

from proxy.attack.attacks import EC2, GIT, GITHUB, HOST, KUBERNETES, MCP, PLAIN_HOST, UNBOUND, chunked, lines, request
from proxy.messages import POLICY_VIOLATION
from support.gate import OTHER_TOKEN, TOKEN, LiveGate
from support.raw import read_head
from support.waiting import human_token

TIMEOUT_S = 30
"""An answer that does not come in this time is none; how fast one comes proves nothing."""
THIRD_TOKEN = "clm_test-token-of-third-bot-0123456789abcdef0"
H2_HOST = "h2.test"
MAX_BODY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and what the rules say of it."""

    name: str
    sends: bytes = b""
    allowed: bool = True
    connect: str | None = None
    """The authority of a CONNECT before it; None for bytes to the proxy itself."""
    tls: bool = True
    http2: tuple[tuple[str, str], ...] = ()
    """The fields of an HTTP/2 request whose body is `sends`."""
    listener: str = ""
    socks: bool = False
    agent: tuple[str, str] = ("deploy-bot", TOKEN)
    tunnel_first: bool = False
    """Whether the bug is planted only when the tunnel stands, so that it meets the request and not the CONNECT."""
    approved: bool = False
    """Whether it is sent once before, to be approved."""
    answered: tuple[int, ...] = ()
    """The statuses of a refusal, where 403 is not the one."""
    message: bytes = b""
    """What is said over the WebSocket that it opens: the bug is planted when that is open, and meets the message."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status 0 when the connection was closed without an answer."""

    status: int
    body: bytes = b""
    late: bool = False
    """Whether neither an answer nor an end came."""

    @property
    def code(self) -> str:
        """Our own code for the reason; "" when it is no answer of ours."""
        with contextlib.suppress(ValueError, AttributeError):
            return str(json.loads(self.body).get("code", ""))
        return ""

    @property
    def says_it_waits(self) -> bool:
        """Whether it is our own 202: nothing was done, and a human is asked."""
        with contextlib.suppress(ValueError, AttributeError):
            return self.status == 202 and bool(json.loads(self.body).get("approval"))
        return False

    @property
    def is_rpc_error(self) -> bool:
        """Whether it is the error of a JSON-RPC call, which comes with 200."""
        with contextlib.suppress(ValueError, AttributeError):
            said = json.loads(self.body)
            return bool(said.get("error")) and "result" not in said
        return False


def _proxied(method: str, path: str, *more: str, host: str = PLAIN_HOST, body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    return lines(f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", "{auth}", *more, *length, CLOSE) + body


CLOSE = "Connection: close"
_JSON = "Content-Type: application/json"
_FORM = "Content-Type: application/x-www-form-urlencoded"
_SOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
_QUERY = json.dumps({"query": "query V {viewer {login}}"}).encode()
_MERGE = json.dumps({"query": 'mutation {mergePullRequest(input: {pullRequestId: "x"}) {clientMutationId}}'}).encode()
_LISTING = json.dumps({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}).encode()
_PODS = "/api/v1/namespaces/default/pods"
_CALL = json.dumps({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "drop_table"}}).encode()
_NOTIFIED = json.dumps({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "drop_table"}}).encode()
_H2 = ((":method", "POST"), (":scheme", "https"), (":path", "/runs"), ("content-type", "application/json"))
_H2_GET = ((":method", "GET"), (":scheme", "https"), (":path", "/open/thing"))
_TLS = f"{HOST}:443"


def _to(host: str, method: str, path: str, *more: str, body: bytes = b"") -> bytes:
    return request(method, path, *more, CLOSE, host=host, body=body)


_MCP_SOCKET = request("GET", "/mcp", *_SOCKET, host=MCP)

ALLOWED = (
    Request("plain GET", _proxied("GET", "/open/thing")),
    Request("plain POST", _proxied("POST", "/runs", _JSON, body=b'{"destroy": false}')),
    Request("CONNECT and TLS", _to(HOST, "GET", "/open/thing"), connect=_TLS),
    Request("in a tunnel", _to(HOST, "GET", "/open/a%2Fb?x=1"), connect=_TLS, tunnel_first=True),
    Request("two readings", _to(HOST, "GET", "/open/thing/"), connect=_TLS, tunnel_first=True),
    Request("form", _to(HOST, "POST", "/open/thing", _FORM, body=b"a=b"), connect=_TLS, tunnel_first=True),
    Request(
        "chunks",
        _to(HOST, "POST", "/runs", _JSON, "Transfer-Encoding: chunked", body=chunked(b'{"destroy": false}')),
        connect=_TLS,
        tunnel_first=True,
    ),
    Request(
        "long body",
        _to(HOST, "POST", "/open/thing", "Content-Type: application/octet-stream", body=b"x" * 20_000),
        connect=_TLS,
        tunnel_first=True,
    ),
    Request("tunnel without TLS", _to(PLAIN_HOST, "GET", "/open/thing"), connect=f"{PLAIN_HOST}:80", tls=False),
    Request("h2", b'{"destroy": false}', connect=_TLS, http2=(*_H2, (":authority", HOST))),
    Request("h2 to h2", connect=f"{H2_HOST}:443", http2=(*_H2_GET, (":authority", H2_HOST))),
    Request("reverse", _to("a.test", "GET", "/open/thing", "{auth}"), listener="reverse"),
    Request("SOCKS", _to(PLAIN_HOST, "GET", "/open/thing"), connect=f"{PLAIN_HOST}:80", tls=False, socks=True),
    Request("WebSocket", request("GET", "/open/socket", *_SOCKET), connect=_TLS, tunnel_first=True),
    Request("message", _MCP_SOCKET, connect=f"{MCP}:443", message=_LISTING, answered=(0,)),
    Request("GraphQL", _to(GITHUB, "POST", "/graphql", _JSON, body=_QUERY), connect=f"{GITHUB}:443"),
    Request("GitHub", _to(GITHUB, "GET", "/repos/acme/web"), connect=f"{GITHUB}:443", tunnel_first=True),
    Request("git", _to(GIT, "GET", "/acme/web.git/info/refs?service=git-upload-pack"), connect=f"{GIT}:443"),
    Request("Kubernetes", _to(KUBERNETES, "GET", _PODS), connect=f"{KUBERNETES}:443", tunnel_first=True),
    Request("MCP", _to(MCP, "POST", "/mcp", _JSON, body=_LISTING), connect=f"{MCP}:443", tunnel_first=True),
    Request(
        "AWS",
        _to(EC2, "POST", "/", _FORM, body=b"Action=DescribeInstances&Version=2016-11-15"),
        connect=f"{EC2}:443",
        tunnel_first=True,
    ),
    Request("limit", _proxied("GET", "/counted/thing")),
    Request("condition", _proxied("GET", "/guarded-by-time/thing", "X-Ticket: T-1")),
    Request("looked up", _proxied("GET", "/open/thing", host="public.looked-up.test:{plain}")),
    Request("approved", _proxied("POST", "/asked-for/{n}", body=b"x"), agent=("other-bot", OTHER_TOKEN), approved=True),
)

DENIED = (
    Request("denied", _proxied("DELETE", "/open/thing"), allowed=False),
    Request("denied by its path", _to(HOST, "GET", "/guarded/thing"), False, _TLS, tunnel_first=True),
    Request("denied by a body", _proxied("POST", "/runs", _JSON, body=b'{"destroy": true}'), allowed=False),
    Request("denied by a query", _to(HOST, "GET", "/asked?do=destroy"), False, _TLS, tunnel_first=True),
    Request("hidden dots", _to(HOST, "GET", "/open/..%2fguarded/thing"), False, _TLS, answered=(400,)),
    Request("overridden", _to(HOST, "POST", "/open/thing", "X-HTTP-Method-Override: DELETE"), False, _TLS),
    Request("form override", _to(HOST, "POST", "/open/thing", _FORM, body=b"_method=DELETE"), False, _TLS),
    Request("unmapped", _to(UNBOUND, "GET", "/x"), False, f"{UNBOUND}:443"),
    Request("names disagree", _to(UNBOUND, "GET", "/open/thing"), False, _TLS, tunnel_first=True, answered=(400,)),
    Request("two lengths", _proxied("POST", "/open/thing", "Content-Length: 3", body=b"a"), False, answered=(400, 407)),
    Request("no HTTP", b"nothing\r\n\r\n", False, answered=(400, 407)),
    Request("port", b"CONNECT " + HOST.encode() + b":22 HTTP/1.1\r\n{auth}\r\n\r\n", False),
    Request("private address", _proxied("GET", "/open/thing", host="private.looked-up.test:{plain}"), False),
    Request("wrong token", _proxied("GET", "/open/thing"), False, agent=("deploy-bot", "clm_x"), answered=(407,)),
    Request("suspended", _proxied("GET", "/open/thing"), False, agent=("third-bot", THIRD_TOKEN)),
    Request("without its ticket", _proxied("GET", "/guarded-by-time/thing"), allowed=False),
    Request("used up", _proxied("GET", "/spent/thing"), allowed=False),
    Request(
        "held", _proxied("POST", "/asked-for/x", body=b"x"), False, agent=("other-bot", OTHER_TOKEN), answered=(202,)
    ),
    Request(
        "h2, denied", connect=_TLS, allowed=False, http2=((":method", "DELETE"), *_H2_GET[1:], (":authority", HOST))
    ),
    Request("message, denied", _MCP_SOCKET, False, f"{MCP}:443", message=_CALL, answered=(200,)),
    Request("notification, denied", _MCP_SOCKET, False, f"{MCP}:443", message=_NOTIFIED),
    Request("no message", _MCP_SOCKET, False, f"{MCP}:443", message=b"nothing"),
    Request("GraphQL, denied", _to(GITHUB, "POST", "/graphql", _JSON, body=_MERGE), False, f"{GITHUB}:443"),
    Request(
        "git, denied",
        _to(GIT, "GET", "/acme/web.git/info/refs?service=git-receive-pack"),
        False,
        f"{GIT}:443",
        tunnel_first=True,
    ),
    Request("Kubernetes, denied", _to(KUBERNETES, "DELETE", f"{_PODS}/web"), False, f"{KUBERNETES}:443"),
    Request(
        "AWS, denied",
        _to(EC2, "POST", "/", _FORM, body=b"Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-1"),
        False,
        f"{EC2}:443",
        tunnel_first=True,
    ),
)

SPEND = Request("spend", _proxied("GET", "/spent/thing"))
"""The one time that "used up" may be done."""


class Sender:
    """Sends requests to one gate; each on a connection of its own."""

    def __init__(self, gate: LiveGate, plain_port: int) -> None:
        self._gate = gate
        self._places = {b"{plain}": str(plain_port).encode()}
        self._sent = 0
        self.socket: socket.socket | None = None
        """The connection of the request that is under way."""

    def send(self, each: Request, plant: Callable[[], object] = lambda: None) -> Answer:
        """Send one, the bug planted where it is to meet it; what came back."""
        self._sent += 1
        sends = self._fill(each, each.sends)
        if each.approved:
            self._ask(each, sends)
        if not (each.tunnel_first or each.message):
            plant()
        try:
            with self._dial(each) as raw:
                self.socket = raw
                return self._exchange(each, raw, sends, plant)
        except TimeoutError:
            return Answer(0, late=True)
        except (OSError, h2.exceptions.ProtocolError):
            return Answer(0)

    def end(self) -> None:
        """Give up as a client does, from another thread."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def _exchange(self, each: Request, raw: socket.socket, sends: bytes, plant: Callable[[], object]) -> Answer:
        if each.socks:
            self._socks(each, raw)
        elif each.connect:
            credential = self._fill(each, b"{auth}")
            raw.sendall(f"CONNECT {each.connect} HTTP/1.1\r\n".encode() + credential + b"\r\n\r\n")
            head = read_head(raw)
            if not head.startswith(b"HTTP/1.1 200"):
                return _answer(_rest(raw, head))
        if not (each.connect and each.tls):
            if each.tunnel_first:
                plant()
            raw.sendall(sends)
            return _answer(_rest(raw))
        assert each.connect is not None
        context = ssl.create_default_context(cafile=str(self._gate.ca))
        context.set_alpn_protocols(["h2" if each.http2 else "http/1.1"])
        name = each.connect.partition(":")[0]
        with context.wrap_socket(raw, server_hostname=name, do_handshake_on_connect=False) as secure:
            self.socket = secure
            secure.do_handshake()
            if each.tunnel_first:
                plant()
            if each.http2:
                return _http2(each, secure)
            secure.sendall(sends)
            opened = _rest(secure)
            if not (each.message and opened.startswith(b"HTTP/1.1 101")):
                return _answer(opened)
            plant()
            secure.sendall(_frame(each.message))
            return _heard(secure, opened.partition(b"\r\n\r\n")[2])

    def _dial(self, each: Request) -> socket.socket:
        service = self._gate.service
        listener = "socks" if each.socks else each.listener
        address = service.listener_addresses[listener] if listener else service.proxy_address
        return socket.create_connection((address.host, address.port), timeout=TIMEOUT_S)

    def _socks(self, each: Request, raw: socket.socket) -> None:
        agent, token = (text.encode() for text in each.agent)
        assert each.connect is not None
        host, _, port = each.connect.partition(":")
        raw.sendall(b"\x05\x01\x02\x01%c%s%c%s" % (len(agent), agent, len(token), token))
        raw.sendall(b"\x05\x01\x00\x03%c%s" % (len(host), host.encode()) + int(port).to_bytes(2, "big"))
        received = b""
        while len(received) < 14:
            if not (more := raw.recv(14 - len(received))):
                raise ConnectionResetError
            received += more
        if received[5]:
            raise ConnectionRefusedError

    def _ask(self, each: Request, sends: bytes) -> None:
        """Have it approved, so that the same bytes may go once."""
        with self._dial(each) as raw:
            raw.sendall(sends)
            approval = json.loads(_answer(_rest(raw)).body)["approval"]
        approve(self._gate, approval)

    def _fill(self, each: Request, template: bytes) -> bytes:
        credential = base64.b64encode(":".join(each.agent).encode())
        places = {**self._places, b"{auth}": b"Proxy-Authorization: Basic " + credential}
        places[b"{n}"] = str(self._sent).encode()
        for name, value in places.items():
            template = template.replace(name, value)
        return template


def approve(gate: LiveGate, approval: str) -> None:
    """Say yes as a human."""
    with httpx.Client(base_url=gate.api, trust_env=False, timeout=TIMEOUT_S) as client:
        client.headers["authorization"] = f"Bearer {human_token('alice')}"
        shown = client.get(f"/v1/approvals/{approval}").json()
        word = {"fingerprint": shown["fingerprint"], "reason": "go"}
        answered = client.post(f"/v1/approvals/{approval}/approve", json=word)
    assert answered.status_code == 200, answered.text


def _rest(raw: socket.socket, received: bytes = b"") -> bytes:
    """What comes until the other side ends, or, where an answer says how long it is, until it is there."""
    while True:
        head, found, body = received.partition(b"\r\n\r\n")
        if found and head.startswith(b"HTTP/1.1 101"):
            return received
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None
        )
        if found and length is not None and len(body) >= length:
            return received
        try:
            more = raw.recv(65536)
        except TimeoutError:
            raise
        except OSError:
            return received
        if not more:
            return received
        received += more


def _answer(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    return Answer(int(head[9:12]), body) if head.startswith(b"HTTP/1.") else Answer(0)


def _frame(message: bytes) -> bytes:
    """RFC 6455, 5.2: a text, masked with nothing."""
    assert len(message) < 126
    return bytes([0x81, 0x80 | len(message)]) + bytes(4) + message


def _heard(secure: ssl.SSLSocket, received: bytes) -> Answer:
    """What comes of a message, as of a request: 200 with a text, 403 and 500 where it ends the connection."""

    def take(count: int) -> bytes:
        nonlocal received
        while len(received) < count:
            if not (more := secure.recv(65536)):
                raise ConnectionResetError
            received += more
        taken, received = received[:count], received[count:]
        return taken

    kind, length = take(2)
    said = take(int.from_bytes(take(2)) if length == 126 else length)
    if kind == 0x81:
        return Answer(200, said)
    codes = {POLICY_VIOLATION: 403, 1011: 500}
    return Answer(codes.get(int.from_bytes(said[:2]), 0) if kind == 0x88 else 0)


def _http2(each: Request, secure: ssl.SSLSocket) -> Answer:
    agent = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    agent.initiate_connection()
    pseudo = [field for field in each.http2 if field[0].startswith(":")]
    agent.send_headers(1, pseudo + [field for field in each.http2 if field not in pseudo], not each.sends)
    if each.sends:
        agent.send_data(1, each.sends, end_stream=True)
    secure.sendall(agent.data_to_send())
    status, body = 0, b""
    while received := secure.recv(65536):
        for event in agent.receive_data(received):
            match event:
                case h2.events.ResponseReceived(headers=headers):
                    status = int(dict(headers or ())[b":status"])
                case h2.events.DataReceived(data=data):
                    body += data or b""
                case h2.events.StreamEnded() | h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    return Answer(status, body)
        secure.sendall(agent.data_to_send())
    return Answer(status, body)
