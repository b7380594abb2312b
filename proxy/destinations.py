"""Decide where a request may go and pin it to one checked address.

A name is resolved once; every address it has is checked; the connection is then made to the address
that was checked and to no other, so that a second DNS answer cannot move an allowed request.
Nothing private is reachable unless the operator says so: by an entry in `resolve:` or a range in
`upstream.allow_private`. The gate's own listeners are reachable for nobody.

    api.k8s.test  with  resolve: {api.k8s.test: {address: "127.0.0.1:6443"}}  -> 127.0.0.1:6443
    db.internal   -> 10.0.0.7          refused, destination.private
    169.254.169.254                    refused, destination.metadata, also where allow_private has 169.254.0.0/16
    localhost:8181 (the control API)   refused, destination.own-listener
"""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from proxy.chaining import Chaining
from proxy.config import ResolveEntry, UpstreamConfig

type IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
type Lookup = Callable[[str], Awaitable[tuple[str, ...]]]

_CACHE_LIFETIME_S = 30.0
_CACHED_NAMES = 4096
_UNICAST = ipaddress.IPv6Network("2000::/3")
"""IANA, "IPv6 Global Unicast Address Assignments": all that is public; `is_global` alone takes site-local
(fec0::/10) and IPv4-compatible addresses (::10.0.0.7) for public."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, 2.1
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google Cloud, Oracle and others: the instance and its credentials
            "fd00:ec2::254",  # AWS, the same by IPv6
            "fd20:ce::254",  # Google Cloud, the same by IPv6
            "169.254.170.2",  # AWS ECS: credentials of a task
            "169.254.170.23",  # AWS EKS: credentials of a pod
            "fd00:ec2::23",  # AWS EKS, the same by IPv6
            "100.100.100.200",  # Alibaba Cloud
            "192.0.0.192",  # Oracle Cloud, classic
            "168.63.129.16",  # Azure's platform; a public address by its number
        ),
    )
)
"""Where clouds give a machine its credentials, by their documentation. A wide range in `allow_private` opens none of
them: only an entry in `resolve:`, or exactly that address."""


_METADATA_NAMES = frozenset({"metadata.google.internal", "metadata.goog", "metadata", "instance-data.ec2.internal"})
"""The same by name, where this machine's DNS does not know it and the proxy beyond would be asked for it."""


class DestinationRefused(Exception):
    """This destination may not be reached; `code` is for machines."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class DestinationUnknown(Exception):
    """The name cannot be resolved now; nothing was refused and nothing can be sent."""


@dataclass(frozen=True, slots=True)
class Route:
    """One checked address and how to verify who answers there."""

    host: str
    """The name the certificate must carry."""
    address: tuple[str, int]
    """IP address and port to connect to; with a `parent` that resolves, the name and port that it is asked for."""
    ca: Path | None
    """The only CA trusted for this host; None means the system's roots and the configured bundle."""
    verify: bool
    parent: "Parent | None" = None
    """The proxy to go through; None means directly."""


@dataclass(frozen=True, slots=True)
class Parent:
    """A proxy between the gate and a target."""

    route: Route
    """How it is reached itself."""
    tls: bool
    by_name: bool
    """Whether it is asked for names."""
    authorization: str = field(repr=False)
    """Its `Proxy-Authorization`; "" where it wants none."""

    @property
    def shown(self) -> str:
        """How records name it."""
        return f"{self.route.host} {self.route.address[1]}"


async def look_up(host: str) -> tuple[str, ...]:
    """All addresses of a name, by the system's resolver; raises DestinationUnknown."""
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DestinationUnknown(f'"{host}" cannot be resolved') from error
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))


