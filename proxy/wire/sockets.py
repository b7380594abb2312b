"""Where a listener listens: at an address, or at a socket that is bound already.

Sockets that several processes serve are bound before there are several (`reserve`): each process gets one of its own
for every address, and the kernel deals new connections out among them (SO_REUSEPORT, socket(7)). A socket outlives the
process that serves it, so what is connecting when that dies waits for the next one and is not refused.
"""

import errno
import socket
from typing import Any

from proxy.config import Address

type Where = Address | socket.socket


def options(where: Where) -> dict[str, Any]:
    """What asyncio is told of where to listen."""
    return {"sock": where} if isinstance(where, socket.socket) else {"host": where.host, "port": where.port}


def address_of(bound: socket.socket) -> Address:
    """Where a socket is bound."""
    host, port = bound.getsockname()[:2]
    return Address(host, port)


def reserve(address: Address, copies: int) -> list[list[socket.socket]]:
    """Sockets for so many processes, bound and not listening: for each address that the host means, one each.

    Raises OSError when somebody has the port already, also another gate that would share it.
    """
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = list(dict.fromkeys((family, place) for family, _, _, _, place in found))
    if address.port == 0:
        places = places[:1]  # each would get another free one
    reserved: list[list[socket.socket]] = []
    try:
        for family, place in places:
            # Without this look, two gates of one user would each get some of the other's connections.
            _bound(family, place, shared=False).close()
            reserved.append([_bound(family, place, shared=copies > 1)])
            there = reserved[-1][0].getsockname()
            reserved[-1] += [_bound(family, there, shared=True) for _ in range(copies - 1)]
    except BaseException:
        for each in (each for group in reserved for each in group):
            each.close()
        raise
    if not reserved:
        raise OSError(errno.EADDRNOTAVAIL, "the host has no address")
    return reserved


def _bound(family: int, place: Any, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(place)
    except BaseException:
        bound.close()
        raise
    return bound
