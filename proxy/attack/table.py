"""The whole table: every row, its sources, and what is tried elsewhere."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from proxy.attack import doing, framing, identity, unread, ways, where
from proxy.attack.attacks import H2_HOST, HOST, Attack

_SECTIONS = (where, ways, unread, framing, doing, identity)


def _with_http2_beyond(rows: Iterable[Attack]) -> Iterator[Attack]:
    """Every row, and those in HTTP/2 once more for a target that speaks it: there nothing is translated on the way."""
    for row in rows:
        yield row
        if row.way.http2:
            plain = replace(row.plain, host=H2_HOST) if row.plain.host == HOST else row.plain
            fields = tuple((name, value.replace(HOST, H2_HOST)) for name, value in row.fields)
            way = replace(row.way, connect=f"{H2_HOST}:443", sni=H2_HOST)
            yield replace(row, name=f"{row.name}, to h2", plain=plain, way=way, fields=fields)


ATTACKS = tuple(attack for section in _SECTIONS for attack in _with_http2_beyond(section.attacks()))
SOURCES = {attack_id: source for section in _SECTIONS for attack_id, source in section.SOURCES.items()}
UNSEEN = {
    "B27": "QUIC, UDP and DNS do not pass an HTTP proxy: whether they get out is a matter of the agent's network",
    "B28": "a client that ignores the variables does not reach the proxy: its network has to leave it no other way",
    "B56": "approvals need people and time: held by tests/proxy/test_approvals.py and test_waiting_wire.py",
    "B57": "what an agent may edit is a matter of file permissions, and of commands that refuse a gated caller",
    "B58": "failing disks, clocks and processes are no requests: held by tests/torture",
}
"""What no request can try, and where it is closed instead."""
