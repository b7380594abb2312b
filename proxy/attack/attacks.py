"""What an attack is: bytes for the gate, and the plain request that they are a disguise of.

A row is caught when the plain form's decision holds for it: what the gate denies in plain words reaches nobody in
any other, and what it allows arrives as the plain request, byte for byte where bytes name something, or not at all.

The bytes are templates, filled in when it is known where everything listens:

    {port}    where the target listens; {elsewhere}  a port nobody allowed
    {proxy}   the gate's proxy; {api}  its control API
    {auth}    the agent's Proxy-Authorization line
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HOST = "attack.test"
"""RFC 6761, 6.2: names under .test are never real ones. Rules of the attack name its requests."""
PLAIN_HOST = "plain.attack.test"
"""The same without TLS."""
H2_HOST = "h2.attack.test"
"""The same on a target that speaks HTTP/2, where the agent does."""
UNBOUND = "unbound.test"
"""Leads to the target too, but no rule names it: what arrives for it was let through by mistake."""
KUBERNETES = "kubernetes.attack.test"
MCP = "mcp.attack.test"
TUNNEL = "tunnel.attack.test"
"""A tunnel that passes unread, for who may open it."""
GITHUB = "api.github.com"
GIT = "github.com"
EC2 = "ec2.us-east-1.amazonaws.com"
S3 = "bucket.s3.us-east-1.amazonaws.com"
PROVIDERS = frozenset({GITHUB, GIT, EC2, S3})
"""Real names, for the shipped packs: attacked only through a gate of our own, whose table sends them to the target."""
LOOKED_UP = "looked-up.test"
"""Names below it are looked up, and the answer is always this machine; rules allow everything there."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A request in its plain, canonical form."""

    method: str
    target: str
    host: str = HOST
    body: bytes = b""
    content_type: str = ""
    lines: tuple[str, ...] = ()
    """More header lines."""
    allowed: bool = True
    """What the attack's own rules say; another's rules may say otherwise, so it is asked first."""

    @property
    def sends(self) -> bytes:
        """The request on the wire."""
        lines = [f"content-type: {self.content_type}"] if self.content_type else []
        return request(self.method, self.target, *lines, *self.lines, host=self.host, body=self.body)


@dataclass(frozen=True, slots=True)
class Way:
    """How the bytes reach the gate."""

    connect: str | None = f"{HOST}:443"
    """The CONNECT authority; None for bytes that are the first on the connection."""
    sni: str | None = HOST
    tls: bool = True
    head: str = "{auth}"
    """What stands in the CONNECT beside its first line."""
    http2: bool = False


@dataclass(frozen=True, slots=True)
class Attack:
    """One row: what is sent, and what it is a disguise of."""

    id: str
    """Of the catalogue of attacks, docs/attack.md."""
    name: str
    plain: Plain
    sends: bytes = b""
    """What is written behind CONNECT and TLS."""
    way: Way = field(default_factory=Way)
    fields: tuple[tuple[str, str], ...] = ()
    """With `way.http2`: the header fields, pseudo-header fields first."""
    own_gate: bool = False
    """Whether it needs names or addresses that only a gate of our own has."""
    follows: bool = True
    """Whether a harmless request comes behind it, by which is seen that nothing stands between."""
    secret: str = ""
    """What must not stand in any record."""

    @property
    def title(self) -> str:
        """How reports and tests call it."""
        return f"{self.id} {self.name}"

    @property
    def elsewhere(self) -> bool:
        """Whether a gate that runs already cannot be asked: it would not send this to our target."""
        return self.own_gate or self.plain.host in PROVIDERS


READ = Plain("GET", "/open/thing")
WRITE = Plain("POST", "/open/thing", body=b"hello")
DESTROY = Plain("DELETE", "/open/thing", allowed=False)
GUARDED = Plain("GET", "/guarded/thing", allowed=False)
"""Denied by its path alone."""
PLAIN_READ = Plain("GET", "/open/thing", host=PLAIN_HOST)
PLAIN_DESTROY = Plain("DELETE", "/open/thing", host=PLAIN_HOST, allowed=False)
NOWHERE = Plain("GET", "/open/thing", host=UNBOUND, allowed=False)
NOTHING = Plain("BREW", "/nothing", allowed=False)
"""For bytes that are a disguise of no request: none may arrive."""


def request(
    method: str,
    target: str,
    *lines: str,
    host: str | None = HOST,
    body: bytes = b"",
    version: str = "HTTP/1.1",
) -> bytes:
    """A request; with a body it has a Content-Length unless a line says how it is framed."""
    framed = any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines)
    named = [f"Host: {host}"] if host is not None else []
    length = [f"Content-Length: {len(body)}"] if body and not framed else []
    head = "\r\n".join([f"{method} {target} {version}", *named, *lines, *length, "", ""])
    return head.encode("latin-1") + body


def chunked(body: bytes, trailers: bytes = b"") -> bytes:
    """A body in one chunk."""
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(body), body, trailers)


def table(
    attack_id: str,
    plain: Plain,
    rows: Mapping[str, bytes],
    *,
    way: Way | None = None,
    own_gate: bool = False,
    follows: bool = True,
    secret: str = "",
) -> Iterable[Attack]:
    """Rows of one id that disguise one request, sent one way."""
    for name, sends in rows.items():
        way_there = way or through(plain.host)
        yield Attack(attack_id, name, plain, sends, way_there, (), own_gate, follows, secret)


def through(host: str) -> Way:
    """The ordinary way to a host: a tunnel, and TLS in it where the host has TLS."""
    if host == PLAIN_HOST:
        return TUNNEL_WITHOUT_TLS
    return Way(connect=f"{host}:443", sni=host)


def lines(*lines: str) -> bytes:
    """A head of exactly these lines."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


IN_PLAIN = Way(connect=None, sni=None, tls=False)
"""Bytes straight to the proxy."""
TUNNEL_WITHOUT_TLS = Way(connect=f"{PLAIN_HOST}:80", sni=None, tls=False)
