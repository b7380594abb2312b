"""Where a connection was going that a rule of the kernel has led here: `redirect` of nftables, `REDIRECT` of iptables.

The kernel remembers it; the agent's bytes have no say in it. A connection that nobody redirected was going to this
listener itself, and there is no place that it names.
"""

import socket
import struct
import sys

SUPPORTED = sys.platform == "linux"

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; linux/netfilter_ipv6/ip6_tables.h has the same number
_SOCKADDR_IN = struct.Struct("!2xH4s8x")  # ip(7): family, port, address
_SOCKADDR_IN6 = struct.Struct("!2xH4x16s4x")  # ipv6(7): family, port, flow, address, scope


def original_destination(connection: socket.socket) -> tuple[str, int] | None:
    """The address and port that a connection was made to before a redirect; None when there was none."""
    ours = connection.getsockname()[:2]
    if connection.family == socket.AF_INET6:
        level, shape = socket.IPPROTO_IPV6, _SOCKADDR_IN6
    else:
        level, shape = socket.IPPROTO_IP, _SOCKADDR_IN
    try:
        port, packed = shape.unpack(connection.getsockopt(level, _SO_ORIGINAL_DST, shape.size))
    except (OSError, struct.error):
        return None  # ENOENT: the kernel tracks no such connection
    address = socket.inet_ntop(connection.family, packed)
    return None if (address, port) == ours else (address, port)
