"""The request as its target gets it: the canonical form and no other, where it goes, and how it is framed there."""

from proxy.facts import Facts
from proxy.fast.calls import Call
from proxy.fast.targets import Place, Request
from proxy.verdicts import Verdict
from proxy.wire.passing import EXTENSIONS

_OURS = frozenset({b"expect", b"connection", b"transfer-encoding", b"upgrade"})
"""Fields that are written anew for the target's connection."""


def place(verdict: Verdict, call: Call) -> Place:
    """Where it is sent, as its verdict has checked it."""
    facts, route = _facts(verdict), verdict.route
    if route is None:
        raise RuntimeError("no verdict lets this be forwarded")
    if route.parent is not None and by_name(verdict):
        return Place(route.parent.tls, route.parent.route, ())
    offered = ("h2", "http/1.1") if call.http2 and not facts.upgrade else ("http/1.1",)
    return Place(facts.request.scheme == "https", route, offered)


def by_name(verdict: Verdict) -> bool:
    """Whether the proxy beyond is sent the request itself, in its own words, and no CONNECT."""
    facts, parent = _facts(verdict), verdict.route.parent if verdict.route is not None else None
    return parent is not None and facts.request.scheme == "http" and parent.by_name and not facts.upgrade


def request(verdict: Verdict, call: Call, judged_body: bytes | None) -> Request:
    """What is sent; `judged_body` is what was read of the body, and goes behind the head."""
    facts = _facts(verdict)
    fields = [field for field in facts.wire_fields if field[0].lower() not in _OURS]
    if verdict.messages:
        # Compression is not taken up where each message is read: a small one could unpack to any size (RFC 7692, 9).
        fields = [field for field in fields if field[0].lower() != EXTENSIONS]
    if facts.upgrade:
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", facts.upgrade.encode("ascii"))]
    target = facts.wire_target
    parent = verdict.route.parent if verdict.route is not None else None
    if parent is not None and by_name(verdict):
        target = f"http://{facts.wire_authority}{target}"  # RFC 9112, 3.2.2
        if parent.authorization:
            fields.append((b"Proxy-Authorization", parent.authorization.encode("ascii")))
    chunked = bool(call.head.all(b"transfer-encoding"))
    if not chunked and not any(name.lower() == b"content-length" for name, _ in fields):
        # By HTTP/2 frames say how long a body is (RFC 9113, 8.1); without this a target of HTTP/1 takes an allowed
        # body for the next request, which nobody has judged (RFC 9112, 6.3).
        if not call.complete:
            chunked = True
        elif judged_body:
            fields.append((b"Content-Length", b"%d" % len(judged_body)))
    whole = call.complete and not judged_body and not chunked
    return Request(facts, target, tuple(fields), whole=whole, chunked=chunked)


def _facts(verdict: Verdict) -> Facts:
    if verdict.facts is None:
        raise RuntimeError("no verdict lets this be forwarded")
    return verdict.facts
