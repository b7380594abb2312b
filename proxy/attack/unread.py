"""Tunnels that pass unread: the hello is all that is seen of what they carry, so it is what is lied in.

Behind the tunnel of these rows there is no TLS: the target reads whatever comes, and a hello that was let through
arrives as a request that is none.
"""

from collections.abc import Iterable

from proxy.attack.attacks import DESTROY, NOTHING, TUNNEL, UNBOUND, Attack, Way, table
from proxy.attack.hellos import hello, named, record, server_name

SOURCES: dict[str, str] = {}
"""Those of sections B and C."""

_UNREAD = Way(connect=f"{TUNNEL}:443", sni=None, tls=False)
_NAME = (0, server_name(TUNNEL.encode()))
_OTHER = (0, server_name(UNBOUND.encode()))
_ECH = 0xFE0D
"""RFC 9849, 5: encrypted_client_hello."""
_ESNI = 0xFFCE
"""draft-ietf-tls-esni-06, 8.1."""


def passing(host: str = TUNNEL) -> bytes:
    """What passes: a hello for the host, and behind it bytes that the target takes for a request."""
    return named(host) + DESTROY.sends


def _refused(attack_id: str, rows: dict[str, bytes]) -> Iterable[Attack]:
    hellos = {f"{name}, in a tunnel that passes unread": sends + DESTROY.sends for name, sends in rows.items()}
    return table(attack_id, NOTHING, hellos, way=_UNREAD, follows=False)


def attacks() -> Iterable[Attack]:
    """Every row of these."""
    yield from _refused(
        "B01",
        {
            "SNI of another host": named(UNBOUND),
            "SNI below the host": named(f"a.{TUNNEL}"),
            "SNI that the host is below": named(TUNNEL.partition(".")[2]),
            "SNI of another host, a byte a record": b"".join(record(bytes((each,))) for each in hello(_OTHER)),
            "two SNI, ours first": record(hello((0, server_name(TUNNEL.encode(), UNBOUND.encode())))),
            "two SNI, ours last": record(hello((0, server_name(UNBOUND.encode(), TUNNEL.encode())))),
            "SNI twice, ours first": record(hello(_NAME, _OTHER)),
            "SNI twice, ours last": record(hello(_OTHER, _NAME)),
            "two hellos, ours first": record(hello(_NAME) + hello(_OTHER)),
        },
    )
    yield from _refused(
        "B04",
        {
            "no SNI": record(hello()),
            "no extensions": record(hello(block=False)),
            "empty SNI": record(hello((0, server_name(b"")))),
            "SNI is an address": named("127.0.0.1"),
            "SNI of another kind": record(hello((0, server_name(TUNNEL.encode(), kind=1)))),
            "ECH beside our name": record(hello(_NAME, (_ECH, bytes(16)))),
            "ECH before our name": record(hello((_ECH, bytes(16)), _NAME)),
            "empty ECH": record(hello(_NAME, (_ECH, b""))),
            "ECH alone": record(hello((_ECH, bytes(16)))),
            "ESNI of a draft": record(hello(_NAME, (_ESNI, bytes(16)))),
        },
    )
    yield from _refused("B08", {"NUL in SNI": named(f"{TUNNEL}\0.{UNBOUND}")})
    yield from _refused("B25", {"another message than a hello": record(hello(_NAME, kind=2))})
