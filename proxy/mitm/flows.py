"""Between mitmproxy's flows and plain values: the only place that knows both.

Reading: `inbound` and `body`. Writing: `forward` puts the canonical form and the pinned address into a
flow, `respond` puts one of our answers. Nothing here decides.
"""

import time
from dataclasses import dataclass, field
from typing import Literal

from mitmproxy import http
from mitmproxy.connection import Client, Server

from proxy.destinations import Parent
from proxy.facts import Facts, Inbound
from proxy.refusals import Answer
from proxy.verdicts import Verdict
from proxy.wire import exchanges
from proxy.wire.arrivals import Tunnel
from proxy.wire.passing import EXTENSIONS, marked, redirected_here


@dataclass(slots=True, eq=False)
class Exchange(exchanges.Exchange):
    """One request on its way, and the flow that it is to the engine."""

    flow: http.HTTPFlow = field(kw_only=True)


def presented(flow: http.HTTPFlow, tunnel: Tunnel | None) -> tuple[str, ...]:
    """What a request proves its agent with: what its tunnel was opened with, or its own `Proxy-Authorization`."""
    if tunnel is not None and tunnel.presented is not None:
        return tunnel.presented
    return tuple(flow.request.headers.get_all("proxy-authorization"))


def inbound(
    flow: http.HTTPFlow,
    client: str,
    tunnel: Tunnel | None,
    sni: str | None,
    listener: str = "",
    port: int | None = None,
) -> Inbound:
    """The request head of a flow as uninterpreted values; `port` is the one that a redirect has led here from."""
    request = flow.request
    data = request.data
    if tunnel is not None or port is not None:
        # mitmproxy has overwritten the host with the tunnel's; what the request said is the authority.
        authority = data.authority.decode("latin-1")
        scheme = (tunnel and tunnel.scheme) or ("https" if flow.client_conn.tls else "http")
    else:
        authority = f"[{data.host}]:{data.port}" if ":" in data.host else f"{data.host}:{data.port}"
        scheme = data.scheme.decode("latin-1") or "http"
    return Inbound(
        method=data.method.decode("latin-1"),
        scheme=scheme if scheme in ("http", "https") else "http",
        target=data.path.decode("latin-1"),
        fields=data.headers.fields,
        client=client,
        tunnel=(tunnel.host, tunnel.port) if tunnel else None,
        sni=sni,
        uri_authority=authority,
        bodiless=_bodiless(flow),
        listener=listener,
        fixed=bool(tunnel and tunnel.scheme),
        port=port,
    )


def connect_flow(client: Client, server: Server, host: str, port: int) -> http.HTTPFlow:
    """The CONNECT that a tunnel is which was asked for in another language."""
    flow = http.HTTPFlow(client, server, live=True)
    authority = f"{host}:{port}".encode("ascii")
    fields = http.Headers()
    flow.request = http.Request(
        host, port, b"CONNECT", b"", authority, b"", b"HTTP/1.1", fields, b"", None, time.time(), time.time()
    )
    return flow


_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def _bodiless(flow: http.HTTPFlow) -> bool:
    """Whether an HTTP/1 request has no body (RFC 9112, 6.3); an HTTP/2 head does not tell."""
    return not flow.request.is_http2 and not any(name.lower() in _FRAMING for name, _ in flow.request.headers.fields)


def body(flow: http.HTTPFlow) -> bytes:
    """The body as it was received, still content-encoded."""
    return flow.request.raw_content or b""


def forward(flow: http.HTTPFlow, verdict: Verdict) -> None:
    """Make the flow the canonical request to the pinned address."""
    facts, route = verdict.facts, verdict.route
    assert facts is not None
    assert route is not None
    data = flow.request.data
    data.method = facts.request.method.encode("ascii")
    data.path = facts.wire_target.encode("ascii")
    data.host, data.port = route.address
    fields = facts.wire_fields
    if verdict.messages:
        # Compression is not taken up where each message is read: a small one could unpack to any size (RFC 7692, 9).
        fields = tuple(each for each in fields if each[0].lower() != EXTENSIONS)
    if flow.request.is_http2:
        data.authority = facts.wire_authority.encode("ascii")
        # RFC 9113, 8.2.2 and 8.3.1: no connection fields, and the host stands in :authority alone.
        kept = [f for f in fields if f[0].lower() not in (b"host", b"connection", b"upgrade")]
        data.headers = http.Headers([(name.lower(), value) for name, value in kept])
    else:
        data.authority = b""
        data.headers.fields = fields
    if route.parent is not None:
        _through(flow, facts, route.address, route.parent)


def _through(flow: http.HTTPFlow, facts: Facts, target: tuple[str, int], parent: Parent) -> None:
    """Send the request through a proxy: by CONNECT, or where it resolves and there is no TLS, in its own words."""
    data = flow.request.data
    if facts.request.scheme == "http" and parent.by_name and not facts.upgrade:
        # RFC 9112, 3.2.2. The engine writes the path as it stands, and takes the scheme for how the proxy is reached.
        data.path = f"http://{facts.wire_authority}{facts.wire_target}".encode("ascii")
        data.host, data.port = parent.route.address
        data.scheme = b"https" if parent.tls else b"http"
        if parent.authorization:
            data.headers.fields += ((b"Proxy-Authorization", parent.authorization.encode("ascii")),)
        return
    flow.server_conn = Server(address=target, via=server_spec(parent))


def server_spec(parent: Parent) -> tuple[Literal["http", "https"], tuple[str, int]]:
    """A proxy as the engine names one."""
    return "https" if parent.tls else "http", parent.route.address


def asks_parent(flow: http.HTTPFlow) -> bool:
    """Whether a request was sent to the proxy beyond as one to itself, so that its answer may be the proxy's own."""
    return flow.request.data.path.startswith(b"http://")


def respond(flow: http.HTTPFlow, answer: Answer) -> None:
    """Make the flow's response ours; nothing will be forwarded."""
    version = flow.request.data.http_version
    fields = [(name.lower() if flow.request.is_http2 else name, value) for name, value in answer.fields]
    flow.response = http.Response.make(answer.status, answer.body, http.Headers(fields))
    flow.response.data.http_version = version if flow.request.is_http2 else b"HTTP/1.1"
    if answer.phrase:
        flow.response.data.reason = answer.phrase
    if flow.request.method == "HEAD":
        # RFC 9110, 9.3.2. Sent all the same, the client would take it for the answer to its next request.
        flow.response.data.content = b""
    # The agent must not be asked to upload what nobody will read.
    flow.request.headers.pop("expect", None)


def mark_response(flow: http.HTTPFlow, chron_id: str) -> None:
    """Drop what targets may not say and name the record to the agent."""
    assert flow.response is not None
    headers = flow.response.data.headers
    headers.fields = marked(headers.fields, chron_id, lower=flow.response.is_http2)


def redirect_here(flow: http.HTTPFlow, tunnel: Tunnel | None) -> None:
    """Lead a client that takes the gate for the target back to the gate."""
    if tunnel is not None and tunnel.scheme:
        assert flow.response is not None
        headers = flow.response.data.headers
        headers.fields = redirected_here(headers.fields, tunnel)
