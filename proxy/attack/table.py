"""The whole table: every row, its sources, and what is tried elsewhere."""

from proxy.attack import doing, framing, identity, ways, where

_SECTIONS = (where, ways, framing, doing, identity)

ATTACKS = tuple(attack for section in _SECTIONS for attack in section.attacks())
SOURCES = {attack_id: source for section in _SECTIONS for attack_id, source in section.SOURCES.items()}
UNSEEN = {
    "B27": "QUIC, UDP and DNS do not pass an HTTP proxy: whether they get out is a matter of the agent's network",
    "B28": "a client that ignores the variables does not reach the proxy: its network has to leave it no other way",
    "B56": "approvals need people and time: held by tests/proxy/test_approvals.py and test_waiting_wire.py",
    "B57": "what an agent may edit is a matter of file permissions, and of commands that refuse a gated caller",
    "B58": "failing disks, clocks and processes are no requests: held by tests/torture",
}
"""What no request can try, and where it is closed instead."""
