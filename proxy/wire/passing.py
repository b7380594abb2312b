"""What of an answer is passed on to the agent, and our own answers as bytes."""

from mappings import CanonicalError, split_authority
from proxy.facts import is_field
from proxy.refusals import APPROVAL_FIELD, CHRON_ID_FIELD, Answer
from proxy.upgrades import WEBSOCKET
from proxy.verdicts import Verdict
from proxy.wire.arrivals import Tunnel

EXTENSIONS = b"sec-websocket-extensions"

type Fields = tuple[tuple[bytes, bytes], ...]

_NOT_FROM_TARGETS = frozenset(
    {CHRON_ID_FIELD.lower(), APPROVAL_FIELD.lower(), b"alt-svc", b"proxy-authenticate", b"proxy-connection"}
)
"""Response fields that do not pass: a target must not forge our record or approval, send agents to HTTP/3, which
goes around the gate (RFC 7838), or ask them for the gate's own credentials."""

_IN_HEADS_ALONE = frozenset({CHRON_ID_FIELD.lower(), APPROVAL_FIELD.lower()}) | frozenset(
    b"age alt-svc authentication-info authorization cache-control connection content-encoding content-length "
    b"content-location content-range content-type cookie date etag expect expires host http2-settings keep-alive "
    b"last-modified location proxy-authenticate proxy-authentication-info proxy-authorization proxy-connection range "
    b"retry-after set-cookie strict-transport-security te trailer transfer-encoding upgrade vary warning "
    b"www-authenticate".split()
)
"""RFC 9110, 6.5.1 and RFC 7230, 4.1.2: framing, routing, authentication, control, and how to read the content; and
what a target may not say at all (`marked`)."""


def marked(fields: Fields, chron_id: str, *, lower: bool) -> Fields:
    """The fields of an answer without what targets may not say, and with the name of the record.

    With `lower` the name is written as HTTP/2 wants it.
    """
    name = CHRON_ID_FIELD.lower() if lower else CHRON_ID_FIELD
    return (*unforged(fields), (name, chron_id.encode("ascii")))


def unforged(fields: Fields) -> Fields:
    """The fields of an answer, also of an interim one, without what targets may not say."""
    return tuple(field for field in fields if field[0].lower() not in _NOT_FROM_TARGETS)


def covers_upgrade(verdict: Verdict, answer: Fields) -> bool:
    """Whether the verdict was on just the upgrade that a 101 makes; another would be a relay that nobody decided on."""
    facts = verdict.facts
    if facts is None or not facts.upgrade or _joined(answer, b"upgrade").lower() != facts.upgrade.encode("ascii"):
        return False
    # RFC 6455, 4.1: of what was not offered nothing is taken up, and where messages are judged nothing was offered.
    if _joined(answer, EXTENSIONS) and (verdict.messages or not _joined(facts.wire_fields, EXTENSIONS)):
        return False
    return facts.upgrade != WEBSOCKET or _joined(facts.wire_fields, b"sec-websocket-version") == b"13"


def _joined(fields: Fields, name: bytes) -> bytes:
    return b", ".join([value for each, value in fields if each.lower() == name])


def redirected_here(fields: Fields, tunnel: Tunnel) -> Fields:
    """The fields of an answer, where the target redirects to itself a client that takes the gate for the target.

    The reference becomes a relative one (RFC 9110, 10.2.2). One to another host stays: nothing of it is behind this
    listener.
    """
    places = [at for at, (name, _) in enumerate(fields) if name.lower() == b"location"]
    if len(places) != 1:
        return fields
    at = places[0]
    scheme, separator, rest = fields[at][1].decode("utf-8", "surrogateescape").partition("://")
    end = next((at for at, character in enumerate(rest) if character in "/?#"), len(rest))
    try:
        place = split_authority(rest[:end], 443 if tunnel.scheme == "https" else 80)
    except CanonicalError:
        return fields
    if not separator or scheme.lower() != tunnel.scheme or place != (tunnel.host, tunnel.port):
        return fields
    # "//host" would be another authority (RFC 3986, 4.2), and to browsers "/\\host" is the same.
    relative = "/" + rest[end:].lstrip("/\\")
    return (*fields[:at], (fields[at][0], relative.encode("utf-8", "surrogateescape")), *fields[at + 1 :])


def fit_trailers(trailers: Fields) -> Fields:
    """The trailers of an answer that an agent gets, their names as HTTP/2 wants them."""
    fields = [(name.lower(), value) for name, value in trailers]
    return tuple(field for field in fields if field[0] not in _IN_HEADS_ALONE and is_field(*field))


def serialise(answer: Answer) -> bytes:
    """An answer as HTTP/1.1 bytes that close the connection, for a client whose request was none."""
    lines = [
        b"HTTP/1.1 %d %b" % (answer.status, answer.phrase),
        *(b"%s: %s" % field for field in answer.fields),
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + answer.body