class Destinations:
    """Resolves, checks and pins. One per gate; its table and ranges never change."""

    def __init__(
        self,
        resolve: Mapping[str, ResolveEntry],
        upstream: UpstreamConfig,
        allowed_ports: frozenset[int],
        *,
        lookup: Lookup = look_up,
        monotonic_s: Callable[[], float] = time.monotonic,
        chaining: Chaining | None = None,
    ) -> None:
        self._resolve = resolve
        self._upstream = upstream
        self._allowed_ports = allowed_ports
        self._lookup = lookup
        self._chaining = chaining
        self._monotonic_s = monotonic_s
        self._own_ports: frozenset[int] = frozenset()
        self._answers: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._direct: dict[tuple[str, int], Route] = {}
        """The last way to each destination that needs no proxy beyond: the same object, so that whoever keeps
        connections by it compares nothing more."""

    def guard_own_ports(self, ports: frozenset[int]) -> None:
        """Tell which ports of this machine are ours; called once the listeners are up."""
        self._own_ports = ports

    def checked_port(self, port: int) -> int:
        """Return a port that requests may name; raises DestinationRefused for any other."""
        if port not in self._allowed_ports:
            raise DestinationRefused(
                "destination.port", f"port {port} is not in proxy.allowed_ports of the gate's configuration"
            )
        return port

    async def route(self, host: str, port: int) -> Route:
        """The checked address for a canonical host; raises DestinationRefused or DestinationUnknown."""
        port = self.checked_port(port)
        verify = host not in self._upstream.unverified_hosts
        if entry := self._resolve.get(host):
            addresses = await self._addresses(entry.address.host)
            self._refuse_own(addresses[0], entry.address.port)
            return self._way(host, port, Route(host, (addresses[0], entry.address.port), entry.ca, verify))
        chain = self._chaining
        if chain is not None and chain.around_by_name(host):
            chain = None
        addresses = await self._checked(host, port, unknown_passes=chain is not None and chain.by_name)
        if chain is None or (addresses and chain.around_by_address(addresses[0])):
            return self._way(host, port, Route(host, (addresses[0], port), None, verify))
        parent = await self._parent(chain)
        return Route(host, (host if chain.by_name else addresses[0], port), None, verify, parent)

    def _way(self, host: str, port: int, route: Route) -> Route:
        known = self._direct.get((host, port))
        if known is not None and known.address == route.address:
            return known  # all else of it hangs on the host alone
        if len(self._direct) >= _CACHED_NAMES:
            self._direct.clear()
        self._direct[host, port] = route
        return route

    async def refuse_own_parent(self) -> None:
        """Raise DestinationRefused where the proxy beyond is this gate itself, as far as that can be told now."""
        if self._chaining is not None:
            with contextlib.suppress(DestinationUnknown):
                await self._parent(self._chaining)

    async def _parent(self, chain: Chaining) -> Parent:
        """The proxy beyond, at an address that is not ours; it may be private, as the operator has named it."""
        addresses = await self._addresses(chain.host)
        for address in addresses:
            self._refuse_own(address, chain.port)
        route = Route(chain.host, (addresses[0], chain.port), chain.ca, verify=True)
        return Parent(route, chain.tls, chain.by_name, chain.authorization)

    async def _checked(self, host: str, port: int, *, unknown_passes: bool) -> tuple[str, ...]:
        """The addresses of a host, each of them one that may be reached; none only where the proxy beyond resolves."""
        try:
            addresses = await self._addresses(host)
        except DestinationUnknown:
            if not unknown_passes:
                raise
            if host in _METADATA_NAMES:
                raise DestinationRefused(
                    "destination.metadata", f'"{host}" is where a cloud gives out credentials'
                ) from None
            return ()
        for address in addresses:
            # All of them, not the first: a name with one private address among several is a trap.
            self._refuse_own(address, port)
            self._refuse_private(host, address)
        return addresses

    async def _addresses(self, host: str) -> tuple[str, ...]:
        if (literal := _address_of(host)) is not None:
            return (str(literal),)
        now = self._monotonic_s()
        cached = self._answers.get(host)
        if cached and cached[0] > now:
            return cached[1]
        answers = await self._lookup(host)
        if not answers:
            raise DestinationUnknown(f'"{host}" has no address')
        if len(self._answers) >= _CACHED_NAMES:
            self._answers.clear()
        self._answers[host] = (now + _CACHE_LIFETIME_S, answers)
        return answers

    def _refuse_own(self, address: str, port: int) -> None:
        if port in self._own_ports and _is_this_machine(_embedded(_parsed(address))):
            raise DestinationRefused("destination.own-listener", "the gate does not forward to itself")

    def _refuse_private(self, host: str, address: str) -> None:
        ip = _embedded(_parsed(address))
        allowed = [network for network in self._upstream.allow_private if network.version == ip.version]
        if ip in _METADATA:
            if any(network.num_addresses == 1 and ip in network for network in allowed):
                return
            raise DestinationRefused(
                "destination.metadata",
                f'"{host}" is where a cloud gives out credentials; the operator can name it under "resolve:"',
            )
        if ip.is_global and not ip.is_multicast and (ip.version == 4 or ip in _UNICAST):
            return
        if any(ip in network for network in allowed):
            return
        raise DestinationRefused(
            "destination.private",
            f'"{host}" is at an address that is not public; the operator can name it under "resolve:"',
        )


# Hosts and their addresses come again with each request.
_parsed = lru_cache(_CACHED_NAMES)(ipaddress.ip_address)


@lru_cache(_CACHED_NAMES)
def _address_of(host: str) -> IPAddress | None:
    """The address that a host is written as; None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _embedded(ip: IPAddress) -> IPAddress:
    """The IPv4 address inside a mapped, 6to4 or NAT64 one; other addresses unchanged."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped or ip.sixtofour:
            return ip.ipv4_mapped or ip.sixtofour or ip
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip


def _is_this_machine(ip: IPAddress) -> bool:
    """Whether a packet to `ip` would stay here; asks the kernel's routing table, sends nothing."""
    if ip.is_loopback or ip.is_unspecified:
        return True
    family = socket.AF_INET6 if ip.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(ip), 9))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == str(ip))
