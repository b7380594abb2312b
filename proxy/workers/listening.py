"""The sockets of a gate that several processes serve: bound before there are several, and which process has which."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

from proxy.assembling import cannot_listen
from proxy.config import Address, Config, EngineName, ListenerConfig
from proxy.engines import serving
from proxy.wire.sockets import address_of, reserve
from proxy.workers.tally import Tally


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker serves."""

    engine: EngineName
    main: list[socket.socket] = field(default_factory=list)
    """Of the proxy's own listener; none where another engine serves that."""
    others: list[tuple[ListenerConfig, socket.socket]] = field(default_factory=list)

    def sockets(self) -> Iterator[socket.socket]:
        """All of them."""
        yield from self.main
        yield from (each for _, each in self.others)


class Listening:
    """Every socket of a gate, and where they are."""

    def __init__(self, api: list[socket.socket], shares: list[Share], addresses: dict[str, Address]) -> None:
        self.api = api
        self.shares = shares
        self.addresses = addresses
        self.tally = Tally(len(shares))
        """Of the further listeners, by name."""
        self.proxy_address = address_of(shares[0].main[0])
        self.api_address = address_of(api[0])

    @property
    def workers(self) -> int:
        """How many processes serve."""
        return len(self.shares)

    @classmethod
    def reserved(cls, config: Config) -> Self:
        """Bind them all; raises ConfigError for the first that cannot be."""
        shares = [Share("fast") for _ in range(config.proxy.workers)]
        by_engine: dict[EngineName, list[Share]] = {"fast": shares, "mitmproxy": [Share("mitmproxy")]}
        addresses: dict[str, Address] = {}
        bound: list[socket.socket] = []
        try:
            for group in _groups(config.proxy.listen, len(shares), bound):
                for share, each in zip(shares, group, strict=True):
                    share.main.append(each)
            for listener in config.listeners:
                those = by_engine[serving(listener, config.proxy.engine)]
                groups = _groups(listener.listen, len(those), bound)
                addresses[listener.name] = address_of(groups[0][0])
                for group in groups:
                    for share, each in zip(those, group, strict=True):
                        share.others.append((listener, each))
            api = [each for group in _groups(config.api.listen, 1, bound) for each in group]
        except BaseException:
            _close(bound)
            raise
        used = [share for those in by_engine.values() for share in those if share.main or share.others]
        return cls(api, used, addresses)

    def close_but(self, kept: list[socket.socket]) -> None:
        """Close what another process serves, in this one."""
        _close([each for each in self._all() if each not in kept])

    def _all(self) -> Iterator[socket.socket]:
        yield from self.api
        for share in self.shares:
            yield from share.sockets()


def _groups(address: Address, copies: int, bound: list[socket.socket]) -> list[list[socket.socket]]:
    try:
        groups = reserve(address, copies)
    except OSError as error:
        raise cannot_listen(address, error) from None
    bound += [each for group in groups for each in group]
    return groups


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
